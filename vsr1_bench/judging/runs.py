"""Judging and scoring of stored runs: no model, no data set, only the journals."""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.data.blind import NONE
from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.judge import Estimate, Item, Judged, JudgeOptions, check_verdict
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.records import Generation, Judgment, Perception, Sample, Verdict
from vsr1_bench.registry import get_task
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.coverage import slice_note
from vsr1_bench.scoring.join import check_asked, join_responses
from vsr1_bench.scoring.seeing import add_seeing, keep_leakage, score_notes
from vsr1_bench.store.journal import Journal, Lock
from vsr1_bench.store.journal_index import Told
from vsr1_bench.store.judge_names import bare
from vsr1_bench.store.provenance import precision_of
from vsr1_bench.store.run_folder import RunFolder, utc_now
from vsr1_bench.store.spec import RunSpec
from vsr1_bench.task import BORROWED, Borrowed, Task

log = logging.getLogger(__name__)

Made = Generation | Perception
"""What is judged: a response, or what a reader answered from its description."""


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

    Readings of the second pass are judged like responses, into a journal of their own.

    A verdict is written down the moment it is there, and what a model replies the moment it comes,
    so that the death of the process loses nothing that was paid for. Unscored ones are asked for
    again.

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
    if (judge_name or task.judge) == BORROWED:
        return path_of(run, _borrowed(run, task, progress=progress))
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
                    made = missing[judged.item.id]
                    final = apply_label(task, samples[made.sample_id][1], judged.verdict)
                    check_verdict(
                        f"{judge.name}, as read by task {task.name}", made.sample_id, final
                    )
                    lines.append(asdict(_judgment(made, replace(judged, verdict=final))))
                    bar.update()
    finally:
        lock.release()
    return path


def _borrowed(run: RunFolder, task: Task, *, progress: bool = False) -> dict[str, Any]:
    """Score a run of a borrowed task by its own scorer.

    Raises:
        UsageError: the task has none, or what it needs is not installed.
        JudgeError: the scorer cannot go on.
    """
    if not isinstance(task.source, Borrowed):
        raise UsageError(f"judge {BORROWED!r} scores tasks named {BORROWED}/…, not {task.name!r}")
    from vsr1_bench.lmms_eval.scoring import assess_borrowed

    return assess_borrowed(run, task, progress=progress)


def path_of(run: RunFolder, document: Mapping[str, Any]) -> Path:
    """The journal of verdicts that a score document was made of."""
    return run.path / "judgments" / str(document["verdicts"])


def _stored(run: RunFolder, path: Path) -> list[tuple[Path, Mapping[str, Made], str]]:
    """What there is to judge: (journal of verdicts, what was said, its unit), pass by pass."""
    second = run.perception_judgment_path(path)
    return [(path, run.generations(), "resp"), (second, run.perceptions(), "reading")]


def estimate_run(run: RunFolder, judge_name: str | None, pool: JudgePool) -> tuple[str, Estimate]:
    """What judging the rest of a run would take, and the judge's name; calls no model."""
    task = get_task(run.spec().task.name, pool.include_path)
    if (judge_name or task.judge) == BORROWED:
        return BORROWED, Estimate(
            cost=None
        )  # whom its scorer calls, and how often, it does not say
    judge = pool.get(judge_name or task.judge, task)
    judge.recall(run.replies)
    total = Estimate(cost=0.0)
    for journal, stored, _ in _stored(run, run.judgment_path(judge.name, judge.identity)):
        total = total + judge.estimate(_unjudged(run, journal, stored)[2])
    return judge.name, total


def _unjudged(
    run: RunFolder, path: Path, stored: Mapping[str, Made]
) -> tuple[dict[str, tuple[int, Sample]], dict[str, Made], Iterator[Item]]:
    """A run's samples with their places, what has no verdict yet by its key, and the items."""
    if "answer" in run.withheld():
        raise StoreError(
            f"{run.path}: came without gold answers, which judging needs; `vsr1-bench judge` puts "
            "them back from the data (--data_root DIR); its stored verdicts and scores can be read"
        )
    known, several = run.judgments(path), run.spec().responses_per_sample > 1
    samples = {sample.id: (row, sample) for row, sample in run.placed_samples().items()}
    missing = {
        key: g for key, g in stored.items() if g.error is None and not _holds(known.get(key), g)
    }
    check_asked(run, samples.keys(), {g.sample_id for g in missing.values()})
    items = (
        item_of(sample, g, row, g.index if several else None)
        for g in missing.values()
        for row, sample in (samples[g.sample_id],)
    )
    return samples, missing, items


def _holds(judgment: Judgment | None, made: Made) -> bool:
    """Whether a verdict is there, of this very text; an unscored one is asked for again."""
    return (
        judgment is not None
        and judgment.verdict.outcome != "unscored"
        and judgment.text_hash == text_hash(made.text)
    )


def text_hash(text: str) -> str:
    """Hash of a response."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def item_of(sample: Sample, made: Made, row: int | None = None, index: int | None = None) -> Item:
    """Put a response beside its question and gold answer; `index` tells it from its siblings."""
    return Item(
        id=made.key,
        response=made.text,
        answer=sample.answer,
        answer_type=sample.answer_type,
        choices=sample.choices,
        question=sample.question_text,
        sample_id=sample.id,
        row=row,
        index=index,
        extra=sample.extra,
        stage="reading" if isinstance(made, Perception) else "answer",
    )


def apply_label(task: Task, sample: Sample, verdict: Verdict) -> Verdict:
    """Let the task say what a judge's label means for a sample."""
    if verdict.label is None or task.verdict_of_label is None:
        return verdict
    outcome = task.verdict_of_label(sample, verdict.label)
    return verdict if outcome is None else replace(verdict, outcome=outcome)


def _judgment(made: Made, judged: Judged) -> Judgment:
    return Judgment(
        key=made.key,
        sample_id=made.sample_id,
        index=made.index,
        verdict=judged.verdict,
        created=utc_now(),
        text_hash=text_hash(made.text),
        raw=judged.raw,
        usage=judged.usage,
        cost=judged.cost,
        judge_model=judged.model,
        prompt_hash=judged.prompt_hash,
        asked=judged.asked,
    )


def score_run(
    run: RunFolder,
    judge_name: str,
    include_path: Sequence[str] = (),
    *,
    verdicts: Path | None = None,
) -> dict[str, Any]:
    """Score a judged run, write `scores/<judge>.json`, and return that document.

    See `score_document`.
    """
    document = score_document(run, judge_name, include_path, verdicts=verdicts)
    run.write_scores(judge_name, document)
    return document


def score_document(
    run: RunFolder,
    judge_name: str,
    include_path: Sequence[str] = (),
    *,
    verdicts: Path | None = None,
) -> dict[str, Any]:
    """Score a judged run; nothing is written.

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
    if judge_name == BORROWED and verdicts is None:
        return _borrowed(run, task)
    path = verdicts or run.judged().get(judge_name)
    if path is None or (verdicts is None and not path.exists()):
        raise StoreError(
            f"{run.path}: not judged by {judge_name!r}; run: vsr1-bench judge {run.path} "
            f"--judge {shlex.quote(judge_name)}"
        )
    check_version(run, spec, task)
    responses = join_responses(run, path)
    score = score_responses(
        responses, task.metrics, cluster=task.cluster, per_sample=spec.responses_per_sample
    )
    document = {
        "schema": 1,
        "model": spec.model.id,
        "task": spec.task.name,
        "version": task.version,
        "judge": judge_name,
        "prompt": spec.prompt.format,
        "variant": spec.variant,
        "spec_hash": spec.digest(),
        "verdicts": path.name,
        "precision": precision_of(run),
        "footnote": _footnote(task, judge_name),
        "judging": _judging(run, path),
        **score.document(),
    }
    if reasons := _reasons(run, path):
        document["unscored"] = reasons
    if spec.variant == NONE:
        add_seeing(document, run, task, path)
        if "answer" in run.withheld():
            keep_leakage(document, [d for d in run.scores() if d["judge"] == judge_name])
    document["notes"] = score_notes(document, [slice_note(run, task)])
    return document


def check_version(run: RunFolder, spec: RunSpec, task: Task) -> None:
    """See to it that a run was asked what its task asks here; how it is scored may differ.

    Raises:
        UsageError: it was not.
    """
    if task.asked != spec.task.version:
        raise UsageError(
            f"{run.path} was made with version {spec.task.version} of task {task.name!r}, this is "
            f"version {task.version}; generate it again, or score it with the older vsr1-bench"
        )


def _judging(run: RunFolder, verdicts: Path) -> dict[str, Any] | None:
    """Which model judged, by which prompt, and what it took; None where no model did.

    A reply that several verdicts share is counted once, whichever command has paid for it.
    """
    asked: dict[str, Told] = {}
    for told in run.told(verdicts):
        if told.judge_model is not None:
            asked[told.key] = told
        else:
            asked.pop(told.key, None)
    if not asked:
        return None
    paid = {told.asked or told.key: told for told in asked.values()}.values()
    costs = [told.cost for told in paid if told.cost is not None]
    return {
        "models": sorted({told.judge_model or "" for told in asked.values()}),
        "prompts": sorted({told.prompt_hash or "" for told in asked.values()}),
        "prompt_tokens": sum(told.prompt_tokens or 0 for told in paid),
        "completion_tokens": sum(told.completion_tokens or 0 for told in paid),
        "cost": sum(costs) if costs else None,
    }


def _reasons(run: RunFolder, verdicts: Path) -> list[dict[str, Any]]:
    """Why there is no verdict on what was judged, the three commonest reasons."""
    open_: dict[str, str] = {}
    for told in run.told(verdicts):
        if told.outcome == "unscored":
            open_[told.key] = told.reason or "no reason given"
        else:
            open_.pop(told.key, None)
    found = Counter(open_.values())
    return [{"reason": reason, "n": count} for reason, count in found.most_common(3)]


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
    if (judge_name or task.judge) == BORROWED:
        return _borrowed(run, task, progress=progress)
    path = judge_run(run, judge_name, include_path, progress=progress, pool=pool)
    name = pool.get(judge_name or task.judge, task).name
    document = score_document(run, name, include_path, verdicts=path)
    earlier = _not_displaced(run, document, include_path)
    if earlier is None:
        run.write_scores(name, document)
        return document
    run.write_scores(name, earlier)
    open_now = document["rates"]["total"] - document["rates"]["scored"]
    log.warning(
        "%s: judge %s failed on %d of %d responses (%s); its verdicts before, on %d, still count",
        run.path,
        name,
        open_now,
        document["rates"]["total"],
        "; ".join(one["reason"] for one in document.get("unscored", ())) or "no verdict",
        earlier["rates"]["scored"],
    )
    return earlier | {"left_unscored": open_now}


def _not_displaced(
    run: RunFolder, document: dict[str, Any], include_path: Sequence[str]
) -> dict[str, Any] | None:
    """The score of earlier verdicts of a judge, where a model that failed now gives fewer.

    Such verdicts stand in a journal of their own where an endpoint or its sampling is another.
    """
    rates = document["rates"]
    if document["judging"] is None or rates["scored"] == rates["total"]:
        return None
    for known in run.scores():
        path = run.path / "judgments" / Path(str(known.get("verdicts"))).name
        if known["judge"] == document["judge"] and path.name != document["verdicts"]:
            if not path.is_file():
                return None
            earlier = score_document(run, known["judge"], include_path, verdicts=path)
            return earlier if earlier["rates"]["scored"] > rates["scored"] else None
    return None


def score_unjudged(
    run: RunFolder, judge_name: str, include_path: Sequence[str] = ()
) -> dict[str, Any]:
    """Score a run whose judge cannot be had here: what it said before counts, the rest is open."""
    if judge_name == BORROWED:  # only its own scorer can say more than what it has said
        stored = [document for document in run.scores() if document["judge"] == BORROWED]
        return stored[0] if stored else score_run(run, judge_name, include_path)
    judged = run.judged()
    found = [name for name in judged if bare(name) == judge_name]  # of several, which is meant?
    name = found[0] if len(found) == 1 else judge_name
    path = judged.get(name) or run.judgment_path(name, "0" * 8)
    return score_run(run, name, include_path, verdicts=path)
