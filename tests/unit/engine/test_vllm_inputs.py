"""What a trainer's vLLM engine is given, with a stub that counts the prompts it processes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from tests.models import demo_requests, tiny
from vsr1_bench.generation.chat import ChatRenderer
from vsr1_bench.generation.vllm_sync import SyncableVllm


def generator(processed: list[Any]) -> SyncableVllm:
    """A generator around an engine that only processes prompts."""

    def process(prompts: list[dict[str, Any]]) -> list[object]:
        processed.extend(prompts)
        return [object()]

    made = SyncableVllm.__new__(SyncableVllm)
    made.renderer = ChatRenderer(tiny())
    made.engine = SimpleNamespace(
        renderer=SimpleNamespace(render_cmpl=process),
        reset_prefix_cache=lambda: True,
        reset_encoder_cache=lambda: None,
    )
    return made


def test_the_samples_of_a_prompt_are_processed_once_until_the_weights_change() -> None:
    """Other text, other images or tokens to score are another input."""
    processed: list[Any] = []
    made = generator(processed)
    one, other = (made.renderer.render(request) for request in demo_requests(2))
    inputs = [made._input(prompt) for prompt in (one, replace(one), one, other, other)]
    assert len(processed) == 2 and len(set(inputs[:3])) == 1 and inputs[3] is inputs[4]
    longer = replace(other, text=f"{other.text}!")
    less = replace(other, images=[])
    for again in (longer, other, other.masked(), less, one):
        made._input(again)
    assert len(processed) == 7
    made._input(one, (1, 2))
    assert len(processed) == 8 and processed[-1]["prompt_token_ids"][-2:] == [1, 2]
    made.reset_caches()
    made._input(one)
    assert len(processed) == 9
