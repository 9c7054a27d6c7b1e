"""Attention of vision towers: windows of equal length in one call, with equal results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tests.models import by_key, demo_requests, tiny
from vsr1_bench.errors import UsageError
from vsr1_bench.generation.attention import WINDOWS, attention_settings, set_attention
from vsr1_bench.generation.base import parse_backend_args
from vsr1_bench.generation.identity import identify
from vsr1_bench.generation.transformers import TransformersGenerator
from vsr1_bench.generation.transformers_args import TransformersArgs
from vsr1_bench.tiny import weights_path
from vsr1_bench.train.recipe import load_recipe

EQUAL, UNEQUAL = (1, 32, 32), (1, 36, 36)
"""Grids of patches: windows of 8 x 8 cover 448 x 448 pixels, and not the 504 of 512 x 512."""


@pytest.fixture
def model() -> Qwen2_5_VLForConditionalGeneration:
    """A random Qwen2.5-VL that is narrow and whose tower is as deep as the real one."""
    small = Qwen2_5_VLConfig.from_pretrained(weights_path())
    small.vision_config.depth = 32
    small.vision_config.fullatt_block_indexes = [7, 15, 23, 31]
    torch.manual_seed(0)
    made = Qwen2_5_VLForConditionalGeneration(small).eval()
    assert made.config.vision_config._attn_implementation == "sdpa"
    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of the queries of every attention call."""
    shapes: list[tuple[int, ...]] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def counted(query: Tensor, *rest: Any, **more: Any) -> Tensor:
        shapes.append(tuple(query.shape))
        output: Tensor = attend(query, *rest, **more)
        return output

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    return shapes


def run_tower(model: Any, grids: list[tuple[int, int, int]]) -> tuple[Tensor, list[Tensor]]:
    """Features of random pixels, and every gradient of the tower."""
    tower = model.model.visual
    patches = sum(t * h * w for t, h, w in grids)
    config = model.config.vision_config
    width = config.in_channels * config.temporal_patch_size * config.patch_size**2
    noise = torch.Generator().manual_seed(1)
    pixels = torch.randn(patches, width, generator=noise)
    model.zero_grad()
    features = tower(pixels, grid_thw=torch.tensor(grids)).pooler_output
    (features * torch.randn(features.shape, generator=noise)).sum().backward()
    return features.detach(), [p.grad.clone() for p in tower.parameters()]


@pytest.mark.parametrize(
    "grids",
    [[EQUAL], [UNEQUAL], [EQUAL, UNEQUAL, (1, 2, 6), EQUAL], [(1, 2, 2)]],
    ids=["equal", "unequal", "several", "smallest"],
)
def test_windows_in_one_call_are_bit_equal(model: Any, grids: list[tuple[int, int, int]]) -> None:
    plain, plain_gradients = run_tower(model, grids)
    set_attention(model, "auto", "cpu")
    assert model.config.vision_config._attn_implementation == WINDOWS
    assert model.config.get_text_config()._attn_implementation == "sdpa"
    batched, gradients = run_tower(model, grids)
    assert torch.equal(batched, plain)
    for own, wanted in zip(gradients, plain_gradients, strict=True):
        assert torch.equal(own, wanted)


def test_an_image_takes_a_call_per_layer_and_length(
    model: Any, calls: list[tuple[int, ...]]
) -> None:
    run_tower(model, [UNEQUAL])
    assert len(calls) == 704  # 28 layers of 25 windows, 4 layers without
    calls.clear()
    set_attention(model, "auto", "cpu")
    run_tower(model, [UNEQUAL])
    assert len(calls) == 28 * 3 + 4  # inner windows, both edges, the corner
    calls.clear()
    run_tower(model, [EQUAL])
    assert len(calls) == 32


def test_a_saved_model_does_not_name_our_function(model: Any, tmp_path: Path) -> None:
    set_attention(model, "auto", "cpu")
    model.save_pretrained(tmp_path)
    assert "flash" not in (tmp_path / "config.json").read_text()


def test_answers_are_those_of_sdpa() -> None:
    found = {}
    for name in ("auto", "sdpa"):
        args = TransformersArgs(dtype="float32", logprobs=True, attn_implementation=name)
        with TransformersGenerator(tiny(), args) as generator:
            used = generator.model.config.vision_config._attn_implementation
            assert used == (WINDOWS if name == "auto" else "sdpa")
            found[name] = by_key(list(generator.generate(demo_requests(4, max_tokens=12))))
    assert found["auto"] == found["sdpa"]


def test_an_attention_is_in_the_spec_where_it_is_given() -> None:
    assert identify("transformers", tiny(), {}).engine == {}
    assert identify("transformers", tiny(), {"attn_implementation": "auto"}).engine == {}
    given = identify("transformers", tiny(), {"attn_implementation": "eager"}).engine
    assert given == {"attn_implementation": "eager"}


def test_what_cannot_be_used_is_one_line() -> None:
    with pytest.raises(
        UsageError, match=r"attn_implementation='magic'.*'flash_attention_2'"
    ) as one:
        parse_backend_args(TransformersArgs, "transformers", {"attn_implementation": "magic"})
    with pytest.raises(UsageError, match=r"attention='magic'.*'flash_attention_2'") as two:
        load_recipe("tiny/vision_sr1", ["attention=magic"])
    with pytest.raises(
        UsageError, match=r"needs a GPU and dtype bfloat16.*bfloat16 on cpu"
    ) as three:
        attention_settings("flash_attention_2", "bfloat16", "cpu", "attention")
    with pytest.raises(UsageError, match="float32 on cuda:0; give auto or sdpa") as four:
        attention_settings("flash_attention_2", "float32", "cuda:0", "attention")
    for refused in (one, two, three, four):
        assert "\n" not in str(refused.value)
    assert attention_settings("flash_attention_2", "float16", "cuda", "attention") == {
        "attn_implementation": "flash_attention_2"
    }
    assert attention_settings("auto", "float32", "cpu", "attention") == {}
