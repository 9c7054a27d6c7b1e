"""The second pass and blind runs in tables, and the layout of the paper's table 4."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

import pandas as pd
from tabulate import tabulate

# The columns of the paper's table 4 (Vision-SR1, v2), in its order; other tasks follow.
PAPER = {
    "mmmu_pro": "MMMU-Pro",
    "mmmu": "MMMU",
    "realworldqa": "RealWorldQA",
    "visnumbench": "VisNumBench",
    "mathverse": "MathVerse",
    "mathvision": "MATH-Vision",
    "hallusionbench": "HallusionBench",
}
MEAN, ALL = "mean of the columns", "all samples"


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


def lsr_table(documents: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Lay language shortcut rates out as the paper's table 4: models down, tasks across.

    Cells are percent with their 95 % interval. `all samples` is the paper's formula over the
    samples of all columns together; `mean of the columns` weighs each column alike. The averages
    that the paper prints equal neither, so both are shown.

    Returns:
        One row a model, prompt, judge and reader.
    """
    rows: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for document in documents:
        if "perception" not in document:
            continue
        reader = document["perception"]["reader"]
        named = (document["model"], document["prompt"], document["judge"], reader["digest"])
        taken = document["task"] in rows.get(named, {})  # another sampling, say: another row
        key = (*named, document["spec_hash"]) if taken else named
        rows.setdefault(key, {})[document["task"]] = document
    found = [_lsr_row(columns) for columns in rows.values()]
    order = list(PAPER.values())
    tasks = sorted({name for row, cells in found for name in cells}, key=_place(order))
    frame = pd.DataFrame(
        [{**row, **{name: cells.get(name, "–") for name in tasks}} for row, cells in found]
    )
    if frame.empty:
        return frame
    ends = [MEAN, ALL, "n", "no description %"]
    heads = [name for name in frame.columns if name not in (*tasks, *ends)]
    return frame[[*heads, *tasks, *ends]]


def _place(order: Sequence[str]) -> Callable[[str], tuple[int, str]]:
    return lambda name: (order.index(name) if name in order else len(order), name)


def _lsr_row(columns: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """One row's names and averages, and its cells; a group stands for its members."""
    members = {m for d in columns.values() for m in d["perception"].get("members", ())}
    shown = {task: d for task, d in columns.items() if task not in members}
    parts = [d["perception"] for d in shown.values()]
    rates = [p["metrics"]["lsr"] for p in parts if p["metrics"]["lsr"]["value"] is not None]
    n = sum(part["n"] for part in parts)
    shortcuts = sum(part["table"]["insufficient"]["correct"] for part in parts)
    undescribed = sum(part["undescribed"] for part in parts)
    first = next(iter(shown.values()))
    row = {
        "model": first["model"],
        "prompt": first["prompt"],
        "judge": first["judge"],
        "reader": first["perception"]["reader"]["label"],
        MEAN: percent(fmean(r["value"] for r in rates) if rates else None),
        ALL: percent(shortcuts / n if n else None),
        "n": n,
        "no description %": percent(undescribed / n if n else None),
    }
    cells = {PAPER.get(t, t): _cell(d["perception"]["metrics"]["lsr"]) for t, d in shown.items()}
    return row, cells


def _cell(value: dict[str, Any]) -> str:
    if value["value"] is None or value["low"] is None:
        return percent(value["value"])
    return f"{percent(value['value'])} ({percent(value['low'])} to {percent(value['high'])})"


def percent(share: float | None) -> str:
    """Write a share in percent."""
    return "–" if share is None else f"{100 * share:.1f}"


def render_lsr(documents: Sequence[dict[str, Any]]) -> str:
    """Write `lsr_table` as markdown."""
    frame = lsr_table(documents)
    if frame.empty:
        return "(no second pass: run with --perception)"
    cells = [
        [str(value).replace("|", "\\|").replace("<", "&lt;") for value in row]
        for row in frame.itertuples(index=False)
    ]
    text = tabulate(cells, headers=list(frame.columns), tablefmt="pipe", disable_numparse=True)
    return f"Language shortcut rate, % of all samples (95 % interval); lower is better.\n\n{text}"
