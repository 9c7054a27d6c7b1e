"""Micro-batches: bounded, of similar lengths, and with few prompts in each."""

from __future__ import annotations

import random

from vsr1_bench.train.core.packing import pack

SAMPLES, PROMPTS = 8, 16


def drawn(seed: int) -> tuple[list[int], list[int]]:
    """Lengths of rows and their prompts: images of 330 to 5,300 tokens, skewed responses."""
    rng = random.Random(seed)
    sizes, prompts = [], []
    for prompt in range(PROMPTS):
        start = rng.choice([330, 500, 800, 1200, 2000, 3000, 5300]) + rng.randint(80, 300)
        for _ in range(SAMPLES):
            sizes.append(start + min(2048, int(rng.lognormvariate(6, 0.5))))
            prompts.append(prompt)
    return sizes, prompts


def cost(cut: list[list[int]], sizes: list[int], prompts: list[int]) -> tuple[int, int]:
    """Padded tokens, and passes of the tower."""
    padded = sum(max(sizes[i] for i in micro) * len(micro) for micro in cut)
    return padded, sum(len({prompts[i] for i in micro}) for micro in cut)


def test_prompts_stay_together_for_little_padding() -> None:
    costs = []
    for seed in range(20):
        sizes, prompts = drawn(seed)
        places = list(range(len(sizes)))
        alone = pack(places, sizes, places, 16_384)
        cut = pack(places, sizes, prompts, 16_384)
        assert sorted(i for micro in cut for i in micro) == places
        assert all(max(sizes[i] for i in micro) * len(micro) <= 16_384 for micro in cut)
        costs.append((*cost(cut, sizes, prompts), *cost(alone, sizes, prompts)))
    padded, passes, plain, more = (sum(column) for column in zip(*costs, strict=True))
    assert passes < 0.9 * more and padded < 1.02 * plain


def test_rows_without_common_prompts_are_sorted_by_length() -> None:
    sizes, _ = drawn(0)
    places = list(range(len(sizes)))
    cut = pack(places, sizes, places, 16_384)
    flat = [sizes[i] for micro in cut for i in micro]
    assert flat == sorted(sizes)


def test_a_row_that_is_too_long_is_alone() -> None:
    assert pack("abcd", [102, 500, 108, 102], "1212", 400) == [["a", "c", "d"], ["b"]]
    assert pack("ab", [50, 50], "11", 40) == [["a"], ["b"]]
    assert pack("", [], "", 40) == []
