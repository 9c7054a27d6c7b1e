"""The log-probs of given tokens in padded batches."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.models import tiny  # noqa: E402
from vsr1_bench.train.core.footprint import MicroBatch, batch_of  # noqa: E402
from vsr1_bench.train.core.logprobs import Scorer, score_batch  # noqa: E402

PADDED = (0, 70, 25)
"""Tokens of padding of each row."""


@pytest.mark.parametrize("patches", [(8, 8), None], ids=["image", "text"])
def test_padding_needs_no_mask_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, patches: tuple[int, int] | None
) -> None:
    """Rows of a batch have the log-probs and gradients that they have alone, to rounding."""
    from transformers import AutoModelForImageTextToText

    scorer = Scorer(AutoModelForImageTextToText.from_pretrained(tiny().path, dtype=torch.float32))
    masks: list[Any] = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def spied(*args: Any, **named: Any) -> Any:
        masks.append((named.get("attn_mask"), named["is_causal"]))
        return attention(*args, **named)

    def scored(padded: tuple[int, ...], width: int) -> tuple[Any, Any]:
        """Log-probs of the first 40 tokens of each row's response, and the embedding's gradient."""
        scorer.zero_grad()
        batch = batch_of(scorer.policy.config, MicroBatch(len(padded), width, 110, patches))
        generator = torch.Generator().manual_seed(0)
        words = torch.randint(10, 90, (width,), generator=generator)
        batch.inputs["attention_mask"].fill_(1)
        for row, count in enumerate(padded):
            text = batch.inputs["input_ids"][row] != scorer.policy.config.image_token_id
            batch.inputs["input_ids"][row, text] = words[text]
            batch.inputs["attention_mask"][row, width - count :] = 0
        if patches:
            pixels = batch.inputs["pixel_values"]
            pixels.copy_(torch.linspace(-1, 1, pixels[0].numel()))
        logprobs = score_batch(scorer, batch, temperature=1.0, bans=False)[0]
        firsts = logprobs.view(len(padded), 110)[:, :40]
        firsts.sum().backward()
        return firsts.detach(), scorer.policy.get_input_embeddings().weight.grad

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spied)
    together, gradient = scored(PADDED, 200)
    text = [mask for mask, causal in masks if causal]
    assert len(text) >= 2 and all(mask is None for mask, causal in masks)
    alone, own = scored((0,), 200)
    assert torch.allclose(together, alone.expand_as(together), atol=1e-5)
    assert torch.allclose(gradient, len(PADDED) * own, atol=1e-4)
