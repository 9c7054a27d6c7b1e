"""Prompts in random order: of a task's training split, or of rows with problem, answer and images.

The order depends on the seed only. A cursor, the number of rows taken since the start, is a run's
position in it, over epochs. Every rank draws the same prompts and keeps its own share.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from vsr1_bench.data.dataset import DataOptions, TaskData, open_data
from vsr1_bench.errors import TaskError, UsageError
from vsr1_bench.generation.chat import ChatRenderer
from vsr1_bench.prompts.formats import THINK, build_messages, get_format
from vsr1_bench.records import Request, Sample, Sampling
from vsr1_bench.registry import get_task
from vsr1_bench.task import Task

from ..core.encoding import Encoder, order_of, reason_of
from ..recipe import Recipe

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Drawn:
    """Prompts for a step."""

    requests: list[tuple[Sample, Request]]
    """Each sample with its first-pass prompt; `index` 0, no key yet."""
    cursor: int
    """Where the next draw starts."""
    overlong: int = 0
    """Number of skipped prompts with more tokens than the recipe allows."""
    unusable: dict[str, int] = field(default_factory=dict)
    """Number of skipped rows that could not be read, by reason."""


class TrainingData:
    """The rows of a recipe."""

    def __init__(self, recipe: Recipe, encoder: Encoder, sampling: Sampling) -> None:
        """Open the rows; the pixel bounds of `sampling` affect a prompt's length.

        Raises:
            TaskError: the data are missing.
            UsageError: the task has no training split.
        """
        self.task, name = training_task(recipe), recipe.dataset
        self.data: TaskData = open_data(
            self.task,
            DataOptions.from_flags(
                recipe.data_root,
                recipe.offline,
                dataset=name,
                # A file has no splits.
                split=recipe.split if name and not Path(name).expanduser().is_file() else None,
            ),
        )
        if not len(self.data):
            raise TaskError(f"{self.data.spec.id} ({self.data.spec.split}) holds no rows")
        self._recipe, self._encoder, self._sampling = recipe, encoder, sampling
        self._format = get_format(recipe.prompt)

    def draw(self, cursor: int, wanted: int) -> Drawn:
        """Draw the next `wanted` usable prompts.

        Raises:
            TaskError: a whole epoch has no usable prompt.
        """
        drawn = Drawn([], cursor)
        skipped = 0
        while len(drawn.requests) < wanted:
            if skipped >= len(self.data):
                raise TaskError(
                    f"none of {len(self.data)} rows of {self.data.spec.id} can be used: "
                    f"{drawn.overlong} prompts are longer than max_prompt_tokens "
                    f"{self._recipe.max_prompt_tokens}, others: {drawn.unusable}"
                )
            epoch, place = divmod(drawn.cursor, len(self.data))
            drawn.cursor += 1
            skipped += 1
            try:
                sample = self.data.sample(order_of(self._recipe.seed, epoch, len(self.data))[place])
                request = self.request(sample)
                fits = self._encoder.fits(request, self._recipe.max_prompt_tokens)
            except Exception as error:  # untrusted data: the processor may raise anything
                reason = reason_of(error)
                drawn.unusable[reason] = drawn.unusable.get(reason, 0) + 1
                continue
            if not fits:
                drawn.overlong += 1
                continue
            skipped = 0
            drawn.requests.append((sample, request))
        return drawn

    def request(self, sample: Sample) -> Request:
        """The first-pass prompt of a sample."""
        messages = build_messages(sample, self._format, native=self.task.native_prompt)
        return Request("", messages, self._sampling, sample.images, sample.id)


def advise_on_tags(recipe: Recipe, renderer: ChatRenderer) -> None:
    """Warn if a model may never write the tag that the prompt asks for (Qwen3's Instruct models).

    It is one token of theirs, which they have learnt not to write.
    """
    one_token = f"<{THINK}>" in renderer.tokenizer.get_added_vocab()
    if one_token and not renderer.opened and f"<{THINK}>" in recipe.format.wording:
        log.warning(
            "the tokenizer of %s has <%s> as one token, which Qwen3's Instruct models do not "
            "write; if reward/format stays at 0, give prompt=%s_qwen3",
            *(recipe.model, THINK, "see_think" if recipe.format.describes else "cot"),
        )


def training_task(recipe: Recipe) -> Task:
    """The task whose rows are trained on: its training split takes the place of its test rows.

    Raises:
        UsageError: an unknown task, or one without a training split.
    """
    if recipe.task is None:
        return get_task("custom")
    task = get_task(recipe.task)
    if task.train is None:
        raise UsageError(
            f"task {task.name!r} states no training split; name rows by dataset=FILE_OR_HUB_ID "
            "(columns problem, answer, images)"
        )
    return replace(task, source=task.train, copies={})
