"""Brings together what the tables show: score documents, and the runs behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vsr1_bench.generation.identity import LOADING
from vsr1_bench.grouping import score_groups
from vsr1_bench.leaderboard.settings import row_key
from vsr1_bench.spec import RunSpec
from vsr1_bench.store import RunFolder


@dataclass(frozen=True, slots=True)
class Scored:
    """A score document with what it was made of."""

    document: dict[str, Any]
    spec: RunSpec
    """Of the run; of a group of tasks, that of one of them."""
    runs: tuple[RunFolder, ...]
    """One run; several where the document is a group's."""
    key: str
    """Equal for documents that stand in one row (`settings.row_key`)."""

    @property
    def task(self) -> str:
        """Task or group of tasks."""
        return str(self.document["task"])

    @property
    def judge(self) -> str:
        """Whose verdicts were counted."""
        return str(self.document["judge"])


def collect(
    runs: Sequence[RunFolder], include_path: Sequence[str] = (), judge: str | None = None
) -> list[Scored]:
    """Read the stored scores of runs, and score the groups that their tasks make up.

    Args:
        runs: Stored runs.
        include_path: Folders of plug-ins.
        judge: Only this judge's scores.

    Returns:
        In the order of task, model, judge and spec.
    """
    rows: dict[str, list[tuple[RunFolder, RunSpec]]] = {}
    found = []
    for run in runs:
        spec = run.spec()
        key = row_key(spec)
        rows.setdefault(key, []).append((run, spec))
        found += [
            Scored(document, spec, (run,), key)
            for document in run.scores()
            if judge in (None, document["judge"])
        ]
    # Row by row, so that a group's number stands beside those of its own tasks.
    for key, members in rows.items():
        folders = tuple(run for run, _ in members)
        for document in score_groups(folders, include_path, judges=None):
            if judge in (None, document["judge"]):
                found.append(Scored(document, members[0][1], folders, key))
    return sorted(
        found, key=lambda one: (one.task, one.spec.model.id, one.judge, one.document["spec_hash"])
    )


def partial_note(one: Scored) -> str | None:
    """Why a document does not speak for the whole benchmark; None where it does."""
    for run in one.runs:
        meta = run.meta()
        limit = meta.get("limit")
        # A limit above the number of rows has left none out.
        if limit is not None and int(meta["samples"]) >= int(limit):
            return f"partial: the first {limit:,} samples"
    return None


def unknown_precision(one: Scored) -> bool:
    """Whether a document rests on weights of which nobody has noted how they were computed."""
    loaded = [run for run in one.runs if run.meta().get("backend") in LOADING]
    return any(run.spec().model.precision is None for run in loaded)
