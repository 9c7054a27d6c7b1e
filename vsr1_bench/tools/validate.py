"""Check a task: rows map, images open, the gold answer scores 1 and an empty answer 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import MissingDataError, TaskError
from vsr1_bench.generation.images import ImageError, decode
from vsr1_bench.judge import Item, ModelJudge, RuleJudge
from vsr1_bench.judging.runs import apply_label
from vsr1_bench.judging.worker import grade_all
from vsr1_bench.prompts.formats import build_messages, get_format, qwen_chat
from vsr1_bench.records import ImagePlace, Message, Sample, Verdict
from vsr1_bench.registry import find_judge, get_judge
from vsr1_bench.store.judge_names import read_name
from vsr1_bench.task import Procedural, Task, UserDataset

GENERATED = "a generated row in the true columns"
SMALL_PIXELS = 4096
"""Images are scaled down to this, because only opening them is tested."""


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of validating one task."""

    task: str
    rows: int
    """Rows checked."""
    source: str
    """Where the rows came from, in words."""
    prompt: str
    """The first sample's prompt; empty if no row maps."""
    chat: str
    """The same prompt exactly as the chat template of Qwen2.5-VL writes it."""
    faults: tuple[str, ...]
    """Empty = sound."""
    reading: tuple[str, ...] = ()
    """How the gold answers were read: one line per rule, with its first example."""
    judged: bool = True
    """False: only a model judges this task, so no verdict was checked."""
    generated: bool = False
    """Whether a generated row stands for its data, which are not here."""


def validate_task(
    task: Task,
    options: DataOptions,
    *,
    prompt: str = "see_think",
    limit: int | None = 50,
    include_path: Sequence[str] = (),
) -> Validation:
    """Check a task on its first rows, or on a generated row if its data are not available.

    Each row that cannot be mapped and each image that does not open is a fault.

    Args:
        task: The task.
        options: Where its rows are; a data set that the user names must exist.
        prompt: The format to show.
        limit: Samples to check; None = all.
        include_path: Folders of plug-ins, which may contain its judge.

    Raises:
        TaskError: the data cannot be read.
        UsageError: the task's judge does not exist.
    """
    judge = rule_judge(task, include_path)
    samples, source, faults = _samples(task, options, limit)
    generated = source.startswith(GENERATED)
    checked = len(samples) + len(faults)
    gold = [Item.of(sample, sample.id, _spoken(sample)) for sample in samples]
    empty = [Item.of(sample, sample.id, "") for sample in samples]
    for sample in samples:
        faults += _unreadable(sample)
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
    fmt = get_format(prompt)
    messages = build_messages(samples[0], fmt, native=task.native_prompt) if samples else ()
    return Validation(
        task.name,
        checked,
        source,
        show_prompt(messages),
        qwen_chat(messages) if messages else "",
        tuple(faults),
        tuple(f"{rule} read {len(cases)}: {_shown(*cases[0])}" for rule, cases in read.items()),
        judge is not None,
        generated,
    )


def _unreadable(sample: Sample) -> Iterator[str]:
    """One line per image of a sample that does not open."""
    for number, image in enumerate(sample.images, start=1):
        try:
            decode(image, 1, SMALL_PIXELS)
        except ImageError as error:
            yield f"sample {sample.id}: image {number} of {len(sample.images)}: {error}"


def _shown(response: str, verdict: Verdict) -> str:
    """Which words of a response were read as which answer."""
    start, end = verdict.span or (0, len(response))
    return f"{response[start:end]!r} ({start}-{end} of {response!r}) as {verdict.extracted!r}"


def rule_judge(task: Task, include_path: Sequence[str]) -> RuleJudge | None:
    """The rule judge that a task can be checked with; None if only a model judges it.

    Raises:
        UsageError: the judge does not exist.
    """
    judge = find_judge(read_name(task.judge).kind, include_path)
    if not isinstance(judge, ModelJudge):
        return get_judge(task.judge, include_path)
    return get_judge(task.judge_fallback, include_path) if task.judge_fallback else None


def _samples(
    task: Task, options: DataOptions, limit: int | None
) -> tuple[list[Sample], str, list[str]]:
    """The samples to check, where they come from, and the faults of rows that cannot be mapped."""
    try:
        data = open_data(task, options)
    except MissingDataError as error:
        # A data set that the user named must be checked itself, not our example.
        if task.example is None or isinstance(task.source, UserDataset):
            raise
        example = task.to_sample(task.example())
        reason = " ".join(str(error).split())
        samples = list(example) if isinstance(example, tuple) else [example]
        return samples, f"{GENERATED}, because {reason}", []
    if not len(data):
        raise TaskError(f"task {task.name!r}: the data set has no rows")
    faults: list[str] = []
    samples = [
        sample
        for _, sample in data.placed_samples(limit, lambda places, error: faults.append(str(error)))
    ]
    kind = "generated" if isinstance(task.source, Procedural) else data.spec.id
    return samples, f"{kind}, {data.n_rows} rows, fingerprint {data.spec.fingerprint[:8]}", faults


def _spoken(sample: Sample) -> str:
    """The gold answer as a model would write it."""
    return f"\\boxed{{{sample.answer}}}"


def show_prompt(messages: Sequence[Message]) -> str:
    """Write messages as readable text, with images as `[image N]`."""
    return "\n".join(
        f"{message.role}: "
        + "".join(
            f"[image {part.index + 1}]" if isinstance(part, ImagePlace) else part
            for part in message.content
        )
        for message in messages
    )
