"""One copy of a prompt for several responses: the same log-probs, gradients and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models import demo_requests, tiny
from tests.responses import qwen2_5, qwen3, rows_on, two_images
from tests.training import small_recipe, trainer
from vsr1_bench.errors import UsageError
from vsr1_bench.generation.chat import ChatRenderer
from vsr1_bench.records import Message
from vsr1_bench.train.core.encoding import Encoder, TrainRow
from vsr1_bench.train.core.logprobs import Scorer, score_batch
from vsr1_bench.train.core.metrics import StepMetrics
from vsr1_bench.train.core.sharing import SEGMENTS, reach_of


def prompts(kind: str) -> list[Any]:
    shown = [*demo_requests(2), replace(two_images(), sample_id="both")]
    if kind == "image":
        return shown
    words = ("How many?", "What is one and one, and why?")
    return [
        replace(shown[0], images=(), messages=(Message("user", (text,)),), sample_id=text)
        for text in words
    ]


def scored(
    model: Any, encoder: Encoder, rows: Sequence[TrainRow]
) -> tuple[dict[tuple[str, int, bool], Tensor], dict[str, Tensor], int]:
    """Log-probs of each row, the gradient of their weighted sum, and the rows of the batch."""
    batch = encoder.collate(rows)
    model.zero_grad()
    logprobs, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
    each = [(row.request.index + 1) * torch.linspace(-1, 1, len(row.tokens)) for row in rows]
    (logprobs * torch.cat(each)).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return by_row(rows, logprobs.detach()), gradients, len(batch.inputs["input_ids"])


def by_row(rows: Sequence[TrainRow], values: Tensor) -> dict[tuple[str, int, bool], Tensor]:
    parts = torch.split(values, [len(row.tokens) for row in rows])
    names = [(row.request.sample_id, row.request.index, row.masked) for row in rows]
    return dict(zip(names, parts, strict=True))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["image", "text", "masked"])
@pytest.mark.parametrize("build", [qwen2_5, qwen3])
def test_responses_behind_one_prompt_are_scored_as_alone(
    build: Any, kind: str, checkpointing: bool
) -> None:
    model, encoder = build(), Encoder(ChatRenderer(tiny()))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    rows = rows_on(prompts("text" if kind == "text" else "image"), 4)
    named = "text" if kind == "text" else "image"

    def cut() -> list[TrainRow]:
        (micro,) = encoder.microbatches(rows, 10**6, len(rows))[named]
        return [*micro, *(replace(r, masked=True) for r in micro)] if kind == "masked" else micro

    alone = cut()
    wanted, wanted_gradients, many = scored(model, encoder, alone)
    encoder.reach = reach_of(None, model)
    together = cut()
    found, gradients, few = scored(model, encoder, together)
    assert 4 * few == many == len(alone)
    assert found.keys() == wanted.keys()
    for name, values in found.items():
        torch.testing.assert_close(values, wanted[name], rtol=0, atol=2e-5)
    assert gradients.keys() == wanted_gradients.keys()
    for name, gradient in gradients.items():
        error = float((gradient - wanted_gradients[name]).abs().max())
        assert error <= 1e-4 * float(wanted_gradients[name].abs().max()) + 1e-6, name


def test_the_same_sample_in_two_slots_of_a_step_has_two_masked_images() -> None:
    model, encoder = qwen2_5(), Encoder(ChatRenderer(tiny()))
    first = demo_requests(1)[0]
    slots = [replace(first, sampling=replace(first.sampling, seed=seed)) for seed in (1, 2)]
    rows = [replace(row, masked=True) for slot in slots for row in rows_on([slot], 2)]
    alone = [scored(model, encoder, [row])[0] for row in rows]
    encoder.reach = reach_of(None, model)
    (micro,) = encoder.microbatches(rows, 10**6, len(rows))["image"]
    batch = encoder.collate(micro)
    with torch.no_grad():
        found, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
    parts = torch.split(found, batch.lengths)
    for row, part in zip(micro, parts, strict=True):
        (wanted,) = alone[rows.index(row)].values()
        torch.testing.assert_close(part, wanted, rtol=0, atol=2e-5)
    assert len(batch.inputs["input_ids"]) == 2


def test_without_the_mask_the_responses_would_see_each_other() -> None:
    model, encoder = qwen2_5(), Encoder(ChatRenderer(tiny()))
    encoder.reach = reach_of(None, model)
    rows = rows_on(prompts("image"), 3)
    (micro,) = encoder.microbatches(rows, 10**6, len(rows))["image"]
    batch = encoder.collate(micro)
    with torch.no_grad():
        wanted, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
        segments = batch.inputs[SEGMENTS]
        segments[segments > 0] = 1
        found, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
    assert float((found - wanted).abs().max()) > 0.01


def test_a_step_with_shared_prompts_is_the_step_without(tmp_path: Path) -> None:
    """Both passes, a reference, two updates from the same rollouts."""
    told: list[dict[str, float]] = []
    widths: list[int] = []
    for shared in (None, False):
        changes = {"share_prompts": shared, "beta": 0.01, "minibatch_prompts": 1, "lr": 1e-4}
        changes |= {"max_tokens": 16}
        with trainer(small_recipe(tmp_path / str(shared), **changes)) as t:
            collate = t.encoder.collate

            def counted(rows: Sequence[TrainRow], collate: Any = collate) -> Any:
                batch = collate(rows)
                widths.append(SEGMENTS in batch.inputs)
                return batch

            t.encoder.collate = counted
            t.start()
            metrics = StepMetrics()
            widths.clear()
            t.step(metrics)
            assert any(widths) is (shared is None)
            told.append(t.log(metrics))
    one, other = told
    assert one["flops"] < 0.95 * other["flops"]
    for name in ("loss", "grad_norm", "kl", "entropy", "ratio", "mismatch/mean"):
        assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-6), name
    assert one["tokens_trained"] == other["tokens_trained"]


def test_where_prompts_cannot_be_shared() -> None:
    model = qwen2_5()
    text = model.config.get_text_config()
    assert reach_of(True, model) == reach_of(None, model)
    assert reach_of(None, model) is not None
    assert reach_of(False, model) is None
    text._attn_implementation = "eager"
    assert reach_of(None, model) is None
    with pytest.raises(UsageError, match=r"attention=sdpa, got qwen2_5_vl with eager; drop"):
        reach_of(True, model)
    text._attn_implementation = "sdpa"
    text.layer_types = ["full_attention", "sliding_attention"]
    assert reach_of(None, model) is None


def test_attention_without_a_mask_is_refused_in_one_line(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, share_prompts=True, attention="eager")
    with pytest.raises(UsageError, match=r"^share_prompts=true: wanted"), trainer(recipe):
        pass
