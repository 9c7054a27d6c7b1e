"""Choose the judge of each task, and report missing ones before anything is generated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vsr1_bench.harness import Harness, scorer_of
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.task import Task


@dataclass(frozen=True, slots=True)
class JudgeChoice:
    """The judge of one task."""

    spec: str
    """The wanted judge, or the rule that replaces it."""
    usable: bool = True
    """False: responses stay unscored until the same command finds what the judge needs."""
    warning: str | None = None
    """One line with what is missing and what is done instead."""
    by_batch: bool | None = None
    """Whether `--batch` changes how it asks; None = it asks no model."""


def choose_judges(
    tasks: Iterable[Task], judge: str | None, pool: JudgePool
) -> dict[str, JudgeChoice]:
    """Choose a judge for each task, by the task's name.

    A judge that was named must be available. A task's own judge may have no key, endpoint or model:
    then the task's fallback rule replaces it, or its responses stay unscored if there is none.

    Raises:
        UsageError: an unknown judge, or a named one that cannot be used.
    """
    choices: dict[str, JudgeChoice] = {}
    for task in tasks:
        if (harness := scorer_of(task, judge)) is not None:
            choices[task.name] = _own_scorer(harness, task)
        elif judge is not None:
            choices[task.name] = JudgeChoice(judge, by_batch=pool.get(judge, task).by_batch())
        elif (missing := pool.missing(task.judge, task)) is None:
            can = pool.get(task.judge, task).by_batch()
            choices[task.name] = JudgeChoice(task.judge, by_batch=can)
        elif task.judge_fallback is not None:
            warning = (
                f"task {task.name!r}: {missing}; judged by rule {task.judge_fallback!r} instead"
            )
            choices[task.name] = JudgeChoice(task.judge_fallback, warning=warning)
        else:
            warning = f"task {task.name!r}: {missing}; no rule can judge it, it stays unscored"
            choices[task.name] = JudgeChoice(task.judge, usable=False, warning=warning)
    return choices


def batched_judges(choices: Mapping[str, JudgeChoice]) -> dict[str, bool | None]:
    """The judges that will be used, for `connect.batch_note`."""
    used = [choice for choice in choices.values() if choice.usable]
    return {f"judge {choice.spec}": choice.by_batch for choice in used}


def _own_scorer(harness: Harness, task: Task) -> JudgeChoice:
    """The external task's own scorer."""
    if (missing := harness.missing()) is None:
        return JudgeChoice(harness.name)
    warning = f"task {task.name!r}: {missing}; its stored scores are shown by vsr1-bench table"
    return JudgeChoice(harness.name, usable=False, warning=warning)
