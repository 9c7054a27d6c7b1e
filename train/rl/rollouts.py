"""Rollouts: both passes of a step through the evaluator's engine, and their rewards.

A reading (second pass) is requested as soon as its description is complete. Answers are judged
while others are still being generated. A response that fails is excluded and counted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from vsr1_bench.answers import read_description
from vsr1_bench.generation.base import Generator
from vsr1_bench.judge import JudgeRunner
from vsr1_bench.prompts.formats import reading_messages
from vsr1_bench.records import Completion, Request, Sample

from ..core.metrics import StepMetrics
from ..recipe import Recipe
from .own_reward import OwnReward, RewardError, Scored
from .rewards import (
    Grading,
    format_first,
    format_second,
    grading_by,
    overlong_penalty,
    total_reward,
    weigh,
)


@dataclass(slots=True)
class Rollout:
    """One response, the second pass on its description, and their rewards."""

    sample: Sample
    request: Request
    response: Completion
    description: str | None = None
    reading_request: Request | None = None
    reading: Completion | None = None
    verdicts: dict[str, float | None] = field(default_factory=dict)
    """The components of `rewards`, which a reward of the user's own is told."""
    components: dict[str, float | None] = field(default_factory=dict)
    """What is rewarded: the verdicts, or what that reward returned."""
    reward: float | None = None
    """As one number (`rewards.total_reward`); None = excluded."""
    reasons: dict[str, str] = field(default_factory=dict)
    """The reason of an accuracy, by component; `reward`: why one of the user's own has none."""

    @property
    def truncated(self) -> bool:
        """Whether the first pass was truncated."""
        return self.response.finish_reason == "length"

    @property
    def tokens(self) -> int:
        """Number of sampled tokens in both passes."""
        completions = (c for c in (self.response, self.reading) if c and c.error is None)
        return sum(len(c.token_ids or ()) for c in completions)

    @property
    def _differing(self) -> dict[str, Any]:
        """The verdicts, if something else is rewarded."""
        alike = self.verdicts.items() <= self.components.items()
        return {} if alike else {"verdicts": self.verdicts}

    @property
    def failure(self) -> str | None:
        """The technical failure because of which there is no reward."""
        if self.reward is not None:
            return None
        if self.response.error is not None:
            return self.response.error
        unknown = [name for name, value in self.verdicts.items() if value is None]
        return next(
            (self.reasons[n] for n in (*unknown, "reward") if n in self.reasons), "no verdict"
        )

    def journal(
        self, step: int, *, dropped: bool, advantages: tuple[float | None, float | None]
    ) -> dict[str, Any]:
        """The line of the rollouts journal.

        Args:
            step: From 1.
            dropped: Not used in the update.
            advantages: Of its first pass, and of its visual reward (objective `decoupled`).
        """
        reading = self.reading
        return {
            "step": step,
            "sample_id": self.sample.id,
            "index": self.request.index,
            "dropped": dropped,
            "question": self.sample.question_text,
            "answer": self.sample.answer,
            "said": self.response.text,
            "finish_reason": self.response.finish_reason,
            "error": self.response.error,
            "tokens": len(self.response.token_ids or ()),
            "description": self.description,
            "read": reading.text if reading else None,
            "read_finish_reason": reading.finish_reason if reading else None,
            "read_error": reading.error if reading else None,
            "read_tokens": len(reading.token_ids or ()) if reading else None,
            "components": self.components,
            **self._differing,
            "reward": self.reward,
            "reasons": self.reasons,
            "advantage": advantages[0],
            "visual_advantage": advantages[1],
        }


@dataclass(slots=True)
class Collected:
    """The rollouts of some prompts, one group per prompt, in the order of the prompts."""

    groups: list[list[Rollout]]
    first_seconds: float
    """Until the last response of the first pass."""
    second_seconds: float
    """From then to the last reading."""
    judge_seconds: float
    """From then to the last verdict."""


def collect(
    engine: Generator,
    prompts: Sequence[tuple[int, Sample, Request]],
    recipe: Recipe,
    judge: JudgeRunner,
    *,
    step: int,
    reader: Generator | None = None,
    opened: str = "",
    own: OwnReward | None = None,
) -> Collected:
    """Sample, read and judge the responses to a step's prompts.

    Args:
        engine: Holds the current weights.
        prompts: Slot in the step's global batch, sample, first-pass prompt.
        recipe: Number of responses, sampling and rewards.
        judge: Judges the answers.
        step: Part of the seed, so that steps sample differently.
        reader: Another model that reads the descriptions; None = the policy itself.
        opened: The tag with which the policy's chat template begins a response.
        own: The user's own reward; None = the objective's.

    Raises:
        GenerationError: the engine cannot continue.
        JudgeError: the judge cannot continue.
    """
    start = time.monotonic()
    rollouts: dict[str, Rollout] = {}
    firsts = _first_requests(prompts, recipe, step, rollouts)
    readings: list[Request] = []  # those of another reader
    submit_reading = engine.submit if reader is None else readings.append
    with grading_by(judge) as grading:
        for request in islice(firsts, engine.capacity):
            engine.submit(request)
        first_end = start
        for completion in engine.completions():
            key, _, _ = completion.key.partition(" ")
            rollout = rollouts[key]
            if completion.key == key:
                first_end = time.monotonic()
                rollout.response = completion
                grading.submit(key, rollout.sample, completion)
                rollout.reading_request = _reading_request(rollout, recipe)
                if rollout.reading_request is not None:
                    submit_reading(rollout.reading_request)
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
        _judge(key, rollout, grading, recipe, (opened, "" if reader else opened))
        _reward(rollout, recipe, own)
    everything = list(rollouts.values())
    n = recipe.samples_per_prompt
    return Collected(
        [everything[i : i + n] for i in range(0, len(everything), n)],
        first_end - start,
        second_end - first_end,
        time.monotonic() - second_end,
    )


def note_rollouts(metrics: StepMetrics, groups: Sequence[Sequence[Rollout]]) -> None:
    """Add a step's rollouts to its metrics: rewards, lengths, truncated and excluded shares."""
    everything = [rollout for group in groups for rollout in group]
    for name in sorted({name for r in everything for name in r.components}):
        metrics.mean(f"reward/{name}", (r.components[name] for r in everything))
    if any(rollout._differing for rollout in everything):
        for name in sorted({name for r in everything for name in r.verdicts}):
            metrics.mean(f"verdict/{name}", (r.verdicts[name] for r in everything))
    metrics.mean("reward/total", (r.reward for r in everything))
    metrics.mean("excluded_share", (float(r.reward is None) for r in everything))
    for name, drawn in (
        ("first", [r.response for r in everything if r.response.error is None]),
        ("second", [r.reading for r in everything if r.reading and r.reading.error is None]),
    ):
        lengths = [float(len(c.token_ids or ())) for c in drawn]
        metrics.mean(f"length/{name}", lengths)
        if lengths:
            metrics.peak(f"length/{name}_max", max(lengths))
        metrics.mean(f"truncated_share/{name}", (float(c.finish_reason == "length") for c in drawn))


def seed_of(recipe: Recipe, step: int, slot: int) -> int:
    """Seed of one prompt's responses in one step; it differs between steps and between slots."""
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
    """The second pass of a response that has a description and was not truncated."""
    response = rollout.response
    if not recipe.reads or response.error is not None or rollout.truncated:
        return None
    rollout.description = read_description(response.text)
    if rollout.description is None:
        return None
    return Request(
        f"{response.key} read",
        reading_messages(
            rollout.sample,
            rollout.description,
            images=recipe.format.images,
            thinking=recipe.format.thinking,
        ),
        replace(rollout.request.sampling, temperature=recipe.reading_temperature),
        sample_id=f"{rollout.sample.id} read",
        index=rollout.request.index,
        stage="reading",
        prompt_limit=recipe.reader_prompt_tokens,
    )


def _take_reading(rollout: Rollout, completion: Completion, grading: Grading) -> None:
    rollout.reading = completion
    grading.submit(completion.key, rollout.sample, completion, "reading")


def _form(completion: Completion, check: Callable[[str, str], float], opened: str) -> float | None:
    """The format component of a response; None if it failed."""
    if completion.error is not None:
        return None
    return float(completion.finish_reason != "length" and check(completion.text, opened))


def _overlong(rollout: Rollout, margin: int, recipe: Recipe) -> float | None:
    """The component `overlong` of the first pass; None if it failed."""
    if rollout.response.error is not None:
        return None
    length = len(rollout.response.token_ids or ())
    longest = recipe.max_tokens
    # The engine's own limit may have truncated it earlier; it is overlong all the same.
    return overlong_penalty(longest if rollout.truncated else length, longest, margin)


def _judge(
    key: str, rollout: Rollout, grading: Grading, recipe: Recipe, opened: tuple[str, str]
) -> None:
    """Fill in the verdicts of a rollout and their reasons.

    `opened` has the tags that the templates have opened, of the first pass and of the second.
    """
    response, reading = rollout.response, rollout.reading
    first = format_first if recipe.format.describes else format_second
    seen, reason = None, ""
    if reading is not None:
        seen, form = grading.verdicts[reading.key], _form(reading, format_second, opened[1])
        reason = grading.reasons[reading.key]
    elif response.error is not None:
        form, reason = None, "generation failed"
    else:
        seen = form = 0.0
        reason = "truncated" if rollout.truncated else "no description"
    told = _form(response, first, opened[0])
    rollout.verdicts = {"accuracy": grading.verdicts[key], "format": told}
    rollout.reasons["accuracy"] = grading.reasons[key]
    if recipe.reads:
        rollout.verdicts |= {"description_accuracy": seen, "description_format": form}
        rollout.reasons["description_accuracy"] = reason


def _reward(rollout: Rollout, recipe: Recipe, own: OwnReward | None) -> None:
    """Fill in the components and the reward of a rollout with verdicts."""
    rollout.components = dict(rollout.verdicts) if own is None else _own_components(rollout, own)
    if recipe.overlong_tokens:
        rollout.components["overlong"] = _overlong(rollout, recipe.overlong_tokens, recipe)
    if own is None:
        alpha = recipe.format_weight
        rollout.reward = total_reward(
            rollout.components, recipe.objective, alpha, visual=recipe.lambda_visual
        )
    else:
        rollout.reward = weigh(rollout.components, dict.fromkeys(rollout.components, 1.0))


def _own_components(rollout: Rollout, own: OwnReward) -> dict[str, float | None]:
    """What the user's own reward returns; all None if the rollout is excluded."""
    unknown = dict[str, float | None].fromkeys(own.names)
    if None in rollout.verdicts.values():
        return unknown
    reading = rollout.reading.text if rollout.reading else None
    told = (rollout.response.text, rollout.description, reading, rollout.verdicts, rollout.sample)
    try:
        return dict(own(Scored(*told)))
    except RewardError as error:
        rollout.reasons["reward"] = str(error)
        return unknown
