"""Write a sheet as markdown, CSV, LaTeX or HTML. All text in it is untrusted."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass

from tabulate import tabulate

from vsr1_bench.leaderboard.page import html_page
from vsr1_bench.leaderboard.sheet import Cell, Entry, Sheet, one_line

_SUPERSCRIPT = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹˒")
_SIGNS = "†‡§¶‖"
"""Footnote signs of the long table; the remark that explains a sign begins with it."""
HEADING = 12
"""Characters of a line of a heading in LaTeX."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # \textquotedbl is unknown to LaTeX's usual font encoding
    "–": "--",
    "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}",
    "±": r"\ensuremath{\pm}",
    "↓": r"\ensuremath{\downarrow}",
    "‖": r"\ensuremath{\parallel}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "·": r"\textperiodcentered{}",
}


def _superscript(notes: tuple[int, ...]) -> str:
    return f" {','.join(map(str, notes)).translate(_SUPERSCRIPT)}" if notes else ""


def markdown_text(text: str) -> str:
    """Escape text that would break out of its cell, or become markup or HTML."""
    escaped = one_line(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    # One star is no markup (`majority:openai[M]*2`), nor is an underscore inside a word
    # (`mmmu_pro`), nor are brackets that no link follows: names of judges can be copied.
    for sign in "|`*~" if escaped.count("*") > 1 else "|`~":
        escaped = escaped.replace(sign, f"\\{sign}")
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", escaped)
    escaped = re.sub(r"\](?=\s*[(\[:])", r"\]", escaped)
    return escaped


def markdown(sheet: Sheet) -> str:
    """Write a pipe table, best in bold, second best in italics, footnotes below."""

    def cell(value: Cell) -> str:
        if isinstance(value, str):
            return markdown_text(value)
        marked = {"best": "**{}**", "second": "*{}*"}.get(value.mark, "{}").format(value.text)
        interval = f" [{value.interval}]" if sheet.intervals and value.interval else ""
        return f"{marked}{interval}{_superscript(value.notes)}"

    rows = [[cell(value) for value in row] for row in sheet.rows]
    headings = [markdown_text(heading) for heading in sheet.headings]
    text = tabulate(
        rows, headings, tablefmt="pipe", disable_numparse=True, colalign=_alignment(sheet)
    )
    below = [
        *(
            f"{_superscript((n,)).strip()} {markdown_text(note)}"
            for n, note in enumerate(sheet.notes, 1)
        ),
        *map(markdown_text, sheet.remarks),
    ]
    between = "\n\n" if sheet.paragraphs else "  \n"
    return "\n\n".join([text, *([between.join(below)] if below else [])])


def _alignment(sheet: Sheet) -> tuple[str, ...]:
    """Right-align columns of numbers."""
    return tuple(
        "right" if any(isinstance(row[i], Entry) for row in sheet.rows) else "left"
        for i in range(len(sheet.headings))
    )


def csv_text(text: str) -> str:
    """Prefix an apostrophe, so that a spreadsheet does not run the text as a formula."""
    line = one_line(text)
    return f"'{line}" if text.startswith(_FORMULA) or line.startswith(_FORMULA) else line


def csv_table(sheet: Sheet) -> str:
    """Write comma-separated values: plain numbers, marks and notes in separate columns."""
    numeric = [side == "right" for side in _alignment(sheet)]
    headings: list[str] = []
    for heading, is_number in zip(sheet.headings, numeric, strict=True):
        headings.append(csv_text(heading))
        if is_number and sheet.intervals:
            headings += [f"{csv_text(heading)} low", f"{csv_text(heading)} high"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*headings, "marks", "notes"])
    for row in sheet.rows:
        cells: list[str] = []
        marks, notes = [], []
        for heading, is_number, value in zip(sheet.headings, numeric, row, strict=True):
            if isinstance(value, str):
                plain = heading in sheet.numbers and _NUMBER.fullmatch(value)
                cells.append(value if plain else csv_text(value) if not is_number else "")
                cells += ["", ""] if is_number and sheet.intervals else []
                notes += [remark for remark in sheet.remarks if heading in sheet.numbers
                          and remark[:1] in _SIGNS and remark[:1] in value]  # fmt: skip
                continue
            bounds = [value.low, value.high] if sheet.intervals else []
            cells += [_number(one, value.digits) for one in (value.value, *bounds)]
            marks += [f"{heading}: {value.mark}"] if value.mark else []
            notes += [f"{heading}: {sheet.notes[n - 1]}" for n in value.notes]
        writer.writerow([*cells, csv_text("; ".join(marks)), csv_text("; ".join(notes))])
    return out.getvalue().rstrip("\n")


def _number(value: float | None, digits: int) -> str:
    """A number with the digits that every other format shows; only JSON is not rounded."""
    return "" if value is None else f"{value:.{digits}f}"


def latex_text(text: str) -> str:
    """Escape LaTeX's special characters; other scripts are left to the engine (XeLaTeX)."""
    return "".join(_LATEX.get(c, c) for c in one_line(text))


def latex(sheet: Sheet) -> str:
    r"""Write a booktabs tabular with siunitx columns in a table float.

    The document needs \usepackage{booktabs}, and \usepackage{siunitx} for columns of numbers.
    """
    kinds = [_column_type(sheet, place) for place in range(len(sheet.headings))]
    lines = [
        rf"% \usepackage{{booktabs{',siunitx' if any(kind.number for kind in kinds) else ''}}}",
        rf"\begin{{{_float(sheet)}}}",
        r"\centering",
        *([rf"\caption{{{latex_text(sheet.caption)}}}"] if sheet.caption else []),
        *([rf"\label{{{sheet.label}}}"] if sheet.label else []),
        *([r"\footnotesize\setlength{\tabcolsep}{3pt}"] if _float(sheet) != "table" else []),
        *([r"\sisetup{detect-weight=true}"] if any(kind.number for kind in kinds) else []),
        rf"\begin{{tabular}}{{{''.join(kind.text for kind in kinds)}}}",
        r"\toprule",
        " & ".join(
            _stacked(heading) if kind.number else latex_text(heading)
            for heading, kind in zip(sheet.headings, kinds, strict=True)
        )
        + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(sheet.rows):
        if number in sheet.sections:
            lines += [r"\midrule"] if number else []
            name = latex_text(sheet.sections[number])
            lines.append(rf"\multicolumn{{{len(row)}}}{{l}}{{\emph{{{name}}}}} \\")
        cells = [_latex_cell(sheet, cell, kind) for cell, kind in zip(row, kinds, strict=True)]
        lines.append(_latex_row(cells))
    lines += [r"\bottomrule", r"\end{tabular}"]
    below = [
        *(rf"\textsuperscript{{{n}}} {latex_text(note)}" for n, note in enumerate(sheet.notes, 1)),
        *map(latex_text, sheet.remarks),
    ]
    if below:
        lines += [r"\par\smallskip", r"{\footnotesize\raggedright", *_broken(below), "}"]
    return "\n".join([*lines, rf"\end{{{_float(sheet)}}}"])


def _stacked(heading: str) -> str:
    """A heading above numbers, its words in lines of about the same length."""
    lines: list[str] = []
    for word in heading.split():
        if lines and len(lines[-1]) + len(word) < HEADING:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    text = r"\\".join(map(latex_text, lines))
    return rf"{{\shortstack{{{text}}}}}" if len(lines) > 1 else f"{{{text}}}"


def _float(sheet: Sheet) -> str:
    """A wide table spans both columns of a page."""
    return "table*" if len(sheet.headings) > 8 else "table"


@dataclass(frozen=True, slots=True)
class _LatexColumn:
    text: str
    """Its type in the tabular."""
    number: bool = False
    whole: int = 0
    """Digits before the decimal point."""
    after: str = ""
    """The widest text after a number."""


def _column_type(sheet: Sheet, place: int) -> _LatexColumn:
    """A siunitx column for numbers, else a left-aligned one."""
    entries = [row[place] for row in sheet.rows if isinstance(row[place], Entry)]
    texts = [
        entry.text for entry in entries if isinstance(entry, Entry) and entry.value is not None
    ]
    if not texts:
        return _LatexColumn("r" if entries else "l")
    whole = max(len(text.lstrip("-").partition(".")[0]) for text in texts)
    decimals = max(len(text.partition(".")[2]) for text in texts)
    sign = "-" if any(text.startswith("-") for text in texts) else ""
    after = max((_after(sheet, e) for e in entries if isinstance(e, Entry)), key=len)
    space = f",table-space-text-post={{{after}}}" if after else ""
    return _LatexColumn(f"S[table-format={sign}{whole}.{decimals}{space}]", True, whole, after)


def _after(sheet: Sheet, entry: Entry) -> str:
    """What follows a number: its interval and the numbers of its notes."""
    if entry.value is None:
        return ""
    interval = rf" \scriptsize [{latex_text(entry.interval)}]"
    notes = rf"\textsuperscript{{{','.join(map(str, entry.notes))}}}" if entry.notes else ""
    return (interval if sheet.intervals and entry.interval else "") + notes


def _latex_cell(sheet: Sheet, value: Cell, kind: _LatexColumn) -> str:
    if isinstance(value, str):
        text = latex_text(value)
        return f"{{{text}}}" if kind.number else text
    if value.value is None:
        notes = rf"\textsuperscript{{{','.join(map(str, value.notes))}}}" if value.notes else ""
        return f"{{--{notes}}}"
    after = _after(sheet, value)
    if value.mark == "second":  # siunitx has no underline: the same width by hand
        missing = kind.whole - len(value.text.partition(".")[0])
        pad = rf"\phantom{{{'0' * missing}}}" if missing > 0 else ""
        space = after or (rf"\phantom{{{kind.after}}}" if kind.after else "")
        return rf"{{{pad}\underline{{{value.text}}}{space}}}"
    bold = r"\bfseries " if value.mark == "best" else ""
    return f"{bold}{value.text}" + (f"{{{after}}}" if after else "")


def _latex_row(cells: list[str]) -> str:
    # A row that begins with a bracket or a star would be read as part of the line break before it.
    lead = "{}" if cells and cells[0].startswith(("[", "*")) else ""
    return lead + " & ".join(cells) + r" \\"


def _broken(lines: list[str]) -> list[str]:
    return [rf"{line}\par" for line in lines]


WRITERS: dict[str, Callable[[Sheet], str]] = {
    "markdown": markdown,
    "csv": csv_table,
    "latex": latex,
    "html": html_page,
}
