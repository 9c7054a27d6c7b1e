"""What compared models get without the image, and the items that none of them gets so.

Asadi et al., "Mirage: The Illusion of Visual Understanding" (arXiv:2603.21687v1):

    mirage score = accuracy without the image / accuracy with the image;

B-Clean keeps the items that no compared model answers right without the image, and ranks the models
on these. Both are counted on the items that have a verdict in the run and in its blind run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vsr1_bench.data.blind import NONE
from vsr1_bench.leaderboard.settings import setting_labels
from vsr1_bench.scoring.pairs import Outcomes, outcomes
from vsr1_bench.scoring.statistics import Interval, wilson
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Task


@dataclass(frozen=True, slots=True)
class Compared:
    """A model on one task, with and without the image."""

    model: str
    setting: str
    """Prompt and whatever else tells runs of the model apart."""
    judge: str
    n: int
    """Items with a verdict in both runs."""
    seeing: float
    """Accuracy with the image over these items, 0 to 1."""
    blind: float
    """Accuracy without."""
    clean_n: int
    """Items of B-Clean with a verdict of this run."""
    clean: float | None
    """Accuracy over these; None if there are none."""
    rank: int
    """Place by `seeing`, from 1; equal values share it."""
    clean_rank: int | None

    @property
    def mirage(self) -> float | None:
        """Mirage score; None if nothing is right with the image."""
        return self.blind / self.seeing if self.seeing else None

    @property
    def clean_interval(self) -> Interval | None:
        """Wilson's 95 % interval of `clean`."""
        if self.clean is None:
            return None
        return wilson(round(self.clean * self.clean_n), self.clean_n)


@dataclass(frozen=True, slots=True)
class BClean:
    """The comparison of all models on one task and variant."""

    task: str
    variant: str
    models: tuple[Compared, ...]
    """By accuracy with the image, the best first."""
    n: int
    """Items that every compared run and blind run has a verdict on."""
    kept: tuple[str, ...]
    """Ids of the items that no model answers right blind, in data order."""
    without_blind: tuple[str, ...]
    """Models that have no judged blind run, and are not compared."""

    @property
    def reranked(self) -> bool:
        """Whether the ranking on the kept items is another one."""
        return any(m.clean_rank not in (None, m.rank) for m in self.models)


Pair = tuple[RunFolder, str, Outcomes, Outcomes]
"""A run, its judge, its verdicts with the image and without."""


def b_clean(
    task: Task, runs: Sequence[RunFolder], variant: str = "drop", judge: str | None = None
) -> BClean | None:
    """Compare the stored runs of a task with their blind runs.

    Args:
        task: The task.
        runs: Stored runs; those of other tasks are passed over.
        variant: Which blind runs: drop, guess, noise or swap.
        judge: Whose verdicts; None = the task's own judge, else the run's first.

    Returns:
        None if no run of the task has a judged blind run of that variant.
    """
    ours = [run for run in runs if run.spec().task.name == task.name]
    ours = [run for run in ours if run.spec().variant == NONE]
    pairs = [pair for run in ours if (pair := _pair(run, task, variant, judge)) is not None]
    if not pairs:
        return None
    shared = set.intersection(*({*_known(a)} & {*_known(b)} for _, _, a, b in pairs))
    order = [name for name in pairs[0][2].positions if name in shared]
    kept = tuple(name for name in order if not any(_right(b, name) for *_, b in pairs))
    labels = setting_labels([run.spec() for run, *_ in pairs])
    models = [_compared(pair, label, kept) for pair, label in zip(pairs, labels, strict=True)]
    done = {run.path for run, *_ in pairs}
    return BClean(
        task.name,
        variant,
        tuple(sorted(_ranked(models), key=lambda m: (m.rank, m.model))),
        len(order),
        kept,
        tuple(run.spec().model.id for run in ours if run.path not in done),
    )


def _pair(run: RunFolder, task: Task, variant: str, judge: str | None) -> Pair | None:
    """A run and its blind run, judged by the same judge; None if there is no such pair."""
    name = judge_of(run, task, judge)
    spec = run.spec().model_copy(update={"variant": variant})
    twin = RunFolder(run.path.parent / RunFolder.of(run.path.parent, spec).path.name)
    if name is None or not (twin.path / "run.json").is_file() or name not in twin.judged():
        return None
    return run, name, outcomes(run, name, None), outcomes(twin, name, None)


def judge_of(run: RunFolder, task: Task, judge: str | None) -> str | None:
    """The judge whose verdicts on a run count: as named, the task's own, or the first."""
    judged = run.judged()
    if judge is not None:
        return judge if judge in judged else None
    return task.judge if task.judge in judged else next(iter(judged), None)


def _known(verdicts: Outcomes) -> list[str]:
    """Items with a verdict."""
    scored = ~np.isnan(verdicts.values)
    return [name for name, at in verdicts.positions.items() if scored[at]]


def _right(verdicts: Outcomes, name: str) -> bool:
    """Whether any response to an item is right; a grade counts from one half."""
    value = verdicts.values[verdicts.positions[name]]
    return bool(value >= 0.5 if verdicts.graded else value > 0)


def _mean(verdicts: Outcomes, names: Sequence[str]) -> float:
    return float(np.mean([verdicts.values[verdicts.positions[name]] for name in names]))


def _compared(pair: Pair, setting: str, kept: Sequence[str]) -> Compared:
    run, judge, seeing, blind = pair
    has_blind = {*_known(blind)}
    both = [name for name in _known(seeing) if name in has_blind]
    return Compared(
        run.spec().model.id,
        setting,
        judge,
        len(both),
        _mean(seeing, both) if both else 0.0,
        _mean(blind, both) if both else 0.0,
        len(kept),
        _mean(seeing, kept) if kept else None,
        0,
        None,
    )


def _ranked(models: Sequence[Compared]) -> list[Compared]:
    def place(value: float, values: Sequence[float]) -> int:
        return 1 + sum(other > value for other in values)

    seeing = [m.seeing for m in models]
    clean = [m.clean for m in models if m.clean is not None]
    return [
        replace(
            m,
            rank=place(m.seeing, seeing),
            clean_rank=None if m.clean is None else place(m.clean, clean),
        )
        for m in models
    ]
