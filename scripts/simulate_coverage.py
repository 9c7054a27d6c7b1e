"""Simulate how often the 95 % intervals contain the truth; the table of docs/statistics.md.

    python scripts/simulate_coverage.py [--sets 4000]

Each line draws many data sets from a known truth and counts how often the interval that vsr1-bench
would print contains it. Responses go through `scoring.metrics.compute` and `scoring.paired`, the
code that scores a run. A line within the stated range must be at 93 to 97 %; the other lines show
where this no longer holds. Exit status 1 if a line within the range is outside 93 to 97 %.

Samples of a cluster share a probability p_c from a beta distribution, so that their correlation is
rho; cluster sizes are uniform from 1 to 2m - 1 (mean m).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vsr1_bench.scoring.circular import position_bias
from vsr1_bench.scoring.metrics import Response, compute
from vsr1_bench.scoring.paired import paired_difference
from vsr1_bench.scoring.statistics import ratio_interval, wilson
from vsr1_bench.task import Metric

LEAST, MOST = 0.93, 0.97
Rng = np.random.Generator
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """One simulated situation."""

    what: str
    units: str
    truth: str
    inside: bool
    """Whether it is in the range for which 93 to 97 % is stated."""
    covers: Callable[[Rng], bool]
    """Draw one data set; return whether its interval contains the truth."""
    times: int = 1
    """Factor for the number of data sets, for lines that are cheap to draw."""


def clusters(rng: Rng, count: int, mean: int) -> NDArray[np.intp]:
    """Cluster number of each sample."""
    sizes = np.ones(count, dtype=int) if mean == 1 else rng.integers(1, 2 * mean, count)
    return np.repeat(np.arange(count), sizes)


def shared(rng: Rng, p: float, rho: float, count: int) -> Floats:
    """A share for each cluster, with mean p, so that members correlate by rho."""
    if rho == 0:
        return np.full(count, p)
    return rng.beta(p * (1 / rho - 1), (1 - p) * (1 / rho - 1), count)


@cache
def wilson_of(right: int, n: int) -> tuple[float, float] | None:
    """Wilson's interval; few counts come up, again and again."""
    return wilson(right, n)


def proportions() -> Iterator[Line]:
    """Accuracy over independent samples: Wilson."""
    cases = [(50, 0.15), (50, 0.3), (50, 0.5), (100, 0.1), (100, 0.5), (100, 0.9)]
    cases += [(n, p) for n in (200, 1000, 5000) for p in (0.02, 0.1, 0.5, 0.95)]
    for n, p in [*cases, (20, 0.05), (50, 0.02)]:

        def covers(rng: Rng, n: int = n, p: float = p) -> bool:
            found = wilson_of(int(rng.binomial(n, p)), n)
            return found is not None and found[0] <= p <= found[1]

        rarest = 0.02 if n >= 200 else 0.1 if n >= 100 else 0.15
        inside = n >= 50 and min(p, 1 - p) >= rarest - 1e-9
        yield Line("accuracy", f"{n:,} samples", f"{100 * p:.0f} %", inside, covers, 20)


def clustered() -> Iterator[Line]:
    """Accuracy over clusters: Wilson with the design effect."""
    shares = (0.1, 0.3, 0.5, 0.8, 0.9)
    cases = [(c, m, p) for c, m in ((30, 3), (30, 10), (60, 8), (200, 4)) for p in shares]
    cases += [(300, 5, 0.03), (1000, 2, 0.97), (12, 5, 0.5), (12, 5, 0.8), (20, 30, 0.05)]
    for count, mean, p in cases:
        for rho in (0.1, 0.4):

            def covers(
                rng: Rng, count: int = count, mean: int = mean, p: float = p, rho: float = rho
            ) -> bool:
                place = clusters(rng, count, mean)
                right = rng.random(len(place)) < shared(rng, p, rho, count)[place]
                sums = np.bincount(place, right, count).astype(np.float64)
                found = ratio_interval(sums, np.bincount(place).astype(np.float64))
                return found is not None and found[0] <= p <= found[1]

            inside = count >= 30 and mean <= 10 and count * min(p, 1 - p) >= 6 - 1e-9
            units = f"{count:,} clusters of 1 to {2 * mean - 1}, rho {rho}"
            yield Line("accuracy", units, f"{100 * p:.0f} %", inside, covers)


def responses(rng: Rng, p: Floats, per_sample: int, place: NDArray[np.intp]) -> list[Response]:
    """Responses of samples with their own share p (N,), `per_sample` of each."""
    right = rng.random((len(p), per_sample)) < p[:, None]
    return [
        Response(f"q{i}", {"figure": str(place[i]), "kind": str(i % 6)}, float(value))
        for i, row in enumerate(right)
        for value in row
    ]


def metrics() -> Iterator[Line]:
    """Means over groups and over several responses, through `compute`."""
    kinds = {
        "mean_by 6 kinds": Metric("m", "mean_by", by=("kind",)),
        "all_correct_by figure": Metric("m", "all_correct_by", by=("figure",)),
    }
    for name, metric in kinds.items():
        for count in (60, 150):

            def covers(rng: Rng, metric: Metric = metric, count: int = count) -> bool:
                place = np.repeat(np.arange(count), 2)
                p = shared(rng, 0.7, 0.3, count)[place]
                found = compute(metric, responses(rng, p, 1, place), "figure")
                # Both of two samples right: E[p_c ^ 2] = p^2 + rho p (1 - p).
                truth = 0.7 if metric.kind == "mean_by" else 0.49 + 0.3 * 0.21
                return (found.low or 0.0) <= truth <= (found.high or 0.0)

            yield Line(name, f"{count} clusters of 2, rho 0.3", "", True, covers)
    for name, metric, truth in (
        ("accuracy, 4 responses", Metric("accuracy"), 0.6),
        ("pass@2 of 4", Metric("pass@2", "pass_at"), None),
    ):
        for count in (50, 200):

            def covers(
                rng: Rng, metric: Metric = metric, count: int = count, truth: float | None = truth
            ) -> bool:
                p = shared(rng, 0.6, 0.4, count)
                found = compute(metric, responses(rng, p, 4, np.arange(count)), None)
                # 1 - E[(1 - p)^2]
                value = truth if truth is not None else 1 - (0.16 + 0.4 * 0.24)
                return (found.low or 0.0) <= value <= (found.high or 0.0)

            yield Line(name, f"{count} samples, rho 0.4", "", True, covers)


def positions() -> Iterator[Line]:
    """Position bias: verdicts on questions whose gold answer was at every position."""
    effects = {2: (0.15, -0.15), 4: (0.2, 0.0, -0.1, -0.1)}
    for count in (30, 100, 400):
        for options, full in effects.items():
            for factor in (0.0, 0.5, 1.0):
                shifts = np.array(full) * factor
                truth = float(shifts.std())

                def covers(
                    rng: Rng, count: int = count, shifts: Floats = shifts, truth: float = truth
                ) -> bool:
                    p = rng.uniform(0.3, 0.7, (count, 1)) + shifts
                    right = (rng.random(p.shape) < p).astype(np.float64)
                    found = position_bias(list(right), [str(n) for n in range(count)])
                    return (found.low or 0.0) <= truth <= (found.high or 0.0)

                units = f"{count} questions of {options} options"
                yield Line("position_bias", units, f"{100 * truth:.1f} %", count >= 100, covers)


def paired() -> Iterator[Line]:
    """The difference of two runs on the same samples."""
    cases = [(100, 1, 0.1, 0.1), (300, 1, 0.05, 0.03), (300, 1, 0.25, 0.1), (1000, 1, 0.02, 0.01)]
    cases += [(1000, 1, 0.2, 0.2), (30, 5, 0.1, 0.1), (60, 5, 0.15, 0.05), (200, 3, 0.05, 0.03)]
    cases += [(10, 30, 0.05, 0.02), (50, 1, 0.05, 0.02)]
    for count, mean, wins, losses in cases:
        rho = 0.0 if mean == 1 else 0.3

        def covers(
            rng: Rng,
            c: int = count,
            m: int = mean,
            w: float = wins,
            x: float = losses,
            r: float = rho,
        ) -> bool:
            place = clusters(rng, c, m)
            first, second = drawn(rng, place, w, x, r)
            found = interval(first, second, place)
            return found is not None and found[0] <= w - x <= found[1]

        inside = count >= 30 and mean <= 10 and count * mean * (wins + losses) >= 20
        units = f"{count:,} samples"
        if mean > 1:
            units = f"{count:,} clusters of 1 to {2 * mean - 1}, rho {rho}"
        truth = f"{100 * (wins - losses):+.0f} ({100 * wins:.0f} won, {100 * losses:.0f} lost)"
        yield Line("difference", units, truth, inside, covers)


def percentile() -> Iterator[Line]:
    """Percentile intervals of a cluster bootstrap, for comparison: vsr1-bench has none."""
    accuracy = [(12, 5, 0.8), (30, 10, 0.1), (60, 8, 0.1), (200, 4, 0.5)]
    difference = [(30, 5, 0.05, 0.02), (50, 1, 0.05, 0.02), (300, 1, 0.25, 0.1)]
    for count, mean, p in accuracy:

        def covers(rng: Rng, count: int = count, mean: int = mean, p: float = p) -> bool:
            place = clusters(rng, count, mean)
            right = rng.random(len(place)) < shared(rng, p, 0.4, count)[place]
            low, high = bootstrap(rng, right.astype(np.float64), place)
            return low <= p <= high

        units = f"{count:,} clusters of 1 to {2 * mean - 1}, rho 0.4"
        yield Line("accuracy, percentile bootstrap", units, f"{100 * p:.0f} %", False, covers)
    for count, mean, wins, losses in difference:

        def covers(
            rng: Rng, c: int = count, m: int = mean, w: float = wins, x: float = losses
        ) -> bool:
            place = clusters(rng, c, m)
            first, second = drawn(rng, place, w, x, 0.0 if m == 1 else 0.3)
            low, high = bootstrap(rng, second - first, place)
            return low <= w - x <= high

        units = f"{count:,} samples" if mean == 1 else f"{count:,} clusters of 1 to 9, rho 0.3"
        truth = f"{100 * (wins - losses):+.0f} ({100 * wins:.0f} won, {100 * losses:.0f} lost)"
        yield Line("difference, percentile bootstrap", units, truth, False, covers)


def bootstrap(rng: Rng, values: Floats, place: NDArray[np.intp]) -> tuple[float, float]:
    """Percentile interval over 1,000 resamples of clusters."""
    sums, sizes = np.bincount(place, values), np.bincount(place)
    pairs, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    # Equal clusters are drawn together: the same distribution, at a fraction of the cost.
    picked = rng.multinomial(len(sums), counts / len(sums), 1000)
    low, high = np.quantile((picked @ pairs[0]) / (picked @ pairs[1]), [0.025, 0.975])
    return float(low), float(high)


def drawn(
    rng: Rng, place: NDArray[np.intp], wins: float, losses: float, rho: float
) -> tuple[Floats, Floats]:
    """Two runs on the same samples, (N,) each.

    With chance sqrt(rho) a sample takes its cluster's draw, so that members correlate by rho.
    """
    common = rng.random(len(place)) < np.sqrt(rho)
    draw = np.where(common, rng.random(place.max() + 1)[place], rng.random(len(place)))
    return (draw > 1 - losses).astype(float), (draw < wins).astype(float)


def interval(first: Floats, second: Floats, place: NDArray[np.intp]) -> tuple[float, float] | None:
    """The interval that `paired_difference` prints, without its tests (they take the time)."""
    from vsr1_bench.scoring.paired import cluster_sums
    from vsr1_bench.scoring.statistics import paired_interval

    return paired_interval(*cluster_sums(second - first, place))


def main() -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=4000, help="data sets per line")
    parser.add_argument("--seed", type=int, default=20260101)
    options = parser.parse_args()
    # The shortcut above must print what the whole function prints.
    a, b, c = np.array([1.0, 0, 1, 0]), np.array([1.0, 1, 0, 1]), np.array([0, 0, 1, 2])
    whole = paired_difference(a, b, list(c))
    assert interval(a, b, c) == (whole.low, whole.high)
    broken = 0
    print(
        f"{options.sets:,} data sets per line (accuracy of independent samples: 20 times as many), "
        f"seed {options.seed}\n"
    )
    print("| value | data | truth | coverage | in range |\n|---|---|---|---|---|")
    for line in (*proportions(), *clustered(), *metrics(), *positions(), *paired(), *percentile()):
        # Each line has its own random draws, so that adding a line leaves the others unchanged.
        words = f"{line.what}|{line.units}|{line.truth}".encode()
        rng = np.random.default_rng([options.seed, *words])
        sets = options.sets * line.times
        share = sum(line.covers(rng) for _ in range(sets)) / sets
        bad = line.inside and not LEAST <= share <= MOST
        broken += bad
        mark = "**no: broken**" if bad else "yes" if line.inside else "beyond"
        cells = (line.what, line.units, line.truth, f"{100 * share:.1f} %", mark)
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{broken} lines in range outside {100 * LEAST:.0f} to {100 * MOST:.0f} %")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())
