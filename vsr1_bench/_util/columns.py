"""Lists and tables in columns that fit the terminal; a file or a pipe gets them as they are."""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence

NARROWEST = 8
"""Characters below which no column shrinks."""
GAP = "  "


def terminal_width() -> int | None:
    """Characters per line of the terminal; None if standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def columns(headers: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> str:
    """Align all columns but the last.

    Args:
        headers: First line.
        rows: Other lines.
        width: Most characters per line: the widest columns shrink, and their cells get more lines.
            None = no bound.
    """
    table = [list(headers), *map(list, rows)]
    widths = [max(_width(row[i]) for row in table) for i in range(len(headers))]
    if width is not None:
        _shrink(widths, table, width)
    lines = []
    for row in table:
        cells = [_wrapped(cell, w) for cell, w in zip(row, widths, strict=True)]
        for part in range(max(map(len, cells))):
            texts = [cell[part] if part < len(cell) else "" for cell in cells]
            padded = [t + " " * (w - _width(t)) for t, w in zip(texts[:-1], widths, strict=False)]
            lines.append(GAP.join([*padded, texts[-1]]).rstrip())
    return "\n".join(lines)


def fit_markdown(text: str, width: int | None) -> str:
    """Write the markdown tables of a text as columns where a line is wider than the terminal."""
    if width is None or all(_width(line) <= width for line in text.split("\n")):
        return text
    fitted: list[str] = []
    block: list[list[str]] = []

    def flush() -> None:
        if block:
            fitted.append(columns(block[0], block[1:], width))
            block.clear()

    for line in text.split("\n"):
        if not line.startswith("|"):
            flush()
            fitted.append(line)
        elif not re.fullmatch(r"[|:\s-]+", line):  # the line below the headings
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            block.append([re.sub(r"\\([|`*~_\]\\])", r"\1", cell.strip()) for cell in cells])
    flush()
    return "\n".join(fitted)


def _shrink(widths: list[int], table: Sequence[Sequence[str]], width: int) -> None:
    """Take from the widest columns until a line fits; words are broken only if it must be."""
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    words = [
        max((_width(word) for row in table for word in row[i].split()), default=0)
        for i in range(len(widths))
    ]
    rest = [NARROWEST] * (len(widths) - 1)
    for floors in (words, [words[0], *rest], [NARROWEST, *rest]):  # names in front break last
        while excess > 0:
            slack = [i for i, w in enumerate(widths) if w > max(floors[i], NARROWEST)]
            if not slack:
                break
            widths[max(slack, key=lambda i: widths[i])] -= 1
            excess -= 1


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most this width; a word that is wider is broken."""
    lines = [""]
    for word in text.split(" ") if _width(text) > width else [text]:
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if _width(joined) <= width:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for character in word:
            if _width(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: two for wide East Asian characters, 0 for marks."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
