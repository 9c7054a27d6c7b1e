"""Print the smallest cards that training fits on, as a Markdown table; needs no GPU and no model.

    python scripts/hardware_table.py [MODEL ...]

The recipe is `vision_sr1_2025` of 7B, with the model exchanged. `train plan` prints the settings
that a card needs, and the bytes behind them.
"""

from __future__ import annotations

import sys

from vsr1_bench.train.core.memory import Cards, fitting
from vsr1_bench.train.core.settings import Training
from vsr1_bench.train.core.shapes import known_models, shape_of
from vsr1_bench.train.plan import CARDS, COUNTS, LORA_RANK, adapted
from vsr1_bench.train.recipe import load_recipe

RECIPE = "qwen2_5_vl_7b/vision_sr1_2025"
MODELS = tuple(model for model in known_models() if model.startswith("Qwen/"))


def smallest(recipe: Training, count: int) -> str:
    """The smallest card of which so many are enough, and with states in the host's memory."""
    shape = shape_of(recipe.model)
    assert shape is not None
    inside, outside = (
        [c for c in CARDS if fitting(recipe, shape, Cards(count, c), offload=offload) is not None]
        for offload in (False, True)
    )
    if inside[:1] == outside[:1]:
        return f"{inside[0]} GB" if inside else "–"
    said = f"offloaded: {outside[0]} GB"
    return f"{inside[0]} GB ({said})" if inside else said


def rows(model: str) -> list[str]:
    """The table's lines of a model."""
    full = load_recipe(RECIPE, [f"model={model}"])
    return [
        f"| {model.removeprefix('Qwen/')} | {name} | "
        + " | ".join(smallest(recipe, count) for count in COUNTS)
        + " |"
        for name, recipe in (("full", full), (f"LoRA, rank {LORA_RANK}", adapted(full)))
    ]


def main(models: list[str]) -> int:
    """Print the table of these models, or of all."""
    print("| model | training | " + " | ".join(f"{n} x" for n in COUNTS) + " |")
    print("|" + "---|" * (2 + len(COUNTS)))
    for model in models or MODELS:
        print("\n".join(rows(model)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
