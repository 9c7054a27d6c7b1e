"""Choose the judge of each task, and report missing ones before anything is generated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vsr1_bench.harness import Harness, scorer_of
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.task import Task


@dataclass(frozen=True, slots=True)
class JudgeChoice:
    """The judge of one task."""

    spec: str
    """What was wanted, or the rule that replaces it."""
    usable: bool = True
    """False: its verdicts stay open until the same command finds what it needs."""
    warning: str | None = None
    """One line that says what is missing and what is done instead."""


def choose_judges(
    tasks: Iterable[Task], judge: str | None, pool: JudgePool
) -> dict[str, JudgeChoice]:
    """Choose a judge for each task, by the task's name.

    A judge that was named must be there. A task's own judge may have no key, endpoint or model:
    then the task's rule replaces it where the task has one, else its responses stay unscored.

    Raises:
        UsageError: an unknown judge, or a named one that cannot be used.
    """
    found: dict[str, JudgeChoice] = {}
    for task in tasks:
        if (harness := scorer_of(task, judge)) is not None:
            found[task.name] = _own_scorer(harness, task)
        elif judge is not None:
            pool.get(judge, task)
            found[task.name] = JudgeChoice(judge)
        elif (lack := pool.missing(task.judge, task)) is None:
            found[task.name] = JudgeChoice(task.judge)
        elif task.judge_fallback is not None:
            said = f"task {task.name!r}: {lack}; judged by rule {task.judge_fallback!r} instead"
            found[task.name] = JudgeChoice(task.judge_fallback, warning=said)
        else:
            said = f"task {task.name!r}: {lack}; no rule can judge it, it stays unscored"
            found[task.name] = JudgeChoice(task.judge, usable=False, warning=said)
    return found


def _own_scorer(harness: Harness, task: Task) -> JudgeChoice:
    """The scorer that an external task brings with it."""
    if (lack := harness.missing()) is None:
        return JudgeChoice(harness.name)
    said = f"task {task.name!r}: {lack}; its stored scores are shown by vsr1-bench table"
    return JudgeChoice(harness.name, usable=False, warning=said)
