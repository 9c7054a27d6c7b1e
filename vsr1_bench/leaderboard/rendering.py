"""Write a sheet as markdown, CSV, LaTeX or HTML. All text in it is untrusted."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from tabulate import tabulate

from vsr1_bench.leaderboard.page import html_page
from vsr1_bench.leaderboard.sheet import Cell, Entry, Sheet, one_line

_SUPERSCRIPT = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹˒")
_SIGNS = "†‡§¶‖"
"""Footnote signs of the long table; the remark that explains a sign begins with it."""
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
            cells.append(_number(value.value))
            cells += [_number(value.low), _number(value.high)] if sheet.intervals else []
            marks += [f"{heading}: {value.mark}"] if value.mark else []
            notes += [f"{heading}: {sheet.notes[n - 1]}" for n in value.notes]
        writer.writerow([*cells, csv_text("; ".join(marks)), csv_text("; ".join(notes))])
    return out.getvalue().rstrip("\n")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


def latex_text(text: str) -> str:
    """Escape LaTeX's special characters; other scripts are left to the engine (XeLaTeX)."""
    return "".join(_LATEX.get(c, c) for c in one_line(text))


def latex(sheet: Sheet) -> str:
    r"""Write a booktabs tabular in a table; needs \usepackage{booktabs} and, for notes, nothing."""

    def cell(value: Cell) -> str:
        if isinstance(value, str):
            return latex_text(value)
        text = latex_text(value.text)
        text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(
            value.mark, text
        )
        if sheet.intervals and value.interval:
            text += rf" {{\scriptsize [{latex_text(value.interval)}]}}"
        if value.notes:
            text += rf"\textsuperscript{{{','.join(map(str, value.notes))}}}"
        return text

    columns = "".join({"left": "l", "right": "r"}[side] for side in _alignment(sheet))
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(latex_text, sheet.headings)) + r" \\",
        r"\midrule",
        *(_latex_row([cell(value) for value in row]) for row in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    below = [
        *(rf"\textsuperscript{{{n}}} {latex_text(note)}" for n, note in enumerate(sheet.notes, 1)),
        *map(latex_text, sheet.remarks),
    ]
    if below:
        lines += [r"\par\smallskip", r"{\footnotesize\raggedright", *_broken(below), "}"]
    return "\n".join([*lines, r"\end{table}"])


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
