"""Match the samples of two runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from vsr1_bench._util.garbage import without_gc
from vsr1_bench.scoring.join import stream_responses
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.scoring.statistics import FloatArray
from vsr1_bench.store.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What one judge says of one run, sample by sample."""

    values: dict[str, float]
    """Sample id -> share of its responses that are correct, of samples whose every response has a
    verdict."""
    clusters: dict[str, str]
    """Sample id -> what it shares with the samples that depend on it."""
    unscored: frozenset[str]
    """Samples asked for, a response of which is missing, failed or without a verdict."""
    not_made: frozenset[str]
    """Those of which nothing is known but their place: the run did not come to them."""
    graded: bool
    """Whether a verdict is a grade between 0 and 1."""
    extracted: dict[str, str | None]
    """Sample id -> the answer that was read from its first response."""


def outcomes(run: RunFolder, judge: str, cluster: str | None) -> Outcomes:
    """Read what a judge says of a run.

    Args:
        run: A run that this judge has judged.
        judge: The judge's name.
        cluster: Group key whose members depend on each other.
    """
    return outcomes_of(stream_responses(run, run.verdicts(judge)), cluster)


@without_gc()
def outcomes_of(responses: Iterable[Response], cluster: str | None) -> Outcomes:
    """Sum responses up by sample."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    clusters: dict[str, str] = {}
    extracted: dict[str, str | None] = {}
    unscored, not_made = set(), set()
    graded = False
    for r in responses:
        if r.correct is None:
            unscored.add(r.sample_id)
            if not r.made:
                not_made.add(r.sample_id)
            continue
        graded = graded or r.correct not in (0, 1)
        sums[r.sample_id] = sums.get(r.sample_id, 0.0) + r.correct
        counts[r.sample_id] = counts.get(r.sample_id, 0) + 1
        if r.sample_id not in clusters:
            clusters[r.sample_id] = r.groups.get(cluster, r.sample_id) if cluster else r.sample_id
            extracted[r.sample_id] = r.extracted
    values = {name: sums[name] / counts[name] for name in sums if name not in unscored}
    without = (frozenset(unscored), frozenset(not_made))
    return Outcomes(values, clusters, *without, graded, extracted)


def align(
    first: Outcomes, second: Outcomes, left_out: frozenset[str] = frozenset()
) -> tuple[list[str], FloatArray, FloatArray, list[str]]:
    """The samples that both have a value for: ids, the values of each, clusters."""
    ids = [name for name in first.values if name in second.values and name not in left_out]
    a = np.fromiter((first.values[name] for name in ids), dtype=np.float64, count=len(ids))
    b = np.fromiter((second.values[name] for name in ids), dtype=np.float64, count=len(ids))
    return ids, a, b, [first.clusters[name] for name in ids]


def changed_samples(first: RunFolder, second: RunFolder) -> frozenset[str]:
    """Samples of one id that ask different things: the runs are of different rows."""
    if first.spec().data == second.spec().data:
        return frozenset()

    one, other = _questions(first), _questions(second)
    return frozenset(name for name in one if name in other and one[name] != other[name])


def _questions(run: RunFolder) -> dict[str, int]:
    """Sample id -> hash of what it asks."""
    return {s.id: hash((s.question, s.choices, s.answer)) for s in run.stream_samples()}


def golds(run: RunFolder, ids: Collection[str]) -> dict[str, str]:
    """Sample id -> gold answer, of these samples."""
    return {sample.id: sample.answer for sample in run.stream_samples() if sample.id in ids}
