"""The second pass and blind runs in long tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def fold_blind(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out blind runs whose accuracy and gain stand in the rows of the run itself."""
    shown = {
        (part["spec_hash"], document["judge"])
        for document in documents
        for part in document.get("blind", {}).values()
    }
    return [
        d
        for d in documents
        if (d["spec_hash"], d["judge"]) not in shown or not d["rates"]["ranked"]
    ]


def category_metrics(
    document: dict[str, Any], by: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (label, value) of the second pass for each category of a group name."""
    for group, part in document.get("perception", {}).get("by", {}).get(by or "", {}).items():
        for name, value in part["metrics"].items():
            yield f"{name} [{by}={group}]", value
