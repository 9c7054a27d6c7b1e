"""`train plan`: print the resolved recipe, and the size and memory of a step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING

from vsr1_bench._util.installing import install_command
from vsr1_bench.errors import UsageError

from .recipe import AnyRecipe, Recipe
from .rl.own_reward import SCORED, OwnReward
from .sft_recipe import SftRecipe

if TYPE_CHECKING:
    from .core.memory import Cards

COUNTS = (1, 4, 8)
CARDS = (24, 40, 80, 141)
"""Gigabytes of a card."""
LORA_RANK = 64
"""The rank of the code of 2026."""


def describe(recipe: Recipe | SftRecipe, world: int) -> str:
    """The resolved recipe and its arithmetic as text.

    Args:
        recipe: The recipe.
        world: Number of processes that train together.
    """
    settings = recipe.model_dump(mode="json")
    source = recipe.source or "none: this project's own recipe"
    step = _grpo(recipe, world) if isinstance(recipe, Recipe) else _sft(recipe, world)
    return "\n".join(
        [
            *(f"{key} = {json.dumps(value)}" for key, value in settings.items()),
            *("", f"source: {source}", "", *step),
        ]
    )


def _grpo(recipe: Recipe, world: int) -> list[str]:
    """A step of GRPO."""
    responses = recipe.prompts_per_step * recipe.samples_per_prompt
    updates = recipe.epochs * recipe.prompts_per_step // recipe.minibatch_prompts
    each = recipe.minibatch_prompts * recipe.samples_per_prompt
    passes = "two passes" if recipe.reads else "one pass"
    masked = ["every response: one more log-prob pass, with masked images"]
    return [
        f"a step: {recipe.prompts_per_step} prompts x {recipe.samples_per_prompt} = {responses} "
        f"responses, {passes}, at most {responses * recipe.max_tokens * (1 + recipe.reads):,} "
        "tokens sampled",
        f"updates per step: {updates}, of {recipe.minibatch_prompts} prompts = {each} responses",
        f"on {world} ranks: {recipe.prompts_per_step / world:g} prompts of a step and "
        f"{recipe.minibatch_prompts / world:g} of a minibatch per rank",
        f"in all: {recipe.max_steps} steps, {recipe.max_steps * responses:,} responses",
        *(masked if recipe.masked_pass else ()),
        *_own_reward(recipe),
    ]


def _own_reward(recipe: Recipe) -> list[str]:
    """What a reward of the user's own gives a recorded rollout."""
    if recipe.reward is None:
        return []
    own = OwnReward(recipe.reward)
    try:
        found = own.check(SCORED, recipe)
    except UsageError as error:  # it may need what only the rows have
        return [f"{error} to a question about dots; training tries again with its first row"]
    parts = ", ".join(f"{name} {value:g}" for name, value in found.items())
    return [f"reward of a recorded rollout with a right answer: {parts}"]


def _sft(recipe: SftRecipe, world: int) -> list[str]:
    """A step of supervised fine-tuning."""
    each = recipe.batch_size / world
    if recipe.schedule_steps is None:
        length = f"{recipe.epochs:g} passes over the data"
    else:
        length = f"{recipe.planned(0).steps} updates of {recipe.schedule_steps} of the schedule"
    return [
        f"an update: {recipe.batch_size} conversations, {each:g} per rank, in micro-batches of at "
        f"most {recipe.microbatch_tokens:,} tokens; in all: {length}",
        f"trained: all but {', '.join(recipe.freeze)}" if recipe.freeze else "trained: everything",
    ]


def describe_memory(recipe: Recipe | SftRecipe, world: int, cards: Cards | None = None) -> str:
    """Bytes of a rank, and the cards on which the recipe runs, as text.

    Loads no weights and uses no network.

    Args:
        recipe: The recipe.
        world: Number of processes that train together.
        cards: The cards to count for, one process each; None = a table of many.
    """
    return "\n".join(_memory(recipe, cards, world))


def _memory(recipe: Recipe | SftRecipe, cards: Cards | None, world: int) -> list[str]:
    if missing := [name for name in ("torch", "transformers") if not find_spec(name)]:
        return [f"memory: not counted without {', '.join(missing)}: {install_command('train')}"]
    from .core.engine import read_ds_config
    from .core.memory import GB, Cards, budget_of, measurable, micro_of
    from .core.shapes import known_models, shape_of

    shape = shape_of(recipe.model)
    if shape is None:
        return [
            f"memory: not counted, because the shape of {recipe.model} is not known: give a "
            f"folder, or one of {', '.join(known_models())}"
        ]
    if not measurable(shape.config):
        return [
            f"memory: not counted, because images of type {shape.config.model_type} are not "
            f"measured; those of Qwen-VL are ({shape.parameters:,} parameters)"
        ]
    stage = read_ds_config(recipe).get("zero_optimization", {}).get("stage", 0)
    micro = micro_of(recipe, shape)
    budget = budget_of(recipe, shape, cards or Cards(world, CARDS[2]))
    image = " with an image" if micro.patches else ""
    lines = [
        f"memory of a rank on {cards or Cards(world, CARDS[2])}, {shape.parameters:,} parameters, "
        f"ZeRO stage {stage}, {micro.rows} rows of {micro.tokens:,} tokens{image} at a time:",
        *_table(("part", "GB"), [(k, f"{v / GB:.2f}") for k, v in budget.parts.items()]),
        "",
        *_table(("at once", "GB"), [(k, f"{v / GB:.2f}") for k, v in budget.moments.items()]),
        "",
        f"memory of the host while loading, all ranks: {budget.host / GB:.0f} GB",
    ]
    if cards:
        return [*lines, f"{cards}: {verdict(recipe, cards)}"]
    ways = ("as it stands", f"LoRA, rank {LORA_RANK}")
    rows = []
    for count, gigabytes in product(COUNTS, CARDS):
        some = Cards(count, gigabytes)
        rows.append((str(some), verdict(recipe, some), verdict(adapted(recipe), some)))
    return [*lines, "", *_table(("cards", *ways), rows)]


def adapted(recipe: AnyRecipe) -> AnyRecipe:
    """The same recipe with LoRA adapters."""
    return recipe.model_copy(update={"lora_rank": LORA_RANK})


def verdict(recipe: Recipe | SftRecipe, cards: Cards) -> str:
    """Whether a recipe runs on these cards, or the settings with which it does."""
    from .core.memory import GB, OFFLOADED, budget_of, fitting
    from .core.shapes import shape_of

    shape = shape_of(recipe.model)
    settings = None if shape is None else fitting(recipe, shape, cards)
    if shape is None or settings is None:
        return "does not fit"
    said = f"fits with {' '.join(settings)}" if settings else "fits"
    if f"deepspeed={OFFLOADED}" in settings:
        host = budget_of(recipe.model_copy(update={"deepspeed": OFFLOADED}), shape, cards).host
        said += f" and {host / GB:.0f} GB of the host's memory"
    return said


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


def read_cards(text: str) -> Cards:
    """Cards from `COUNTxGB`, e.g. `4x80`.

    Raises:
        UsageError: the text is something else.
    """
    from .core.memory import Cards

    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if not found:
        raise UsageError(f"--cards {text!r}: wanted COUNTxGB, e.g. 4x80 for four cards of 80 GB")
    return Cards(int(found[1]), float(found[2]))


def parameters(model: str) -> int | None:
    """Number of a model's parameters; None if its shape is not known."""
    from .core.shapes import shape_of

    shape = shape_of(model)
    return None if shape is None else shape.parameters
