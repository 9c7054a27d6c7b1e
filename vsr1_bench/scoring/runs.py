"""Scoring of judged runs, and the loop that judges and scores: only the journals are read."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vsr1_bench.data.blind import NONE
from vsr1_bench.data.circular import CIRCULAR, QUESTION
from vsr1_bench.errors import BatchPendingError, BenchError, DamagedRunError, StoreError, UsageError
from vsr1_bench.harness import harness_names, scorer_of
from vsr1_bench.judge import JudgeOptions
from vsr1_bench.judging.choose import JudgeChoice
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.judging.runs import judge_run
from vsr1_bench.registry import get_task
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.circular import add_circular
from vsr1_bench.scoring.coverage import slice_note
from vsr1_bench.scoring.dependence import add_dependence
from vsr1_bench.scoring.groups import score_groups
from vsr1_bench.scoring.join import join_responses
from vsr1_bench.scoring.seeing import add_seeing, blind_first, keep_leakage, score_notes
from vsr1_bench.store.journal_index import VerdictSummary
from vsr1_bench.store.judge_names import LABELS, bare
from vsr1_bench.store.provenance import precision_of
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec
from vsr1_bench.task import Task

log = logging.getLogger(__name__)


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
        include_path: Folders of plug-ins, needed for your own tasks.
        verdicts: The journal that `judge_run` returned; None = the judge's newest. If the file does
            not exist, every response counts as unscored.

    Raises:
        StoreError: the run was not judged by this judge.
        UsageError: the run was made with another version of its task.
    """
    spec = run.spec()
    task = get_task(spec.task.name, include_path)
    if verdicts is None and (harness := scorer_of(task, judge_name)) is not None:
        return harness.score(run, task, progress=False)
    path = verdicts or run.judged().get(judge_name)
    if path is None or (verdicts is None and not path.exists()):
        raise StoreError(
            f"{run.path}: not judged by {judge_name!r}; run: vsr1-bench judge {run.path} "
            f"--judge {shlex.quote(judge_name)}"
        )
    check_version(run, spec, task)
    responses = join_responses(run, path)
    # The orders of a question depend on each other.
    cluster = task.cluster or (QUESTION if spec.variant == CIRCULAR else None)
    score = score_responses(
        responses, task.metrics, cluster=cluster, per_sample=spec.responses_per_sample
    )
    notable = _notable(run, path)
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
        "judging": _judging(notable),
        **score.document(),
    }
    if reasons := _reasons(notable):
        document["unscored"] = reasons
    notes = [slice_note(run, task)]
    if spec.variant == NONE:
        add_seeing(document, run, task, path)
        add_circular(document, run, task, path)
        notes.append(add_dependence(document, run, task))
        if "answer" in run.withheld():
            keep_leakage(document, [d for d in run.scores() if d["judge"] == judge_name])
    document["notes"] = score_notes(document, notes)
    return document


def check_version(run: RunFolder, spec: RunSpec, task: Task) -> None:
    """Check that a run asked the same questions as the task here; scoring may differ.

    Raises:
        UsageError: the task's version is another.
    """
    if task.spec_version != spec.task.version:
        raise UsageError(
            f"{run.path} was made with version {spec.task.version} of task {task.name!r}, this is "
            f"version {task.version}; generate it again, or score it with the older vsr1-bench"
        )


def _notable(run: RunFolder, verdicts: Path) -> list[VerdictSummary]:
    """The verdicts that a model gave or that are missing; the last on each response."""
    notable: dict[str, VerdictSummary] = {}
    for verdict in run.verdict_summaries(verdicts):
        if verdict.judge_model is not None or verdict.outcome == "unscored":
            notable[verdict.key] = verdict
        else:
            notable.pop(verdict.key, None)
    return list(notable.values())


def _judging(verdicts: Iterable[VerdictSummary]) -> dict[str, Any] | None:
    """The judging models with prompts, tokens and cost; None if no model judged.

    A reply that several verdicts share is counted once, whichever command paid for it.
    """
    by_model = [verdict for verdict in verdicts if verdict.judge_model is not None]
    if not by_model:
        return None
    paid = {verdict.asked or verdict.key: verdict for verdict in by_model}.values()
    costs = [verdict.cost for verdict in paid if verdict.cost is not None]
    return {
        "models": sorted({verdict.judge_model or "" for verdict in by_model}),
        "prompts": sorted({verdict.prompt_hash or "" for verdict in by_model}),
        "prompt_tokens": sum(verdict.prompt_tokens or 0 for verdict in paid),
        "completion_tokens": sum(verdict.completion_tokens or 0 for verdict in paid),
        "cost": sum(costs) if costs else None,
    }


def _reasons(verdicts: Iterable[VerdictSummary]) -> list[dict[str, Any]]:
    """The three most common reasons for missing verdicts."""
    unscored = (verdict for verdict in verdicts if verdict.outcome == "unscored")
    counts = Counter(verdict.reason or "no reason given" for verdict in unscored)
    return [{"reason": reason, "n": count} for reason, count in counts.most_common(3)]


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
    if (harness := scorer_of(task, judge_name)) is not None:
        return harness.score(run, task, progress=progress)
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
    """The score of a judge's earlier verdicts, if a failing model has now given fewer.

    Earlier verdicts are in a separate journal if the endpoint or its sampling has changed.
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
    """Score a run whose judge is not available here: only its stored verdicts count."""
    if judge_name in harness_names():  # only its own scorer could add to its stored scores
        stored = [document for document in run.scores() if document["judge"] == judge_name]
        return stored[0] if stored else score_run(run, judge_name, include_path)
    judged = run.judged()
    matches = [
        name for name in judged if bare(name) == judge_name
    ]  # ambiguous if there are several
    name = matches[0] if len(matches) == 1 else judge_name
    path = judged.get(name) or run.judgment_path(name, "0" * 8)
    return score_run(run, name, include_path, verdicts=path)


Skip = Callable[[BenchError], None]
"""Callback for a run that is skipped, with the reason."""


def judge_and_score_runs(
    runs: Sequence[RunFolder],
    judges: Mapping[str, JudgeChoice],
    pool: JudgePool,
    *,
    progress: bool = True,
    skip: Skip | None = None,
) -> list[dict[str, Any]]:
    """Judge responses without a verdict, then score every run and the groups that they form.

    Args:
        runs: Stored runs.
        judges: The judge of each task, by the task's name (`choose_judges`).
        pool: Opens them.
        progress: Show bars.
        skip: As for `each_run`.

    Returns:
        A score document for each run, blind ones first, and for each group.

    Raises:
        DamagedRunError: see `each_run`.
        JudgeError, ModelError, GenerationError: a judge cannot continue; verdicts so far are safe.
        BatchPendingError: verdicts of some runs come by batch; all other runs are scored.
    """
    documents: list[dict[str, Any]] = []
    pending: list[str] = []
    paths = pool.include_path

    def work(run: RunFolder) -> None:
        try:
            judge_one(run)
        except BatchPendingError as error:  # the others' batches are submitted meanwhile
            pending.append(f"{run.path}: {error}")

    def judge_one(run: RunFolder) -> None:
        judge = judges[run.spec().task.name]
        if judge.usable:
            document = judge_and_score(run, judge.spec, paths, progress=progress, pool=pool)
        else:
            document = score_unjudged(run, judge.spec, paths)
        documents.append(document)

    # The gain over blind runs is part of the other runs' scores.
    done = each_run(blind_first(runs), work, skip)
    if pending:
        raise BatchPendingError("; ".join(pending))
    counted = {document["judge"] for document in documents}
    return documents + score_groups([run for run in runs if run in done], paths, judges=counted)


def score_runs(
    runs: Sequence[RunFolder], judge: str | None, include_path: Sequence[str], skip: Skip
) -> list[dict[str, Any]]:
    """Score judged runs and the groups that they form; `judge` None = every judge's verdicts.

    Raises:
        StoreError, UsageError: the only run cannot be scored. One of several is skipped.
    """
    documents: list[dict[str, Any]] = []
    readable = []
    for run in runs:
        try:
            names = [judge] if judge else sorted(run.judged())
            if not names:
                raise StoreError(f"{run.path}: not judged; run: vsr1-bench judge {run.path}")
            documents += [score_run(run, name, include_path) for name in names]
            readable.append(run)
        except (StoreError, UsageError) as error:
            if len(runs) == 1:
                raise
            skip(error)
            if not isinstance(error, DamagedRunError):
                readable.append(run)
    counted = {document["judge"] for document in documents}
    return documents + score_groups(readable, include_path, judges=counted)


def each_run(
    runs: Sequence[RunFolder], work: Callable[[RunFolder], object], skip: Skip | None = None
) -> list[RunFolder]:
    """Call `work` on every run, and continue without damaged ones.

    Args:
        runs: Stored runs.
        work: Function of a run.
        skip: Callback for each damaged run; None = a damaged run is an error.

    Returns:
        The runs that were not damaged.

    Raises:
        DamagedRunError: the only run, or all of them, are damaged; or `skip` is None.
    """
    done: list[RunFolder] = []
    last: DamagedRunError | None = None
    for run in runs:
        try:
            work(run)
        except DamagedRunError as error:
            if skip is None:
                raise
            last = error
            if len(runs) > 1:
                skip(error)
        else:
            done.append(run)
    if last is not None and not done:
        raise last
    return done


def unscored(documents: Sequence[Mapping[str, Any]]) -> int:
    """Number of missing verdicts, on responses and on readings of their descriptions."""
    answers: int = sum(
        d.get("left_unscored", d["rates"]["total"] - d["rates"]["scored"]) for d in documents
    )
    return answers + sum(int(d["perception"]["uncounted"]) for d in _judged_readings(documents))


def unread_notices(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each document whose second pass needs generation to be complete."""
    notices = []
    for document in _judged_readings(documents):
        part, rates = document["perception"], document["rates"]
        if "members" not in part and part["uncounted"] > rates["total"] - rates["scored"]:
            notices.append(
                f"{document['task']}: {part['uncounted']} of {rates['total']} responses have no "
                f"place in the second pass by {part['reader']['label']} yet; `run` with "
                "--perception, or `perceive`, makes what is missing"
            )
    return notices


def _judged_readings(documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    # Label files contain verdicts on responses, not on readings of descriptions.
    return [d for d in documents if "perception" in d and bare(d["judge"]) != LABELS]
