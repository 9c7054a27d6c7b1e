"""Match the samples of two runs."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsr1_bench._util.garbage import without_gc
from vsr1_bench.scoring.join import stream_responses
from vsr1_bench.scoring.metrics import Response, home
from vsr1_bench.scoring.statistics import FloatArray
from vsr1_bench.store.run_folder import RunFolder

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One judge's verdicts on one run, by sample. Stored in columns, because runs may be large."""

    positions: dict[str, int]
    """Sample id -> its position in the columns; in data order."""
    values: FloatArray
    """Share of a sample's responses that are correct, (S,); NaN = one of them is missing, failed or
    without a verdict."""
    clusters: list[str]
    """Cluster of each sample, (S,): samples in a cluster depend on each other."""
    not_made: Flags
    """Samples of which only the place is known, (S,): the run did not reach them."""
    graded: bool
    """Whether a verdict is a grade between 0 and 1."""
    extracted: list[str | None]
    """The answer that was read from each sample's first response, (S,)."""


def outcomes(run: RunFolder, judge: str, cluster: str | None) -> Outcomes:
    """Read a judge's verdicts on a run.

    Args:
        run: A run that this judge has judged.
        judge: The judge's name.
        cluster: Group key whose members depend on each other.
    """
    return outcomes_of(stream_responses(run, run.verdicts(judge)), cluster)


@without_gc()
def outcomes_of(responses: Iterable[Response], cluster: str | None) -> Outcomes:
    """Sum responses up by sample."""
    positions: dict[str, int] = {}
    sums, counts = array("d"), array("q")
    unscored, not_made = bytearray(), bytearray()
    clusters: list[str] = []
    extracted: list[str | None] = []
    graded = False
    for r in responses:
        at = positions.setdefault(r.sample_id, len(positions))
        if at == len(counts):
            sums.append(0.0)
            counts.append(0)
            unscored.append(False)
            not_made.append(False)
            clusters.append(home(r, cluster))
            extracted.append(r.extracted)
        counts[at] += 1
        if r.correct is None:
            unscored[at] = True
            not_made[at] |= not r.made
        else:
            graded = graded or r.correct not in (0, 1)
            sums[at] += r.correct
    values = np.array(sums) / np.array(counts)
    values[np.array(unscored, dtype=bool)] = np.nan
    return Outcomes(positions, values, clusters, np.array(not_made, dtype=bool), graded, extracted)


def partners(first: Outcomes, second: Outcomes) -> NDArray[np.intp]:
    """Position in the second run of each sample of the first, (S,); -1 = it has no such sample."""
    found = (second.positions.get(name, -1) for name in first.positions)
    return np.fromiter(found, dtype=np.intp, count=len(first.positions))


def at_partners(column: NDArray[Any], partner: NDArray[np.intp], missing: float) -> NDArray[Any]:
    """A column of the second run in the first run's order, (S,); `missing` = no such sample."""
    found = np.full(len(partner), missing, dtype=column.dtype)
    found[partner >= 0] = column[partner[partner >= 0]]
    return found


def align(
    first: Outcomes, second: Outcomes, skipped: frozenset[str] = frozenset()
) -> tuple[list[str], FloatArray, FloatArray, list[str]]:
    """The samples that both have a value for: ids, the values of each, clusters."""
    values = at_partners(second.values, partners(first, second), np.nan)
    paired = ~(np.isnan(first.values) | np.isnan(values) | marked(first, skipped))
    ids, clusters = (list(compress(c, paired)) for c in (first.positions, first.clusters))
    return ids, first.values[paired], values[paired], clusters


def marked(outcomes: Outcomes, ids: Collection[str]) -> Flags:
    """Which samples have one of these ids, (S,)."""
    flags = np.zeros(len(outcomes.positions), dtype=bool)
    flags[[outcomes.positions[name] for name in ids if name in outcomes.positions]] = True
    return flags


def changed_samples(first: RunFolder, second: RunFolder) -> frozenset[str]:
    """Ids whose samples ask different questions in the two runs, because their rows differ."""
    if first.spec().data == second.spec().data:
        return frozenset()

    one, other = _questions(first), _questions(second)
    return frozenset(name for name in one if name in other and one[name] != other[name])


def _questions(run: RunFolder) -> dict[str, int]:
    """Sample id -> hash of what it asks."""
    return {s.id: hash((s.question, s.choices, s.answer)) for s in run.stream_samples()}


def gold_answers(run: RunFolder, ids: Collection[str]) -> dict[str, str]:
    """Gold answers of these samples, by id."""
    return {sample.id: sample.answer for sample in run.stream_samples() if sample.id in ids}
