"""Measure grading: generated answers of every type, by the judge of that type.

Usage: python scripts/bench_grade.py [--n 100000] [--workers 2]

A fifth of the answers are formulas, compared by math-verify in a killable worker; the others are
choices, numbers, texts and yes or no, compared in the process itself. Each worker takes its share.
Prints a line a type and the whole time.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from vsr1_bench.judge import Item
from vsr1_bench.judging.worker import grade_all
from vsr1_bench.registry import get_judge

OPTIONS = ("30 degrees", "45 degrees", "$4 \\pi$", "the red car")
WORDS = "We look at the picture, and we count what is there step by step. " * 6


def choice(draw: random.Random, name: str) -> Item:
    """A choice, answered in one of several ways."""
    letter = draw.choice("ABCD")
    form = draw.choice(
        ("Answer: {}", "\\boxed{{{}}}", "The answer is ({}).", "**{}**", "So option {} is correct.")
    )
    return Item(name, WORDS + "\n" + form.format(letter), draw.choice("ABCD"), "choice", OPTIONS)


def number(draw: random.Random, name: str) -> Item:
    """A number, with and without a unit."""
    gold = draw.randrange(1, 10_000)
    form = draw.choice(("Answer: {}", "\\boxed{{{}}}", "The answer is {} cm.", "#### {}"))
    return Item(name, WORDS + "\n" + form.format(gold + draw.randrange(2)), str(gold), "number")


def text(draw: random.Random, name: str) -> Item:
    """A word or yes and no."""
    if draw.random() < 0.5:
        return Item(name, draw.choice(("Yes, it is.", "No.", "\\boxed{Yes}")), "yes", "yes_no")
    return Item(name, WORDS + "\n\\boxed{Red Car}", draw.choice(("red car", "blue")), "text")


def formula(draw: random.Random, name: str) -> Item:
    """A formula: written alike, equal, or another one, as models' answers are."""
    a, b, c = (draw.randrange(2, 40) for _ in range(3))
    kinds = (
        (f"{a}\\sqrt{{{b}}}", f"{a}√{b}"),
        (f"\\frac{{{a}}}{{{b}}}", f"{a}/{b}"),
        (f"{a}\\pi", f"${a} \\pi$"),
        (f"x = {a}", str(a)),
        (f"({a}, {b})", f"({a},{b + draw.randrange(2)})"),
        (f"{a}x + {b}", f"{b} + {a}x"),
        (f"\\frac{{\\sqrt{{{a}}}}}{{{b}}}", f"\\frac{{\\sqrt{{{c}}}}}{{{b}}}"),
        (f"[{a}, \\infty)", f"[{a},\\infty)"),
    )
    given, gold = draw.choice(kinds)
    return Item(name, f"{WORDS}\n\\boxed{{{given}}}", gold, "math")


SHARES = {choice: 0.5, number: 0.2, text: 0.1, formula: 0.2}


def share(n: int, seed: int) -> tuple[dict[str, tuple[int, float]], Counter[str]]:
    """Grade n answers; how many of each type, and the seconds that they took."""
    draw, outcomes, took = random.Random(seed), Counter[str](), {}
    for make, part in SHARES.items():
        items = [make(draw, f"{seed}-{i}") for i in range(int(n * part))]
        judge = get_judge("math" if make is formula else "string_match")
        start = time.monotonic()
        outcomes.update(verdict.outcome for _, verdict in grade_all(judge, items))
        took[make.__name__] = len(items), time.monotonic() - start
    return took, outcomes


def main() -> None:
    """Grade, and print how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    start = time.monotonic()
    with ProcessPoolExecutor(options.workers) as pool:
        each = [options.n // options.workers] * options.workers
        shares = list(pool.map(share, each, range(options.workers)))
    whole = time.monotonic() - start
    for make in SHARES:
        name = make.__name__
        n = sum(took[name][0] for took, _ in shares)
        seconds = sum(took[name][1] for took, _ in shares)
        print(f"{name:8} {n:7,} answers  {1000 * seconds / n:6.3f} ms each")
    outcomes = sum((counts for _, counts in shares), Counter[str]())
    total = sum(outcomes.values())
    print(f"{total:,} answers in {whole:.1f} s with {options.workers} workers: {dict(outcomes)}")


if __name__ == "__main__":
    main()
