"""Simulate how often a published file is wrongly taken for another run's (docs/exchange.md).

    python scripts/simulate_mixups.py [--sets 4000]

Each line draws whole downloads, one score for each of the paper's runs that has a reported row and
each of its seven sets, and hands them to `leaderboard.mixups`, the rule that `download vision-sr1`
and `table --delta` use. Nothing is mixed up, so every warning is a false alarm. The lines differ in
how far a run's score lies from its reported row:

- the same files: only the number of answers rounds it;
- made again: a normal error of so many points;
- other draws: every answer drawn again, the most that a run can move.

The second number is what the rule sees: of all exchanges of two files of models of one size in one
set, whose rows differ, how many get a warning.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from vsr1_bench.leaderboard.mixups import SetScore, find_mixups
from vsr1_bench.leaderboard.reported import ReportedTable, load_table, results_folder

TABLE = "paper/vision_sr1_accuracy.json"
ROWS = {
    "mmmu_pro": 5190,
    "mmmu": 900,
    "realworldqa": 765,
    "visnumbench": 1913,
    "mathverse": 3940,
    "mathvision": 3040,
    "hallusionbench_image": 951,
}
"""Rows of the official sets; those of the authors' merged set are not known here."""
NOISE = (0.0, 0.2, 0.5, 1.0, None)
"""Standard deviations in points; None = every answer is drawn again."""
Rng = np.random.Generator


def cells(table: ReportedTable) -> Iterator[tuple[str, str, float]]:
    """Run, task and reported number."""
    for row in table.rows:
        for column, value in zip(table.columns, row.values, strict=True):
            if row.runs and value is not None:
                yield row.runs[0], column.task, value


def draw(rng: Rng, value: float, n: int, noise: float | None) -> float:
    """A score in percent, of n answers of a run whose row has `value`."""
    if noise is None:
        return 100 * float(rng.binomial(n, value / 100)) / n
    return 100 * round((value + float(rng.normal(0, noise))) * n / 100) / n


def false_alarms(table: ReportedTable, rng: Rng, noise: float | None, sets: int) -> list[int]:
    """Warnings of each download in which nothing is mixed up."""
    known = list(cells(table))
    warnings = []
    for _ in range(sets):
        scores = [
            SetScore(run, task, draw(rng, value, ROWS[task], noise), ROWS[task])
            for run, task, value in known
        ]
        warnings.append(len(find_mixups(scores, [table])))
    return warnings


def seen(table: ReportedTable, rng: Rng, noise: float | None, times: int) -> tuple[int, int]:
    """Of exchanges of two files: how many were warned of, how many were made."""
    known = list(cells(table))
    warned = made = 0
    for task, n in ROWS.items():
        rows = [(run, value) for run, t, value in known if t == task]
        for (first, a), (second, b) in combinations(rows, 2):
            if first[:2] != second[:2] or a == b:
                continue
            for _ in range(times):
                scores = [
                    SetScore(first, task, draw(rng, b, n, noise), n),
                    SetScore(second, task, draw(rng, a, n, noise), n),
                ]
                made += 1
                warned += bool(find_mixups(scores, [table]))
    return warned, made


def main() -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=4000, help="downloads per line")
    parser.add_argument("--seed", type=int, default=20260101)
    options = parser.parse_args()
    table = load_table(results_folder() / TABLE)
    assert table is not None
    count = len(list(cells(table)))
    print(f"{options.sets:,} downloads per line, {count} scores each, seed {options.seed}\n")
    print("| scores | false warnings per score | downloads with one | swaps detected |")
    print("|---|---|---|---|")
    for noise in NOISE:
        rng = np.random.default_rng([options.seed, round(1000 * (9 if noise is None else noise))])
        alarms = false_alarms(table, rng, noise, options.sets)
        warned, made = seen(table, rng, noise, 20)
        what = (
            "other draws"
            if noise is None
            else "the same files"
            if noise == 0
            else f"made again, {noise} points"
        )
        share = sum(map(bool, alarms)) / len(alarms)
        rate = sum(alarms) / len(alarms) / count
        print(
            f"| {what} | {rate:.5f} | {100 * share:.1f} % | {100 * warned / made:.0f} % |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
