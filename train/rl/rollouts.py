"""Rollouts: both passes of a step through the evaluator's engine, and their rewards.

A reading (second pass) is asked for the moment its description is there, and an answer is judged
while others are still being generated. A response that fails is data: it is left out and counted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from vsr1_bench.answers import read_description
from vsr1_bench.generation.base import Generator
from vsr1_bench.judge import JudgeRunner
from vsr1_bench.prompts.formats import caption_messages
from vsr1_bench.records import Completion, Request, Sample

from ..core.metrics import StepMetrics
from ..recipe import Recipe
from .rewards import (
    Grading,
    format_first,
    format_second,
    grading_by,
    total_reward,
)


@dataclass(slots=True)
class Rollout:
    """One response, what a blind reader made of its description, and their rewards."""

    sample: Sample
    request: Request
    said: Completion
    description: str | None = None
    reading: Request | None = None
    read: Completion | None = None
    components: dict[str, float | None] = field(default_factory=dict)
    reward: float | None = None
    """In one number (`rewards.total_reward`); None = left out."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why an accuracy is what it is, by component."""

    @property
    def truncated(self) -> bool:
        """Whether the first pass was cut off."""
        return self.said.finish_reason == "length"

    @property
    def tokens(self) -> int:
        """How many were drawn, in both passes."""
        drawn = (c for c in (self.said, self.read) if c and c.error is None)
        return sum(len(c.token_ids or ()) for c in drawn)

    @property
    def failure(self) -> str | None:
        """Why it has no reward: what failed, which is not the policy's doing."""
        if self.reward is not None:
            return None
        if self.said.error is not None:
            return self.said.error
        lacking = [name for name, value in self.components.items() if value is None]
        return next((self.reasons[n] for n in lacking if n in self.reasons), "no verdict")

    def journal(self, step: int, *, dropped: bool) -> dict[str, Any]:
        """The line of the rollouts journal; `dropped`: no update is made of it."""
        read = self.read
        return {
            "step": step,
            "sample_id": self.sample.id,
            "index": self.request.index,
            "dropped": dropped,
            "question": self.sample.question_text,
            "answer": self.sample.answer,
            "said": self.said.text,
            "finish_reason": self.said.finish_reason,
            "error": self.said.error,
            "tokens": len(self.said.token_ids or ()),
            "description": self.description,
            "read": read.text if read else None,
            "read_finish_reason": read.finish_reason if read else None,
            "read_error": read.error if read else None,
            "read_tokens": len(read.token_ids or ()) if read else None,
            "components": self.components,
            "reward": self.reward,
            "reasons": self.reasons,
        }


@dataclass(slots=True)
class Collected:
    """The rollouts of some prompts: a group each, in the order of the prompts."""

    groups: list[list[Rollout]]
    first_seconds: float
    """Until the last first-pass response was there."""
    second_seconds: float
    """From there to the last reading."""
    judge_seconds: float
    """Judging that generating did not hide."""


def collect(
    engine: Generator,
    prompts: Sequence[tuple[int, Sample, Request]],
    recipe: Recipe,
    judge: JudgeRunner,
    *,
    step: int,
    reader: Generator | None = None,
) -> Collected:
    """Draw, read and judge the responses to a step's prompts.

    Args:
        engine: Holds the live weights.
        prompts: Slot in the step's global batch, sample, first-pass prompt.
        recipe: How many, how drawn, how rewarded.
        judge: Says which answers are right.
        step: Draws of different steps differ.
        reader: Another model's endpoint that reads the descriptions; None = the policy itself.

    Raises:
        GenerationError: the engine cannot continue.
        JudgeError: the judge cannot continue.
    """
    start = time.monotonic()
    rollouts: dict[str, Rollout] = {}
    firsts = _first_requests(prompts, recipe, step, rollouts)
    with grading_by(judge) as grading:
        for request in islice(firsts, engine.capacity):
            engine.submit(request)
        first_end = start
        readings: list[Request] = []
        for completion in engine.completions():
            key, _, _ = completion.key.partition(" ")
            rollout = rollouts[key]
            if completion.key == key:
                first_end = time.monotonic()
                rollout.said = completion
                grading.submit(key, rollout.sample, completion)
                reading = _reading_request(rollout, recipe)
                if reading is not None and reader is None:
                    engine.submit(reading)
                elif reading is not None:
                    readings.append(reading)
                for request in islice(firsts, 1):
                    engine.submit(request)
            else:
                _take_reading(rollout, completion, grading)
        if reader is not None:
            for completion in reader.generate(readings):
                rollout = rollouts[completion.key.partition(" ")[0]]
                _take_reading(rollout, completion, grading)
        second_end = time.monotonic()
    for key, rollout in rollouts.items():
        _reward(key, rollout, grading, recipe)
    everything = list(rollouts.values())
    n = recipe.samples_per_prompt
    return Collected(
        [everything[i : i + n] for i in range(0, len(everything), n)],
        first_end - start,
        second_end - first_end,
        time.monotonic() - second_end,
    )


def note_rollouts(metrics: StepMetrics, groups: Sequence[Sequence[Rollout]]) -> None:
    """Add a step's rollouts to its metrics: rewards, lengths, what was cut off or left out."""
    everything = [rollout for group in groups for rollout in group]
    for name in sorted({name for r in everything for name in r.components}):
        metrics.mean(f"reward/{name}", (r.components[name] for r in everything))
    metrics.mean("reward/total", (r.reward for r in everything))
    metrics.mean("excluded_share", (float(r.reward is None) for r in everything))
    for name, drawn in (
        ("first", [r.said for r in everything if r.said.error is None]),
        ("second", [r.read for r in everything if r.read and r.read.error is None]),
    ):
        lengths = [float(len(c.token_ids or ())) for c in drawn]
        metrics.mean(f"length/{name}", lengths)
        if lengths:
            metrics.peak(f"length/{name}_max", max(lengths))
        metrics.mean(f"truncated_share/{name}", (float(c.finish_reason == "length") for c in drawn))


def seed_of(recipe: Recipe, step: int, slot: int) -> int:
    """Seed of one prompt's draws in one step: another step, or another slot, draws other noise."""
    words = f"vsr1-rollout|{recipe.seed}|{step}|{slot}"
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4]) >> 1


def _first_requests(
    prompts: Sequence[tuple[int, Sample, Request]],
    recipe: Recipe,
    step: int,
    rollouts: dict[str, Rollout],
) -> Iterator[Request]:
    for slot, sample, prompt in prompts:
        sampling = replace(prompt.sampling, seed=seed_of(recipe, step, slot))
        for index in range(recipe.samples_per_prompt):
            key = f"{slot}/{index}"
            request = replace(prompt, key=key, index=index, sampling=sampling)
            rollouts[key] = Rollout(sample, request, Completion(key, finish_reason="error"))
            yield request


def _reading_request(rollout: Rollout, recipe: Recipe) -> Request | None:
    """Ask for a reading, where there is a description to read and an answer that counts."""
    said = rollout.said
    if not recipe.reads or said.error is not None or rollout.truncated:
        return None
    rollout.description = read_description(said.text)
    if rollout.description is None:
        return None
    rollout.reading = Request(
        f"{said.key} read",
        caption_messages(rollout.sample, rollout.description, images=recipe.format.images),
        replace(rollout.request.sampling, temperature=recipe.reading_temperature),
        sample_id=f"{rollout.sample.id} read",
        index=rollout.request.index,
        stage="reading",
        prompt_limit=recipe.reader_prompt_tokens,
    )
    return rollout.reading


def _take_reading(rollout: Rollout, completion: Completion, grading: Grading) -> None:
    rollout.read = completion
    grading.submit(completion.key, rollout.sample, completion, "reading")


def _reward(key: str, rollout: Rollout, grading: Grading, recipe: Recipe) -> None:
    said, read = rollout.said, rollout.read
    failed = said.error is not None
    shape = format_first if recipe.format.describes else format_second
    fine = None if failed else float(not rollout.truncated and shape(said.text))
    components: dict[str, float | None] = {"accuracy": grading.verdicts[key], "format": fine}
    rollout.reasons["accuracy"] = grading.reasons[key]
    if recipe.reads and read is None:  # no description, or an answer that was cut off
        components |= dict.fromkeys(
            ("description_accuracy", "description_format"), None if failed else 0.0
        )
        rollout.reasons["description_accuracy"] = (
            "generation failed"
            if failed
            else "truncated"
            if rollout.truncated
            else "no description"
        )
    elif read is not None:
        whole = read.finish_reason != "length"
        form = None if read.error is not None else float(whole and format_second(read.text))
        components |= {
            "description_accuracy": grading.verdicts[read.key],
            "description_format": form,
        }
        rollout.reasons["description_accuracy"] = grading.reasons[read.key]
    rollout.components = components
    rollout.reward = total_reward(components, recipe.objective, recipe.format_weight)
