"""Which responses share a copy of their prompt, and where they are in its row."""

from __future__ import annotations

import random
from collections import defaultdict

from vsr1_bench.train.core import sharing
from vsr1_bench.train.core.sharing import SEGMENTS, SHIFTS, Layout, bundles

REACH = 18_850.0
"""Of a Qwen2.5-VL of 3B."""


def rows_of(start: int, responses: list[int], tokens: int = 16_384, reach: float = REACH) -> int:
    return len(bundles([0] * len(responses), [start] * len(responses), responses, tokens, reach))


def test_every_response_is_in_one_row_of_its_prompt_and_no_row_is_too_long() -> None:
    draw = random.Random(0)
    for _ in range(200):
        starts = [draw.randrange(1, 3000) for _ in range(5)]
        prompts = [draw.randrange(5) for _ in range(30)]
        responses = [draw.randrange(1, 2000) for _ in prompts]
        tokens = draw.randrange(100, 9000)
        each = [starts[prompt] for prompt in prompts]
        found = bundles(prompts, each, responses, tokens, draw.choice([0.0, 50.0, REACH]))
        assert sorted(place for row in found for place in row) == [*range(30)]
        for row in found:
            assert len({prompts[place] for place in row}) == 1
            length = each[row[0]] + sum(responses[place] for place in row)
            assert len(row) == 1 or length <= min(tokens, sharing.LONGEST)


def test_responses_share_a_prompt_as_far_as_it_saves_work() -> None:
    assert rows_of(1300, [500] * 8) == 1
    assert rows_of(1300, [500] * 8, tokens=3000) == 3
    assert rows_of(100, [2000] * 8) == 8  # their attention would cost more than 100 tokens
    assert rows_of(100, [20] * 8, reach=0.0) > rows_of(100, [20] * 8)
    assert rows_of(5300, [500] * 8) == 2  # by LONGEST


def test_responses_share_prompts_only_if_it_saves_much() -> None:
    draw = random.Random(1)
    shared = 0
    for _ in range(500):
        start = draw.randrange(20, 3000)
        responses = [draw.randrange(10, 3000) for _ in range(8)]
        found = bundles([0] * 8, [start] * 8, responses, 16_384, REACH)
        work, alone = 0.0, 0.0
        for row in found:
            length = start + sum(responses[place] for place in row)
            work += REACH * length + length**2 / (1 if len(row) > 1 else 2)
        for own in responses:
            alone += REACH * (start + own) + (start + own) ** 2 / 2
        assert work <= (alone if len(found) == 8 else sharing.WORTH * alone)
        shared += len(found) < 8
    assert 100 < shared < 450
    # The embedded model's own shape: a prompt of 52 tokens saves next to nothing.
    assert rows_of(52, [55] * 4, reach=336.0) == 4


def test_the_layout_of_a_batch() -> None:
    layout = Layout.of(["a", "b", "a", "c"], [3, 2, 3, 5], [2, 1, 3, 1])
    assert layout.firsts == [0, 1, 3] and layout.width == 8
    assert [*layout.spans()] == [
        (0, slice(3, 5)),
        (1, slice(2, 3)),
        (0, slice(5, 8)),
        (2, slice(5, 6)),
    ]
    rows, columns = layout.predicted()
    at = defaultdict(list)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        at[row].append(column)
    # The first token of each response is predicted by the last one of its prompt.
    assert at == {0: [2, 3, 2, 5, 6], 1: [1], 2: [4]}
    shared = layout.shared()
    assert shared[SEGMENTS].tolist() == [
        [0, 0, 0, 1, 1, 3, 3, 3],
        [0, 0, 2, -1, -1, -1, -1, -1],
        [0, 0, 0, 0, 0, 4, -1, -1],
    ]
    assert shared[SHIFTS].tolist()[0] == [0, 0, 0, 0, 0, 2, 2, 2]
    assert Layout.of(["a", "b"], [3, 2], [2, 1]).shared() == {}
