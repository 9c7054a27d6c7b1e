"""Two-sided 95 % intervals, with the formulas of scipy and statsmodels.

The intervals were chosen by simulation (`scripts/simulate_coverage.py`; the table is in
docs/statistics.md). Percentile intervals of a cluster bootstrap cover only 88 to 91 % if clusters
are few or shares are extreme. The intervals below stay near 95 %.
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
        numerators: One entry per cluster, (C,): for example the number of correct members.
        denominators: Number of members of each cluster, (C,); empty clusters are ignored.
    """
    numerators, denominators = numerators[denominators > 0], denominators[denominators > 0]
    if len(numerators) < 2:
        return None
    share = float(numerators.sum() / denominators.sum())
    return share_interval(share, _jackknife(numerators - share * denominators, denominators))


def _jackknife(residuals: FloatArray, sizes: FloatArray) -> FloatArray:
    """Influence of each of at least two clusters on a ratio, by leaving it out, (C,).

    With clusters of equal size, it is the residual divided by the total. A cluster that is a large
    part of the total pulls the ratio towards itself, so its plain residual would understate the
    error.
    """
    count = len(sizes)
    added: FloatArray = residuals / (sizes.sum() - sizes) * ((count - 1) / count)
    return added


def share_interval(
    share: float, influence: FloatArray, units: int | None = None
) -> Interval | None:
    """Wilson's interval with the effective sample size of the clusters (design effect).

    The variance is cluster-robust; for ratios it is the jackknife's. The effective size n is the
    one at which a proportion has this variance. Student's t replaces the normal quantile, to
    account for few clusters (Korn and Graubard 1998; of such intervals, Dean and Pagano 2015
    recommend Wilson's). If nothing varies (all correct or all incorrect), each cluster counts as
    one observation. For clusters of size one, the result is Wilson's interval, except for t.

    Args:
        share: The value, in [0, 1]: a smooth function of sums over clusters.
        influence: Influence of each cluster, (C,): the value's derivative times the cluster's
            contribution. The variance is C / (C - 1) times the sum of squares.
        units: Clusters that decide the error, if they are fewer than C. They give the degrees of
            freedom, and the size if nothing varies.

    Returns:
        The interval; None below two clusters.
    """
    clusters = len(influence)
    units = clusters if units is None else units
    if min(clusters, units) < 2:
        return None
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    variance = float((influence**2).sum()) * clusters / (clusters - 1)
    size = float(units)
    # If nothing varies, rounding can still leave a tiny variance.
    if share * (1 - share) > 0 and variance > 1e-12 * share * (1 - share):
        tail = (1 + CONFIDENCE) / 2
        widened = stats.t.ppf(tail, units - 1) / stats.norm.ppf(tail)
        size = share * (1 - share) / variance / widened**2
    low, high = proportion_confint(share * size, size, 1 - CONFIDENCE, method="wilson")
    return min(float(low), share), max(float(high), share)


def mean_interval(sums: FloatArray, sizes: FloatArray) -> Interval | None:
    """Interval of a mean of values from 0 on over clusters; None below two clusters.

    Cluster-robust, with Student's t.

    Args:
        sums: Sum of the values in each cluster, (C,).
        sizes: Number of values in each cluster, (C,).
    """
    count = len(sums)
    if count < 2:
        return None
    from scipy import stats

    mean = float(sums.sum() / sizes.sum())
    squares = float((_jackknife(sums - mean * sizes, sizes) ** 2).sum())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * np.sqrt(
        squares * count / (count - 1)
    )
    return max(0.0, mean - float(half)), mean + float(half)


def paired_interval(sums: FloatArray, sizes: FloatArray) -> Interval | None:
    """Interval of a mean difference over clusters; None below two clusters.

    Cluster-robust, with Student's t. One win and one loss are added as pseudo-samples (Bonett and
    Price 2012). Without them, the interval would be too narrow if few or no samples differ.

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
