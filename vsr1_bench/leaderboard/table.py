"""The long table: one row per run, judge and metric, with rates that show how far to trust it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vsr1_bench.leaderboard.empty import empty_remarks
from vsr1_bench.leaderboard.rendering import WRITERS
from vsr1_bench.leaderboard.sheet import Sheet
from vsr1_bench.leaderboard.shortcuts import (
    UNREAD,
    category_metrics,
    cut_remarks,
    fold_blind,
    ill_read,
    needs_reading,
    reader_label,
    readers_remark,
    undescribed,
)
from vsr1_bench.scoring.dependence import dependence_remarks
from vsr1_bench.scoring.score import RANKED_FROM

# Shown only if runs differ in them.
SETTINGS = ("prompt", "variant", "spec")
# Rows that differ in one of these need no spec to tell them apart.
IDENTITY = ("model", "task", "judge", "metric", "prompt", "variant")
# Known for a whole run, not for a group of it.
OF_THE_RUN = ("scored/total", "unparsed %", "truncated %", "failed %")

Row = dict[str, str]


def long_rows(documents: Sequence[dict[str, Any]], *, by: str | None = None) -> list[Row]:
    """Lay score documents out, values in percent.

    Args:
        documents: What `scoring.runs.score_run` returns.
        by: A group name; adds a row for each group's accuracy.

    Returns:
        One row per (model, task, judge, metric): heading -> text.
    """
    rows = []
    for document in fold_blind(documents):
        rows += [_row(document, metric, value) for metric, value in _headlines(document)]
        for group, value in document["by"].get(by or "", {}).items():
            row = _row(document, f"accuracy [{by}={group}]", value)
            rows.append(row | dict.fromkeys(OF_THE_RUN, "–"))
        for label, value in category_metrics(document, by):
            rows.append(_row(document, label, value) | dict.fromkeys(OF_THE_RUN, "–"))
    alike = {name for name in SETTINGS if len({row[name] for row in rows}) == 1}
    if len({tuple(row[name] for name in IDENTITY) for row in rows}) == len(rows):
        alike.add("spec")
    return [{name: text for name, text in row.items() if name not in alike} for row in rows]


def _headlines(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The metrics worth a row: `accuracy_strict` says something new only if some went unscored."""
    rates = document["rates"]
    return [
        (name, value)
        for name, value in document["metrics"].items()
        if name != "accuracy_strict" or rates["scored"] < rates["total"]
    ]


def _row(document: dict[str, Any], metric: str, value: dict[str, Any]) -> Row:
    rates = document["rates"]
    # An empty run has nothing to rank, so it gets no footnote for few scored responses.
    footnote = "" if rates["ranked"] or not rates["total"] else " †"
    if document.get("footnote"):
        footnote += " ‡"
    if needs_reading(metric) and ill_read(document):
        footnote += " §"
    if undescribed(metric, document) is not None:
        footnote += " ¶"
    if _slices(document):
        footnote += " ‖"
    return {
        "model": str(document["model"]),
        "task": str(document["task"]),
        "version": str(document["version"]),
        "judge": str(document["judge"]),
        "prompt": str(document["prompt"]),
        "variant": str(document["variant"]),
        "spec": document["spec_hash"][:8],
        "metric": metric,
        "value": _shown(value, "value") + footnote,
        "95 % interval": _interval(value),
        "n": str(value["n"]),
        "scored/total": f"{rates['scored']}/{rates['total']}",
        "unparsed %": _percent(rates["unparsed"]),
        "truncated %": _percent(rates["truncated"]),
        "failed %": _percent(rates["failed"]),
    }


def _slices(document: dict[str, Any]) -> list[str]:
    """The notes of a score that concern all of it."""
    return [note for note in document.get("notes", ()) if "rows that its authors state" in note]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _interval(value: dict[str, Any]) -> str:
    if value["low"] is None:
        return "–"
    return f"{_shown(value, 'low')} to {_shown(value, 'high')}"


def _shown(value: dict[str, Any], part: str) -> str:
    """A value in percent; for an external task, as its own harness prints it."""
    number = value[part]
    if value.get("unit") == "own" and number is not None:
        return f"{number:.4f}"
    return _percent(number)


def render(documents: Sequence[dict[str, Any]], fmt: str, *, by: str | None = None) -> str:
    """Write the long table in one of `writing.WRITTEN`; JSON is the score documents themselves."""
    if fmt == "json":
        return json.dumps(list(documents), indent=1, sort_keys=True)
    rows = long_rows(documents, by=by)
    if not rows:
        return "(no scores)"
    return WRITERS[fmt](
        Sheet(
            tuple(rows[0]),
            tuple(tuple(row.values()) for row in rows),
            remarks=tuple(footnotes(documents, "".join(row["value"] for row in rows))),
            numbers=frozenset({"value"}),
            paragraphs=True,
        )
    )


def footnotes(documents: Sequence[dict[str, Any]], values: str) -> list[str]:
    """Explain the signs beside the values.

    Args:
        documents: Of the table.
        values: All that is in its column of values.
    """
    notes = []
    if "†" in values:
        notes.append(
            f"† fewer than {RANKED_FROM:.0%} of the responses were scored: not to be ranked. "
            "accuracy leaves the unscored out, accuracy_strict counts them as not correct."
        )
    noted = sorted({f"{d['task']} {d['footnote']}" for d in documents if d.get("footnote")})
    if noted:
        notes.append(f"‡ {'; '.join(noted)}.")
    if "§" in values:
        notes.append(f"§ {UNREAD}: not to be ranked.")
    notes += empty_remarks(documents)
    shown = list(documents)
    if "¶" in values:
        missing = {f"{d['model']}, {d['task']}: {n}" for d in shown if (n := undescribed("lsr", d))}
        notes.append(f"¶ {'; '.join(sorted(missing))}: not to be ranked.")
    if "‖" in values:
        parts = {f"{d['task']}: {note}" for d in shown for note in _slices(d)}
        notes.append(f"‖ {'; '.join(sorted(parts))}: not to be ranked.")
    if readers := [label for d in documents if (label := reader_label(d)) is not None]:
        notes.append(readers_remark(readers))
    notes += cut_remarks(documents)
    return notes + dependence_remarks(documents)
