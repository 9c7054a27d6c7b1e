"""Proof that a task is sound: its rows map, its gold answer scores 1, an empty answer 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vsr1_bench.assess import apply_label
from vsr1_bench.data import DataOptions, open_data
from vsr1_bench.errors import TaskError
from vsr1_bench.grading import grade_all
from vsr1_bench.judge_names import read_name
from vsr1_bench.judging import Item, ModelJudge, RuleJudge
from vsr1_bench.prompts import build_messages, get_format, qwen_chat
from vsr1_bench.records import ImagePlace, Message, Sample, Verdict
from vsr1_bench.registry import find_judge, get_judge
from vsr1_bench.task import Procedural, Task


@dataclass(frozen=True, slots=True)
class Validation:
    """What `validate` found out about one task."""

    task: str
    rows: int
    """Rows checked."""
    source: str
    """Where they came from, in words."""
    prompt: str
    """The first sample's prompt."""
    chat: str
    """The same as the chat template of Qwen2.5-VL writes it, to the byte."""
    faults: tuple[str, ...]
    """Empty = sound."""
    reading: tuple[str, ...] = ()
    """How the gold answers were read: a line for each rule, with its first example."""
    judged: bool = True
    """False: only a model judges this task, and no verdict was tried."""


def validate_task(
    task: Task,
    options: DataOptions,
    *,
    prompt: str = "see_think",
    limit: int = 50,
    include_path: Sequence[str] = (),
) -> Validation:
    """Check a task on its first rows, or on a generated row where its data are not to be had.

    Raises:
        UsageError: the task's judge does not exist.
    """
    judge = rule_judge(task, include_path)
    samples, source = _samples(task, options, limit)
    gold = [_item(sample, _spoken(sample)) for sample in samples]
    empty = [_item(sample, "") for sample in samples]
    faults = []
    read: dict[str | None, list[tuple[str, Verdict]]] = {}
    for wanted, items in (("correct", gold), ("incorrect", empty)):
        if judge is None:
            break
        graded = grade_all(judge, items, tuple(include_path))
        for sample, (item, verdict) in zip(samples, graded, strict=True):
            outcome = apply_label(task, sample, verdict).outcome
            if wanted == "correct" and verdict.how is not None:
                read.setdefault(verdict.how, []).append((item.response, verdict))
            if outcome != wanted:
                faults.append(
                    f"sample {item.id}: {item.response or '(empty)'!r} against gold "
                    f"{item.answer!r} is {outcome} ({verdict.reason or verdict.extracted}), "
                    f"wanted {wanted}"
                )
    messages = build_messages(samples[0], get_format(prompt), native=task.native_prompt)
    return Validation(
        task.name,
        len(samples),
        source,
        show_prompt(messages),
        qwen_chat(messages),
        tuple(faults),
        tuple(f"{rule} read {len(cases)}: {_shown(*cases[0])}" for rule, cases in read.items()),
        judge is not None,
    )


def _shown(response: str, verdict: Verdict) -> str:
    """What was read from which words of a response."""
    start, end = verdict.span or (0, len(response))
    said = f"{response[start:end]!r} ({start}-{end} of {response!r})"
    return f"{said} as {verdict.extracted!r}"


def rule_judge(task: Task, include_path: Sequence[str]) -> RuleJudge | None:
    """The rule by which a task can be tried; None where only a model judges it.

    Raises:
        UsageError: the judge does not exist.
    """
    judge = find_judge(read_name(task.judge).kind, include_path)
    if not isinstance(judge, ModelJudge):
        return get_judge(task.judge, include_path)
    return get_judge(task.judge_fallback, include_path) if task.judge_fallback else None


def _samples(task: Task, options: DataOptions, limit: int) -> tuple[list[Sample], str]:
    try:
        data = open_data(task, options)
    except TaskError as error:
        if task.example is None:
            raise
        found = task.to_sample(task.example())
        reason = " ".join(str(error).split())
        samples = list(found) if isinstance(found, tuple) else [found]
        return samples, f"a generated row in the true columns, because {reason}"
    samples = list(data.samples(limit))
    if not samples:
        raise TaskError(f"task {task.name!r}: the data set has no rows")
    kind = "generated" if isinstance(task.source, Procedural) else data.info.id
    return samples, f"{kind}, {data.info.n} rows, fingerprint {data.info.fingerprint[:8]}"


def _spoken(sample: Sample) -> str:
    """The gold answer as a model would give it."""
    return f"\\boxed{{{sample.answer}}}"


def _item(sample: Sample, response: str) -> Item:
    return Item(
        sample.id,
        response,
        sample.answer,
        sample.answer_type,
        sample.choices,
        sample.question_text,
        sample_id=sample.id,
        extra=sample.extra,
    )


def show_prompt(messages: Sequence[Message]) -> str:
    """Write messages for people, images as `[image N]`."""
    return "\n".join(
        f"{message.role}: "
        + "".join(
            f"[image {part.index + 1}]" if isinstance(part, ImagePlace) else part
            for part in message.content
        )
        for message in messages
    )
