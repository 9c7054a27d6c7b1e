"""The runs of a report, by task: their order, their judges, which is whose blind run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vsr1_bench.data.blind import NONE
from vsr1_bench.data.circular import CIRCULAR
from vsr1_bench.leaderboard.collect import Scored
from vsr1_bench.leaderboard.settings import copy_labels, setting_labels
from vsr1_bench.leaderboard.wide import usual_judges
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec


@dataclass(slots=True)
class TaskRun:
    """One run on its task's page."""

    folder: RunFolder
    spec: RunSpec
    setting: str
    judges: dict[str, Path]
    """Judge → its journal of verdicts, the main judge first."""
    blind_of: int | None = None
    """Place, on the page, of the run whose blind run this is."""

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.spec.task.name

    @property
    def label(self) -> str:
        """Model and setting."""
        return f"{self.spec.model.id} ({self.setting})"


def runs_by_task(
    runs: Sequence[RunFolder], scored: Sequence[Scored], own: Mapping[str, str], judge: str | None
) -> dict[str, list[TaskRun]]:
    """Task → its runs: those with images first, each followed by nothing but later runs.

    Args:
        runs: Stored runs.
        scored: Their scores, which say who is each task's usual judge.
        own: Task → its own judge.
        judge: Whose verdicts come first; None = the usual judge's, as in the table.

    Raises:
        DamagedRunError: a run cannot be read.
    """
    usual = usual_judges(scored, own)
    specs = _without_orders([(run, run.spec()) for run in runs])
    labels = setting_labels([spec for _, spec in specs])
    found: dict[str, list[TaskRun]] = {}
    for (run, spec), label in sorted(
        zip(specs, labels, strict=True), key=lambda one: one[0][1].variant != NONE
    ):
        name = spec.task.name
        judges = _in_order(run.judged(), judge or usual.get(name) or own.get(name))
        found.setdefault(name, []).append(TaskRun(run, spec, label, judges))
    for members in found.values():
        _tell_apart(members)
        _pair_blind(members)
    return dict(sorted(found.items()))


def _without_orders(specs: Sequence[tuple[RunFolder, RunSpec]]) -> list[tuple[RunFolder, RunSpec]]:
    """Omit runs of other orders of the options: their samples are the same questions again.

    Their numbers are part of the ordinary run's score. Without that run they are shown.
    """
    known = {(run.path.parent, spec.digest()) for run, spec in specs}

    def shown_with_another(run: RunFolder, spec: RunSpec) -> bool:
        first = spec.model_copy(update={"variant": NONE})
        return spec.variant == CIRCULAR and (run.path.parent, first.digest()) in known

    return [pair for pair in specs if not shown_with_another(*pair)]


def _in_order(judged: dict[str, Path], first: str | None) -> dict[str, Path]:
    names = sorted(judged, key=lambda name: (name != first, name))
    return {name: judged[name] for name in names}


def _tell_apart(members: Sequence[TaskRun]) -> None:
    """Give every run a label of its own."""
    same: dict[str, list[TaskRun]] = {}
    for one in members:
        same.setdefault(one.label, []).append(one)
    for alike in same.values():
        if len(alike) > 1:
            more = copy_labels([one.spec for one in alike], [one.folder.path for one in alike])
            for one, words in zip(alike, more, strict=True):
                one.setting = f"{one.setting}, {words}"


def _pair_blind(members: Sequence[TaskRun]) -> None:
    seeing = {
        (one.folder.path.parent, one.spec.digest()): place
        for place, one in enumerate(members)
        if one.spec.variant == NONE
    }
    for one in members:
        if one.spec.variant != NONE:
            twin = one.spec.model_copy(update={"variant": NONE})
            one.blind_of = seeing.get((one.folder.path.parent, twin.digest()))
