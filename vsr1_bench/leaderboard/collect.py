"""Collect the score documents that tables show, and the runs behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vsr1_bench.generation.identity import LOADING
from vsr1_bench.leaderboard.settings import row_key
from vsr1_bench.registry import load_registry
from vsr1_bench.scoring.coverage import limited, selection_note, slice_note
from vsr1_bench.scoring.groups import score_members
from vsr1_bench.scoring.shortcuts import OVER_ALL, without_empty_rates
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Scored:
    """A score document with its source."""

    document: dict[str, Any]
    spec: RunSpec
    """The run's spec; for a group of tasks, that of one of them."""
    runs: tuple[RunFolder, ...]
    """One run; several for a group's document."""
    key: str
    """Equal for documents in the same row (`settings.row_key`)."""
    sliced: str | None = None
    """Which part of its benchmark's rows it covers; None = all, as far as is known."""

    @property
    def task(self) -> str:
        """Task or group of tasks."""
        return str(self.document["task"])

    @property
    def judge(self) -> str:
        """The judge whose verdicts were counted."""
        return str(self.document["judge"])


def collect(
    runs: Sequence[RunFolder], include_path: Sequence[str] = (), judge: str | None = None
) -> list[Scored]:
    """Read the stored scores of runs, and score the groups that their tasks form.

    Args:
        runs: Stored runs.
        include_path: Folders of plug-ins.
        judge: Only this judge's scores.

    Returns:
        In the order of task, model, judge and spec.
    """
    tasks = load_registry(include_path).tasks
    rows: dict[str, list[tuple[RunFolder, RunSpec]]] = {}
    scored = []
    for run in runs:
        spec = run.spec()
        key = row_key(spec)
        rows.setdefault(key, []).append((run, spec))
        sliced = slice_note(run, tasks.get(spec.task.name))
        scored += [
            Scored(current_score(document), spec, (run,), key, sliced)
            for document in run.scores()
            if judge in (None, document["judge"])
        ]
    # Row by row, so that a group is in the same row as its own tasks.
    for key, members in rows.items():
        folders = tuple(run for run, _ in members)
        for document, made_of in score_members(folders, include_path, judges=None):
            if judge in (None, document["judge"]):
                parts = [(run, run.spec().task.name) for run in made_of]
                notes = [(name, slice_note(run, tasks.get(name))) for run, name in parts]
                sliced = "; ".join(f"{name}: {note}" for name, note in notes if note) or None
                scored.append(Scored(document, made_of[0].spec(), made_of, key, sliced))
    return sorted(
        scored, key=lambda one: (one.task, one.spec.model.id, one.judge, one.document["spec_hash"])
    )


def current_score(document: dict[str, Any]) -> dict[str, Any]:
    """A stored score, corrected where an older version counted differently."""
    if "perception" not in document:
        return document
    part = without_empty_rates(document["perception"])
    shown = {name: part["metrics"][name] for name in OVER_ALL if name in document["metrics"]}
    return {**document, "metrics": {**document["metrics"], **shown}, "perception": part}


def run_notes(run: RunFolder, include_path: Sequence[str] = ()) -> list[str]:
    """Why a run does not represent its whole benchmark; empty if it does."""
    if (part := _partial(run)) is not None:
        return [part]
    note = slice_note(run, load_registry(include_path).tasks.get(run.spec().task.name))
    return [note] if note else []


def _partial(run: RunFolder) -> str | None:
    """Which samples a run asks, if it was told to ask only some."""
    if (chosen := selection_note(run)) is not None:
        return f"partial: {chosen}"
    limit = limited(run)
    return None if limit is None else f"partial: the first {limit:,} samples"


def partial_note(one: Scored) -> str | None:
    """Why a document does not represent its whole benchmark; None if it does."""
    for run in one.runs:
        if (part := _partial(run)) is not None:
            return part
    return one.sliced


def unknown_precision(one: Scored) -> bool:
    """Whether a document depends on weights whose precision was not recorded."""
    loaded = [run for run in one.runs if run.meta().get("backend") in LOADING]
    return any(run.spec().model.precision is None for run in loaded)
