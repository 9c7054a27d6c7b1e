"""Judging and scoring of stored runs: no model, no data set, only the journals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.journal import Journal, Lock
from vsr1_bench.judging import Estimate, Item, Judged, JudgeOptions
from vsr1_bench.progress import progress_bar
from vsr1_bench.records import Generation, Judgment, Sample, Verdict
from vsr1_bench.registry import get_task
from vsr1_bench.running import JudgePool
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.store import RunFolder, uncollected, utc_now
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

    A verdict is written down the moment it is there, so that the death of the process loses none
    that was paid for. Unscored ones are asked for again.

    Args:
        run: A stored run.
        judge_name: The judge's spec; None = the default of the run's task.
        include_path: Folders of plug-ins.
        options: What the judge needs to be told.
        progress: Show a bar.
        pool: Where judges are opened that stay open for the next run; None = here.

    Raises:
        UsageError: an unknown judge or task, or a judge that was not told what it needs.
        JudgeError, ModelError, GenerationError: the judge cannot go on; verdicts so far are safe.
        StoreError: the run cannot be read, or is being judged by another process.
    """
    if pool is None:
        with JudgePool(include_path, options) as own:
            return judge_run(run, judge_name, include_path, progress=progress, pool=own)
    task = get_task(run.spec().task.name, include_path)
    judge = pool.get(judge_name or task.judge, task)
    path = run.judgment_path(judge.name, judge.identity)
    lock = Lock(path.with_name(f".{path.stem}.lock"))
    try:
        samples, missing, items = _unjudged(run, path)
        bar = progress_bar(len(missing), f"judge {task.name}", "resp", shown=progress)
        with Journal(path) as journal, bar, closing(judge.judge(items)) as verdicts:
            for judged in verdicts:
                generation = missing[judged.item.id]
                final = apply_label(task, samples[generation.sample_id][1], judged.verdict)
                journal.append(asdict(_judgment(generation, replace(judged, verdict=final))))
                bar.update()
    finally:
        lock.release()
    return path


def estimate_run(run: RunFolder, judge_name: str | None, pool: JudgePool) -> tuple[str, Estimate]:
    """What judging the rest of a run would take, and the judge's name; calls no model."""
    task = get_task(run.spec().task.name, pool.include_path)
    judge = pool.get(judge_name or task.judge, task)
    _, _, items = _unjudged(run, run.judgment_path(judge.name, judge.identity))
    return judge.name, judge.estimate(items)


def _unjudged(
    run: RunFolder, path: Path
) -> tuple[dict[str, tuple[int, Sample]], dict[str, Generation], Iterator[Item]]:
    """A run's samples with their places, its responses without a verdict by key, and the items."""
    if "answer" in run.withheld():
        raise StoreError(
            f"{run.path}: came without gold answers, which judging needs; `vsr1-bench judge` puts "
            "them back from the data (--data_root DIR); its stored verdicts and scores can be read"
        )
    known, several = run.judgments(path), run.spec().responses_per_sample > 1
    samples = {sample.id: (row, sample) for row, sample in run.placed_samples().items()}
    missing = {
        key: g
        for key, g in run.generations().items()
        if g.error is None and not _holds(known.get(key), g)
    }
    items = (
        item_of(sample, g, row, g.index if several else None)
        for g in missing.values()
        for row, sample in (samples[g.sample_id],)
    )
    return samples, missing, items


def _holds(judgment: Judgment | None, generation: Generation) -> bool:
    """Whether a verdict is there, of this very text; an unscored one is asked for again."""
    return (
        judgment is not None
        and judgment.verdict.outcome != "unscored"
        and judgment.text_hash == text_hash(generation.text)
    )


def text_hash(text: str) -> str:
    """Hash of a response."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def item_of(
    sample: Sample, generation: Generation, row: int | None = None, index: int | None = None
) -> Item:
    """Put a response beside its question and gold answer; `index` tells it from its siblings."""
    return Item(
        id=generation.key,
        response=generation.text,
        answer=sample.answer,
        answer_type=sample.answer_type,
        choices=sample.choices,
        question=sample.question_text,
        sample_id=sample.id,
        row=row,
        index=index,
        extra=sample.extra,
    )


def apply_label(task: Task, sample: Sample, verdict: Verdict) -> Verdict:
    """Let the task say what a judge's label means for a sample."""
    if verdict.label is None or task.verdict_of_label is None:
        return verdict
    outcome = task.verdict_of_label(sample, verdict.label)
    return verdict if outcome is None else replace(verdict, outcome=outcome)


def _judgment(generation: Generation, judged: Judged) -> Judgment:
    return Judgment(
        key=generation.key,
        sample_id=generation.sample_id,
        index=generation.index,
        verdict=judged.verdict,
        created=utc_now(),
        text_hash=text_hash(generation.text),
        raw=judged.raw,
        usage=judged.usage,
        cost=judged.cost,
        judge_model=judged.model,
        prompt_hash=judged.prompt_hash,
    )


def score_run(
    run: RunFolder,
    judge_name: str,
    include_path: Sequence[str] = (),
    *,
    verdicts: Path | None = None,
) -> dict[str, Any]:
    """Score a judged run, write `scores/<judge>.json`, and return that document.

    Args:
        run: A stored run.
        judge_name: Whose verdicts to count.
        include_path: Folders of plug-ins, needed for tasks of one's own.
        verdicts: The journal that `judge_run` returned; None = the newest of that judge. One that
            is not there scores a run that nobody could judge: all unscored.

    Raises:
        StoreError: the run was not judged by this judge.
        UsageError: the run was made with another version of its task.
    """
    spec = run.spec()
    task = get_task(spec.task.name, include_path)
    path = verdicts or run.judged().get(judge_name)
    if path is None or (verdicts is None and not path.exists()):
        raise StoreError(
            f"{run.path}: not judged by {judge_name!r}; run: vsr1-bench judge {run.path} "
            f"--judge {judge_name}"
        )
    if task.version != spec.task.version:
        raise UsageError(
            f"{run.path} was made with version {spec.task.version} of task {task.name!r}, this is "
            f"version {task.version}; generate it again, or score it with the older vsr1-bench"
        )
    judged = run.judgments(path)
    responses = join_responses(run, path, judged)
    score = score_responses(
        responses, task.metrics, cluster=task.cluster, per_sample=spec.responses_per_sample
    )
    document = {
        "schema": 1,
        "model": spec.model.id,
        "task": spec.task.name,
        "version": spec.task.version,
        "judge": judge_name,
        "prompt": spec.prompt.format,
        "variant": spec.variant,
        "spec_hash": spec.digest(),
        "verdicts": path.name,
        "footnote": _footnote(task, judge_name),
        "judging": _judging(judged),
        **score.document(),
    }
    run.write_scores(judge_name, document)
    return document


def _judging(judged: dict[str, Judgment]) -> dict[str, Any] | None:
    """Which model judged, by which prompt, and what it took; None where no model did."""
    asked = [judgment for judgment in judged.values() if judgment.judge_model is not None]
    if not asked:
        return None
    costs = [judgment.cost for judgment in asked if judgment.cost is not None]
    return {
        "models": sorted({judgment.judge_model or "" for judgment in asked}),
        "prompts": sorted({judgment.prompt_hash or "" for judgment in asked}),
        "prompt_tokens": sum(judgment.usage.prompt_tokens or 0 for judgment in asked),
        "completion_tokens": sum(judgment.usage.completion_tokens or 0 for judgment in asked),
        "cost": sum(costs) if costs else None,
    }


def _footnote(task: Task, judge_name: str) -> str | None:
    if judge_name == task.judge_fallback and judge_name != task.judge:
        return f"judged by {judge_name}, the rule that stands in for {task.judge}"
    return None


def judge_and_score(
    run: RunFolder,
    judge_name: str | None,
    include_path: Sequence[str] = (),
    *,
    options: JudgeOptions | None = None,
    progress: bool = True,
    pool: JudgePool | None = None,
) -> dict[str, Any]:
    """Judge what has no verdict yet, then score (see `judge_run` and `score_run`)."""
    if pool is None:
        with JudgePool(include_path, options) as own:
            return judge_and_score(run, judge_name, include_path, progress=progress, pool=own)
    task = get_task(run.spec().task.name, include_path)
    path = judge_run(run, judge_name, include_path, progress=progress, pool=pool)
    name = pool.get(judge_name or task.judge, task).name
    return score_run(run, name, include_path, verdicts=path)


def score_unjudged(
    run: RunFolder, judge_name: str, include_path: Sequence[str] = ()
) -> dict[str, Any]:
    """Score a run whose judge cannot be had here: what it said before counts, the rest is open."""
    path = run.judged().get(judge_name) or run.judgment_path(judge_name, "0" * 8)
    return score_run(run, judge_name, include_path, verdicts=path)


@uncollected
def join_responses(
    run: RunFolder, verdicts: Path, judged: dict[str, Judgment] | None = None
) -> list[Response]:
    """Join samples, generations and verdicts: one entry for each response that was asked for.

    Args:
        run: A stored run.
        verdicts: The judge's journal.
        judged: What stands in it, where that has been read already.
    """
    placed = run.placed_groups()
    judged = run.judgments(verdicts) if judged is None else judged
    per_sample = run.spec().responses_per_sample
    found = {(g.sample_id, g.index): g for g in run.generations().values()}
    responses = []
    for row in range(run.wanted()):
        known = placed.get(row)
        for index in range(per_sample):
            if known is None:  # asked for and never made: another shard's, or the run ended early
                responses.append(Response(f"row {row}", {}, None, made=False))
            else:
                responses.append(_response(*known, found.get((known[0], index)), judged))
    return responses


def _response(
    sample_id: str,
    groups: dict[str, str],
    generation: Generation | None,
    judged: dict[str, Judgment],
) -> Response:
    if generation is None:
        return Response(sample_id, groups, None)
    if generation.error is not None:
        return Response(sample_id, groups, None, failed=True)
    judgment = judged.get(generation.key)
    verdict = judgment.verdict if judgment else Verdict("unscored", reason="not judged")
    correct = None
    if verdict.outcome != "unscored":
        correct = (
            verdict.score if verdict.score is not None else float(verdict.outcome == "correct")
        )
    return Response(
        sample_id,
        groups,
        correct,
        extracted=verdict.extracted,
        truncated=generation.truncated,
        unparsed=verdict.unparsed,
    )
