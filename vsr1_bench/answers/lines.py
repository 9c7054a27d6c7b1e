"""The lines and sentences of a text, with their positions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!St)(?<!Mt)(?<!Dr)(?<!Mr)(?<!No)(?<!e\.g)(?<!i\.e)(?<!vs)(?<!approx)"
    r"[.!?][\"')\]*]{0,3}(?=\s+[A-Z(*$\\\"'])|\n+"
)


_IF = re.compile(r"^\W*(?:if|when|given|since|because|as)\b[^,.;]{0,200},\s", re.IGNORECASE)
_REASONS = re.compile(r",\s(?:as|which)\s|,?\s(?:because|since|due\sto)\s", re.IGNORECASE)


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each line that is not blank starts, and the line."""
    start = 0
    for line in text.split("\n"):
        if words := line.strip():
            yield start + line.index(words), words
        start += len(line) + 1


@lru_cache(maxsize=16)
def sentences_of(text: str) -> tuple[tuple[int, str], ...]:
    """Where each sentence starts, and the sentence; a line's end ends one, too."""
    found: list[tuple[int, str]] = []
    start = 0
    for end in (*(m.end() for m in SENTENCE_END.finditer(text)), len(text)):
        sentence = text[start:end]
        if words := sentence.strip():
            found.append((start + sentence.index(words), words))
        start = end
    return tuple(found)


def claim(sentence: str) -> str:
    """What a sentence claims: without its condition and its reasons."""
    return _REASONS.split(_IF.sub("", sentence), maxsplit=1)[0]
