"""Recipes of supervised fine-tuning (`train sft`): the cold start before the GRPO trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .core.settings import ModelPart, NonNegative, Positive, Share, Training, UserPath, UserText
from .recipe import Recipe, load_recipe, read_recipe, trainer_of

UNTRAINED = "tiny/untrained"
"""The embedded model's architecture with random weights, and a tokenizer made for its texts."""
MIXTURE = "tiny/mixture"
"""Generated examples that teach the embedded model (`tiny_mixture`)."""
GLANCES = "tiny/glances"
"""Examples on the same scenes in which half of the replies ignore the image (`tiny_mixture`)."""
PRIOR_GLANCES = "tiny/prior_glances"
"""The same, with questions whose wording gives the answer away (task `demo_prior`)."""
GENERATED = (MIXTURE, GLANCES, PRIOR_GLANCES)


def one_or_several(value: Any) -> Any:
    """Accept one path, as in `dataset=rows.jsonl`, like `train grpo`."""
    return (value,) if isinstance(value, str) else value


class SftRecipe(Training):
    """The settings of `train sft`; the defaults are the published ones of the cold start.

    Published: Vision-SR1 (arXiv:2508.19652). The language model is fully fine-tuned; vision tower
    and projector are frozen.
    """

    trainer: ClassVar[str] = "sft"

    freeze: tuple[ModelPart, ...] = ("vision", "projector")

    # The data
    dataset: Annotated[tuple[UserText, ...], BeforeValidator(one_or_several)]
    """Files, folders or hub ids, read in order; see `conversations`."""
    image_folder: UserText | None = None
    """The folder that image paths are relative to; None = the folder of their file."""
    prompt: str = "native"
    """Prompt format of rows with `problem` and `answer`; `native` = the problem alone."""
    max_pixels: Positive | None = 262_144
    cutoff: Positive = 4092
    """Maximum tokens of prompt and reply; longer examples are skipped and counted."""

    # Updates
    batch_size: Positive = 128
    """Conversations per update, over all ranks."""
    group_batches: Positive = 8
    """Number of batches that are sorted by length together; 1 keeps the shuffled order."""
    epochs: Annotated[float, Field(gt=0)] = 3.0
    """Passes over the data; sets `schedule_steps` unless that is given."""
    lr: NonNegative = 1e-5
    weight_decay: NonNegative = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_ratio: Share = 0.1
    """Fraction of `schedule_steps` for warm-up, if `warmup_steps` is 0."""
    deepspeed: UserText = "zero3"

    # The run
    max_steps: Positive | None = None
    """Stop after this many updates of the schedule; None = at its end."""
    output_dir: UserPath = Path("outputs/sft")
    save_every: Positive = 100

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse contradictions, naming both sides."""
        if self.lora_rank is not None and self.model == UNTRAINED:
            raise ValueError(
                f"lora_rank: {UNTRAINED} has random weights, which adapters leave as they are; "
                "drop lora_rank"
            )
        if not self.dataset:
            raise ValueError("dataset is empty; name at least one file, folder or hub id")
        for name in set(GENERATED).intersection(self.dataset):
            if len(self.dataset) > 1:
                raise ValueError(f"{name} is generated without end; give no other data set with it")
            if self.schedule_steps is None:
                raise ValueError(f"{name} is generated without end: give schedule_steps")
        return self

    def planned(self, conversations: int) -> SftRecipe:
        """The same recipe with the number of its updates.

        Args:
            conversations: Rows of the data; 0 if they are generated without end.
        """
        total = self.schedule_steps or max(1, round(self.epochs * self.batches(conversations)))
        return self.model_copy(
            update={
                "schedule_steps": total,
                "warmup_steps": self.warmup_steps or round(self.warmup_ratio * total),
                "max_steps": min(self.max_steps or total, total),
            }
        )

    def batches(self, conversations: int) -> int:
        """Batches of a pass over this many conversations."""
        return -(-conversations // self.batch_size)

    @property
    def steps(self) -> int:
        """The number of updates of a planned recipe."""
        return self.max_steps or self.schedule_steps or 0


def load_sft_recipe(name: str, settings: Sequence[str] = ()) -> SftRecipe:
    """Read a recipe of `train sft` and apply `key=value` settings.

    Raises:
        UsageError: see `read_recipe`.
    """
    return read_recipe(SftRecipe, name, settings)


def load_any_recipe(name: str, settings: Sequence[str] = ()) -> Recipe | SftRecipe:
    """Read a recipe of either trainer and apply `key=value` settings.

    Raises:
        UsageError: see `read_recipe`.
    """
    load = load_sft_recipe if trainer_of(name) == SftRecipe.trainer else load_recipe
    return load(name, settings)
