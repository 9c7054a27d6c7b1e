"""The paired difference of two runs: the same samples, answered twice.

Pairing removes the difficulty of the samples from the comparison, so that small differences become
visible. The tests are those of scipy and statsmodels, or tested against them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vsr1_bench.scoring.statistics import FloatArray, paired_interval

SEED = 20260101
FLIPS = 9999
"""Sign flips drawn where there are too many to try all of them."""
MANY_CLUSTERS = 1000
"""With more unequal clusters than this, a t test replaces the sign flips: results agree."""
POWER = 0.8
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Paired:
    """Two runs on the samples that both have a score on; the difference is second minus first."""

    n: int
    """Samples compared."""
    clusters: int
    """Independent units: samples, or groups of samples that depend on each other."""
    first: float
    """Mean of the first run over these samples."""
    second: float
    difference: float
    """Second minus first."""
    low: float | None
    """95 % interval of the difference; None below two clusters."""
    high: float | None
    wins: int
    """Samples on which the second run does better."""
    losses: int
    ties: int
    mcnemar: float | None
    """p of McNemar's exact test, which assumes independent samples; None if samples have shares
    instead of verdicts (several responses)."""
    p_value: float
    """From McNemar's test where it applies, else from sign flips of whole clusters."""
    test: str
    """The test that `p_value` comes from."""
    detectable: float | None
    """Smallest difference that is detected with 80 % power at the 5 % level, given the observed
    spread; None if no difference would be detected."""


def paired_difference(
    first: ArrayLike, second: ArrayLike, clusters: Sequence[Hashable] | None = None
) -> Paired:
    """Compare two runs on the same samples.

    Args:
        first: Correctness of each sample, (N,): 0 or 1; several responses per sample = their mean.
        second: The same samples in the same order, (N,).
        clusters: For each sample the group whose members depend on each other, (N,); None = all
            samples are independent.

    Returns:
        The difference (second minus first) with its interval, test and counts.

    Raises:
        ValueError: no samples, unequal lengths, or values that are not in [0, 1].
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"wanted two (N,) arrays, N at least 1; got {a.shape} and {b.shape}")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        together = np.concatenate([a, b])
        # This form of the comparison also rejects NaN.
        if not ((together >= 0) & (together <= 1)).all():
            raise ValueError("wanted correctness from 0 to 1 for every sample")
    change = b - a
    sums, sizes = cluster_sums(change, clusters)
    interval = paired_interval(sums, sizes)
    wins, losses = int((change > 0).sum()), int((change < 0).sum())
    binary = _binary(a, b)
    p_value, test = paired_test(a, b, clusters)
    return Paired(
        n=len(a),
        clusters=len(sums),
        first=float(a.mean()),
        second=float(b.mean()),
        difference=float(change.mean()),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        wins=wins,
        losses=losses,
        ties=len(a) - wins - losses,
        mcnemar=mcnemar_exact(wins, losses) if binary else None,
        p_value=p_value,
        test=test,
        detectable=detectable_difference(sums, sizes, verdicts=binary),
    )


def paired_test(
    first: FloatArray, second: FloatArray, clusters: Sequence[Hashable] | None = None
) -> tuple[float, str]:
    """Two-sided p of no difference and the name of its test: the test of `paired_difference` alone.

    Args:
        first: Correctness of each sample, (N,).
        second: The same samples in the same order, (N,).
        clusters: As in `paired_difference`.
    """
    change = second - first
    sums, _ = cluster_sums(change, clusters)
    if _binary(first, second) and len(sums) == len(change):
        return mcnemar_exact(int((change > 0).sum()), int((change < 0).sum())), "McNemar exact"
    return sign_flips(sums)


def _binary(first: FloatArray, second: FloatArray) -> bool:
    return bool(np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all())


def cluster_sums(
    values: FloatArray, clusters: Sequence[Hashable] | None
) -> tuple[FloatArray, FloatArray]:
    """Sum of the values and number of them in each cluster, both (C,)."""
    if clusters is None:
        return values, np.ones_like(values)
    if len(clusters) != len(values):
        raise ValueError(f"{len(values)} samples, but {len(clusters)} clusters named")
    numbers: dict[Hashable, int] = {}
    place = np.fromiter((numbers.setdefault(c, len(numbers)) for c in clusters), dtype=np.intp)
    sums: NDArray[Any] = np.bincount(place, weights=values, minlength=len(numbers))
    return sums.astype(np.float64), np.bincount(place).astype(np.float64)


def mcnemar_exact(wins: int, losses: int) -> float:
    """Two-sided exact p of McNemar's test, from the samples on which two runs differ."""
    if wins + losses == 0:
        return 1.0
    from scipy.special import bdtr  # scipy.stats takes a second to import

    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def sign_flips(sums: FloatArray) -> tuple[float, str]:
    """Two-sided p of the hypothesis that cluster differences center on zero, and the test's name.

    Under the null hypothesis, each cluster's difference is equally likely to have the opposite
    sign. If there are few clusters, all sign flips are tried (for single binary samples this is
    McNemar's exact test).

    Args:
        sums: Sum of the differences in each cluster, (C,).
    """
    unequal = sums[sums != 0]  # flipping a zero changes nothing
    if not len(unequal):
        return 1.0, "sign flips of clusters"
    from scipy import stats

    if len(unequal) > MANY_CLUSTERS:
        return float(stats.ttest_1samp(sums, 0.0).pvalue), "t test of clusters"
    if len(unequal) == 1:
        return 1.0, "sign flips of clusters"
    result = stats.permutation_test(
        (unequal,),
        lambda x, axis: np.sum(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        batch=1000,  # bounds memory
        rng=np.random.default_rng(SEED),
    )
    return float(result.pvalue), "sign flips of clusters"


def detectable_difference(
    sums: FloatArray, sizes: FloatArray, *, verdicts: bool = True
) -> float | None:
    """Smallest true difference that a t test at 5 % finds in 80 % of such comparisons.

    Uses the observed spread of the differences, treated as C clusters of average size
    (statsmodels' `TTestPower`). With verdicts, a difference of d requires at least a share d of
    the samples to change, so the spread per sample is at least sqrt(d - d²), even if the runs
    rarely differed.

    Args:
        sums: Sum of the differences in each cluster, (C,).
        sizes: Samples in each cluster, (C,).
        verdicts: Each sample's difference is -1, 0 or 1, not a share or grade.

    Returns:
        The difference; None below two clusters (even a difference of 1 would not be detected), and
        for shares and grades that never differ.
    """
    count, n = len(sums), sizes.sum()
    if count < 2:
        return None
    residuals = sums - sums.sum() / n * sizes
    spread = float(np.sqrt((residuals**2).sum() / (count - 1)) * count / n)
    from statsmodels.stats.power import TTestPower

    effect = float(TTestPower().solve_power(nobs=count, alpha=ALPHA, power=POWER))
    # The least d with d >= effect * sqrt((d - d²) / (samples a cluster)).
    least = effect**2 * count / n
    found = max(effect * spread, least / (1 + least) if verdicts else 0.0)
    # Where nothing varies, rounding may leave crumbs of a spread.
    return found if 1e-9 < found <= 1 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number by Holm's method (1979), in the same order."""
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted
