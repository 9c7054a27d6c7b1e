"""Items that repeat each other, and items that contradict each other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsr1_bench.audit.items import Item, Items

MAX_BITS = 8
"""Near images differ in at most this many of the 64 bits of their perceptual hash …"""
MAX_SHADE = 40
"""… and nowhere on their thumbnails by more than this many of 255 shades."""
SHINGLE = 3
"""Words in a shingle of text."""
MIN_JACCARD = 0.8
"""Near texts share at least this part of their shingles."""
CHUNK = 1024
"""Rows of a block of the pairwise comparison."""

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Repeats:
    """What repeats in a benchmark. Groups hold item numbers."""

    texts: list[list[int]]
    """Same question and options, whatever the image: templates."""
    images: list[list[int]]
    """Distinct images (their numbers) that show the same picture in other bytes."""
    shared_images: list[list[int]]
    """Items on the same image."""
    exact: list[list[int]]
    """Same question, options and image bytes."""
    near: list[Pair]
    """Near text on the same or a near image, not exact."""
    contradictions: list[list[int]]
    """Same question and options on the same picture, and different gold answers."""


def find_repeats(found: Items) -> Repeats:
    """Compare all items with each other."""
    items = found.items
    picture = merged(len(found.shas), near_images(found))
    shown = [tuple(picture[n] for n in item.images) for item in items]
    exact = grouped((item.text, tuple(found.shas[n] for n in item.images)) for item in items)
    same = grouped((i.text_as_set, shown[n]) for n, i in enumerate(map(_Compared, items)))
    golds = [item.gold_text for item in items]
    known = {pair for group in exact for pair in pairs_of(group)}
    return Repeats(
        texts=grouped(item.text for item in items),
        images=[group for group in grouped(picture) if len(group) > 1],
        shared_images=grouped(pictures or None for pictures in shown),
        exact=exact,
        near=sorted(set(near_items(items, shown)) - known),
        contradictions=[group for group in same if len({golds[n] for n in group}) > 1],
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """An item whose options may have another order."""

    item: Item

    @property
    def text_as_set(self) -> tuple[str, ...]:
        options = sorted(self.item.options)
        return (" ".join(self.item.question.casefold().split()), *options)


def grouped(keys: Iterable[Hashable]) -> list[list[int]]:
    """Places that share a key, groups of two or more, in order; None is no key."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key is not None:
            groups[key].append(place)
    return [group for group in groups.values() if len(group) > 1]


def pairs_of(group: Sequence[int]) -> list[Pair]:
    """All pairs of a group, the smaller number first."""
    return [(a, b) for i, a in enumerate(group) for b in group[i + 1 :]]


def merged(n: int, pairs: Iterable[Pair]) -> list[int]:
    """For each of n things the first that it is connected with by pairs, (n,)."""
    first = list(range(n))

    def root(one: int) -> int:
        while first[one] != one:
            first[one] = first[first[one]]
            one = first[one]
        return one

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        first[high] = low
    return [root(one) for one in range(n)]


def near_images(found: Items) -> list[Pair]:
    """Pairs of distinct readable images that show the same picture: re-encoded or resized."""
    usable = np.flatnonzero(found.readable)
    pairs = near_hashes(found.hashes[usable], found.thumbnails[usable])
    return [(int(usable[a]), int(usable[b])) for a, b in pairs if a < b]


def near_hashes(
    hashes: NDArray[np.uint64],
    thumbnails: NDArray[np.uint8],
    others: tuple[NDArray[np.uint64], NDArray[np.uint8]] | None = None,
) -> list[Pair]:
    """Pairs of near images between two sets, or within one.

    Args:
        hashes: Perceptual hashes, (A,).
        thumbnails: (A, 16, 16, 3).
        others: Hashes (B,) and thumbnails (B, 16, 16, 3) of the other set; None = the same.
    """
    their_hashes, their_thumbnails = others or (hashes, thumbnails)
    pairs: list[Pair] = []
    for start in range(0, len(hashes), CHUNK):
        block = hashes[start : start + CHUNK, None] ^ their_hashes[None, :]
        for a, b in np.argwhere(np.bitwise_count(block) <= MAX_BITS):
            one, other = thumbnails[start + a], their_thumbnails[b]
            if np.abs(one.astype(np.int16) - other).max() <= MAX_SHADE:
                pairs.append((int(start + a), int(b)))
    return pairs


def near_items(items: Sequence[Item], shown: Sequence[tuple[int, ...]]) -> list[Pair]:
    """Pairs of items on the same pictures, or without any, whose texts are near."""
    by_picture: Mapping[tuple[int, ...], list[int]] = defaultdict(list)
    for place, pictures in enumerate(shown):
        by_picture[pictures].append(place)
    pairs: list[Pair] = []
    for members in by_picture.values():
        if len(members) > 1:
            near = near_texts([items[place].text for place in members])
            pairs += [(members[a], members[b]) for a, b in near]
    return pairs


def shingles(text: str) -> set[str]:
    """Runs of three words; numbers and signs are words, so that other numbers are other text."""
    words = re.findall(r"[^\W_]+|[^\w\s]", text)
    last = max(1, len(words) - SHINGLE + 1)
    return {" ".join(words[start : start + SHINGLE]) for start in range(last)}


def near_texts(texts: Sequence[str], others: Sequence[str] | None = None) -> list[Pair]:
    """Pairs of texts whose shingles have a Jaccard similarity of `MIN_JACCARD`.

    Short texts that differ in one word are not near: "the largest" and "the smallest".

    Args:
        texts: Within them if there are no others; then the smaller place comes first.
        others: The other set.
    """
    rows, columns = _matrices(texts, others)
    sizes, widths = np.asarray(rows.sum(axis=1)).ravel(), np.asarray(columns.sum(axis=1)).ravel()
    transposed = columns.T.tocsc()
    pairs: list[Pair] = []
    for start in range(0, len(texts), CHUNK):
        shared = (rows[start : start + CHUNK] @ transposed).tocoo()
        either = sizes[start + shared.row] + widths[shared.col] - shared.data
        near = shared.data >= MIN_JACCARD * either
        for a, b in zip(start + shared.row[near], shared.col[near], strict=True):
            if others is not None or a < b:
                pairs.append((int(a), int(b)))
    return pairs


def _matrices(texts: Sequence[str], others: Sequence[str] | None) -> tuple[Any, Any]:
    """Which text has which shingle, (A, S) and (B, S), sparse."""
    from scipy.sparse import csr_matrix

    numbers: dict[str, int] = {}
    parts = []
    for some in (texts, others or ()):
        row: list[int] = []
        column: list[int] = []
        for place, text in enumerate(some):
            found = shingles(text)
            column += [numbers.setdefault(shingle, len(numbers)) for shingle in found]
            row += [place] * len(found)
        parts.append((row, column, len(some)))
    made = [
        csr_matrix((np.ones(len(row), np.int32), (row, column)), shape=(n, len(numbers)))
        for row, column, n in parts
    ]
    return made[0], made[1] if others is not None else made[0]
