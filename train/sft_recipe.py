"""Recipes of supervised fine-tuning (`train sft`): the cold start before the GRPO trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .core.settings import ModelPart, NonNegative, Positive, Share, Training, UserPath, UserText
from .recipe import read_recipe

UNTRAINED = "tiny/untrained"
"""The embedded model's architecture with random weights, and the tokenizer of its texts."""
MIXTURE = "tiny/mixture"
"""The generated examples that the embedded model is taught (`tiny_mixture`)."""
GLANCES = "tiny/glances"
"""The same scenes, looked at every other time and only glanced at the others (`tiny_mixture`)."""
PRIOR_GLANCES = "tiny/prior_glances"
"""The same, with questions whose wording gives the answer away (task `demo_prior`)."""
MADE = (MIXTURE, GLANCES, PRIOR_GLANCES)


def one_or_several(value: Any) -> Any:
    """One path is one path: `dataset=rows.jsonl`, as `train grpo` takes it."""
    return (value,) if isinstance(value, str) else value


class SftRecipe(Training):
    """Everything that decides a cold start; the defaults are the published settings.

    Published: the cold start of Vision-SR1 (arXiv:2508.19652): full fine-tuning of the language
    model, vision tower and projector frozen.
    """

    trainer: ClassVar[str] = "sft"

    freeze: tuple[ModelPart, ...] = ("vision", "projector")

    # The data
    dataset: Annotated[tuple[UserText, ...], BeforeValidator(one_or_several)]
    """Files, folders or hub ids, one after another; see `conversations`."""
    image_folder: UserText | None = None
    """What image paths are relative to; None = the folder of their file."""
    prompt: str = "native"
    """How a `problem` is asked where rows are problem / answer; `native` = its own words alone."""
    max_pixels: Positive | None = 262_144
    cutoff: Positive = 4092
    """Tokens of prompt and reply; longer examples are left out, and counted."""

    # Updates
    batch_size: Positive = 128
    """Conversations of an update, over all ranks."""
    group_batches: Positive = 8
    """Batches whose conversations are sorted by length together; 1 keeps the drawn order."""
    epochs: Annotated[float, Field(gt=0)] = 3.0
    """Passes over the data; they set `schedule_steps` where it is not given."""
    lr: NonNegative = 1e-5
    weight_decay: NonNegative = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_ratio: Share = 0.1
    """Part of `schedule_steps` that warms up, where `warmup_steps` is 0."""
    deepspeed: UserText = "zero3"

    # The run
    max_steps: Positive | None = None
    """Stop after so many updates of the schedule; None = at its end."""
    output_dir: UserPath = Path("outputs/sft")
    save_every: Positive = 100

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse contradictions, naming both sides."""
        if not self.dataset:
            raise ValueError("dataset is empty; name at least one file, folder or hub id")
        for made in set(MADE).intersection(self.dataset):
            if len(self.dataset) > 1:
                raise ValueError(f"{made} is made without end and mixes with no other data set")
            if self.schedule_steps is None:
                raise ValueError(f"{made} is made without end: give schedule_steps")
        return self

    def planned(self, conversations: int) -> SftRecipe:
        """The same recipe with its updates counted.

        Args:
            conversations: Rows of the data; 0 where they are made without end.
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
        """Batches of a pass over so many conversations."""
        return -(-conversations // self.batch_size)

    @property
    def steps(self) -> int:
        """Updates that are made; of a planned recipe."""
        return self.max_steps or self.schedule_steps or 0


def load_sft_recipe(name: str, settings: Sequence[str] = ()) -> SftRecipe:
    """Read a recipe of `train sft` and lay `key=value` settings over it.

    Raises:
        UsageError: see `read_recipe`.
    """
    return read_recipe(SftRecipe, name, settings)
