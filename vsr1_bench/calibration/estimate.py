"""Means corrected by a few labels: prediction-powered inference (PPI++) and Rogan-Gladen.

A judge gives each of N units a value f, and people give n of them a label y in {0, 1}. The n units
are drawn at random within strata, without looking at the labels. With weights w = N_h / n_h of the
strata h, the power-tuned estimate is

    theta = lambda mean_N(f) + (1 / N) sum_n w (y - lambda f)

(Angelopoulos, Duchi and Zrnic, PPI++, arXiv 2311.01453, Example 6.1; for strata Fisch et al.,
arXiv 2406.04291). The paper's N units are those without a label. The mean over all units gives the
same estimate; the paper's lambda is the one here times the share of units without a label. The
variance is smallest at lambda = Cov(y, f) / Var(f) (the same example, where the factor
1 / (1 + n / N) is that share), taken within strata.

The variance is that of two phases: units are a sample of the questions that could be asked, and
labels are a sample of the units. Each cluster's influences of both phases are summed before they
are squared, so that units of a cluster may depend on each other. Each stratum gets one pseudo-label
of each kind (as in Agresti and Coull 1998), because a stratum with equal labels would otherwise
count as known for certain. The pseudo-labels change intervals only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np
from numpy.typing import NDArray

from vsr1_bench.scoring.metrics import Value
from vsr1_bench.scoring.statistics import FloatArray, share_interval

Places = NDArray[np.intp]
Contribution = Callable[[FloatArray, FloatArray], FloatArray]
"""A labelled unit's part in an estimate, from its label y and its value f."""


@dataclass(frozen=True, slots=True)
class Units:
    """The units that a mean is over, and their labels; every array has one entry per unit, (N,)."""

    values: FloatArray
    """The judge's values f, in [0, 1]."""
    labels: FloatArray
    """People's labels y, 0 or 1; nan = no label."""
    strata: Places
    """Number of the stratum in which the unit could be drawn."""
    clusters: Places
    """Number of the cluster whose members depend on each other."""

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which units have a label, (N,)."""
        return ~np.isnan(self.labels)

    @property
    def empty_strata(self) -> int:
        """Number of strata without a label; no estimate exists unless it is 0."""
        return len(np.setdiff1d(self.strata, self.strata[self.labelled]))

    @property
    def weights(self) -> FloatArray:
        """N_h / n_h of the unit's stratum if it has a label, else 0, (N,)."""
        drawn = np.bincount(self.strata[self.labelled], minlength=self.strata.max() + 1)
        whole = np.bincount(self.strata, minlength=len(drawn))
        per_stratum = whole / np.maximum(drawn, 1)
        return np.where(self.labelled, per_stratum[self.strata], 0.0)


def pooled(parts: Sequence[Units]) -> Units | None:
    """The labelled sets as one, with strata kept apart, to estimate errors from all of them.

    Args:
        parts: Sets with the same cluster numbers. Those that lack labels in a stratum are left out.

    Returns:
        The whole; None if nothing is left, or a value is neither 0 nor 1.
    """
    whole = [units for units in parts if units.labelled.any() and not units.empty_strata]
    if not whole or not all(np.isin(units.values, (0, 1)).all() for units in whole):
        return None
    strata, first = [], 0
    for units in whole:
        strata.append(units.strata + first)
        first += int(units.strata.max()) + 1
    return Units(
        np.concatenate([units.values for units in whole]),
        np.concatenate([units.labels for units in whole]),
        np.concatenate(strata),
        np.concatenate([units.clusters for units in whole]),
    )


def naive(units: Units) -> Value:
    """The mean of the judge's values, with the interval that takes them for the truth."""
    n = len(units.values)
    if n == 0:
        return Value(None)
    mean = float(units.values.mean())
    influence = np.bincount(units.clusters, (units.values - mean) / n).astype(np.float64)
    return _value(mean, influence[np.bincount(units.clusters) > 0], None, n)


def prediction_powered(units: Units, tuning: float | None = None) -> Value:
    """PPI++: see the module.

    Args:
        units: Units, of which every stratum has at least one label.
        tuning: lambda; None = the one with the smallest variance, between 0 and 1.

    Returns:
        The mean; `n` is the number of labels. No value if a stratum has no label.
    """
    if not len(units.values) or units.empty_strata:
        return Value(None)
    mean, influence = powered(units, tuning)
    return _value(mean, influence, units, int(units.labelled.sum()))


def powered(
    units: Units, tuning: float | None = None, clusters: int = 0
) -> tuple[float, FloatArray]:
    """The power-tuned mean, and the influence of each cluster and pseudo-label on it.

    Args:
        units: At least one, and no stratum without a label.
        tuning: lambda; None = the one with the smallest variance.
        clusters: Make room for at least this many clusters (see `two_phases`).
    """
    power = best_tuning(units) if tuning is None else tuning
    n = len(units.values)
    some, f = units.labelled, units.values
    rest = units.labels[some] - power * f[some]
    mean = float(power * f.mean() + (units.weights[some] * rest).sum() / n)

    def part(y: FloatArray, f: FloatArray) -> FloatArray:
        return (y - power * f) / n

    influence = two_phases(units, power * f / n, part, clusters)
    influence -= np.bincount(units.clusters, minlength=len(influence)) * (mean / n)
    return mean, influence


def best_tuning(units: Units) -> float:
    """The lambda of the smallest variance, between 0 and 1; 1 where it changes nothing.

    The labels' part of the variance is the sum over strata of (N_h / N)^2 (1 / n_h - 1 / N_h)
    Var_h(y - lambda f). With one stratum, its minimum is at Cov(y, f) / Var(f).
    """
    above = below = 0.0
    some, weights = units.labelled, units.weights
    for stratum in np.unique(units.strata):
        here = some & (units.strata == stratum)
        if here.sum() < 2:
            continue
        y, f = units.labels[here], units.values[here]
        scale = float(weights[here][0] * (weights[here][0] - 1) * here.sum() / (here.sum() - 1))
        above += scale * float(((y - y.mean()) * (f - f.mean())).sum())
        below += scale * float(((f - f.mean()) ** 2).sum())
    return min(1.0, max(0.0, above / below)) if below > 1e-12 else 1.0


def two_phases(
    units: Units, known: FloatArray, part: Contribution, clusters: int = 0
) -> FloatArray:
    """Influence of each cluster on sum(known) + sum(w part(y, f)), not centred, (C,).

    A unit contributes what is known of it and its stratum's mean part. A label adds its distance
    from that mean, times its weight.

    Args:
        units: Units and labels.
        known: What each unit contributes whether or not it has a label, (N,).
        part: What a label contributes.
        clusters: Make room for at least this many clusters.

    Returns:
        One entry per cluster, then two per stratum for its pseudo-labels. A stratum with labels on
        all of its units needs none.
    """
    some, weights = units.labelled, units.weights
    of_units, pseudo = known.astype(np.float64), []
    for stratum in np.unique(units.strata):
        members = units.strata == stratum
        here = members & some
        count = int(here.sum())
        parts = part(units.labels[here], units.values[here])
        of_units[members] += parts.mean()
        if count == members.sum():
            of_units[here] += parts - parts.mean()
            continue
        at = np.full(2, units.values[here].mean())
        both = part(np.array([0.0, 1.0]), at)
        # The pseudo-labels belong to the spread of the labels, not to the mean.
        center = (parts.sum() + both.sum()) / (count + 2)
        weight = float(weights[here][0]) * count / (count + 2)
        of_units[here] += weight * (parts - center)
        pseudo.append(weight * (both - center))
    influence = np.bincount(units.clusters, of_units, clusters).astype(np.float64)
    return np.concatenate([influence, *pseudo])


@dataclass(frozen=True, slots=True)
class Errors:
    """A judge's errors against people's labels."""

    sensitivity: Value
    """Share of the right units to which it gives 1; `n` = labels."""
    specificity: Value
    """Share of the wrong units to which it gives 0; `n` = labels."""

    @property
    def youden(self) -> float | None:
        """Sensitivity + specificity - 1; None unless its lower bound is above 0, too.

        Near 0, where the judge knows nothing, a division by it has no usable interval. The bound is
        MOVER's (Zou and Donner 2008), as if both were independent.
        """
        one, other = self.sensitivity, self.specificity
        if one.value is None or one.low is None or other.value is None or other.low is None:
            return None
        excess = one.value + other.value - 1
        return excess if excess > hypot(one.value - one.low, other.value - other.low) else None


def judge_errors(units: Units) -> Errors:
    """Sensitivity and specificity, weighted back to all units; values must be 0 or 1."""
    if not len(units.values) or units.empty_strata:
        return Errors(Value(None), Value(None))
    return Errors(_rate(units, 1.0), _rate(units, 0.0))


def _rate(units: Units, kind: float) -> Value:
    """Share of the units with this label to which the judge gives the same."""
    some, weights = units.labelled, units.weights
    chosen = some & (units.labels == kind)
    total = float(weights[chosen].sum())
    if total == 0:
        return Value(None)
    agrees = (units.values == kind).astype(np.float64)
    rate = float((weights * agrees)[chosen].sum() / total)

    def part(y: FloatArray, f: FloatArray) -> FloatArray:
        agreement = f if kind else 1 - f
        parts: FloatArray = (y == kind) * (agreement - rate) / total
        return parts

    influence = two_phases(units, np.zeros(len(agrees)), part)
    return _value(rate, influence, units, int(chosen.sum()), chosen)


def rogan_gladen(units: Units, pool: Units | None = None) -> Value:
    """Correct a share by the judge's errors: theta = (q + specificity - 1) / youden.

    Rogan and Gladen 1978, American Journal of Epidemiology 107. The variance is by the delta
    method, with all dependences within clusters.

    Args:
        units: The units whose share is wanted; values must be 0 or 1.
        pool: Labelled units from which the errors are estimated, with the same cluster numbers; the
            judge is taken to err on them as on `units`. None = the same units.

    Returns:
        The share; `n` is the number of labels. No value unless the judge is clearly
        better than chance.
    """
    source = units if pool is None else pool
    errors = judge_errors(source)
    youden = errors.youden
    if not len(units.values) or youden is None:
        return Value(None)
    assert errors.sensitivity.value is not None and errors.specificity.value is not None
    hit, miss = errors.sensitivity.value, errors.specificity.value
    q, n = float(units.values.mean()), len(units.values)
    share = min(1.0, max(0.0, (q + miss - 1) / youden))
    weights, labels = source.weights, source.labels
    right, wrong = (float(weights[labels == kind].sum()) for kind in (1, 0))

    def part(y: FloatArray, f: FloatArray) -> FloatArray:
        of_hit = (y == 1) * (f - hit) / right
        of_miss = (y == 0) * (1 - f - miss) / wrong
        parts: FloatArray = ((1 - share) * of_miss - share * of_hit) / youden
        return parts

    count = 1 + int(max(source.clusters.max(), units.clusters.max()))
    whole = two_phases(source, np.zeros(len(labels)), part, count)
    whole[:count] += np.bincount(units.clusters, (units.values - q) / n / youden, count)
    return _value(share, whole, source, int(source.labelled.sum()))


def _value(
    mean: float,
    influence: FloatArray,
    units: Units | None,
    n: int,
    chosen: NDArray[np.bool_] | None = None,
) -> Value:
    """A value with its interval; with labels, their clusters give the degrees of freedom."""
    mean = min(1.0, max(0.0, mean))
    among = None
    if units is not None:
        among = len(np.unique(units.clusters[units.labelled if chosen is None else chosen]))
    interval = share_interval(mean, influence, among)
    low, high = interval if interval is not None else (None, None)
    return Value(mean, low, high, n)
