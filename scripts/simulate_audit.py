"""Checks the bounds of `vsr1-bench audit` on generated benchmarks, and prints them as a table.

`python scripts/simulate_audit.py` takes minutes; docs/audit.md holds its table. Each line states
what was planted, what was found and the bound; the exit code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from tabulate import tabulate

from vsr1_bench.audit.forest import LEVEL, grow_forest
from vsr1_bench.audit.items import Item, item_of
from vsr1_bench.audit.page import percent
from vsr1_bench.records import EncodedImage
from vsr1_bench.tiny.priors import make_prior_row
from vsr1_bench.tiny.scenes import make_row, to_sample

Line = tuple[str, str, str, bool]
"""What was simulated, what came out, the bound, whether it holds."""


def demo_items(n: int, start: int = 0, *, prior: bool = False) -> list[Item]:
    """Training rows `start` to `start + n` of demo or demo_prior, without their images."""
    make = make_prior_row if prior else make_row
    none = EncodedImage(data=b"")
    rows = ({**make("train", number), "image": none} for number in range(start, start + n))
    return [item_of(place, to_sample(row), ()) for place, row in enumerate(rows)]


def forest(sets: int, size: int) -> Iterator[Line]:
    """The text-only forest: false alarms, the planted prior, and time."""
    alarms = 0
    for number in range(sets):
        alarms += grow_forest(demo_items(size, number * size), progress=False).suspicious
        print(f"\r{number + 1} of {sets} sets, {alarms} alarms", end="", file=sys.stderr)
    print(file=sys.stderr)
    yield (
        f"forest: {sets} sets of {size} demo questions, no prior",
        f"{alarms} false alarms ({percent(alarms / sets)})",
        "at most 5 %",
        alarms <= 0.05 * sets,
    )
    prior = grow_forest(demo_items(2000, prior=True), progress=False)
    yield (
        "forest: 2,000 questions of demo_prior, training side",
        f"{percent(prior.accuracy)} (shuffled {percent(prior.chance)}), p {prior.p_value:.3f}",
        f"at least 85 %, p at most {LEVEL}",
        prior.accuracy >= 0.85 and prior.suspicious,
    )
    items = demo_items(10_000, prior=True)
    begun = time.perf_counter()
    grow_forest(items, progress=False)
    seconds = time.perf_counter() - begun
    yield "forest: 10,000 questions", f"{seconds:.0f} s", "under 60 s", seconds < 60


def main() -> int:
    """Simulate, print the table, say whether all bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200, help="generated sets without a prior")
    parser.add_argument("--size", type=int, default=300, help="questions of such a set")
    options = parser.parse_args()
    lines = list(forest(options.sets, options.size))
    rows = [(what, found, bound, "yes" if holds else "NO") for what, found, bound, holds in lines]
    print(tabulate(rows, ("simulated", "found", "bound", "holds"), tablefmt="pipe"))
    return 0 if all(line[3] for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
