"""Checks the bounds of `vsr1-bench audit` on generated benchmarks, and prints them as a table.

`python scripts/simulate_audit.py` takes minutes; docs/audit.md holds its table. Each line states
what was planted, what was found and the bound; the exit code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator

import numpy as np
from tabulate import tabulate

from vsr1_bench.audit.forest import LEVEL, grow_forest
from vsr1_bench.audit.golds import doubts
from vsr1_bench.audit.items import Item, item_of
from vsr1_bench.audit.page import percent
from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.tiny.priors import make_prior_row
from vsr1_bench.tiny.scenes import make_row, to_sample

PARTS = ("golds", "forest")
Answers = list[dict[str, str | None]]
Hits = list[set[str]]
Line = tuple[str, str, str, bool]
"""What was simulated, what came out, the bound, whether it holds."""


FRESH = 100
"""First seed of the sets with wrong gold answers; `audit.golds` was chosen on seeds below it."""


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


def answered(
    n: int, runs: int, planted: float, seed: int, weakest: float
) -> tuple[list[Item], Answers, Hits, set[str]]:
    """Answers of models to choice questions, some of which have a wrong gold answer.

    Abilities are spread evenly over 3 logits from `weakest`, difficulties are N(0, 1). Who is
    wrong gives the question's popular wrong answer in 40 % of cases, else any other option.

    Returns:
        The items, each run's answers, the ids it got right, and the ids with a planted fault.
    """
    random = np.random.default_rng(seed)
    items, wrong = [], set()
    answers: Answers = [{} for _ in range(runs)]
    hits: Hits = [set() for _ in range(runs)]
    for place in range(n):
        options = list("ABCD")
        random.shuffle(options)
        truth, popular, difficulty = options[0], options[1], random.normal()
        fault = random.random() < planted
        gold = str(random.choice(options[1:])) if fault else truth
        name = f"q{place}"
        wrong |= {name} if fault else set()
        sample = Sample(name, ("?",), gold, "choice", choices=("a", "b", "c", "d"))
        items.append(item_of(place, sample, ()))
        for run in range(runs):
            ability = weakest + 3 * run / (runs - 1)
            knows = random.random() < 1 / (1 + math.exp(difficulty - ability))
            other = popular if random.random() < 0.4 else str(random.choice(options[1:]))
            answers[run][name] = truth if knows else other
            hits[run] |= {name} if answers[run][name] == gold else set()
    return items, answers, hits, wrong


def golds(sets: int) -> Iterator[Line]:
    """Wrong gold answers: precision at the rank where four of five are found."""
    for weakest, bounded in ((0.0, True), (-0.5, False)):
        precisions, accuracies = [], []
        for seed in range(FRESH, FRESH + sets):
            items, answers, hits, wrong = answered(1000, 8, 0.05, seed, weakest)
            ranking = sorted(doubts(items, answers, hits), key=lambda doubt: -doubt.suspect)
            found = np.cumsum([doubt.id in wrong for doubt in ranking])
            looked = int(np.argmax(found >= 0.8 * len(wrong)))
            precisions.append(float(found[looked] / (looked + 1)))
            accuracies += [len(one) / len(items) for one in hits]
        mean = sum(precisions) / len(precisions)
        yield (
            f"golds: {sets} sets of 1,000 questions, 5 % wrong gold answers, 8 runs with "
            f"{percent(min(accuracies))} to {percent(max(accuracies))}",
            f"precision {percent(mean)} at recall 80 % (least {percent(min(precisions))})",
            "at least 90 %" if bounded else "none",
            mean >= 0.9 or not bounded,
        )


def main() -> int:
    """Simulate, print the table, say whether all bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200, help="generated sets without a prior")
    parser.add_argument("--size", type=int, default=300, help="questions of such a set")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="what to check")
    options = parser.parse_args()
    lines = list(golds(10)) if "golds" in options.parts else []
    lines += forest(options.sets, options.size) if "forest" in options.parts else []
    rows = [(what, found, bound, "yes" if holds else "NO") for what, found, bound, holds in lines]
    print(tabulate(rows, ("simulated", "found", "bound", "holds"), tablefmt="pipe"))
    return 0 if all(line[3] for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
