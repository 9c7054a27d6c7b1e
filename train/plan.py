"""`train plan`: print the resolved recipe, and what a step and its memory take."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .recipe import Recipe
from .sft_recipe import SftRecipe


def describe(recipe: Recipe | SftRecipe, world: int) -> str:
    """The resolved recipe and its arithmetic as text; loads no weights and asks no hub.

    Args:
        recipe: The recipe.
        world: Processes that train together.
    """
    lines = [
        f"{key} = {json.dumps(value)}" for key, value in recipe.model_dump(mode="json").items()
    ]
    lines += ["", f"source: {recipe.source or 'none: this project' + chr(39) + 's own recipe'}"]
    told = _grpo(recipe, world) if isinstance(recipe, Recipe) else _sft(recipe, world)
    lines += ["", *told]
    count = parameters(recipe.model)
    if count is None:
        lines.append("memory: the model is not on this machine, its parameters are not counted")
        return "\n".join(lines)
    return "\n".join([*lines, *_memory(recipe, world, count)])


def _grpo(recipe: Recipe, world: int) -> list[str]:
    """A step of GRPO."""
    responses = recipe.prompts_per_step * recipe.samples_per_prompt
    updates = recipe.epochs * recipe.prompts_per_step // recipe.minibatch_prompts
    each = recipe.minibatch_prompts * recipe.samples_per_prompt
    passes = "two passes" if recipe.reads else "one pass"
    return [
        f"a step: {recipe.prompts_per_step} prompts x {recipe.samples_per_prompt} = {responses} "
        f"responses, {passes}, at most {responses * recipe.max_tokens * (1 + recipe.reads):,} "
        "tokens drawn",
        f"updates a step: {updates}, on {recipe.minibatch_prompts} prompts = {each} responses each",
        f"on {world} ranks: {recipe.prompts_per_step / world:g} prompts of a step and "
        f"{recipe.minibatch_prompts / world:g} of a minibatch a rank",
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
        f"an update: {recipe.batch_size} conversations, {each:g} a rank, in micro-batches of at "
        f"most {recipe.microbatch_tokens:,} padded tokens; in all: {length}",
        f"trained: all but {', '.join(recipe.freeze)}" if recipe.freeze else "trained: everything",
    ]


def _memory(recipe: Recipe | SftRecipe, world: int, count: int) -> list[str]:
    """Bytes of weights, gradients and optimizer a rank, by ZeRO stage (arXiv:1910.02054, fig 1)."""
    from .core.engine import read_ds_config

    stage = int(read_ds_config(recipe).get("zero_optimization", {}).get("stage", 0))
    size = 2 if recipe.dtype == "bfloat16" else 4
    # fp32 master weights come on top of 16-bit ones.
    states = 12 if size == 2 else 8
    parts = {
        "weights": size * count / (world if stage == 3 else 1),
        "gradients": 4 * count / world if stage >= 2 else size * count,  # added up in fp32
        "optimizer": states * count / (world if stage >= 1 else 1),
        "reference": (size * count / (world if stage == 3 else 1)) if recipe.keeps_reference else 0,
    }
    if isinstance(recipe, Recipe):
        parts["rollout engine's weights"] = size * count
    told = ", ".join(f"{name} {value / 1e9:.2f} GB" for name, value in parts.items())
    total = sum(parts.values())
    return [
        f"memory a rank, {count:,} parameters, ZeRO stage {stage}: {told}; in all "
        f"{total / 1e9:.2f} GB, activations and KV cache on top"
    ]


def parameters(model: str) -> int | None:
    """Parameters of a model that is on this machine, from the headers of its files; else None."""
    if model == "tiny":
        from vsr1_bench.tiny import weights_path

        folder = weights_path()
    else:
        folder = Path(model).expanduser()
    total = sum(
        math.prod(entry["shape"])
        for file in sorted(folder.glob("*.safetensors"))
        for name, entry in _header(file).items()
        if name != "__metadata__"
    )
    return total or None


def _header(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header: dict[str, Any] = json.loads(opened.read(length))
    return header
