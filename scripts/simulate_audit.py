"""Checks the bounds of `vsr1-bench audit` on generated benchmarks, and prints them as a table.

`python scripts/simulate_audit.py` takes half an hour; docs/audit.md holds its table. Each line
states what was planted, what was found and the bound; the exit code is 1 if a bound is missed. With
VSR1_DATA_ROOT the overlap is also checked on the images of benchmarks that are there.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from generated_images import MAKERS, WORDS, blends, copied, encoded
from numpy.typing import NDArray
from PIL import Image
from tabulate import tabulate

from vsr1_bench.audit.forest import LEVEL, grow_forest
from vsr1_bench.audit.golds import doubts
from vsr1_bench.audit.items import Item, Items, item_of, read_items
from vsr1_bench.audit.overlap import TrainingSet, find_overlap
from vsr1_bench.audit.page import percent
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.data.training_rows import Content
from vsr1_bench.generation.images import decode
from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.registry import get_task
from vsr1_bench.store.environment import DATA_ROOT_VARIABLE
from vsr1_bench.task import Procedural, Task
from vsr1_bench.tiny.priors import make_prior_row
from vsr1_bench.tiny.scenes import make_row, to_sample

PARTS = ("golds", "forest", "overlap", "time")
Answers = list[dict[str, str | None]]
Hits = list[set[str]]
Line = tuple[str, str, str, bool]
"""What was simulated, what came out, the bound, whether it holds."""


REAL = ("mathvision", "visnumbench", "mmmu_pro_vision")
"""Benchmarks whose images are copied, too, if their rows are there."""
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


def benchmark(make: Callable[[int], Sample], n: int) -> Items:
    """Generated samples as an audit reads them."""
    source = Procedural(lambda number: {"number": number}, n, "generated")
    task = Task(
        name="generated",
        version=1,
        source=source,
        to_sample=lambda row: make(row["number"]),
        answer_type=None,
        license="",
        description="",
    )
    return read_items(open_data(task, DataOptions()), pictures=True, progress=False)


def pictured(number: int, image: EncodedImage) -> Sample:
    """A sample that is found by its image only."""
    return Sample(f"{number}", ("?",), "A", "text", images=(image,))


def planted_copies(name: str, images: Sequence[Image.Image], others: int, seed: int) -> Line:
    """Two copies of each image among others of the same kinds."""
    random = np.random.default_rng(seed)
    kinds = list(MAKERS)
    found = benchmark(lambda n: pictured(n, encoded(images[n], 95)), len(images))
    copies = 2 * len(images)

    def content(row: int) -> Content:
        image = images[row // 2] if row < copies else MAKERS[kinds[row % len(kinds)]](random)
        return Content((), (copied(image, random),))

    overlap = find_overlap(found, TrainingSet("copies", copies + others, content))
    pairs = {(match.item, match.row) for match in overlap.matches}
    hits = sum((row // 2, row) in pairs for row in range(copies))
    false, compared = overlap.pairs.total() - hits, len(images) * (copies + others)
    recall = hits / copies
    return (
        f"overlap: {name}; {copies:,} copies and {others:,} other images",
        f"recall {percent(recall)}, {false} false of {compared:,} pairs",
        "at least 99 %, fewer than 1 in 1,000,000",
        recall >= 0.99 and false < max(1, 1e-6 * compared),
    )


def overlap(each: int) -> Iterator[Line]:
    """Planted copies of generated images, kind by kind, of real ones, and of questions."""
    everything: list[Image.Image] = []
    for name, make in MAKERS.items():
        random = np.random.default_rng(FRESH)
        images = [make(random) for _ in range(each)]
        everything += images
        yield planted_copies(f"{each:,} images, {name}", images, 0, FRESH)
    yield planted_copies(f"all {len(everything):,} of these images", everything, 5 * each, FRESH)
    if DATA_ROOT_VARIABLE in os.environ:
        images = list(real_images())
        yield planted_copies(f"{len(images)} images of {', '.join(REAL)}", images, 500, FRESH)
    yield planted_questions()


def real_images() -> Iterator[Image.Image]:
    """The distinct images of real rows."""
    seen = set()
    for name in REAL:
        for sample in open_data(get_task(name), DataOptions.from_flags(None, True)).samples():
            for image in sample.images:
                if image.sha256() not in seen:
                    seen.add(image.sha256())
                    yield decode(image, 1, 10**8)


def planted_questions() -> Line:
    """Questions in other prompts, in other case, or with one word changed, among others."""
    random = np.random.default_rng(FRESH)
    texts = [" ".join(random.choice(WORDS, random.integers(18, 40))) for _ in range(12_000)]
    found = benchmark(lambda n: Sample(f"{n}", (f"{texts[n]}?",), "1", "number"), 2000)

    def content(row: int) -> Content:
        if row >= 2000:
            return Content((texts[row],), ())
        words = texts[row].split()
        words[random.integers(len(words))] = "other"
        forms = (
            f"Answer with one number. {texts[row]}? Think first.",
            texts[row].title(),
            " ".join(words),
        )
        return Content((forms[row % 3],), ())

    overlap = find_overlap(found, TrainingSet("texts", len(texts), content), progress=False)
    pairs = {(match.item, match.row) for match in overlap.matches}
    hits = sum((row, row) in pairs for row in range(2000))
    false, compared = overlap.pairs.total() - hits, 2000 * len(texts)
    return (
        "overlap: 2,000 questions in another prompt, in other case or with another word, among "
        f"{len(texts):,} texts",
        f"recall {percent(hits / 2000)}, {false} false of {compared:,} pairs",
        "at least 99 %, fewer than 1 in 1,000,000",
        hits >= 1980 and false < 1e-6 * compared,
    )


def speed(items: int, rows: int) -> Iterator[Line]:
    """A large benchmark against a large training set; what makes the images is not counted."""
    make, spent = blends(np.random.default_rng(FRESH)), np.zeros(2)

    def made(number: int) -> EncodedImage:
        begun = clocks()
        image = make(number)
        spent[:] += clocks() - begun
        return image

    begun = clocks()
    found = benchmark(lambda number: pictured(number, made(number)), items)
    print(f"{items} items read", file=sys.stderr)
    training = TrainingSet("rows", rows, lambda row: Content((), (made(items + row),)))
    result = find_overlap(found, training)
    wall, busy = (clocks() - begun - spent) / 60
    false = result.pairs.total()
    yield (
        f"overlap: {items:,} items, {rows:,} training rows, each an image of 512 x 384 or so",
        f"{wall:.1f} minutes on the clock with all decoding ({busy:.1f} of processor time), "
        f"{false} false of {items * rows:,} pairs",
        "10 minutes on the clock, fewer than 1 in 1,000,000",
        wall < 10 and false < 1e-6 * items * rows,
    )


def clocks() -> NDArray[np.float64]:
    """Seconds on the clock, and of processor time."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> int:
    """Simulate, print the table, say whether all bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200, help="generated sets without a prior")
    parser.add_argument("--size", type=int, default=300, help="questions of such a set")
    parser.add_argument("--images", type=int, default=400, help="images of a kind to be copied")
    parser.add_argument(
        "--pairs", type=int, nargs=2, default=(10_000, 50_000), help="items and rows of part time"
    )
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="what to check")
    options = parser.parse_args()
    lines = list(golds(10)) if "golds" in options.parts else []
    lines += forest(options.sets, options.size) if "forest" in options.parts else []
    lines += overlap(options.images) if "overlap" in options.parts else []
    lines += speed(*options.pairs) if "time" in options.parts else []
    rows = [(what, found, bound, "yes" if holds else "NO") for what, found, bound, holds in lines]
    print(tabulate(rows, ("simulated", "found", "bound", "holds"), tablefmt="pipe"))
    return 0 if all(line[3] for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
