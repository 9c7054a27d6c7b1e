"""Intervals, two-sided, 95 %. The formulas are scipy's and statsmodels'; this module chooses.

Which of them hold what they promise was found by simulation: `scripts/simulate_coverage.py`, whose
table is in docs/statistics.md. Percentile intervals of a cluster bootstrap cover 88 to 91 %
where clusters are few or shares extreme; those below stay near 95 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
FloatArray = NDArray[np.float64]

CONFIDENCE = 0.95


def wilson(successes: int, n: int) -> Interval | None:
    """Wilson's score interval of a proportion; None for n = 0."""
    if n == 0:
        return None
    from scipy import stats

    interval = stats.binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def ratio_interval(numerators: FloatArray, denominators: FloatArray) -> Interval | None:
    """Interval of sum(numerators) / sum(denominators) in [0, 1]; None below two clusters.

    Args:
        numerators: One entry a cluster, (C,): how many of its members are right, say.
        denominators: How many members it has, (C,); clusters without members do not count.
    """
    numerators, denominators = numerators[denominators > 0], denominators[denominators > 0]
    if len(numerators) < 2:
        return None
    share = float(numerators.sum() / denominators.sum())
    return share_interval(share, _jackknife(numerators - share * denominators, denominators))


def _jackknife(residuals: FloatArray, sizes: FloatArray) -> FloatArray:
    """What each of at least two clusters adds to a ratio, by leaving it out, (C,).

    With clusters of one size it is the residual's part of the whole. One that is a large part of
    the whole draws the ratio to itself: its residual alone would promise far too much.
    """
    count = len(sizes)
    added: FloatArray = residuals / (sizes.sum() - sizes) * ((count - 1) / count)
    return added


def share_interval(share: float, influence: FloatArray) -> Interval | None:
    """Wilson's interval with the sample size that the clusters are worth (their design effect).

    The variance is the cluster-robust one, by leaving clusters out where the value is a ratio. The
    effective size n is that at which a proportion would have it; Student's t instead of the normal
    quantile pays for few clusters (Korn and Graubard 1998; Dean and Pagano 2015 recommend Wilson's
    among the intervals made so). Where nothing varies (all right, all wrong) each cluster counts as
    one observation. With clusters of one it is Wilson's interval, but for t.

    Args:
        share: The value, in [0, 1]: a smooth function of sums over clusters.
        influence: What each cluster adds to it, (C,): the value's derivative times the cluster's
            part, so that the variance is C / (C - 1) times the sum of squares.

    Returns:
        The interval; None below two clusters.
    """
    clusters = len(influence)
    if clusters < 2:
        return None
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    variance = float((influence**2).sum()) * clusters / (clusters - 1)
    size = float(clusters)
    # Where nothing varies, rounding may leave crumbs of a variance.
    if share * (1 - share) > 0 and variance > 1e-12 * share * (1 - share):
        tail = (1 + CONFIDENCE) / 2
        widened = stats.t.ppf(tail, clusters - 1) / stats.norm.ppf(tail)
        size = share * (1 - share) / variance / widened**2
    low, high = proportion_confint(share * size, size, 1 - CONFIDENCE, method="wilson")
    return min(float(low), share), max(float(high), share)


def paired_interval(sums: FloatArray, sizes: FloatArray) -> Interval | None:
    """Interval of a mean difference over clusters; None below two clusters.

    Cluster-robust, with Student's t. A pseudo-sample won and one lost are added (Bonett and Price
    2012), without which few differing samples, or none, would promise far too much.

    Args:
        sums: Sum of the differences, each in [-1, 1], in each cluster, (C,).
        sizes: Samples in each cluster, (C,).
    """
    count = len(sums)
    if count < 2:
        return None
    from scipy import stats

    above, below = np.append(sums, (1.0, -1.0)), np.append(sizes, (1.0, 1.0))
    center = above.sum() / below.sum()
    residuals = above - center * below
    error = np.sqrt((_jackknife(residuals, below) ** 2).sum() * (count + 2) / (count + 1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * float(error)
    return max(-1.0, float(center) - half), min(1.0, float(center) + half)
