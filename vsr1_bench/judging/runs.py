"""Judge stored runs from their journals, without model and data set (scoring: `scoring.runs`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.errors import StoreError
from vsr1_bench.harness import scorer_of
from vsr1_bench.judge import Estimate, Item, Judged, JudgeOptions, check_verdict
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.records import Judgment, Output, Perception, Sample, Stage, Verdict
from vsr1_bench.registry import get_task
from vsr1_bench.store.journal import Journal, Lock
from vsr1_bench.store.journal_index import check_asked
from vsr1_bench.store.run_folder import RunFolder, utc_now
from vsr1_bench.task import Task


def judge_run(
    run: RunFolder,
    judge_name: str | None,
    include_path: Sequence[str] = (),
    *,
    options: JudgeOptions | None = None,
    progress: bool = True,
    pool: JudgePool | None = None,
) -> Path:
    """Judge every response of a run that has no verdict yet; return the journal of verdicts.

    Readings of the second pass are judged like responses, into a separate journal.

    Verdicts and the replies of models are stored as soon as they arrive, so that a crash loses
    nothing that was paid for. Unscored responses are judged again.

    Args:
        run: A stored run.
        judge_name: The judge's spec; None = the default of the run's task.
        include_path: Folders of plug-ins.
        options: The options of the judge.
        progress: Show a progress bar.
        pool: Opens judges and keeps them for the next run; None = only for this run.

    Raises:
        UsageError: the judge or task is unknown, or an option of the judge is missing.
        JudgeError, ModelError, GenerationError: the judge cannot continue; verdicts are safe.
        StoreError: the run cannot be read, or another process is judging it.
    """
    if pool is None:
        with JudgePool(include_path, options) as own:
            return judge_run(run, judge_name, include_path, progress=progress, pool=own)
    task = get_task(run.spec().task.name, include_path)
    if (harness := scorer_of(task, judge_name)) is not None:
        return path_of(run, harness.score(run, task, progress=progress))
    judge = pool.get(judge_name or task.judge, task)
    path = run.judgment_path(judge.name, judge.identity)
    lock = Lock(path.with_name(f".{path.stem}.lock"))
    try:
        for journal, stored, unit in _stored(run, path):
            samples, missing, items = _unjudged(run, journal, stored)
            if not missing and journal != path:
                continue
            bar = progress_bar(len(missing), f"judge {task.name}", unit, shown=progress)
            with (
                Journal(journal) as lines,
                bar,
                judge.keeping(run.replies),
                closing(judge.judge(items)) as verdicts,
            ):
                for judged in verdicts:
                    output = missing[judged.item.id]
                    final = apply_label(task, samples[output.sample_id][1], judged.verdict)
                    check_verdict(
                        f"{judge.name}, as read by task {task.name}", output.sample_id, final
                    )
                    lines.append(asdict(judgment_of(output, replace(judged, verdict=final))))
                    bar.update()
    finally:
        lock.release()
    return path


def path_of(run: RunFolder, document: Mapping[str, Any]) -> Path:
    """The journal of verdicts behind a score document."""
    return run.path / "judgments" / str(document["verdicts"])


def _stored(run: RunFolder, path: Path) -> list[tuple[Path, Mapping[str, Output], str]]:
    """What can be judged, per pass: (journal of verdicts, stored outputs, their unit)."""
    second = run.perception_judgment_path(path)
    return [(path, run.generations(), "resp"), (second, run.perceptions(), "reading")]


def estimate_run(run: RunFolder, judge_name: str | None, pool: JudgePool) -> tuple[str, Estimate]:
    """The judge's name, and an estimate for the rest of a run; calls no model."""
    task = get_task(run.spec().task.name, pool.include_path)
    if (harness := scorer_of(task, judge_name)) is not None:
        # The harness does not state which calls its scorer makes.
        return harness.name, Estimate(cost=None)
    judge = pool.get(judge_name or task.judge, task)
    judge.recall(run.replies)
    total = Estimate()
    for journal, stored, _ in _stored(run, run.judgment_path(judge.name, judge.identity)):
        total = total + judge.estimate(_unjudged(run, journal, stored)[2])
    return judge.name, total


def estimate_items(
    task: Task,
    judge_name: str | None,
    pool: JudgePool,
    usual: Iterable[Item],
    longest: Iterable[Item],
) -> tuple[str, Estimate]:
    """The judge's name, and an estimate for outputs that are not there yet; calls no model.

    Args:
        task: Their task.
        judge_name: The judge's spec; None = the default of the task.
        pool: Opens it.
        usual: Items in their place, of usual length.
        longest: As many items, as long as they can be.
    """
    if (harness := scorer_of(task, judge_name)) is not None:
        return harness.name, Estimate(cost=None)
    judge = pool.get(judge_name or task.judge, task)
    return judge.name, judge.estimate(usual).bounded_by(judge.estimate(longest))


def _unjudged(
    run: RunFolder, path: Path, stored: Mapping[str, Output]
) -> tuple[dict[str, tuple[int, Sample]], dict[str, Output], Iterator[Item]]:
    """A run's samples with their rows, the outputs without a verdict by key, and their items."""
    if "answer" in run.withheld():
        raise StoreError(
            f"{run.path}: came without gold answers, which judging needs; `vsr1-bench judge` adds "
            "them from the data (--data_root DIR); its stored verdicts and scores can be read"
        )
    known, several = run.judgments(path), run.spec().responses_per_sample > 1
    samples = {sample.id: (row, sample) for row, sample in run.placed_samples().items()}
    missing = {
        key: g for key, g in stored.items() if g.error is None and not _holds(known.get(key), g)
    }
    check_asked(run.path, samples.keys(), {g.sample_id for g in missing.values()})
    items = (
        item_of(sample, g, row, g.index if several else None)
        for g in missing.values()
        for row, sample in (samples[g.sample_id],)
    )
    return samples, missing, items


def _holds(judgment: Judgment | None, output: Output) -> bool:
    """Whether there is a verdict on this text; unscored does not count."""
    return (
        judgment is not None
        and judgment.verdict.outcome != "unscored"
        and judgment.text_hash == text_hash(output.text)
    )


def text_hash(text: str) -> str:
    """Hash of a response."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def item_of(
    sample: Sample, output: Output, row: int | None = None, index: int | None = None
) -> Item:
    """Combine a stored response with its sample; `index` tells it from other responses to it."""
    stage: Stage = "reading" if isinstance(output, Perception) else "answer"
    return replace(Item.of(sample, output.key, output.text, stage), row=row, index=index)


def apply_label(task: Task, sample: Sample, verdict: Verdict) -> Verdict:
    """Let the task decide what a judge's label means for a sample."""
    if verdict.label is None or task.verdict_of_label is None:
        return verdict
    outcome = task.verdict_of_label(sample, verdict.label)
    return verdict if outcome is None else replace(verdict, outcome=outcome)


def judgment_of(output: Output, judged: Judged) -> Judgment:
    """The record of a verdict on a stored response."""
    return Judgment(
        key=output.key,
        sample_id=output.sample_id,
        index=output.index,
        verdict=judged.verdict,
        created=utc_now(),
        text_hash=text_hash(output.text),
        raw=judged.raw,
        usage=judged.usage,
        cost=judged.cost,
        judge_model=judged.model,
        prompt_hash=judged.prompt_hash,
        asked=judged.asked,
    )
