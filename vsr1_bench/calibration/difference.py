"""Difference of two runs on the same questions, corrected by people's labels of both (PPI++).

Each run's mean is estimated by itself (see `estimate`). The difference's variance comes from the
difference of both influences per cluster, so that it counts that the runs answer the same
questions. Labels of the two runs may be on different responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vsr1_bench.calibration.calibrate import labelled_run, units_of
from vsr1_bench.calibration.estimate import Units, powered
from vsr1_bench.calibration.sheet import Label
from vsr1_bench.errors import DamagedRunError, StoreError, UsageError
from vsr1_bench.scoring.pairs import changed_samples
from vsr1_bench.scoring.statistics import CONFIDENCE
from vsr1_bench.store.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Difference:
    """Second minus first, as shares."""

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    """Of the t test that belongs to the interval."""
    n: int
    """Responses of each run that both are compared on."""
    labels: int
    """Of both runs together."""


def calibrated_difference(
    first: RunFolder,
    second: RunFolder,
    judge: str,
    labels: Sequence[Label],
    include_path: Sequence[str] = (),
) -> Difference | str:
    """Compare the accuracy of two runs on the samples that both have a verdict on.

    Args:
        first: A stored run.
        second: Another one of the same task.
        judge: Whose verdicts.
        labels: Rows of sheets, with some of both runs.
        include_path: Folders of plug-ins.

    Returns:
        The difference; a text says why there is none.

    Raises:
        DamagedRunError: a run cannot be read.
    """
    try:
        one, other = (labelled_run(run, judge, labels, include_path) for run in (first, second))
    except DamagedRunError:
        raise
    except (StoreError, UsageError) as error:
        return str(error)
    known = [
        {
            place[0]
            for place, response in side.seen.responses.items()
            if response.correct is not None
        }
        for side in (one, other)
    ]
    both = (known[0] & known[1]) - changed_samples(first, second)
    homes: dict[str, int] = {}
    parts = [units_of(side, "accuracy", homes, both) for side in (one, other)]
    for side, units in zip((one, other), parts, strict=True):
        if not side.labels:
            return f"{side.seen.run.path}: has no labels"
        if not len(units.values) or units.empty_strata:
            return f"{side.seen.run.path}: some kind of verdict has no label yet"
    return difference(*parts)


def difference(first: Units, second: Units) -> Difference:
    """Second minus first; the units have the same cluster numbers and no stratum without labels."""
    from scipy import stats

    count = 1 + int(max(first.clusters.max(), second.clusters.max()))
    one, of_one = powered(first, clusters=count)
    other, of_other = powered(second, clusters=count)
    points, n = other - one, min(len(first.values), len(second.values))
    # One pseudo-sample won and one lost, as in `paired_interval`: equal labels are not certainty.
    pseudo = (np.array([1.0, -1.0]) - points) / (n + 2)
    # The influences of pseudo-labels follow those of clusters, and belong to one run each.
    influence = np.concatenate(
        [of_other[:count] - of_one[:count], of_one[count:], of_other[count:], pseudo]
    )
    marked = [units.clusters[units.labelled] for units in (first, second)]
    among = len(np.unique(np.concatenate(marked)))
    low = high = p_value = None
    error = float(np.sqrt((influence**2).sum() * len(influence) / (len(influence) - 1)))
    if among > 1:
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, among - 1)) * error
        low, high = max(-1.0, points - half), min(1.0, points + half)
        p_value = 2 * float(stats.t.sf(abs(points) / error, among - 1))
    return Difference(
        first=one,
        second=other,
        difference=points,
        low=low,
        high=high,
        p_value=p_value,
        n=n,
        labels=int(first.labelled.sum() + second.labelled.sum()),
    )
