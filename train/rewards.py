r"""Rewards: what is scored by the evaluator is what is rewarded here.

Components are 0 or 1, or None where the machinery failed (an engine, a judge, an endpoint): such a
response is left out and counted. A missing description, a missing box or an answer that was cut off
earns 0; that is the policy's own doing.

| component | 1 if |
|---|---|
| `accuracy` | the judge finds the first pass's answer right |
| `format` | the first response is description, think, box, and nothing else |
| `description_accuracy` | the judge finds the answer right that a reader gave, who had no image |
| `description_format` | the second response is think, box, and nothing else |
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from vsr1_bench.answers import boxed
from vsr1_bench.judging import Item, Judged, RunningJudge
from vsr1_bench.records import Completion, Sample, Stage

Components = Mapping[str, float | None]

_TAG = re.compile(r"</?(?:description|think)>")
_FIRST = re.compile(
    r"\s*<description>(?P<d>.*?)</description>\s*<think>.*?</think>\s*(?P<box>\\boxed\{.*\})\s*",
    re.DOTALL,
)
_SECOND = re.compile(r"\s*<think>.*?</think>\s*(?P<box>\\boxed\{.*\})\s*", re.DOTALL)


def format_first(text: str) -> float:
    r"""1 if a response is `<description>…</description> <think>…</think> \boxed{…}` and no more."""
    found = _FIRST.fullmatch(text)
    whole = found is not None and found["d"].strip() and _one_box(found["box"])
    return float(bool(whole) and len(_TAG.findall(text)) == 4)


def format_second(text: str) -> float:
    r"""1 if a response is `<think>…</think> \boxed{…}` and no more (also prompt `cot`)."""
    found = _SECOND.fullmatch(text)
    return float(found is not None and _one_box(found["box"]) and len(_TAG.findall(text)) == 2)


def _one_box(text: str) -> bool:
    r"""Whether a text is one `\boxed{…}` that ends where the text does, with something in it."""
    depth = 0
    for place, sign in enumerate(text):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if sign == "}" and depth == 0:
            return place == len(text) - 1 and bool(boxed(text))
    return False


def answer_reward(components: Components, alpha: float) -> float | None:
    """`(1 - α) accuracy + α format` (`answer_only`; the first part of `summed`)."""
    accuracy, form = components["accuracy"], components["format"]
    return None if accuracy is None or form is None else (1 - alpha) * accuracy + alpha * form


def summed_reward(components: Components, alpha: float) -> float | None:
    """`(1 - α) accuracy + α format + description_accuracy` (paper v1 and its code)."""
    answer, read = answer_reward(components, alpha), components["description_accuracy"]
    return None if answer is None or read is None else answer + read


def decoupled_answer(components: Components, alpha: float) -> float | None:
    """`r_ans = accuracy + α format` (paper v2, eq 3)."""
    accuracy, form = components["accuracy"], components["format"]
    return None if accuracy is None or form is None else accuracy + alpha * form


def decoupled_visual(components: Components, alpha: float) -> float | None:
    """`r_vis = description_accuracy + α description_format` (paper v2, eq 4)."""
    accuracy, form = components["description_accuracy"], components["description_format"]
    return None if accuracy is None or form is None else accuracy + alpha * form


def total_reward(components: Components, objective: str, alpha: float) -> float | None:
    """One number for the journal and the curves; the scalar objectives train on it."""
    if objective == "answer_only":
        return answer_reward(components, alpha)
    if objective == "decoupled":
        parts = (decoupled_answer(components, alpha), decoupled_visual(components, alpha))
        return None if None in parts else sum(part for part in parts if part is not None)
    return summed_reward(components, alpha)


class Grading:
    """Judges answers while others are still being generated.

    `submit` hands over a response; `close` waits, and `verdicts` then has the reward of each: 1, 0,
    or None where the judge gave no verdict.
    """

    def __init__(self, judge: RunningJudge) -> None:
        """Start judging in a thread of its own: the judge reads items as they come."""
        self.verdicts: dict[str, float | None] = {}
        self.reasons: dict[str, str] = {}
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._judge, args=(judge,), name="judge")
        self._thread.start()

    def submit(
        self, key: str, sample: Sample, completion: Completion, stage: Stage = "answer"
    ) -> None:
        """Judge a response; without a box, or cut off, it is 0 without asking anybody."""
        if completion.error is not None:
            self._note(key, None, f"generation failed: {completion.error}")
        elif completion.finish_reason == "length":
            self._note(key, 0.0, "truncated")
        elif not boxed(completion.text):
            self._note(key, 0.0, "no box")
        else:
            item = Item(
                id=key,
                response=completion.text,
                answer=sample.answer,
                answer_type=sample.answer_type,
                choices=sample.choices,
                question=sample.question_text,
                sample_id=sample.id,
                extra=sample.extra,
                stage=stage,
            )
            self._items.put(item)

    def _note(self, key: str, reward: float | None, reason: str) -> None:
        self.verdicts[key], self.reasons[key] = reward, reason

    def _judge(self, judge: RunningJudge) -> None:
        try:
            for judged in judge.judge(iter(self._items.get, None)):
                self._note(judged.item.id, reward_of(judged), _reason(judged))
        except BaseException as error:  # handed to the thread that waits in `close`
            self._failure = error

    def close(self) -> None:
        """Wait until everything is judged.

        Raises:
            JudgeError: the judge cannot go on.
        """
        self._items.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the judge; an error of the body goes first."""
        try:
            self.close()
        except Exception:
            if error is None:
                raise


def reward_of(judged: Judged) -> float | None:
    """1 for right, 0 for wrong, a graded judge's own score; None where there is no verdict."""
    verdict = judged.verdict
    if verdict.outcome == "unscored":
        return None
    return float(verdict.outcome == "correct") if verdict.score is None else verdict.score


def _reason(judged: Judged) -> str:
    verdict = judged.verdict
    read = "" if verdict.extracted is None else f" ({verdict.extracted})"
    return f"{verdict.outcome}{read}" + (f": {verdict.reason}" if verdict.reason else "")
