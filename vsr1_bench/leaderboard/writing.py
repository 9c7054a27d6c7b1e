"""Turn a grid into a sheet, and write it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from vsr1_bench.leaderboard.rendering import WRITERS
from vsr1_bench.leaderboard.sheet import Cell, Entry, Footnotes, Sheet
from vsr1_bench.leaderboard.wide import Grid, GridCell, GridRow, Wanted

WRITTEN = (*WRITERS, "json")


def write_grid(grid: Grid, wanted: Wanted, fmt: str, *, intervals: bool = False) -> str:
    """Write a wide table in one of the formats `WRITTEN`."""
    if fmt == "json":
        return json.dumps(grid_document(grid), indent=1)
    if not grid.rows:
        return "(no scores)"
    return WRITERS[fmt](grid_sheet(grid, wanted, intervals=intervals))


def grid_sheet(grid: Grid, wanted: Wanted, *, intervals: bool) -> Sheet:
    """Lay a grid out: reported rows below measured ones, footnotes numbered in order."""
    notes = Footnotes()
    with_task = wanted.row_per_task and len({row.task for row in grid.rows}) > 1
    both = len({row.kind for row in grid.rows}) > 1 or any(r.kind == "reported" for r in grid.rows)
    rows: list[tuple[Cell, ...]] = []
    for row in sorted(grid.rows, key=lambda row: row.kind != "measured"):
        lead = [row.model, row.setting or "–", *([row.task] if with_task else [])]
        cells = [entry(row.cells.get(column), notes) for column in grid.columns]
        means = [entry(row.averages.get(name), notes) for name in grid.averages]
        rows.append((*lead, *cells, *means, *([row.kind] if both else []), row.source))
    headings = (
        "model",
        "setting",
        *(["task"] if with_task else []),
        *(column.title for column in grid.columns),
        *grid.averages,
        *(["kind"] if both else []),
        "source",
    )
    return Sheet(
        headings,
        tuple(rows),
        tuple(notes.texts),
        (*grid.remarks, *ranking_remarks(grid)),
        intervals,
        about=("setting", "kind", "source"),
    )


def ranking_remarks(grid: Grid) -> list[str]:
    """What the footnotes of a table mean for its ranking; empty if no number has one."""
    cells = [cell for row in grid.rows for cell in (*row.cells.values(), *row.averages.values())]
    if not any(cell.notes for cell in cells):
        return []
    if any(cell.calibrated for cell in cells):
        return ["Numbers with a note other than that of calibration are not ranked."]
    return ["Numbers with a note are not ranked."]


def entry(cell: GridCell | None, notes: Footnotes) -> Entry:
    """A cell that is ready to be written; its notes get numbers."""
    if cell is None:
        return Entry(None)
    texts = (*([cell.calibrated.note] if cell.calibrated else []), *cell.notes)
    return Entry(cell.value, cell.low, cell.high, notes.number(texts), cell.mark, cell.digits)


def grid_document(grid: Grid) -> dict[str, Any]:
    """Write a grid as JSON values, nothing rounded; values in percent."""
    return {
        "schema": 1,
        "unit": "percent",
        "columns": [
            {"name": column.title, "task": column.task or None, "metric": column.metric}
            for column in grid.columns
        ],
        "averages": grid.averages,
        "rows": [_row_document(row) for row in grid.rows],
        "remarks": grid.remarks,
    }


def _row_document(row: GridRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "model": row.model,
        "setting": row.setting,
        "task": row.task or None,
        "source": row.source,
        "cells": {column.title: cell_document(cell) for column, cell in row.cells.items()},
        "averages": {name: cell_document(cell) for name, cell in row.averages.items()},
    }


def cell_document(cell: GridCell) -> dict[str, Any]:
    """A cell's number with its interval, judge, mark and notes, as JSON."""
    return {
        "value": cell.value,
        "low": cell.low,
        "high": cell.high,
        "n": cell.n,
        "judge": cell.judge,
        "reader": cell.reader,
        "ranked": cell.ranked,
        "mark": cell.mark or None,
        "notes": list(cell.notes),
        **({"calibrated": asdict(cell.calibrated)} if cell.calibrated else {}),
        "run": str(cell.scored.runs[0].path)
        if cell.scored and len(cell.scored.runs) == 1
        else None,
    }
