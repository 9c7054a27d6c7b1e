"""The overview of a report: the table, and what is known of each task, run, judge and score."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from vsr1_bench.data.blind import NONE
from vsr1_bench.leaderboard.averages import add_averages
from vsr1_bench.leaderboard.collect import Scored, current_score, run_notes
from vsr1_bench.leaderboard.marking import mark_best
from vsr1_bench.leaderboard.reported import ReportedTable
from vsr1_bench.leaderboard.settings import LOWER_IS_BETTER, spec_fields
from vsr1_bench.leaderboard.wide import Grid, GridCell, GridRow, Wanted, build_grid, headline
from vsr1_bench.leaderboard.writing import cell_document
from vsr1_bench.prompts.judge_prompts import PROMPTS
from vsr1_bench.registry import Registry, load_registry
from vsr1_bench.report.task_page import Written
from vsr1_bench.report.task_runs import TaskRun
from vsr1_bench.scoring.seeing import readers_of
from vsr1_bench.task import Task


def table_document(
    scored: Sequence[Scored],
    reported: Sequence[ReportedTable],
    tasks: Mapping[str, Sequence[TaskRun]],
    include_path: Sequence[str],
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """The leaderboard, as `vsr1-bench table` lays it out; reported columns of measured tasks only.

    Args:
        scored: What the runs scored.
        reported: Tables of publications.
        tasks: Task → its runs, in the order of the report.
        include_path: Folders of plug-ins.
        progress: Show a bar while runs are compared.
    """
    registry = load_registry(include_path)
    measured = tuple(dict.fromkeys(one.task for one in scored))
    own = {name: task.judge for name, task in registry.tasks.items()}
    wanted = Wanted(tasks=measured, judges=own)
    grid = build_grid(scored, wanted, reported)
    add_averages(grid, wanted, reported, _groups(registry))
    mark_best(grid, include_path, progress=progress)
    return grid_document(grid, tasks)


def _groups(registry: Registry) -> dict[str, tuple[str, ...]]:
    return {name: tuple(group.tasks) for name, group in registry.groups.items()}


def grid_document(grid: Grid, tasks: Mapping[str, Sequence[TaskRun]]) -> dict[str, Any]:
    """Table of `web/src/types.ts`."""
    numbers = {name: number for number, name in enumerate(tasks)}
    places = {
        run.folder.path: place for members in tasks.values() for place, run in enumerate(members)
    }
    blind = {
        run.folder.path for members in tasks.values() for run in members if run.spec.variant != NONE
    }
    rows = sorted(grid.rows, key=lambda row: (row.kind != "measured", _is_blind(row, blind)))
    return {
        "columns": [
            {
                "title": column.title,
                "task": column.task,
                "metric": column.metric,
                "task_index": numbers.get(column.task),
                "lower_is_better": lower_is_better(column.metric),
            }
            for column in grid.columns
        ],
        "averages": grid.averages,
        "rows": [
            {
                "kind": row.kind,
                "model": row.model,
                "setting": row.setting,
                "source": row.source,
                "cells": [_cell(row.cells.get(column), places) for column in grid.columns]
                + [_cell(row.averages.get(name), places) for name in grid.averages],
            }
            for row in rows
        ],
        "remarks": grid.remarks,
    }


def _is_blind(row: GridRow, blind: Collection[Path]) -> bool:
    """Whether a row is that of blind runs: they come after those that they are compared with."""
    scored = [cell.scored for cell in row.cells.values() if cell.scored is not None]
    return bool(scored) and all(run.path in blind for one in scored for run in one.runs)


def _cell(cell: GridCell | None, places: Mapping[Path, int]) -> dict[str, Any] | None:
    if cell is None:
        return None
    run = None
    if cell.scored is not None and len(cell.scored.runs) == 1:
        run = places.get(cell.scored.runs[0].path)
    return cell_document(cell) | {"mark": cell.mark, "digits": cell.digits, "run": run}


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better; `name[variant]` counts as `name`."""
    return metric.partition("[")[0] in LOWER_IS_BETTER


def task_summary(
    number: int,
    members: Sequence[TaskRun],
    written: Written,
    pairs: Sequence[dict[str, Any]],
    include_path: Sequence[str],
) -> dict[str, Any]:
    """TaskSummary of `web/src/types.ts`."""
    name = members[0].task
    task = load_registry(include_path).tasks.get(name)
    return {
        "name": name,
        "file": f"task-{number}",
        "description": task.description if task else "",
        "answer_type": (task.answer_type or "") if task else "",
        "license": task.license if task else "",
        "version": str(task.version if task else members[0].spec.task.version),
        "samples": written.samples,
        "has_golds": written.has_golds,
        "has_questions": written.has_questions,
        "has_images": written.has_images,
        "groups": written.groups,
        "runs": [_run_summary(place, members, include_path) for place in range(len(members))],
        "pairs": list(pairs),
    }


def _run_summary(
    place: int, members: Sequence[TaskRun], include_path: Sequence[str]
) -> dict[str, Any]:
    one = members[place]
    meta, spec = one.folder.meta(), one.spec
    scores = {str(document["judge"]): document for document in one.folder.scores()}
    notes = run_notes(one.folder, include_path)
    settings = [[name, _text(value)] for name, value in spec_fields(spec).items()]
    versions = meta.get("versions")
    if isinstance(versions, dict):
        settings += [[f"version of {name}", _text(value)] for name, value in versions.items()]
    return {
        "model": spec.model.id,
        "setting": one.setting,
        "label": one.label,
        "folder": str(one.folder.path),
        "spec_hash": spec.digest(),
        "created": _text(meta.get("created", "")),
        "variant": spec.variant,
        "blind_of": one.blind_of,
        "blind_runs": [i for i, other in enumerate(members) if other.blind_of == place],
        "per_sample": spec.responses_per_sample,
        "prompt": {
            "format": spec.prompt.format,
            "hash": _text(spec.prompt.hash),
            "system": spec.prompt.system,
        },
        "settings": settings,
        "command": _text(meta.get("command", "")),
        "judges": [_judge(name, scores.get(name), notes) for name in one.judges],
        "readers": [
            {"label": reader.label, "digest": reader.digest()} for reader in readers_of(one.folder)
        ],
        "withheld": list(one.folder.withheld()),
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _judge(name: str, document: dict[str, Any] | None, notes: Sequence[str]) -> dict[str, Any]:
    judging = document.get("judging") if document else None
    hashes = set(judging["prompts"]) if judging else set()
    texts = {p.digest(): p.template for p in PROMPTS.values() if p.digest() in hashes}
    return {
        "name": name,
        "judging": judging,
        "prompt_texts": texts,
        "score": None if document is None else score_summary(document, notes),
    }


def score_summary(stored: dict[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """Score of `web/src/types.ts`."""
    document = current_score(stored)
    rates, part = document["rates"], document.get("perception")
    footnote = document.get("footnote")
    return {
        "headline": headline(document),
        "metrics": [[name, value] for name, value in document["metrics"].items()],
        "lower_is_better": [name for name in document["metrics"] if lower_is_better(name)],
        "n": document["n"],
        "total": rates["total"],
        "scored": rates["scored"],
        **{
            name: round(rates[name] * rates["total"])
            for name in ("unparsed", "truncated", "failed")
        },
        "ranked": rates["ranked"],
        "unscored": document.get("unscored", []),
        "footnotes": list(
            dict.fromkeys([*notes, *document.get("notes", ()), *([footnote] if footnote else ())])
        ),
        "by": {
            name: [[group, value] for group, value in groups.items()]
            for name, groups in document["by"].items()
        },
        "perception": None
        if part is None
        else {
            "reader": part["reader"]["label"],
            **{
                name: part[name]
                for name in ("n", "table", "undescribed", "uncounted", "cut_readings")
            },
        },
        "blind": {
            variant: {
                name: found.get(name)
                for name in ("n", "accuracy", "blind_accuracy", "gain", "p_value")
            }
            for variant, found in document.get("blind", {}).items()
        },
    }


def cluster_of(name: str, include_path: Sequence[str]) -> str | None:
    """Group key whose members depend on each other, of a task; None if it is not known here."""
    task: Task | None = load_registry(include_path).tasks.get(name)
    return task.cluster if task else None
