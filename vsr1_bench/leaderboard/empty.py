"""Why a cell is empty: the task is not judged, or its judge failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vsr1_bench.leaderboard.sheet import one_line


def why_empty(document: dict[str, Any]) -> str | None:
    """Why a score document has no value; None if it has one, or nothing was asked."""
    rates = document["rates"]
    if rates["scored"] or not rates["total"]:
        return None
    reasons = [
        f"{one_line(str(one['reason']))[:200]} ({one['n']})" for one in document.get("unscored", ())
    ]
    if rates["failed"]:
        reasons.append(f"the request failed ({round(rates['failed'] * rates['total'])})")
    why = "; ".join(reasons) or "not judged yet"
    return f"no verdict on any of {rates['total']} responses: {why}"


def empty_remarks(documents: Sequence[dict[str, Any]]) -> list[str]:
    """A remark on each document without a value."""
    return [
        f"– {document['task']} of {document['model']} by {document['judge']}: {why}."
        for document in documents
        if (why := why_empty(document)) is not None
    ]
