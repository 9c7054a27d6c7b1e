"""`table --clean`: models on the items that none of them answers right without the image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vsr1_bench.audit.blind import BClean
from vsr1_bench.leaderboard.rendering import WRITERS
from vsr1_bench.leaderboard.sheet import Cell, Entry, Sheet

HEADINGS = (
    *("model", "setting", "task", "n", "accuracy", "blind", "mirage score", "rank"),
    *("n clean", "accuracy clean", "rank clean"),
)


def clean_sheet(tables: Sequence[BClean]) -> Sheet:
    """One row per model and task."""
    rows: list[tuple[Cell, ...]] = []
    for table in tables:
        for m in table.models:
            low, high = m.clean_interval or (None, None)
            clean = Entry(_percent(m.clean), _percent(low), _percent(high))
            mirage = Entry(m.mirage, digits=2)
            rows.append(
                (
                    *(m.model, m.setting, table.task, f"{m.n}"),
                    *(Entry(100 * m.seeing), Entry(100 * m.blind), mirage, f"{m.rank}"),
                    *(f"{m.clean_n}", clean, "–" if m.clean_rank is None else f"{m.clean_rank}"),
                )
            )
    remarks = [
        f"{table.task}: {len(table.kept)} of {table.n} items are clean: no compared model answers "
        f"them right blind ({table.variant})."
        + (" The ranking on them is another one." if table.reranked else "")
        + (f" Without a blind run: {', '.join(table.without_blind)}." * bool(table.without_blind))
        for table in tables
    ]
    remarks.append("Mirage score: accuracy without the image over accuracy with it.")
    return Sheet(HEADINGS, tuple(rows), remarks=tuple(remarks), intervals=True, paragraphs=True)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def clean_document(table: BClean) -> dict[str, Any]:
    """A comparison as JSON."""
    models = [{**asdict(m), "mirage": m.mirage, "interval": m.clean_interval} for m in table.models]
    return {**asdict(table), "models": models, "reranked": table.reranked}


def write_clean(tables: Sequence[BClean], fmt: str) -> str:
    """Write the comparisons in a format of `table`."""
    if fmt == "json":
        return json.dumps([clean_document(table) for table in tables], indent=1)
    return WRITERS[fmt](clean_sheet(tables))
