"""Compare trainings whose unit is the start: paired t tests over starts, Holm, and their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vsr1_bench.leaderboard.sheet import Sheet
from vsr1_bench.scoring.paired import holm

Values = Mapping[str, Mapping[str, float]]
"""Run (`1/start`, `1/summed`) -> endpoint -> its value."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """An arm against another on one endpoint; differences are the arm's minus the other's."""

    arm: str
    other: str
    endpoint: str
    by_start: tuple[float, ...]
    difference: float
    low: float
    high: float
    """95 % interval of Student's t over the starts."""
    p: float
    holm: float = 1.0
    """p, adjusted within its family."""


def against(values: Values, arm: str, other: str, endpoint: str, starts: Sequence[int]) -> Contrast:
    """Compare two arms, paired by start.

    Without any spread between starts there is nothing to test with: p is 1 at no difference, and 0
    at one that all starts agree in.
    """
    from scipy import stats

    a, b = (
        np.array([values[f"{start}/{name}"][endpoint] for start in starts]) for name in (other, arm)
    )
    differences = b - a
    mean, n = float(differences.mean()), len(starts)
    half = float(stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    p = float(stats.ttest_rel(b, a).pvalue) if np.ptp(differences) else float(mean == 0)
    return Contrast(
        arm, other, endpoint, tuple(differences.tolist()), mean, mean - half, mean + half, p
    )


def family(together: Iterable[Contrast]) -> list[Contrast]:
    """Adjust the p values of contrasts that are made together."""
    contrasts = list(together)
    adjusted = holm([one.p for one in contrasts])
    return [replace(one, holm=p) for one, p in zip(contrasts, adjusted, strict=True)]


def sheet_of(contrasts: Sequence[Contrast]) -> Sheet:
    """Differences in points."""
    rows = [
        (
            f"{c.arm} - {c.other}",
            c.endpoint,
            f"{100 * c.difference:+.1f} ({100 * c.low:.1f} to {100 * c.high:.1f})",
            " ".join(f"{100 * d:+.1f}" for d in c.by_start),
            f"{c.p:.2g}",
            f"{c.holm:.2g}",
        )
        for c in contrasts
    ]
    headings = ("contrast", "endpoint", "difference", "by start", "p", "p (Holm)")
    return Sheet(headings, tuple(rows), numbers=frozenset({"by start", "difference"}))


def levels_sheet(
    values: Values, arms: Sequence[str], endpoints: Sequence[str], starts: Sequence[int]
) -> Sheet:
    """Every arm's endpoints in percent: mean over the starts, with the lowest and the highest."""
    rows = []
    for arm in arms:
        cells = []
        for endpoint in endpoints:
            each = [100 * values[f"{start}/{arm}"][endpoint] for start in starts]
            cells.append(f"{np.mean(each):.1f} ({min(each):.1f} to {max(each):.1f})")
        rows.append((arm, *cells))
    return Sheet(("arm", *endpoints), tuple(rows))


def tokens_sentence(tokens: Mapping[str, int], arms: Iterable[str], starts: Sequence[int]) -> str:
    """Say how many tokens each arm drew in training."""
    drawn = {arm: np.mean([tokens[f"{start}/{arm}"] for start in starts]) for arm in arms}
    told = ", ".join(f"{arm} {count:,.0f}" for arm, count in drawn.items())
    return f"Tokens drawn in training, mean over the starts: {told}."
