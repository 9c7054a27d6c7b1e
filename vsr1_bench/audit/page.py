"""Write an audit as a page: markdown, and HTML that opens from disk.

All text in it is untrusted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vsr1_bench._util.look import css_colours, html_document
from vsr1_bench.leaderboard.page import escape
from vsr1_bench.leaderboard.rendering import markdown_text

_STYLE = (
    ":root { color-scheme: light dark; "
    + css_colours()
    + """ }
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 64rem;
  background: var(--bg); color: var(--text);
  font: 0.9375rem/1.5 "Inter", -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
h1 { font-size: 1.375rem; line-height: 1.25; font-weight: 650; margin: 0 0 1rem; }
h2 { font-size: 1.0625rem; font-weight: 650; margin: 2rem 0 0.5rem; }
h1, p, li, td { overflow-wrap: anywhere; }
p { margin: 0.5rem 0; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.8125rem; margin: 0.5rem 0; }
th, td { padding: 0.35rem 0.6rem 0.35rem 0; border-bottom: 1px solid var(--line); }
th, td { text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom-color: var(--strong-line); }
.number { text-align: right; white-space: nowrap; }
.more { color: var(--muted); }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 3px; }
@media print { .scroll { overflow: visible; } tr { break-inside: avoid; } }
"""
)
_NUMBER = re.compile(r"[<≥≤]? ?-?[0-9][0-9,.]* ?%?( to [0-9,.]+ ?%?)?|–")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int = 0
    """Further rows that are only in the JSON file."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page: what was found, and the details."""

    title: str
    findings: tuple[str, ...]
    """One line each, the most serious first; empty = nothing was found."""
    sections: tuple[Section, ...]
    about: tuple[str, ...] = ()
    """What was audited."""


NOTHING = "Nothing was found that these checks can find."


def percent(share: float) -> str:
    """A share as percent with one decimal."""
    return f"{100 * share:.1f} %"


def p_text(p_value: float | None) -> str:
    """A p value as shown."""
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def examples(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], shown: int = 20) -> Table:
    """A table of the first rows, and how many more there are."""
    return Table(headings, tuple(rows[:shown]), max(0, len(rows) - shown))


def markdown_page(page: Page) -> str:
    """Write the page as markdown."""
    lines = [f"# {markdown_text(page.title)}", ""]
    lines += [f"{markdown_text(line)}\n" for line in page.about]
    lines += [f"- {markdown_text(line)}" for line in page.findings or (NOTHING,)]
    for section in page.sections:
        lines += ["", f"## {markdown_text(section.title)}", ""]
        lines += [f"{markdown_text(text)}\n" for text in section.paragraphs]
        for table in section.tables:
            lines += [_markdown_table(table), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _markdown_table(table: Table) -> str:
    from tabulate import tabulate

    rows = [[markdown_text(cell) for cell in row] for row in table.rows]
    sides = ["right" if right else "left" for right in _numeric(table)]
    text = tabulate(
        rows,
        [markdown_text(heading) for heading in table.headings],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=sides if rows else None,
    )
    return f"{text}\n\n{_more(table)}" if table.more else text


def _numeric(table: Table) -> list[bool]:
    return [
        all(_NUMBER.fullmatch(row[i]) for row in table.rows) and bool(table.rows)
        for i in range(len(table.headings))
    ]


def _more(table: Table) -> str:
    return f"and {table.more:,} more in the JSON file"


def html_page(page: Page) -> str:
    """Write the page as one HTML file without script, which loads nothing."""
    about = "".join(f"<p>{escape(line)}</p>\n" for line in page.about)
    findings = "\n".join(f"<li>{escape(line)}</li>" for line in page.findings or (NOTHING,))
    sections = "\n".join(_html_section(section) for section in page.sections)
    body = f"""<main>
<h1>{escape(page.title)}</h1>
{about}<h2>Findings</h2>
<ul>
{findings}
</ul>
{sections}
</main>"""
    return html_document(escape(page.title), body, style=_STYLE, script="")


def _html_section(section: Section) -> str:
    paragraphs = "".join(f"<p>{escape(text)}</p>\n" for text in section.paragraphs)
    tables = "\n".join(_html_table(section, table) for table in section.tables)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{paragraphs}{tables}\n</section>"


def _html_table(section: Section, table: Table) -> str:
    classes = [' class="number"' if right else "" for right in _numeric(table)]
    heads = "".join(
        f'<th scope="col"{kind}>{escape(heading)}</th>'
        for heading, kind in zip(table.headings, classes, strict=True)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{k}>{escape(cell)}</td>" for cell, k in zip(row, classes, strict=True))
        + "</tr>"
        for row in table.rows
    )
    more = f'<p class="more">{escape(_more(table))}</p>' if table.more else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(section.title)}">\n'
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>{more}"
    )
