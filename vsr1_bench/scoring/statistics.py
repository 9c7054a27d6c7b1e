"""Intervals. The formulas are scipy's; this module only chooses among them.

All intervals are two-sided, 95 % unless told.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

RESAMPLES = 2000
SEED = 20260101
FloatArray = NDArray[np.float64]


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval | None:
    """Wilson score interval of a proportion; None for n = 0."""
    if n == 0:
        return None
    from scipy import stats

    found = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def cluster_bootstrap(
    n_clusters: int, statistic: Callable[[NDArray[np.intp]], FloatArray], confidence: float = 0.95
) -> Interval | None:
    """Percentile interval of a statistic over resampled clusters; None below two clusters.

    Args:
        n_clusters: Number of independent units C.
        statistic: Takes cluster numbers (R, C), one resample a row; returns values (R,).
        confidence: Share of the distribution inside.
    """
    if n_clusters < 2:
        return None
    from scipy import stats

    def over_last_axis(picked: NDArray[np.intp], axis: int = -1) -> FloatArray:
        rows = np.moveaxis(picked, axis, -1)
        values = statistic(rows.reshape(-1, rows.shape[-1]))
        shaped: FloatArray = values.reshape(rows.shape[:-1])
        return shaped

    # A batch bounds memory: each resample holds C numbers a group of the statistic.
    found = stats.bootstrap(
        (np.arange(n_clusters),),
        over_last_axis,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // n_clusters),
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def ratio_interval(numerators: FloatArray, denominators: FloatArray) -> Interval | None:
    """Cluster bootstrap of sum(numerators) / sum(denominators), both (C,): one entry a cluster.

    Where every cluster is all right or every one all wrong there is nothing to resample, and no
    reason to be certain: Wilson's interval over the clusters then.
    """
    clusters = len(numerators)
    if clusters and (not numerators.any() or np.array_equal(numerators, denominators)):
        return wilson(clusters if numerators.any() else 0, clusters)

    def ratio(picked: NDArray[np.intp]) -> FloatArray:
        below = denominators[picked].sum(axis=1)
        above = numerators[picked].sum(axis=1)
        shares: FloatArray = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
        return shares

    return cluster_bootstrap(len(numerators), ratio)


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
    error = np.sqrt((residuals**2).sum() * (count + 2) / (count + 1)) / below.sum()
    half = float(stats.t.ppf(0.975, count - 1)) * float(error)
    return max(-1.0, float(center) - half), min(1.0, float(center) + half)
