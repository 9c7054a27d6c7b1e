"""Write a sheet as one HTML page: sortable, without external resources."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from vsr1_bench._util.look import axis_range, css_colours, html_document
from vsr1_bench.leaderboard.sheet import Cell, Entry, Sheet, one_line

_STYLE = (
    ":root { color-scheme: light dark; "
    + css_colours()
    + """ }
* { box-sizing: border-box; }
body {
  margin: 0; padding: 1.5rem 1.25rem 3rem; background: var(--bg); color: var(--text);
  font: 0.9375rem/1.45 "Inter", -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
h1 { font-size: 1.375rem; line-height: 1.25; font-weight: 650; margin: 0 0 1rem; }
h1 { overflow-wrap: anywhere; letter-spacing: -0.01em; }
.scroll {
  overflow-x: auto; position: relative;
  background:
    linear-gradient(to left, var(--bg) 35%, transparent) right / 2.5rem 100% no-repeat local,
    linear-gradient(to left, rgb(128 128 128 / 35%), transparent) right / 0.75rem 100% no-repeat;
}
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 3px; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.8125rem; }
th, td { padding: 0.4rem 0.45rem; border-bottom: 1px solid var(--line); text-align: left; }
th, td { vertical-align: top; white-space: nowrap; font-weight: 400; }
thead th { vertical-align: bottom; white-space: normal; border-bottom-color: var(--strong-line); }
thead button { padding: 0; border: 0; background: none; color: inherit; cursor: pointer; }
thead button { font: 600 0.75rem/1.3 inherit; font-family: inherit; text-align: inherit; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
.tall thead .number button {
  writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; max-height: 9rem;
}
tbody tr:hover > * { background: var(--surface); }
.first { position: sticky; left: 0; z-index: 1; padding-left: 0; padding-right: 1rem; }
.first { background: var(--bg); max-width: 18rem; }
tbody .first > *, .text { overflow: hidden; text-overflow: ellipsis; }
tbody .first > * { display: block; }
.name { font-weight: 600; }
.setting, .source, .interval, .notes, .remark { color: var(--muted); font-size: 0.75rem; }
.setting { white-space: normal; overflow-wrap: anywhere; }
.first .kind {
  width: fit-content; padding: 0 0.35rem; border: 1px solid var(--strong-line);
  border-radius: 4px; color: var(--muted); font-size: 0.6875rem; line-height: 1.35;
}
.text { max-width: 22rem; }
.number, .right { text-align: right; }
.none { color: var(--muted); }
.figure { font-size: 0.875rem; }
.reported .name, .reported .figure { font-weight: 400; }
.best { font-weight: 700; }
.second { text-decoration: underline; text-decoration-thickness: 2px; }
sup { font-size: 0.6875rem; line-height: 0; color: var(--muted); margin-left: 0.1rem; }
.interval { display: block; }
.bar { display: block; width: 100%; min-width: 4rem; height: 10px; margin-top: 0.1rem; }
.track { fill: var(--line); }
.range { fill: color-mix(in srgb, var(--blue) 38%, var(--bg)); }
.point { fill: var(--blue); }
.reported .range, .reported .point { fill: var(--grey); }
.notes { padding-left: 1.3rem; margin: 1rem 0 0; max-width: 60rem; }
.remark { margin: 0.5rem 0 0; max-width: 60rem; }
@media (max-width: 700px) {
  body { padding: 1rem 1rem 2rem; }
  .first { max-width: 10.5rem; padding-right: 0.6rem; }
}
@page { size: landscape; margin: 1cm; }
@media print {
  :root { color-scheme: light; }
  body { padding: 0; font-size: 8pt; }
  .scroll { overflow: visible; background: none; }
  table, .figure, .setting, .source, .interval, thead button { font-size: 7pt; }
  th, td { padding: 0.15rem 0.25rem; }
  .first { position: static; max-width: 11rem; }
  tr { break-inside: avoid; }
}
"""
)

_SCRIPT = """
"use strict";
document.querySelectorAll("th button").forEach(function (button) {
  button.addEventListener("click", function () {
    const heading = button.closest("th");
    const column = heading.cellIndex;
    const body = heading.closest("table").tBodies[0];
    const numeric = heading.classList.contains("number");
    const now = heading.getAttribute("aria-sort");
    const descending = now === null ? numeric : now === "ascending";
    heading.parentNode.querySelectorAll("th").forEach(function (other) {
      other.removeAttribute("aria-sort");
    });
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = Array.from(body.rows);
    const key = function (row) { return row.cells[column].dataset.value; };
    rows.sort(function (one, other) {
      const a = key(one), b = key(other);
      if (numeric) {
        if (a === "" || b === "") { return (a === "") - (b === ""); }
        return descending ? Number(b) - Number(a) : Number(a) - Number(b);
      }
      const order = a.localeCompare(b, undefined, { numeric: true });
      return descending ? -order : order;
    });
    rows.forEach(function (row) { body.appendChild(row); });
  });
});
"""

_MARKS = (
    "Bold is the best of a column and underlined the second best, only where a paired test says so."
)
_INTERVALS = "Bars are 95 % intervals; each column has its own scale."
_MOST_LYING = 9
"""More columns of numbers than this have upright headings."""
_FIGURES = re.compile(r"[0-9.,/ †‡§¶‖–−-]+")


def html_page(sheet: Sheet, title: str = "vsr1-bench: results") -> str:
    """Write the page. Its first column stays in sight where a wide table scrolls."""
    places = [i for i, heading in enumerate(sheet.headings) if heading not in sheet.about or not i]
    columns = [_Column(sheet, i) for i in places]
    about = {name: sheet.headings.index(name) for name in sheet.about if name in sheet.headings}
    heads = "".join(
        f'<th scope="col"{_class(column.kind if i else "first")}>'
        f'<button type="button">{_broken(sheet.headings[column.place])}</button></th>'
        for i, column in enumerate(columns)
    )
    rows = "\n".join(
        f"<tr{_class('reported' if 'reported' in row else '')}>{_name(row, about)}"
        + "".join(column.cell(row[column.place]) for column in columns[1:])
        + "</tr>"
        for row in sheet.rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in sheet.notes)
    entries = [cell for row in sheet.rows for cell in row if isinstance(cell, Entry)]
    remarks = [
        *sheet.remarks,
        *([_MARKS] if any(entry.mark for entry in entries) else []),
        *([_INTERVALS] if sheet.intervals and any(entry.interval for entry in entries) else []),
    ]
    body = f"""<main>
<h1>{escape(title)}</h1>
<div class="scroll" tabindex="0" role="region" aria-label="Table, scrolls sideways">
<table{_class("tall" if _tall(columns, sheet.intervals) else "")}>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
{f'<ol class="notes">{notes}</ol>' if notes else ""}
{"".join(f'<p class="remark">{escape(remark)}</p>' for remark in remarks)}
</main>"""
    return html_document(escape(title), body, style=_STYLE, script=_SCRIPT).rstrip("\n")


class _Column:
    """A column of the page: how its cells are aligned, and the scale of its bars."""

    def __init__(self, sheet: Sheet, place: int) -> None:
        cells = [row[place] for row in sheet.rows]
        entries = [cell for cell in cells if isinstance(cell, Entry)]
        figures = all(isinstance(cell, str) and _FIGURES.fullmatch(cell) for cell in cells)
        self.place = place
        self.kind = "number" if entries else "right" if figures else "text"
        self._range: tuple[float, float] | None = None
        if sheet.intervals and any(entry.interval for entry in entries):
            percent = all(entry.digits == 1 for entry in entries)
            ends = [end for e in entries for end in (e.value, e.low, e.high)]
            self._range = axis_range(ends, least=20 if percent else 0)

    def cell(self, value: Cell) -> str:
        """Write a cell."""
        if isinstance(value, str):
            known = "" if self.kind == "number" else escape(value)
            full = f' title="{known}"' if self.kind == "text" and len(value) > 30 else ""
            return f'<td data-value="{known}"{_class(self.kind)}{full}>{escape(value)}</td>'
        if value.value is None:
            return f'<td data-value="" class="number none">{value.text}</td>'
        shown = f'<span class="{f"figure {value.mark}".rstrip()}">{value.text}</span>'
        if value.notes:
            shown += f"<sup>{','.join(map(str, value.notes))}</sup>"
        if self._range is not None and value.interval:
            shown += f' <span class="interval">{value.interval}</span>{_bar(value, self._range)}'
        return f'<td data-value="{round(value.value, 6)!r}" class="number">{shown}</td>'


def _tall(columns: Sequence[_Column], intervals: bool) -> bool:
    """Whether headings stand upright, because lying ones would be wider than the page."""
    return not intervals and sum(column.kind == "number" for column in columns) > _MOST_LYING


def _name(row: Sequence[Cell], about: dict[str, int]) -> str:
    """The heading of a row: the name, and below it what else is known of it."""
    name = str(row[0])
    parts = [f'<span class="name" title="{escape(name)}">{escape(name)}</span>']
    for heading, place in about.items():
        text = str(row[place])
        if place == 0 or text in ("–", "measured"):
            continue
        full = f' title="{escape(text)}"' if heading == "source" else ""
        parts.append(f"<span{_class(heading)}{full}>{escape(text)}</span>")
    return f'<th scope="row" data-value="{escape(name)}" class="first">{" ".join(parts)}</th>'


def _bar(entry: Entry, scale: tuple[float, float]) -> str:
    """An interval with its value as a tick; its numbers stand beside it as text."""
    first, last = scale

    def at(value: float | None) -> float:
        return max(0.0, min(100.0, 100 * ((value or 0.0) - first) / (last - first)))

    low, high, tick = at(entry.low), at(entry.high), min(98.6, max(0.0, at(entry.value) - 0.7))
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" x="0" y="4.5" width="100" height="1"/>'
        f'<rect class="range" x="{low:.1f}" y="2" width="{max(0.8, high - low):.1f}" height="6"/>'
        f'<rect class="point" x="{tick:.1f}" y="0" width="1.4" height="10"/></svg>'
    )


def escape(text: str) -> str:
    """Escape for text and for quoted attributes; one line, no control characters."""
    return html.escape(one_line(text))


def _broken(heading: str) -> str:
    """A heading that may break after an underscore."""
    return escape(heading).replace("_", "_<wbr>")


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
