"""Bytes that a training takes on each card, by part and by moment of a step.

Weights, gradients and optimizer states: ZeRO (arXiv:1910.02054, figure 1) as DeepSpeed keeps them.
Activations are measured (`footprint`). A GB is 1e9 bytes; a card of 80 GB has 80 GiB, and the 7 %
between them are left to the CUDA context and to fragments.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vsr1_bench.records import Sampling

from .engine import read_ds_config
from .settings import Training
from .shapes import Shape, shape_of

if TYPE_CHECKING:
    from .footprint import Footprint, MicroBatch

GB = 1e9
WORDS = 512
"""Tokens of a prompt beside its image: question and instruction."""
ENGINE_WORK = 2 * GB
"""What the rollouts' engine takes beside weights and cache: activations, CUDA graphs."""
OFFLOADED = "zero3_offload"
DEFAULT_SHARE = 0.9
"""vLLM's `gpu_memory_utilization`."""


@dataclass(frozen=True, slots=True)
class Cards:
    """Equal cards, one rank on each."""

    count: int
    gigabytes: float

    def __str__(self) -> str:
        return f"{self.count} x {self.gigabytes:g} GB"


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes of a rank."""

    parts: dict[str, float]
    """What is allocated, whenever; parts of different moments do not add up."""
    moments: dict[str, float]
    """Sum of what is there at once: at loading, and in each phase of a step."""
    host: float
    """Bytes of the machine's memory, all its ranks together: loading, offloaded states."""

    @property
    def worst(self) -> str:
        """The moment that takes most."""
        return max(self.moments, key=lambda name: self.moments[name])

    @property
    def most(self) -> float:
        """Bytes at the worst moment."""
        return self.moments[self.worst]


def measurable(config: Any) -> bool:
    """Whether a micro-batch of a model can be measured: a Qwen-VL, or a model without images."""
    vision = getattr(config, "vision_config", None)
    return vision is None or getattr(vision, "spatial_merge_size", None) is not None


def micro_of(recipe: Training, shape: Shape) -> MicroBatch:
    """The micro-batch at the limit: rows with an image of `max_pixels` and the longest response.

    They are padded, because a packed micro-batch of as many tokens has fewer images. Rows are as
    long as the prompt of such an image and `max_tokens` (GRPO), or `cutoff` (SFT); a row that is
    longer than `microbatch_tokens` is a micro-batch of its own.
    """
    from .footprint import MicroBatch

    vision: Any = getattr(shape.config, "vision_config", None)
    limit: int = getattr(recipe, "cutoff", 0) or getattr(recipe, "max_prompt_tokens", 0)
    words = min(WORDS, limit // 2)
    patches = None
    if getattr(vision, "spatial_merge_size", None):
        side = vision.patch_size * vision.spatial_merge_size
        pixels = min(recipe.max_pixels or Sampling().max_pixels, (limit - words) * side**2)
        across = max(1, math.isqrt(int(pixels)) // side) * vision.spatial_merge_size
        patches = (across, across)
        words += (across // vision.spatial_merge_size) ** 2
    response = getattr(recipe, "max_tokens", None) or max(1, limit - words)
    # PAPO with a masked entropy has a masked copy of each row in the same micro-batch.
    copies = 1 + bool(getattr(recipe, "masked_gradient", False))
    rows = copies * max(1, recipe.microbatch_tokens // copies // (words + response))
    return MicroBatch(rows, words + response, response, patches)


def footprint_of(recipe: Training, shape: Shape, micro: MicroBatch) -> Footprint:
    """The measured micro-batch of a recipe."""
    return _footprint(
        recipe.model,
        micro,
        recipe.dtype,
        recipe.gradient_checkpointing,
        recipe.freeze,
        *adapters(recipe),
    )


def adapters(recipe: Training) -> tuple[int, tuple[str, ...]]:
    """Rank of a recipe's LoRA adapters, 0 without, and the parts that get them."""
    return recipe.lora_rank or 0, recipe.lora_parts


@lru_cache
def _footprint(
    model: str,
    micro: MicroBatch,
    dtype: str,
    checkpointing: bool,
    freeze: tuple[str, ...],
    rank: int,
    parts: tuple[str, ...],
) -> Footprint:
    import torch

    from .footprint import measure

    shape = shape_of(model)
    assert shape is not None
    return measure(
        shape.config,
        micro,
        getattr(torch, dtype),
        checkpointing=checkpointing,
        freeze=freeze,
        lora_rank=rank,
        lora_parts=parts,
    )


def budget_of(recipe: Training, shape: Shape, cards: Cards) -> Budget:
    """Bytes of a rank of a recipe on these cards."""
    config = read_ds_config(recipe).get("zero_optimization", {})
    stage, world = int(config.get("stage", 0)), cards.count
    size = 2 if recipe.dtype == "bfloat16" else 4
    lora = shape.adapter(*adapters(recipe))
    trained = lora or shape.trained(recipe.freeze)
    whole = size * shape.parameters
    offloaded = "offload_param" in config, "offload_optimizer" in config
    divided = (whole + size * lora) / (world if stage == 3 else 1)
    weights = 0.0 if offloaded[0] else divided
    # 16-bit weights have fp32 master weights in addition.
    optimizer = (12 if size == 2 else 8) * trained / (world if stage else 1)
    if stage >= 2:  # accumulated in fp32; buckets on their way to the other ranks
        buckets = 2 * size * min(trained, int(config.get("reduce_bucket_size", 5e8)))
        gradients = (0.0 if offloaded[1] else 4 * trained / world) + buckets
    else:
        gradients = float(size * trained)
    micro = footprint_of(recipe, shape, micro_of(recipe, shape))
    live = int(config.get("stage3_max_live_parameters", 1e9))
    parts = {
        "weights": weights,
        "gradients": gradients,
        "optimizer": 0.0 if offloaded[1] else optimizer,
        "reference": weights if recipe.keeps_reference and not lora else 0.0,
        "gathered weights": float(size * min(shape.parameters, live)) if stage == 3 else 0.0,
        "activations": float(micro.peak),
        "of these a chunk of logits": float(micro.logits),
    }
    resident = sum(parts[name] for name in ("weights", "gradients", "optimizer", "reference"))
    moments = {
        # Parameters come one by one; at stage 3 each is whole until it is divided.
        "loading": resident + (size * shape.largest if stage == 3 else 0),
        "update": resident + parts["gathered weights"] + micro.peak,
        # AdamW's temporary copy of the second moments.
        "step": resident + (0.0 if offloaded[1] else 4 * trained / (world if stage else 1)),
    }
    if (share := engine_share(recipe)) is not None:
        parts["engine"] = share * cards.gigabytes * GB
        moments["generate"] = resident
        for moment in _awake(recipe):
            moments[moment] += parts["engine"]
        moments["sync"] = resident + whole + size * shape.largest
    # The first rank alone reads the weights.
    host = whole + world * ((optimizer if offloaded[1] else 0) + divided * offloaded[0])
    return Budget(parts, moments, host)


def _awake(recipe: Training) -> tuple[str, ...]:
    """The moments in which the engine's share is counted.

    It sleeps while the trainer loads, too; the share stays counted there as a reserve.
    """
    if getattr(recipe, "sleep_level", None) == 0:
        return ("generate", "loading", "update", "step")
    return ("generate", "loading")


def engine_share(recipe: Training) -> float | None:
    """The share of a card that the rollouts' engine takes; None = the recipe has no rollouts."""
    arguments: dict[str, Any] | None = getattr(recipe, "engine_args", None)
    if arguments is None:
        return None
    return float(arguments.get("gpu_memory_utilization", DEFAULT_SHARE))


def fits(recipe: Training, shape: Shape, cards: Cards) -> bool:
    """Whether a recipe runs on these cards."""
    card = cards.gigabytes * GB
    share = engine_share(recipe)
    served = share is None or share * card >= _engine_needs(recipe, shape)
    return served and budget_of(recipe, shape, cards).most <= card


def _engine_needs(recipe: Training, shape: Shape) -> float:
    """Bytes of an engine that holds one sequence of full length."""
    longest = recipe_length(recipe)
    return 2 * shape.parameters + shape.cache_bytes * longest + ENGINE_WORK


def recipe_length(recipe: Training) -> int:
    """Tokens of the longest sequence of the rollouts."""
    arguments: dict[str, Any] = getattr(recipe, "engine_args", {})
    longest = getattr(recipe, "max_prompt_tokens", 0) + getattr(recipe, "max_tokens", 0)
    return int(arguments.get("max_model_len") or longest)


def fitting(
    recipe: Training, shape: Shape, cards: Cards, *, offload: bool = True
) -> list[str] | None:
    """The first settings with which a recipe runs on these cards.

    Args:
        recipe: The recipe.
        shape: Its model's.
        cards: Where it is to run.
        offload: Also try to keep states in the host's memory, which is slow.

    Returns:
        `key=value` settings, as few and as harmless as do it: none, if it runs as it stands. None
        if no setting of `remedies` is enough.
    """
    for settings, changed in remedies(recipe, shape):
        if changed.deepspeed == OFFLOADED and not offload:
            continue
        for said, candidate in ((settings, changed), *_shares(settings, changed, shape, cards)):
            if fits(candidate, shape, cards):
                return said
    return None


def remedies(recipe: Training, shape: Shape) -> Iterator[tuple[list[str], Training]]:
    """Changes that take less memory, from none to the slowest; they leave the objective alone."""
    micro = micro_of(recipe, shape)
    least = 1 + bool(getattr(recipe, "masked_gradient", False))
    row: dict[str, Any] = {"microbatch_tokens": least * micro.tokens} if micro.rows > least else {}
    again: dict[str, Any] = (
        {} if recipe.gradient_checkpointing else {"gradient_checkpointing": True}
    )
    steps: list[dict[str, Any]] = [{}, again, row]
    steps += [{"deepspeed": "zero3"}, {"deepspeed": "zero3"} | again | row]
    steps += [{"deepspeed": OFFLOADED}, {"deepspeed": OFFLOADED} | again | row]
    tried: list[dict[str, Any]] = []
    for step in steps:
        update = {key: value for key, value in step.items() if getattr(recipe, key) != value}
        if update in tried:
            continue
        tried.append(update)
        said = [f"{key}={str(value).lower()}" for key, value in update.items()]
        yield said, recipe.model_copy(update=update)


def _shares(
    settings: list[str], recipe: Training, shape: Shape, cards: Cards
) -> Iterator[tuple[list[str], Training]]:
    """The same with the largest share for the engine that leaves room, in steps of 0.05."""
    share = engine_share(recipe)
    if share is None:
        return
    moments = budget_of(recipe, shape, cards).moments
    card = cards.gigabytes * GB
    room = card - (max(moments[moment] for moment in _awake(recipe)) - share * card)
    largest = math.floor(room / card * 20) / 20
    if 0 < largest < share or share * card < _engine_needs(recipe, shape) <= largest * card:
        arguments = getattr(recipe, "engine_args", {}) | {
            "gpu_memory_utilization": min(largest, DEFAULT_SHARE)
        }
        listed = ", ".join(f"{k} = {json.dumps(v)}" for k, v in arguments.items())
        yield (
            [*settings, f"engine_args='{{ {listed} }}'"],
            recipe.model_copy(update={"engine_args": arguments}),
        )
