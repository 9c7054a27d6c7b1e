"""Where prompts and responses are in a batch."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")

from vsr1_bench.train.core.layout import Layout, Segments  # noqa: E402


def test_rows_of_their_own() -> None:
    layout = Layout.padded([3, 2], [2, 1])
    assert layout.shape == (2, 5) and layout.segments is None
    assert layout.prompts == [(0, 0), (1, 5)]
    assert [*layout.spans()] == [slice(3, 5), slice(7, 8)]
    # The first token of each response is predicted by the last one of its prompt.
    assert layout.predicted().tolist() == [2, 3, 6]


def test_a_packed_batch_has_one_copy_of_each_prompt() -> None:
    layout = Layout.packed(["a", "b", "a", "c"], [3, 2, 3, 5], [2, 1, 3, 1])
    assert layout.shape == (1, 17)
    assert layout.prompts == [(0, 0), (1, 8), (3, 11)]
    assert [*layout.spans()] == [slice(3, 5), slice(10, 11), slice(5, 8), slice(16, 17)]
    assert layout.predicted().tolist() == [2, 3, 9, 2, 5, 6, 15]
    # Prompt a, its two responses, and two prompts with their only response.
    assert layout.segments == Segments([3, 2, 3, 3, 6], [None, 0, 0, None, None])
    assert layout.segments.key_counts() == [3, 5, 6, 3, 6]


def test_flash_attention_reads_prompts_again_for_each_response() -> None:
    segments = Segments([3, 2, 1, 2], [None, 0, 0, None])
    queries, keys, places = segments.varlen("cpu")
    assert queries.tolist() == [0, 3, 5, 6, 8] and keys.tolist() == [0, 3, 8, 12, 14]
    assert places is not None
    assert places.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 5, 6, 7]
    assert segments.varlen("cpu")[0] is queries
    assert Segments([3, 2], [None, None]).varlen("cpu")[2] is None


def test_every_token_of_a_packed_batch_has_one_place() -> None:
    draw = random.Random(0)
    for _ in range(100):
        prompts = [draw.randrange(4) for _ in range(draw.randint(1, 12))]
        starts = [(5, 1, 9, 2)[prompt] for prompt in prompts]
        lengths = [draw.randrange(0, 7) for _ in prompts]
        layout = Layout.packed(prompts, starts, lengths)
        taken = [place for span in layout.spans() for place in range(span.start, span.stop)]
        for first, at in layout.prompts:
            taken += range(at, at + starts[first])
        assert sorted(taken) == [*range(layout.shape[1])]
        assert layout.segments is not None and sum(layout.segments.lengths) == layout.shape[1]
        assert len(layout.prompts) == len({*prompts})


def test_positions_go_on_behind_each_prompt() -> None:
    layout = Layout.packed("aba", [3, 2, 3], [2, 1, 1])
    image = torch.tensor([[0, 1, 1], [0, 1, 1], [0, 1, 2]])
    found = layout.positions([image, torch.tensor([[0, 1]])])
    assert found[:, 0].tolist() == [
        [0, 1, 1, 3, 4, 3, 0, 1, 2],
        [0, 1, 1, 3, 4, 3, 0, 1, 2],
        [0, 1, 2, 3, 4, 3, 0, 1, 2],
    ]
    assert layout.positions([image[:1], torch.tensor([[0, 1]])]).tolist() == [
        [0, 1, 1, 2, 3, 2, 0, 1, 2]
    ]
