"""A table that is ready to be written. `rendering` writes it in each format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Mark = str
"""`best`, `second`, or nothing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell with a number, in percent or in the unit of its column."""

    value: float | None
    low: float | None = None
    high: float | None = None
    notes: tuple[int, ...] = ()
    """Numbers of footnotes, from 1."""
    mark: Mark = ""
    digits: int = 1
    """Decimals that are shown."""

    @property
    def text(self) -> str:
        """The value as shown."""
        return "–" if self.value is None else f"{self.value:.{self.digits}f}"

    @property
    def interval(self) -> str:
        """The interval as shown; empty if there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.{self.digits}f} to {self.high:.{self.digits}f}"


Cell = Entry | str


@dataclass(frozen=True, slots=True)
class Sheet:
    """Headings (H,), rows of H cells each, and the footnotes that cells refer to."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    """Numbered from 1."""
    remarks: tuple[str, ...] = ()
    """Notes on the whole table."""
    intervals: bool = False
    """Whether intervals are shown."""
    numbers: frozenset[str] = frozenset()
    """Headings of text columns that hold numbers, in which a minus does not start a formula."""
    paragraphs: bool = False
    """Whether each remark is a paragraph in markdown, rather than a line."""
    about: tuple[str, ...] = ()
    """Headings of text columns that a page shows below the name of the row."""
    caption: str = ""
    label: str = ""
    """For LaTeX, as are the caption and the sections."""
    sections: Mapping[int, str] = field(default_factory=dict)
    """Number of a row from 0 -> the heading above it."""


@dataclass(slots=True)
class Footnotes:
    """Collects footnotes; the same words get the same number."""

    texts: list[str] = field(default_factory=list)

    def number(self, texts: Sequence[str]) -> tuple[int, ...]:
        """The numbers of some footnotes."""
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
        return tuple(self.texts.index(text) + 1 for text in texts)


def one_line(text: str) -> str:
    """One line without control characters, directional overrides included."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(kept.split())
