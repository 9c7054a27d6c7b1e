"""Simulate a judge that errs, and human labels; the second table of docs/statistics.md.

    python scripts/simulate_calibration.py [--sets 2000]

Each line draws data sets, verdicts and labels from a known truth, and counts how often the
intervals of `calibrate` and of `compare --calibrated` contain it. They go through
`calibration.sheet`, `calibration.estimate` and `calibration.difference`. Exit status 1 if a line
within the stated range is outside 93 to 97 %.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from simulate_coverage import LEAST, MOST, Floats, Rng, interval, shared

from vsr1_bench.calibration.difference import difference
from vsr1_bench.calibration.estimate import (
    Units,
    judge_errors,
    naive,
    pooled,
    prediction_powered,
    rogan_gladen,
)
from vsr1_bench.calibration.sheet import shares


@dataclass(frozen=True, slots=True)
class Judging:
    """A judge that errs, and labels on some of its verdicts."""

    n: int
    labels: int
    truth: float
    """Accuracy; for LSR, the share of correct answers."""
    sensitivity: float
    specificity: float
    per_cluster: int = 1
    rho: float = 0.0
    """Correlation of truths, and of the judge's errors, within clusters."""
    lsr: bool = False
    foreign: bool = False
    """The labels were drawn by the verdicts of another judge, right in 80 % of cases."""
    runs: int = 1
    """Runs on the same questions, each with so many labels, whose errors are pooled."""
    inside: bool = True

    @property
    def units(self) -> str:
        """For the table."""
        text = f"{self.n:,} samples"
        if self.per_cluster > 1:
            text = f"{self.n // self.per_cluster:,} clusters of {self.per_cluster}, rho {self.rho}"
        text += ", drawn by another judge" if self.foreign else ""
        return text + (f", {self.runs} runs pooled" if self.runs > 1 else "")

    @property
    def value(self) -> float:
        """The truth of the metric: 40 % of correct answers have insufficient descriptions."""
        return 0.4 * self.truth if self.lsr else self.truth

    def judged(self, rng: Rng, truth: Floats, place: NDArray[np.intp], rates: Floats) -> Floats:
        """A judge's verdicts on truths; `rates` is its sensitivity and specificity."""
        common = rng.random(len(place)) < np.sqrt(self.rho)
        draw = np.where(common, rng.random(place.max() + 1)[place], rng.random(len(place)))
        return np.where(truth == 1, draw < rates[0], draw >= rates[1]).astype(np.float64)

    def draw(self, rng: Rng) -> list[Units]:
        """Draw the verdicts and labels of each run; the first is the one whose value is wanted."""
        place = np.repeat(np.arange(self.n // self.per_cluster), self.per_cluster)
        p = shared(rng, self.truth, self.rho, place.max() + 1)[place]
        return [self.of_run(rng, place, p) for _ in range(self.runs)]

    def of_run(self, rng: Rng, place: NDArray[np.intp], p: Floats) -> Units:
        """Draw the verdicts and labels of a run; `p` is each question's chance of being right."""
        truth = (rng.random(self.n) < p).astype(np.float64)
        return self.labelled(rng, place, truth)

    def labelled(self, rng: Rng, place: NDArray[np.intp], truth: Floats) -> Units:
        """Draw the verdicts on answers, and labels of some."""
        rates = np.array([self.sensitivity, self.specificity])
        values = self.judged(rng, truth, place, rates)
        strata = values
        if self.foreign:
            strata = self.judged(rng, truth, place, np.array([0.8, 0.8]))
        if self.lsr:
            # A wrong answer has an insufficient description more often.
            lacks = rng.random(self.n) < np.where(truth == 1, 0.4, 0.7)
            sufficient = self.judged(rng, 1.0 - lacks, place, rates)
            strata = 2 * values + sufficient
            values, truth = values * (1 - sufficient), truth * lacks
        cells = strata.astype(np.intp)
        names, sizes = np.unique(cells, return_counts=True)
        known = np.full(self.n, np.nan)
        for name, count in zip(names, shares(list(sizes), self.labels), strict=True):
            picked = rng.choice(np.flatnonzero(cells == name), count, replace=False)
            known[picked] = truth[picked]
        return Units(values, known, cells, place)


JUDGINGS = (
    Judging(1000, 200, 0.6, 0.95, 0.85),
    Judging(1000, 100, 0.6, 0.95, 0.85),
    Judging(1000, 200, 0.3, 0.9, 0.9),
    Judging(1000, 200, 0.8, 0.85, 0.8),
    Judging(5000, 200, 0.5, 0.8, 0.8),
    Judging(300, 100, 0.5, 0.9, 0.8),
    Judging(1000, 200, 0.6, 0.95, 0.85, foreign=True),
    Judging(1000, 200, 0.6, 0.95, 0.85, 5, 0.3),
    Judging(1000, 200, 0.3, 0.9, 0.8, 5, 0.3),
    Judging(600, 150, 0.5, 0.9, 0.85, 10, 0.3),
    Judging(1000, 200, 0.6, 0.95, 0.85, lsr=True),
    Judging(1000, 200, 0.8, 0.9, 0.9, lsr=True),
    Judging(1000, 200, 0.6, 0.9, 0.85, 5, 0.3, lsr=True),
    Judging(1000, 100, 0.6, 0.95, 0.85, runs=4),
    Judging(1000, 100, 0.5, 0.9, 0.85, 5, 0.3, runs=4),
    Judging(1000, 50, 0.6, 0.95, 0.85, inside=False),
    Judging(1000, 200, 0.05, 0.9, 0.97, inside=False),
    Judging(1000, 100, 0.9, 0.99, 0.95, inside=False),
    Judging(100, 60, 0.6, 0.9, 0.8, 10, 0.4, inside=False),
)


@dataclass(frozen=True, slots=True)
class Against:
    """Two judged runs on the same questions, each with labels; their difference is wanted."""

    first: Judging
    second: Judging

    @property
    def value(self) -> float:
        """The true difference."""
        return self.second.truth - self.first.truth

    def draw(self, rng: Rng) -> list[Units]:
        """Draw both runs; half of the questions are as hard for one as for the other."""
        n, size = self.first.n, self.first.per_cluster
        place = np.repeat(np.arange(n // size), size)
        hard, parts = rng.random(n), []
        for one in (self.first, self.second):
            p = shared(rng, one.truth, one.rho, place.max() + 1)[place]
            draw = np.where(rng.random(n) < 0.5, hard, rng.random(n))
            parts.append(one.labelled(rng, place, (draw < p).astype(np.float64)))
        return parts


PAIRS = (
    Against(Judging(1000, 200, 0.6, 0.95, 0.85), Judging(1000, 200, 0.6, 0.95, 0.85)),
    Against(Judging(1000, 200, 0.5, 0.9, 0.9), Judging(1000, 200, 0.6, 0.8, 0.9)),
    Against(Judging(300, 100, 0.4, 0.9, 0.8), Judging(300, 100, 0.5, 0.9, 0.8)),
    Against(
        Judging(1000, 200, 0.6, 0.95, 0.85, 5, 0.3), Judging(1000, 200, 0.7, 0.85, 0.85, 5, 0.3)
    ),
)


HEADINGS = ("value", "data", "truth", "sensitivity, specificity", "labels", "judge's own interval")
HEADINGS += (
    "PPI++",
    "± points",
    "Rogan-Gladen",
    "± points",
    "sensitivity",
    "specificity",
    "in range",
)


def simulate(sets: int, seed: int) -> int:
    """Simulate, print the table, and return the number of broken lines."""
    broken = 0
    print(f"{sets:,} data sets per line, seed {seed}\n\n| {' | '.join(HEADINGS)} |")
    print("|---" * len(HEADINGS) + "|")
    for case in JUDGINGS:
        rng = np.random.default_rng([seed, *repr(case).encode()])
        truths = np.array([case.value] * 3 + [case.sensitivity, case.specificity])
        hits, wide, values = np.zeros(5), np.zeros(5), np.zeros(5)
        for _ in range(sets):
            parts = case.draw(rng)
            errors = judge_errors(parts[0])
            found = [naive(parts[0]), prediction_powered(parts[0])]
            found += [rogan_gladen(parts[0], pooled(parts) if case.runs > 1 else None)]
            found += [errors.sensitivity, errors.specificity]
            bounds = np.array([(v.low, v.high) for v in found], dtype=np.float64)
            given = ~np.isnan(bounds[:, 0])
            values += given
            hits += (bounds[:, 0] <= truths) & (truths <= bounds[:, 1])
            wide += np.where(given, (bounds[:, 1] - bounds[:, 0]) / 2, 0.0)
        cover, wide = hits / values, wide / values
        shown = [f"{100 * share:.1f} %" for share in cover]
        half = [f"{100 * one:.1f}" for one in wide]
        bad = case.inside and not all(LEAST <= share <= MOST for share in cover[1:3])
        broken += bad
        mark = "**no: broken**" if bad else "yes" if case.inside else "beyond"
        rates = f"{100 * case.sensitivity:.0f} %, {100 * case.specificity:.0f} %"
        # Whether an answer is a shortcut depends on two verdicts, with other rates.
        of_judge = ["–", "–"] if case.lsr else shown[3:]
        cells = ["LSR" if case.lsr else "accuracy", case.units, f"{100 * case.value:.0f} %", rates]
        cells += [str(case.labels), shown[0], shown[1], half[1], shown[2], half[2], *of_judge, mark]
        print(f"| {' | '.join(cells)} |", flush=True)
    return broken + sum(_difference(pair, sets, seed) for pair in PAIRS)


def _difference(pair: Against, sets: int, seed: int) -> bool:
    """Simulate `compare --calibrated` and print its line; return whether it is broken."""
    rng = np.random.default_rng([seed, *repr(pair).encode()])
    hits, wide = np.zeros(2), 0.0
    for _ in range(sets):
        first, second = pair.draw(rng)
        found = difference(first, second)
        alone = interval(first.values, second.values, first.clusters)
        assert found.low is not None and found.high is not None and alone is not None
        for at, (low, high) in enumerate((alone, (found.low, found.high))):
            hits[at] += low <= pair.value <= high
        wide += (found.high - found.low) / 2
    alone, cover = hits / sets
    bad = not LEAST <= cover <= MOST
    ways = [
        f"{100 * one.sensitivity:.0f} %, {100 * one.specificity:.0f} %"
        for one in (pair.first, pair.second)
    ]
    truths = f"{100 * pair.first.truth:.0f} %, {100 * pair.second.truth:.0f} %"
    cells = ["difference", f"{pair.first.units}, 2 runs", truths, "; ".join(dict.fromkeys(ways))]
    cells += [f"{pair.first.labels} each", f"{100 * alone:.1f} %", f"{100 * cover:.1f} %"]
    cells += [f"{100 * wide / sets:.1f}", *"––––", "**no: broken**" if bad else "yes"]
    print(f"| {' | '.join(cells)} |", flush=True)
    return bad


def main() -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=2000, help="data sets per line")
    parser.add_argument("--seed", type=int, default=20260101)
    options = parser.parse_args()
    lost = simulate(options.sets, options.seed)
    print(f"\n{lost} lines in range outside {100 * LEAST:.0f} to {100 * MOST:.0f} %")
    return int(lost > 0)


if __name__ == "__main__":
    raise SystemExit(main())
