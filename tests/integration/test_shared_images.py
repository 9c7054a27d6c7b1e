"""One pass of the tower per picture, and pixels that are prepared once a step."""

from __future__ import annotations

import threading
from collections import Counter
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
from vsr1_bench.generation.chat import ChatRenderer
from vsr1_bench.records import Request
from vsr1_bench.train.core.encoding import Encoder, TrainRow
from vsr1_bench.train.core.logprobs import Scorer, score_batch
from vsr1_bench.train.core.metrics import StepMetrics


class Counting(Encoder):
    """An encoder that counts what it encodes anew."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__(ChatRenderer(tiny()), limit)
        self.encoded: Counter[Request] = Counter()

    def _encode(self, request: Request, mask: str = "") -> dict[str, Any]:
        self.encoded[request] += 1
        return super()._encode(request, mask)


def scored(model: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor], list[int]]:
    """Log-probs of a batch, the gradient of their weighted sum, and the patches of each pass."""
    patches: list[int] = []
    hook = model.model.visual.register_forward_pre_hook(
        lambda _, inputs: patches.append(len(inputs[0]))
    )
    model.zero_grad()
    logprobs, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
    hook.remove()
    (logprobs * torch.linspace(-1, 1, len(logprobs))).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return logprobs.detach(), gradients, patches


@pytest.mark.parametrize("build", [qwen2_5, qwen3])
def test_samples_share_the_features_of_their_image(build: Any) -> None:
    model, encoder = build(), Encoder(ChatRenderer(tiny()))
    requests = [*demo_requests(2), replace(two_images(), sample_id="both")]
    rows = rows_on(requests, 4)
    batch = encoder.collate(rows)
    logprobs, gradients, patches = scored(model, batch)
    encoder.shares_images = False
    plain = encoder.collate(rows)
    wanted, plain_gradients, all_patches = scored(model, plain)
    assert [4 * n for n in patches] == all_patches
    assert len(batch.inputs["pixel_values"]) * 4 == len(plain.inputs["pixel_values"])
    torch.testing.assert_close(logprobs, wanted, rtol=0, atol=2e-5)
    assert gradients.keys() == plain_gradients.keys()
    assert any("visual" in name for name in gradients)
    for name, gradient in gradients.items():
        scale = float(plain_gradients[name].abs().max())
        error = float((gradient - plain_gradients[name]).abs().max())
        assert error <= 1e-4 * scale + 1e-7, name


def test_the_images_of_each_row_are_its_own() -> None:
    model, encoder = qwen2_5(), Encoder(ChatRenderer(tiny()))
    rows = rows_on([*demo_requests(3), two_images()], 2)
    with torch.no_grad():
        together, _ = score_batch(Scorer(model), encoder.collate(rows), temperature=1.0, bans=False)
        alone = [
            score_batch(Scorer(model), encoder.collate([row]), temperature=1.0, bans=False)[0]
            for row in rows
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=2e-5)


def test_prompts_are_encoded_once_until_they_are_forgotten() -> None:
    encoder = Counting()
    rows = rows_on([r for r in demo_requests(25) if r.images], 2)
    for _ in range(3):  # old log-probs, reference, update
        for micro in (rows[:20], rows[20:]):
            encoder.collate(micro)
    assert len(encoder.encoded) == 20 and set(encoder.encoded.values()) == {1}
    encoder.forget()
    encoder.collate(rows[:1])
    assert encoder.encoded.most_common(1)[0][1] == 2


def test_the_cache_is_bounded_in_bytes() -> None:
    encoder, bounded = Counting(), Counting(limit=1)
    rows = rows_on(demo_requests(3), 2)
    wanted, found = encoder.collate(rows), bounded.collate(rows)
    assert max(bounded.encoded.values()) > 1 and len(bounded._kept) == 1
    for name in ("input_ids", "attention_mask", "image_grid_thw"):
        assert torch.equal(wanted.inputs[name], found.inputs[name])


def test_a_batch_is_made_while_the_one_before_it_is_used() -> None:
    encoder = Counting()
    rows = rows_on(demo_requests(3), 1)
    second = threading.Event()
    collate = encoder.collate

    def noted(micro: Sequence[TrainRow]) -> Any:
        batch = collate(micro)
        if micro[0] is rows[1]:
            second.set()
        return batch

    encoder.collate = noted  # type: ignore[method-assign]
    batches = encoder.batches([[row] for row in rows])
    first = next(batches)
    assert second.wait(30)
    assert [first, *batches][2].targets.tolist() == list(rows[2].tokens)
    assert list(encoder.batches([])) == []


def test_a_prompt_that_cannot_be_encoded_raises_at_its_place() -> None:
    encoder = Counting()
    good, bad = rows_on(demo_requests(2), 1)
    batches = encoder.batches([[good], [replace(bad, prompt_tokens=1)]])
    next(batches)
    with pytest.raises(Exception, match="1 tokens in the engine"):
        next(batches)


def test_a_step_encodes_each_prompt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Counter[str] = Counter()
    encode = Encoder._encode

    def counted(self: Encoder, request: Request, mask: str = "") -> dict[str, Any]:
        if request.images:
            made[request.sample_id] += 1
        return encode(self, request, mask)

    sizes = {"prompts_per_step": 20, "minibatch_prompts": 10, "samples_per_prompt": 2}
    changes = sizes | {"max_tokens": 20, "beta": 0.01, "importance_cap": 0}
    with trainer(small_recipe(tmp_path, **changes)) as t:
        t.start()
        monkeypatch.setattr(Encoder, "_encode", counted)
        t.step(StepMetrics())
        assert t.encoder._bytes == 0
    assert len(made) == 20 and set(made.values()) == {1}


def test_responses_to_a_prompt_stay_together_and_lose_nothing() -> None:
    """Loss and gradient are those of the cut by length alone, in fewer passes of the tower."""
    model, encoder = qwen2_5(), Encoder(ChatRenderer(tiny()))
    rows = rows_on([r for r in demo_requests(6) if r.images], 4)
    prompt = max(encoder.encode(row.request)["input_ids"].shape[1] for row in rows)
    tokens = 4 * (prompt + 6)
    encoder.shares_images = False
    by_length = encoder.microbatches(rows, tokens, len(rows))["image"]
    encoder.shares_images = True
    by_prompt = encoder.microbatches(rows, tokens, len(rows))["image"]

    def total(cut: Sequence[Sequence[TrainRow]]) -> tuple[float, dict[str, Tensor], int]:
        loss, gradients, passes = 0.0, dict[str, Tensor](), 0
        for micro in cut:
            batch = encoder.collate(micro)
            model.zero_grad()
            share = score_batch(Scorer(model), batch, temperature=1.0, bans=False)[0].sum()
            share.backward()
            loss += float(share.detach())
            passes += len({row.request.sample_id for row in micro})
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    gradients[name] = gradients.get(name, 0) + parameter.grad
        return loss, gradients, passes

    before, wanted, many = total(by_length)
    after, found, few = total(by_prompt)
    assert len(by_prompt) == len(by_length) and few < many
    assert after == pytest.approx(before, rel=1e-5)
    for name, gradient in found.items():
        error = float((gradient - wanted[name]).abs().max())
        assert error <= 1e-4 * float(wanted[name].abs().max()) + 1e-6, name
