r"""Rewards: training rewards exactly what the evaluator scores.

Components are 0 or 1, or None after a technical failure (of an engine, a judge or an endpoint);
such a response is excluded and counted. A response without a description, without a box, or
truncated earns 0, because the policy is responsible for it.

| component | 1 if |
|---|---|
| `accuracy` | the judge accepts the answer of the first pass |
| `format` | the first response is description, think, box, and nothing else |
| `description_accuracy` | the judge accepts the answer of the second pass, without the image |
| `description_format` | the second response is think, box, and nothing else |

`overlong` (recipe key `overlong_tokens`) is from 0 to -1: see `overlong_penalty`.

The reasoning is in `<think>` or in `<thinking>`. Some chat templates open a tag, so that a response
begins inside it: `…</think> <description>…` (Qwen3-VL Thinking). Such thinking may be in place of
the reasoning that the form asks for, or before it.
"""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from vsr1_bench.answers import boxed, final_region
from vsr1_bench.judge import Item, Judged, JudgeRunner
from vsr1_bench.records import Completion, Sample, Stage

Components = Mapping[str, float | None]

_TAG = re.compile(r"</?(?:description|think(?:ing)?)>")
_DESCRIPTION = r"\s*<description>(?P<description>.*?)</description>"
_REASONING = r"\s*<(?P<tag>think(?:ing)?)>.*?</(?P=tag)>"
_BOX = r"\s*(?P<box>\\boxed\{.*\})\s*"


def format_first(text: str, opened: str = "") -> float:
    r"""1 if a response is `<description>…</description> <think>…</think> \boxed{…}` and no more.

    Args:
        text: The response.
        opened: The tag with which the chat template begins it; empty = none.
    """
    return _has_form(text, opened, _DESCRIPTION)


def format_second(text: str, opened: str = "") -> float:
    r"""1 if a response is `<think>…</think> \boxed{…}` and no more (also prompt `cot`).

    Args:
        text: The response.
        opened: See `format_first`.
    """
    return _has_form(text, opened, "")


def _has_form(text: str, opened: str, start: str) -> float:
    """1 if a response is `start`, reasoning and a box; or that after thinking that was opened."""
    found = _matches(start + _REASONING + _BOX, text)
    if opened and not found:
        thought, _, rest = text.partition(opened.replace("<", "</"))
        forms = (start + _BOX, start + _REASONING + _BOX)
        found = not _TAG.search(thought) and any(_matches(form, rest) for form in forms)
    return float(found)


def _matches(pattern: str, text: str) -> bool:
    """Whether a pattern matches a whole text, with one pair of tags for each of its blocks."""
    match = re.fullmatch(pattern, text, re.DOTALL)
    if match is None or not _one_box(match["box"]):
        return False
    parts = match.groupdict()
    blocks = len(parts.keys() & {"description", "tag"})
    return parts.get("description", "-").strip() != "" and len(_TAG.findall(text)) == 2 * blocks


def _one_box(text: str) -> bool:
    r"""Whether a text is one `\boxed{…}`, which ends with the text and is not empty."""
    depth = 0
    for place, sign in enumerate(text):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if sign == "}" and depth == 0:
            return place == len(text) - 1 and bool(boxed(text))
    return False


def overlong_penalty(length: int, longest: int, margin: int) -> float:
    """DAPO's soft overlong punishment of a response (arXiv:2503.14476, eq 13), from 0 to -1.

    Args:
        length: Tokens of the response, |y|.
        longest: Maximum tokens of a response, L_max.
        margin: The last tokens before it, L_cache, in which the punishment grows.
    """
    return -min(max(length - (longest - margin), 0) / margin, 1.0)


def reward_parts(
    objective: str, alpha: float, *, overlong: bool = False, visual: float = 1.0
) -> tuple[Mapping[str, float], ...]:
    """Weights of the components in an objective's rewards; `alpha` is the weight of the format.

    `moca` has the reward R_O + λ R_P, without a format; `visual` is its λ (arXiv:2605.14054).
    `overlong` adds the punishment of that name to the reward of the answer (DAPO, section 3.4).
    `decoupled` has two rewards, r_ans and r_vis (paper v2, eqs 3 and 4); the others have one (paper
    v1 and its code). `multi_advantage` trains on the components; its reward is only logged.
    """
    shaped = {"overlong": 1.0} if overlong else {}
    if objective == "decoupled":
        seen = {"description_accuracy": 1.0, "description_format": alpha}
        return {"accuracy": 1.0, "format": alpha} | shaped, seen
    if objective == "moca":
        return ({"accuracy": 1.0, "description_accuracy": visual} | shaped,)
    answered = {"accuracy": 1 - alpha, "format": alpha} | shaped
    return (answered if objective == "answer_only" else answered | {"description_accuracy": 1.0},)


def weigh(components: Components, weights: Mapping[str, float]) -> float | None:
    """A weighted sum of components; None if one of them is unknown."""
    known = [weight * c for name, weight in weights.items() if (c := components[name]) is not None]
    return sum(known) if len(known) == len(weights) else None


def total_reward(
    components: Components, objective: str, alpha: float, *, visual: float = 1.0
) -> float | None:
    """The reward as one number, for the journal and the curves; scalar objectives train on it."""
    weights = reward_parts(objective, alpha, overlong="overlong" in components, visual=visual)
    parts = [weigh(components, each) for each in weights]
    return None if None in parts else sum(part for part in parts if part is not None)


@contextmanager
def grading_by(judge: JudgeRunner) -> Iterator[Grading]:
    """Judge responses as they are submitted; all are judged when the block ends.

    Raises:
        JudgeError: the judge cannot continue; raised at the end of the block.
    """
    with ThreadPoolExecutor(1, "judge") as pool:
        grading = Grading()
        done = pool.submit(grading.run, judge)
        try:
            yield grading
        finally:
            grading.items.put(None)
        done.result()


class Grading:
    """Judges responses while others are still being generated: see `grading_by`."""

    def __init__(self) -> None:
        self.verdicts: dict[str, float | None] = {}
        """By key: 1, 0, a graded judge's score, or None without a verdict."""
        self.reasons: dict[str, str] = {}
        self.items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        """What the judge takes; None is the end."""

    def submit(
        self, key: str, sample: Sample, completion: Completion, stage: Stage = "answer"
    ) -> None:
        """Judge a response; one without a box, or truncated, gets 0 without a judge."""
        if completion.error is not None:
            self._note(key, None, f"generation failed: {completion.error}")
        elif completion.finish_reason == "length":
            self._note(key, 0.0, "truncated")
        elif not boxed(final_region(completion.text)):
            self._note(key, 0.0, "no box")
        else:
            self.items.put(Item.of(sample, key, completion.text, stage))

    def _note(self, key: str, reward: float | None, reason: str) -> None:
        self.verdicts[key], self.reasons[key] = reward, reason

    def run(self, judge: JudgeRunner) -> None:
        """Judge until the end of the items."""
        for judged in judge.judge(iter(self.items.get, None)):
            verdict = judged.verdict
            reward = float(verdict.outcome == "correct") if verdict.score is None else verdict.score
            unknown = verdict.outcome == "unscored"
            self._note(judged.item.id, None if unknown else reward, _reason(judged))


def _reason(judged: Judged) -> str:
    verdict = judged.verdict
    read = "" if verdict.extracted is None else f" ({verdict.extracted})"
    return f"{verdict.outcome}{read}" + (f": {verdict.reason}" if verdict.reason else "")
