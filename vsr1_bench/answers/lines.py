"""The lines and sentences of a text, with where they start."""

from __future__ import annotations

import re
from collections.abc import Iterator

SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!St)(?<!Mt)(?<!Dr)(?<!Mr)(?<!No)(?<!e\.g)(?<!i\.e)(?<!vs)(?<!approx)"
    r"[.!?][\"')\]*]{0,3}(?=\s+[A-Z(*$\\\"'])|\n+"
)


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each line that is not blank starts, and the line."""
    start = 0
    for line in text.split("\n"):
        if words := line.strip():
            yield start + line.index(words), words
        start += len(line) + 1


def sentences_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each sentence starts, and the sentence; a line's end ends one, too."""
    start = 0
    for end in (*(m.end() for m in SENTENCE_END.finditer(text)), len(text)):
        sentence = text[start:end]
        if words := sentence.strip():
            yield start + sentence.index(words), words
        start = end
