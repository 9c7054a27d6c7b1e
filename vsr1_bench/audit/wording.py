"""Finds the questions of a benchmark among other texts: the same, or nearly the same, wording."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsr1_bench.audit.duplicates import MIN_JACCARD, shingles
from vsr1_bench.audit.items import Item, normal

LONG = 8
"""A longer text has a question of so many shingles if it has `MIN_JACCARD` of them."""
OWN, OWN_PICTURED = 12, 20
"""A question with an image is compared by its text alone if so many shingles are its own (with a
text on another picture, if so many) …"""
COMMON_SHARE, COMMON_LEAST = 0.02, 5
"""… and not those of a template: these are in 2 % of the items, and in 5."""


@dataclass(frozen=True, slots=True)
class NearText:
    """A question and a text that has it."""

    item: int
    text: int
    distance: float
    """1 minus the Jaccard similarity, or minus the contained part."""


@dataclass(frozen=True, slots=True)
class _Question:
    forms: tuple[frozenset[str], ...]
    """Shingles of the question, and of question and options."""
    own: frozenset[str]
    """Those that are no template's."""


class Questions:
    """The questions of a benchmark, to be found among other texts."""

    def __init__(self, items: Sequence[Item]) -> None:
        """Take the shingles of all items; those that many items share tell nothing."""
        self._items = items
        self._equal: dict[str, list[int]] = {}
        """Items without an image by their whole text."""
        forms = [
            tuple(frozenset(shingles(text)) for text in dict.fromkeys(_texts(item)))
            for item in items
        ]
        counts = Counter(shingle for some in forms for shingle in frozenset().union(*some))
        most = max(COMMON_LEAST, COMMON_SHARE * len(items))
        self._questions = [
            _Question(some, frozenset(s for s in some[0] if counts[s] < most)) for some in forms
        ]
        for number, item in enumerate(items):
            if not item.images:
                for text in dict.fromkeys(_texts(item)):
                    self._equal.setdefault(text, []).append(number)
        self._numbers: dict[str, int] = {}
        for question in self._questions:
            for shingle in question.own:
                self._numbers.setdefault(shingle, len(self._numbers))
        self._own = self._matrix([question.own for question in self._questions])
        self._sizes = np.array([len(question.own) for question in self._questions])
        tells = [self.tells(number, pictured=False) for number in range(len(items))]
        self._comparable = np.array(tells, np.bool_) & (self._sizes > 0)

    def tells(self, number: int, *, pictured: bool) -> bool:
        """Whether an item is known by its text alone.

        Args:
            number: The item.
            pictured: Whether the text is about another picture.
        """
        least = OWN_PICTURED if pictured else OWN
        return not self._items[number].images or int(self._sizes[number]) >= least

    def near(self, texts: Sequence[str]) -> list[NearText]:
        """All pairs of a question, specific enough to be known by its text, and a text with it."""
        known = [normal(plain(text)) for text in texts]
        found = {
            (number, place): 0.0
            for place, text in enumerate(known)
            for number in self._equal.get(text, ())
        }
        theirs = [frozenset(shingles(text)) for text in known]
        shared = (self._matrix(theirs) @ self._own.T).tocoo()
        enough = (shared.data >= MIN_JACCARD * self._sizes[shared.col]) & self._comparable[
            shared.col
        ]
        for place, number in zip(shared.row[enough], shared.col[enough], strict=True):
            distance = self._distance(self._questions[number], theirs[place], LONG)
            if distance is not None:
                found.setdefault((int(number), int(place)), distance)
        return [NearText(*pair, distance) for pair, distance in sorted(found.items())]

    def asked(self, number: int, texts: Sequence[str]) -> float | None:
        """The distance of the nearest of the texts that has a question; None = no text has it.

        For texts on the same picture: a template's wording counts, too.
        """
        texts = [normal(plain(text)) for text in texts]
        if any(text in _texts(self._items[number]) for text in texts):
            return 0.0
        question = self._questions[number]
        distances = [self._distance(question, frozenset(shingles(text)), 1) for text in texts]
        return min((d for d in distances if d is not None), default=None)

    def _distance(self, question: _Question, theirs: frozenset[str], long: int) -> float | None:
        likeness = max(len(form & theirs) / len(form | theirs) for form in question.forms)
        first = question.forms[0]
        contained = len(first & theirs) / len(first)
        if len(first) >= long and contained >= MIN_JACCARD:
            likeness = max(likeness, contained)
        return 1 - likeness if likeness >= MIN_JACCARD else None

    def _matrix(self, sets: Sequence[frozenset[str]]) -> Any:
        """Which set has which of the known shingles, sparse (N, S)."""
        from scipy.sparse import csr_matrix

        pairs = [
            (row, self._numbers[shingle])
            for row, some in enumerate(sets)
            for shingle in some
            if shingle in self._numbers
        ]
        rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
        shape = (len(sets), max(1, len(self._numbers)))
        return csr_matrix((np.ones(len(pairs), np.int32), (rows, columns)), shape=shape)


def plain(text: str) -> str:
    """A text without the marks of its images."""
    return re.sub(r"<image ?\d*>", " ", text)


def _texts(item: Item) -> tuple[str, ...]:
    """The normalized question, and the question with its options."""
    both = (item.question, " ".join((item.question, *item.options)))
    return tuple(normal(plain(text)) for text in both)
