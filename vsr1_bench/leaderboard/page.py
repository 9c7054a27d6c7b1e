"""Write a sheet as one HTML page: sortable, without external resources.

The page's content-security policy forbids everything but the script and the style that are in it,
which it knows by their hashes: a model's name that gets past the escaping still cannot run.
"""

from __future__ import annotations

import base64
import hashlib
import html

from vsr1_bench.leaderboard.sheet import Cell, Entry, Sheet, one_line

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .6rem; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: left; }
thead th { border-top: 2px solid #333; border-bottom: 1px solid #333; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 2px solid #333; }
.number { text-align: right; white-space: nowrap; }
.reported { color: #555; background: #f6f6f6; }
.best { font-weight: 700; }
.second { text-decoration: underline; }
.interval { color: #666; font-size: .85em; }
th button { font: inherit; font-weight: 600; border: 0; background: none; cursor: pointer; }
th button { padding: 0; color: inherit; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
ol, p { max-width: 60rem; color: #444; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #161616; }
  .reported { color: #aaa; background: #222; }
  ol, p, .interval { color: #aaa; }
}
"""

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


def html_page(sheet: Sheet, title: str = "vsr1-bench: results") -> str:
    """Write the page."""
    policy = (
        f"default-src 'none'; script-src '{_hash(_SCRIPT)}'; style-src '{_hash(_STYLE)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    numeric = [
        any(isinstance(row[i], Entry) for row in sheet.rows) for i in range(len(sheet.headings))
    ]
    headings = "".join(
        f'<th scope="col"{_class("number" if number else "")}>'
        f'<button type="button">{escape(heading)}</button></th>'
        for heading, number in zip(sheet.headings, numeric, strict=True)
    )
    rows = "\n".join(
        f"<tr{_class('reported' if 'reported' in row else '')}>"
        + "".join(
            _cell(value, number, sheet.intervals)
            for value, number in zip(row, numeric, strict=True)
        )
        + "</tr>"
        for row in sheet.rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in sheet.notes)
    remarks = "".join(f"<p>{escape(remark)}</p>\n" for remark in sheet.remarks)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<table>
<caption>{escape(title)}</caption>
<thead><tr>{headings}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
{f"<ol>{notes}</ol>" if notes else ""}
{remarks}<script>{_SCRIPT}</script>
</body>
</html>"""


def _cell(value: Cell, number: bool, intervals: bool) -> str:
    if isinstance(value, str):
        known = "" if number else escape(value)
        return f'<td data-value="{known}"{_class("number" if number else "")}>{escape(value)}</td>'
    shown = f'<span class="{value.mark}">{value.text}</span>' if value.mark else value.text
    if intervals and value.interval:
        shown += f' <span class="interval">[{value.interval}]</span>'
    if value.notes:
        shown += f"<sup>{','.join(map(str, value.notes))}</sup>"
    known = "" if value.value is None else repr(round(value.value, 6))
    return f'<td data-value="{known}" class="number">{shown}</td>'


def escape(text: str) -> str:
    """Escape for text and for quoted attributes; one line, no control characters."""
    return html.escape(one_line(text))


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"
