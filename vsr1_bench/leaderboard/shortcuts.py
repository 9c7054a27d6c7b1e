"""The second pass and blind runs in tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vsr1_bench.leaderboard.headings import arrow
from vsr1_bench.scoring.shortcuts import METRICS


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


def read_by(documents: Iterable[dict[str, Any]]) -> list[str]:
    """Who answered from the descriptions, in words; nothing where there was no second pass."""
    names = {d["perception"]["reader"]["label"] for d in documents if "perception" in d}
    return [f"read by {', '.join(sorted(names))}"] if names else []


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


def _categories(document: dict[str, Any], by: str | None) -> dict[str, Any]:
    found: dict[str, Any] = document.get("perception", {}).get("by", {}).get(by or "", {})
    return found
