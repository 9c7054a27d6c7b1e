"""The second pass and blind runs in tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from vsr1_bench.leaderboard.settings import arrow
from vsr1_bench.scoring.score import RANKED_FROM
from vsr1_bench.scoring.shortcuts import METRICS, OVER_ALL, READ_METRICS, undescribed_note

CUT = f"over {100 * (1 - RANKED_FROM):.0f} % of the readings were cut at the token limit"
UNREAD = f"fewer than {100 * RANKED_FROM:.0f} % of the responses have been read and judged"


def fold_blind(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Omit blind and circular runs whose numbers are shown with the run itself."""
    shown = {
        (part["spec_hash"], document["judge"])
        for document in documents
        for part in [*document.get("blind", {}).values(), document.get("circular")]
        if part is not None
    }
    return [
        d
        for d in documents
        if (d["spec_hash"], d["judge"]) not in shown
        or (d["rates"]["total"] and not d["rates"]["ranked"])
    ]


Cells = list[tuple[str, dict[str, Any]]]


def category_metrics(document: dict[str, Any], by: str | None) -> Cells:
    """(label, value) of each metric of the second pass in each category of a group name."""
    return [
        (f"{name} [{by}={group}]", value)
        for group, part in _categories(document, by).items()
        for name, value in part["metrics"].items()
    ]


def category_cells(document: dict[str, Any], by: str, columns: Sequence[str]) -> Cells:
    """(title, value) by category: of accuracy, or of the second pass's metrics in `columns`."""
    names = [name for name in columns if name in METRICS]
    if not names:
        return list(document["by"].get(by, {}).items())
    return [
        (f"{group} {name}{arrow(name)}", part["metrics"][name])
        for name in names
        for group, part in _categories(document, by).items()
    ]


def needs_reading(metric: str) -> bool:
    """Whether a metric (`lsr`, `lsr [kind=odd]`) depends on the reader."""
    return metric.partition(" ")[0] in READ_METRICS


def ill_read(document: dict[str, Any]) -> bool:
    """Whether too few responses are in the 2 x 2 table for its rates to be ranked."""
    part = document.get("perception")
    if part is None:
        return False
    return bool(part["n"] < RANKED_FROM * (part["n"] + part["uncounted"]))


def undescribed(metric: str, document: dict[str, Any]) -> str | None:
    """Why a metric is unreliable because descriptions are missing; None if it is not."""
    if metric.partition(" ")[0] not in OVER_ALL or "perception" not in document:
        return None
    return undescribed_note(document["perception"])


def reader_label(document: dict[str, Any]) -> str | None:
    """Reader and what it read: `self`, `gemini:gemini-2.5-flash, captions`; None = no reader."""
    if "perception" not in document:
        return None
    reader = document["perception"]["reader"]
    return str(reader["label"]) + (", captions" if reader["descriptions"] == "caption" else "")


def usual_readers(documents: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Task -> the reader of most of its runs."""
    readers: dict[str, Counter[str]] = {}
    for document in documents:
        if (label := reader_label(document)) is not None:
            readers.setdefault(document["task"], Counter())[label] += 1
    return {task: min(counts, key=lambda r: (-counts[r], r)) for task, counts in readers.items()}


def readers_remark(labels: Iterable[str]) -> str:
    """A line that lists the readers."""
    return f"Descriptions read by: {'; '.join(sorted(set(labels)))}."


def ill_cut(document: dict[str, Any]) -> bool:
    """Whether so many readings were truncated that they distort the shortcut rate."""
    part = document.get("perception")
    return bool(part and part.get("cut_readings", 0) > (1 - RANKED_FROM) * part["n"])


def cut_remarks(documents: Iterable[dict[str, Any]]) -> list[str]:
    """A line for each run with more than 1 % truncated readings."""
    remarks = []
    for document in documents:
        if ill_cut(document):
            part = document["perception"]
            remarks.append(
                f"{document['model']}, {document['task']}: {part['cut_readings']} of {part['n']} "
                f"readings by {reader_label(document)} were cut at the token limit, and count as "
                "insufficient descriptions where no answer was reached."
            )
    return list(dict.fromkeys(remarks))


def _categories(document: dict[str, Any], by: str | None) -> dict[str, Any]:
    found: dict[str, Any] = document.get("perception", {}).get("by", {}).get(by or "", {})
    return found
