"""Runs compared in pairs, on the samples that both answered."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.compare.explain import by_task
from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.leaderboard.settings import setting_labels
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.join import stream_responses
from vsr1_bench.scoring.paired import Paired, holm, paired_difference
from vsr1_bench.scoring.pairs import (
    Outcomes,
    align,
    at_partners,
    changed_samples,
    gold_answers,
    marked,
    outcomes_of,
    partners,
)
from vsr1_bench.scoring.statistics import FloatArray
from vsr1_bench.store.judge_names import bare
from vsr1_bench.store.run_folder import RunFolder, find_runs, stored_judge
from vsr1_bench.store.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample on which two runs differ."""

    sample_id: str
    gold: str
    first: float
    """Share of the first run's responses that are correct."""
    second: float
    first_answer: str | None
    """As extracted from the first response."""
    second_answer: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs of one task; differences are second minus first."""

    task: str
    judge: str
    first: str
    """Model and setting."""
    second: str
    first_run: str
    """Folder."""
    second_run: str
    first_place: int
    """Which of the given paths, from 0."""
    second_place: int
    paired: Paired
    holm: float
    """The p value, adjusted for the number of comparisons made together."""
    left_out: Mapping[str, int]
    """Reason -> how many samples only one of the runs could answer for."""
    flips: tuple[Flip, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One run, read."""

    run: RunFolder
    spec: RunSpec
    outcomes: Outcomes
    place: int
    """Which of the given paths, from 0."""
    label: str
    judge: str
    """As stored."""
    journal: str
    """Name of the journal of verdicts: it holds the judge's name and the hash of what it is."""


def compare_runs(
    paths: Sequence[Path],
    judge: str | None = None,
    include_path: Sequence[str] = (),
    *,
    left_out: Collection[Path] = (),
    progress: bool = True,
) -> list[Comparison]:
    """Compare runs task by task, each later one with each earlier one.

    Args:
        paths: Two or more runs, or folders that hold one run of each task.
        judge: Whose verdicts; None = the judge that all runs of a task have in common.
        include_path: Folders of plug-ins.
        left_out: Folders of runs that are not compared.
        progress: Show a bar.

    Raises:
        UsageError: nothing can be paired, or the verdicts are grades.
        StoreError: a run is not judged, or cannot be read.
    """
    runs = [_runs_of(path, left_out) for path in paths]
    every = dict.fromkeys(name for of_path in runs for name in of_path)
    tasks = [name for name in every if sum(name in of_path for of_path in runs) > 1]
    if not tasks and all(len(found) == 1 for found in runs):
        names = ", ".join(next(iter(found)) for found in runs)
        raise UsageError(f"nothing to pair: these are runs of different tasks ({names})")
    if not tasks:
        raise UsageError(f"nothing to pair: {paths[0]} and the others have no task in common")
    found = []
    total = sum(name in of_path for name in tasks for of_path in runs)
    with progress_bar(total, "compare", "run", shown=progress) as bar:
        for name in tasks:
            places = [place for place, of_path in enumerate(runs) if name in of_path]
            there = [runs[place][name] for place in places]
            chosen = judge or _common_judge(there, name, include_path)
            labels = _labels([run.spec() for run in there])
            sides = []
            for place, run, label in zip(places, there, labels, strict=True):
                sides.append(read_side(run, place, label, name, chosen, include_path))
                bar.update()
            found += [compare_sides(*pair) for pair in combinations(sides, 2)]
    adjusted = holm([one.paired.p_value for one in found])
    return [replace(one, holm=p) for one, p in zip(found, adjusted, strict=True)]


def tasks_left_out(paths: Sequence[Path], left_out: Collection[Path] = ()) -> dict[str, list[str]]:
    """Task -> the paths without a run of it, for tasks that some paths lack.

    Such a task is still compared if two paths have it.
    """
    runs = [_runs_of(path, left_out) for path in paths]
    names = dict.fromkeys(name for found in runs for name in found)
    missing = {
        name: [str(path) for path, found in zip(paths, runs, strict=True) if name not in found]
        for name in names
    }
    return {name: where for name, where in missing.items() if where}


def _runs_of(path: Path, left_out: Collection[Path]) -> dict[str, RunFolder]:
    return by_task(path, [run for run in find_runs(path) if run.path not in left_out])


def _labels(specs: Sequence[RunSpec]) -> list[str]:
    settings = setting_labels(specs)
    return [f"{s.model.id} ({setting})" for s, setting in zip(specs, settings, strict=True)]


def _common_judge(runs: Sequence[RunFolder], task: str, include_path: Sequence[str]) -> str:
    """The judge of all runs of a task: the task's own, or the only one they have in common."""
    judged = [set(run.judged()) for run in runs]
    for run, names in zip(runs, judged, strict=True):
        if not names:
            raise StoreError(f"{run.path}: not judged; run: vsr1-bench judge {run.path}")
    common = set.intersection(*judged)
    own = get_task(task, include_path).judge
    for found in ({name for name in common if bare(name) == own}, common):
        if len(found) == 1:
            return found.pop()
    if not common:
        by = "; ".join(
            f"{run.path} by {', '.join(sorted(names))}"
            for run, names in zip(runs, judged, strict=True)
        )
        raise UsageError(f"{task}: no judge has judged all runs ({by}): vsr1-bench judge … --judge")
    raise UsageError(f"{task}: judged by {', '.join(sorted(common))}; choose one by --judge")


def read_side(
    run: RunFolder, place: int, label: str, task: str, judge: str, include_path: Sequence[str]
) -> Side:
    """Read what a judge says of a run, to compare it with others.

    Args:
        run: A judged run.
        place: Which of the compared runs it is, from 0.
        label: Its model and setting.
        task: Its task.
        judge: Whose verdicts.
        include_path: Folders of plug-ins.

    Raises:
        StoreError: this judge has not judged it, or it cannot be read.
        UsageError: its verdicts are grades.
    """
    judge = stored_judge(judge, [run]) or judge
    path = run.judged().get(judge)
    if path is None:
        raise StoreError(
            f"{run.path}: not judged by {judge!r}; run: vsr1-bench judge {run.path} "
            f"--judge {shlex.quote(judge)}"
        )
    found = outcomes_of(stream_responses(run, path), get_task(task, include_path).cluster)
    if found.graded:
        raise UsageError(
            f"{run.path}: {judge!r} gives grades between 0 and 1; wins, losses and McNemar's test "
            "need verdicts (correct or incorrect)"
        )
    return Side(run, run.spec(), found, place, label, judge, path.name)


def compare_sides(first: Side, second: Side) -> Comparison:
    """Compare two runs of one task on the samples that both have a verdict on.

    Raises:
        UsageError: their samples or their judges differ, or they share no sample.
    """
    _refuse_unlike(first, second)
    changed = changed_samples(first.run, second.run)
    ids, a, b, clusters = align(first.outcomes, second.outcomes, changed)
    if not ids:
        raise UsageError(
            f"nothing to pair: {first.run.path} and {second.run.path} have no sample in common "
            "that both have a verdict on"
        )
    return Comparison(
        task=first.spec.task.name,
        judge=second.judge,
        first=first.label,
        second=second.label,
        first_run=str(first.run.path),
        second_run=str(second.run.path),
        first_place=first.place,
        second_place=second.place,
        paired=paired_difference(a, b, clusters),
        holm=1.0,
        left_out=_left_out(first, second, changed),
        flips=tuple(_flips(first, second, ids, a, b)),
    )


def _refuse_unlike(first: Side, second: Side) -> None:
    """Refuse runs whose scores are not comparable.

    Raises:
        UsageError: another version of the task, or of the judge.
    """
    one, other = first.spec, second.spec
    if one.task.version != other.task.version:
        raise UsageError(
            f"{one.task.name}: {first.run.path} has version {one.task.version} of the task, "
            f"{second.run.path} version {other.task.version}: their samples do not pair"
        )
    if first.journal != second.journal:
        raise UsageError(
            f"{first.run.path} and {second.run.path} were judged by different versions or models "
            f"of the judge ({first.journal}, {second.journal}); judge both anew: vsr1-bench judge"
        )


def _left_out(first: Side, second: Side, changed: frozenset[str]) -> dict[str, int]:
    """Reason -> how many samples only one run could answer for.

    A sample that a run did not reach was not asked for: a smaller `--limit` leaves others stored.
    """
    one, other = first.outcomes, second.outcomes
    partner = partners(one, other)
    asked, asked_second = ~one.not_made, at_partners(~other.not_made, partner, False)
    both, unlike = asked & asked_second, marked(one, changed)
    open_first = np.isnan(one.values)
    open_second = np.isnan(at_partners(other.values, partner, np.nan))
    counts = {
        "only in the first": (asked & ~both).sum(),
        "only in the second": (~other.not_made).sum() - both.sum(),
        "no verdict in the first": (both & open_first & ~unlike).sum(),
        "no verdict in the second": (both & open_second & ~open_first & ~unlike).sum(),
        "the question or its answer changed": (both & unlike).sum(),
    }
    return {reason: int(count) for reason, count in counts.items() if count}


def _flips(
    first: Side, second: Side, ids: Sequence[str], a: FloatArray, b: FloatArray
) -> list[Flip]:
    """The samples among `ids` on which two runs differ, given their values, (N,)."""
    one, other = first.outcomes, second.outcomes
    differ = np.flatnonzero(a != b).tolist()
    gold = gold_answers(first.run, frozenset(ids[at] for at in differ))
    return [
        Flip(
            name,
            gold[name],
            float(a[at]),
            float(b[at]),
            one.extracted[one.positions[name]],
            other.extracted[other.positions[name]],
        )
        for at in differ
        for name in (ids[at],)
    ]


def document(comparison: Comparison, flips: int | None = None) -> dict[str, Any]:
    """Write as JSON values; shares in [0, 1]. `flips` = how many of them, None = all."""
    values = asdict(comparison)
    values["left_out"] = dict(comparison.left_out)
    values["flips"] = [asdict(flip) for flip in comparison.flips[:flips]]
    return values
