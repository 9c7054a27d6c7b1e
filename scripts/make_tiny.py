"""How the shipped weights of the embedded model were made: plain PyTorch, on one CPU core.

    python scripts/make_tiny.py --out DIR [--steps N] [--seed S]

`vsr1-bench train sft tiny/cold_start` is the trainer to use. This script is kept because the
shipped weights came from it, and published results are measured on them (docs/training.md).

It trains on train-split scenes alone, with the prompts of `vsr1_bench.prompts.formats` put through
the model's own chat template, and takes its loss on the reply's tokens only.
"""

from __future__ import annotations

import argparse
import io
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench.prompts.formats import to_chat
from vsr1_bench.records import EncodedImage, Message
from vsr1_bench.tiny.architecture import build_model, build_processor, save
from vsr1_bench.tiny.scenes import Draw
from vsr1_bench.train.conversations import Example
from vsr1_bench.train.tiny_mixture import corpus, make_example

if TYPE_CHECKING:
    import torch

BATCH = 32
STEPS = 1600
EARLY = 0.25
"""Part of the steps that takes the early mixture."""
LEARNING_RATE = 2e-3
WARMUP = 60
IGNORED = -100

Prompt = tuple[tuple[Message, ...], Sequence[EncodedImage]]


def open_images(images: Sequence[EncodedImage]) -> list[Any]:
    """Decode images to RGB."""
    from PIL import Image

    return [Image.open(io.BytesIO(image.read())).convert("RGB") for image in images]


def encode_prompts(processor: Any, prompts: Sequence[Prompt], **options: Any) -> dict[str, Any]:
    """Put messages through the chat template and the processor.

    Args:
        processor: The model's processor.
        prompts: Messages and their images.
        **options: Passed to the processor (`padding`, `return_tensors`).

    Returns:
        Everything the processor gives: a model fed with less is silently wrong.
    """
    texts = [
        processor.apply_chat_template(to_chat(messages), add_generation_prompt=True, tokenize=False)
        for messages, _ in prompts
    ]
    pictures = open_images([image for _, images in prompts for image in images])
    return dict(processor(text=texts, images=pictures or None, **options))


def collate(processor: Any, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Make a right-padded batch.

    Returns:
        The model's inputs, and `labels` `(B, T)`: the reply's tokens and its end, else `IGNORED`.
    """
    import torch

    encoded = encode_prompts(processor, [(e.messages, e.images) for e in examples])
    tokenizer = processor.tokenizer
    replies = [
        [*tokenizer(e.reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for e in examples
    ]
    length = max(len(p) + len(r) for p, r in zip(encoded["input_ids"], replies, strict=True))
    shape = (len(examples), length)
    batch = {
        "input_ids": torch.full(shape, tokenizer.pad_token_id),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
        "mm_token_type_ids": torch.zeros(shape, dtype=torch.long),
        "labels": torch.full(shape, IGNORED),
    }
    for row, (prompt, reply) in enumerate(zip(encoded["input_ids"], replies, strict=True)):
        end = len(prompt) + len(reply)
        batch["input_ids"][row, :end] = torch.tensor([*prompt, *reply])
        batch["attention_mask"][row, :end] = 1
        batch["labels"][row, len(prompt) : end] = torch.tensor(reply)
        kinds = torch.as_tensor(encoded["mm_token_type_ids"][row])
        batch["mm_token_type_ids"][row, : len(prompt)] = kinds
    for name in ("pixel_values", "image_grid_thw"):
        if name in encoded:
            batch[name] = torch.as_tensor(encoded[name])
    return batch


def batches(processor: Any, steps: int, seed: int, size: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield `steps` batches of examples of similar length, because padding costs time."""
    draw, group = Draw(f"vsr1-tiny:{seed}:order"), 8
    for first in range(0, steps, group):
        n = min(group, steps - first)
        early = first < EARLY * steps
        examples = [make_example(first * size + i, seed, early=early) for i in range(n * size)]
        examples.sort(key=lambda example: _cost(processor.tokenizer, example))
        for index in draw.shuffled(range(n)):
            yield collate(processor, examples[index * size : (index + 1) * size])


def _cost(tokenizer: Any, example: Example) -> int:
    """Length of an example in tokens, images at a round figure."""
    texts = [p for m in example.messages for p in m.content if isinstance(p, str)]
    return len(tokenizer("".join((*texts, example.reply)))["input_ids"]) + 20 * len(example.images)


def loss_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of the reply's tokens; the head runs on those positions alone."""
    from torch.nn.functional import cross_entropy

    inputs = {name: value for name, value in batch.items() if name != "labels"}
    hidden = model.model(**inputs, use_cache=False).last_hidden_state
    wanted = batch["labels"][:, 1:]
    kept = wanted != IGNORED
    return cross_entropy(model.lm_head(hidden[:, :-1][kept]), wanted[kept])


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then a cosine to a twentieth of the peak."""
    warmup = min(WARMUP, max(1, steps // 10))
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


def train(
    model: Any, processor: Any, *, steps: int, seed: int, size: int = BATCH, peak: float
) -> list[float]:
    """Train a model in place.

    Args:
        model: From `build_model`.
        processor: From `build_processor`.
        steps: Optimiser steps.
        seed: Seed of the data.
        size: Examples per step.
        peak: Highest learning rate.

    Returns:
        The loss of each step, in nats per token.
    """
    import torch
    from tqdm.auto import tqdm

    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    model.train()
    losses: list[float] = []
    bar = tqdm(batches(processor, steps, seed, size), total=steps, unit="step", desc="cold start")
    for step, batch in enumerate(bar):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        loss = loss_of(model, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        if step % 20 == 0:
            bar.set_postfix(loss=f"{sum(losses[-20:]) / len(losses[-20:]):.3f}")
    model.eval()
    return losses


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    args = parser.parse_args(argv)
    start = time.monotonic()
    processor = build_processor(corpus())
    model = build_model(processor.tokenizer, seed=args.seed)
    losses = train(model, processor, steps=args.steps, seed=args.seed, peak=args.learning_rate)
    save(model, processor, args.out)
    final = sum(losses[-50:]) / len(losses[-50:])
    print(f"{args.steps} steps in {time.monotonic() - start:.0f} s, last loss {final:.4f}")
    print(f"next: vsr1-bench --model {args.out} --tasks demo")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
