"""Micro-batches: bounded, of similar lengths, and with few prompts in each."""

from __future__ import annotations

import random

from vsr1_bench.train.core.microbatches import KEYS, cut_packed, cut_padded

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
        alone = cut_padded(places, sizes, places, 16_384)
        cut = cut_padded(places, sizes, prompts, 16_384)
        assert sorted(i for micro in cut for i in micro) == places
        assert all(max(sizes[i] for i in micro) * len(micro) <= 16_384 for micro in cut)
        costs.append((*cost(cut, sizes, prompts), *cost(alone, sizes, prompts)))
    padded, passes, plain, more = (sum(column) for column in zip(*costs, strict=True))
    assert passes < 0.9 * more and padded < 1.02 * plain


def test_rows_without_common_prompts_are_sorted_by_length() -> None:
    sizes, _ = drawn(0)
    places = list(range(len(sizes)))
    cut = cut_padded(places, sizes, places, 16_384)
    flat = [sizes[i] for micro in cut for i in micro]
    assert flat == sorted(sizes)


def test_a_row_that_is_too_long_is_alone() -> None:
    assert cut_padded("abcd", [102, 500, 108, 102], "1212", 400) == [["a", "c", "d"], ["b"]]
    assert cut_padded("ab", [50, 50], "11", 40) == [["a"], ["b"]]
    assert cut_padded("", [], "", 40) == []


def test_packed_micro_batches_are_bounded() -> None:
    draw = random.Random(0)
    for _ in range(300):
        starts = [draw.randrange(1, 3000) for _ in range(6)]
        prompts = [draw.randrange(6) for _ in range(40)]
        sizes = [(starts[prompt], draw.choice([0, 5, 500, 2000])) for prompt in prompts]
        tokens = draw.randrange(1000, 16_000)
        cut = cut_packed([*range(40)], sizes, prompts, tokens)
        assert sorted(place for micro in cut for place in micro) == [*range(40)]
        for micro in cut:
            copies = sum(starts[prompt] for prompt in {prompts[place] for place in micro})
            whole = copies + sum(sizes[place][1] for place in micro)
            keys = sum(sum(sizes[place]) for place in micro)
            assert len(micro) == 1 or (whole <= tokens and keys <= KEYS * tokens)


def cut(sizes: list[tuple[int, int]], prompts: str, tokens: int) -> list[str]:
    letters = "abcdefghij"[: len(sizes)]
    return ["".join(micro) for micro in cut_packed(letters, sizes, prompts, tokens)]


def test_a_prompt_stands_in_one_micro_batch_if_dividing_it_saves_little() -> None:
    assert cut([(10, 20)] * 4, "1122", 60) == ["ab", "cd"]
    assert cut([(10, 20)] * 4, "1122", 100) == ["abcd"]
    # Of the second prompt two responses fit into the rest: together they are longer than it.
    assert cut([(10, 20)] * 6, "122222", 80) == ["abc", "def"]
    assert cut([(10, 20), *[(45, 20)] * 3], "1222", 120) == ["a", "bcd"]
    assert cut([(10, 20), (10, 20), (90, 30)], "112", 60) == ["ab", "c"]
    assert cut([], "", 60) == []


def test_keys_of_a_prompt_count_for_each_of_its_responses() -> None:
    assert KEYS == 4
    assert cut([(50, 1)] * 10, "1" * 10, 100) == ["abcdefg", "hij"]
