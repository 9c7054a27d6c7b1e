"""`train plan`: print the resolved recipe, and the size and memory of a step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from vsr1_bench.tiny import weights_path

from .recipe import Recipe
from .sft_recipe import SftRecipe


def describe(recipe: Recipe | SftRecipe, world: int) -> str:
    """The resolved recipe and its arithmetic as text; loads no weights and uses no network.

    Args:
        recipe: The recipe.
        world: Number of processes that train together.
    """
    settings = recipe.model_dump(mode="json")
    source = recipe.source or "none: this project's own recipe"
    step = _grpo(recipe, world) if isinstance(recipe, Recipe) else _sft(recipe, world)
    count = parameters(recipe.model)
    memory = "memory: unknown, because the model is not on this machine"
    return "\n".join(
        [
            *(f"{key} = {json.dumps(value)}" for key, value in settings.items()),
            *("", f"source: {source}", "", *step),
            memory if count is None else _memory(recipe, world, count),
        ]
    )


def _grpo(recipe: Recipe, world: int) -> list[str]:
    """A step of GRPO."""
    responses = recipe.prompts_per_step * recipe.samples_per_prompt
    updates = recipe.epochs * recipe.prompts_per_step // recipe.minibatch_prompts
    each = recipe.minibatch_prompts * recipe.samples_per_prompt
    passes = "two passes" if recipe.reads else "one pass"
    return [
        f"a step: {recipe.prompts_per_step} prompts x {recipe.samples_per_prompt} = {responses} "
        f"responses, {passes}, at most {responses * recipe.max_tokens * (1 + recipe.reads):,} "
        "tokens sampled",
        f"updates per step: {updates}, of {recipe.minibatch_prompts} prompts = {each} responses",
        f"on {world} ranks: {recipe.prompts_per_step / world:g} prompts of a step and "
        f"{recipe.minibatch_prompts / world:g} of a minibatch per rank",
        f"in all: {recipe.max_steps} steps, {recipe.max_steps * responses:,} responses",
    ]


def _sft(recipe: SftRecipe, world: int) -> list[str]:
    """A step of supervised fine-tuning."""
    each = recipe.batch_size / world
    if recipe.schedule_steps is None:
        length = f"{recipe.epochs:g} passes over the data"
    else:
        length = f"{recipe.planned(0).steps} updates of {recipe.schedule_steps} of the schedule"
    return [
        f"an update: {recipe.batch_size} conversations, {each:g} per rank, in micro-batches of at "
        f"most {recipe.microbatch_tokens:,} padded tokens; in all: {length}",
        f"trained: all but {', '.join(recipe.freeze)}" if recipe.freeze else "trained: everything",
    ]


def _memory(recipe: Recipe | SftRecipe, world: int, count: int) -> str:
    """Memory of weights, gradients and optimizer per rank (ZeRO: arXiv:1910.02054, figure 1)."""
    from .core.engine import read_ds_config

    stage = int(read_ds_config(recipe).get("zero_optimization", {}).get("stage", 0))
    size = 2 if recipe.dtype == "bfloat16" else 4
    # 16-bit weights have fp32 master weights in addition.
    states = 12 if size == 2 else 8
    parts = {
        "weights": size * count / (world if stage == 3 else 1),
        "gradients": 4 * count / world if stage >= 2 else size * count,  # accumulated in fp32
        "optimizer": states * count / (world if stage >= 1 else 1),
        "reference": (size * count / (world if stage == 3 else 1)) if recipe.keeps_reference else 0,
    }
    if isinstance(recipe, Recipe):
        parts["rollout engine's weights"] = size * count
    listed = ", ".join(f"{name} {value / 1e9:.2f} GB" for name, value in parts.items())
    return (
        f"memory per rank, {count:,} parameters, ZeRO stage {stage}: {listed}; in all "
        f"{sum(parts.values()) / 1e9:.2f} GB, plus activations and KV cache"
    )


def parameters(model: str) -> int | None:
    """Number of a local model's parameters, from its files' headers; None if it is not local."""
    folder = weights_path() if model == "tiny" else Path(model).expanduser()
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        total += sum(math.prod(entry["shape"]) for entry in header.values())
    return total or None
