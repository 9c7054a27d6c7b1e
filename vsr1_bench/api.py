"""The Python API: run an evaluation, and read stored runs as tables.

`vsr1-bench run` and `evaluate` call the same function, `run_evaluation`.
"""

from __future__ import annotations

import html
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench._util.flag_values import command_words
from vsr1_bench._util.trackers import check_trackers
from vsr1_bench.errors import StoreError, UsageError, nearest
from vsr1_bench.generation.connect import batch_note, together
from vsr1_bench.generation.estimates import Estimate
from vsr1_bench.judge import JudgeOptions
from vsr1_bench.judging.choose import JudgeChoice, batched_judges, choose_judges
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.judging.runs import estimate_items, estimate_run
from vsr1_bench.pipeline.estimate import estimate_runs, longest_text, usual_text
from vsr1_bench.pipeline.flags import RunFlags
from vsr1_bench.pipeline.report import closing_account, notice, report_responses
from vsr1_bench.pipeline.run import generate
from vsr1_bench.records import Generation, Judgment, Sample
from vsr1_bench.registry import resolve_tasks
from vsr1_bench.scoring.runs import judge_and_score_runs, unread_notices, unscored
from vsr1_bench.scoring.tracking import log_scores
from vsr1_bench.store.environment import typed_as
from vsr1_bench.store.provenance import precision_of
from vsr1_bench.store.run_folder import RunFolder, find_runs, stored_judge

if TYPE_CHECKING:
    import pandas as pd

PathLike = str | os.PathLike[str]

SAMPLE_COLUMNS = (
    "model", "task", "prompt", "variant", "seed", "judge", "row", "sample_id", "index", "question",
    "choices", "answer", "response", "extracted", "outcome", "correct", "reason", "label",
    "unparsed", "truncated", "error", "prompt_tokens", "completion_tokens", "seconds", "run",
)  # fmt: skip
"""Columns of `Results.samples`, before a `group.NAME` for each group of the samples."""
SCORE_COLUMNS = (
    "model", "task", "version", "prompt", "variant", "seed", "precision", "judge", "metric",
    "value", "low", "high", "n", "total", "scored", "unparsed", "truncated", "failed", "ranked",
    "headline", "footnote", "spec_hash", "run",
)  # fmt: skip
"""Columns of `Results.scores`."""
HEADLINE_COLUMNS = (
    "model", "task", "prompt", "variant", "judge", "metric", "value", "low", "high", "n",
    "scored/total", "ranked", "footnote",
)  # fmt: skip
"""Columns of `Results.headline`."""


@dataclass(frozen=True)
class Results:
    """Stored runs as tables."""

    samples: pd.DataFrame
    """One row per response and judge, or per response that no judge has judged: `SAMPLE_COLUMNS`,
    then `group.NAME`. `correct` is 1, 0, a grade between, or missing if there is no verdict."""
    scores: pd.DataFrame
    """One row per run, judge and metric: `SCORE_COLUMNS`. Values and rates are shares in [0, 1]."""
    runs: tuple[Path, ...]
    """The folders they were read from."""
    complete: bool = True
    """False if a response failed or has no verdict; `evaluate` retries those when called again."""

    def __repr__(self) -> str:
        """The counts, not the tables."""
        return (
            f"Results({len(self.runs)} runs, {len(self.samples):,} responses, "
            f"{len(self.scores)} scores{'' if self.complete else ', incomplete'})"
        )

    @property
    def headline(self) -> pd.DataFrame:
        """The main metric of each task, one row per run and judge: `HEADLINE_COLUMNS`.

        `scores` has a row for every metric of a run; a mean over those would mix metrics.
        """
        table = self.scores[self.scores["headline"] == True].copy()  # noqa: E712
        table["scored/total"] = table["scored"].astype(str) + "/" + table["total"].astype(str)
        return table[list(HEADLINE_COLUMNS)].reset_index(drop=True)

    def _repr_html_(self) -> str:
        """The headline table, for a notebook; every text in it is escaped."""
        from vsr1_bench.leaderboard.sheet import one_line

        shown = self.headline
        for name in ("value", "low", "high"):
            shown[name] = [_percent(share) for share in shown[name]]
        summary = html.escape(repr(self))
        if shown.empty:
            return f"<p>{summary}</p>"
        for name in shown.columns:
            empty = shown[name].isna()
            shown[name] = [
                "" if gone else one_line(str(cell))
                for cell, gone in zip(shown[name], empty, strict=True)
            ]
        table = shown.rename(columns={n: f"{n}, %" for n in ("value", "low", "high")})
        return f"<p>{summary}</p>\n" + table.to_html(index=False, escape=True, border=0)


def evaluate(
    model: str,
    tasks: str | Sequence[str],
    *,
    output_path: PathLike = "runs",
    limit: int | None = None,
    prompt: str | None = None,
    judge: str | None = None,
    backend: str | None = None,
    base_url: str | None = None,
    gen_kwargs: Mapping[str, Any] | None = None,
    model_args: Mapping[str, Any] | None = None,
    seed: int | None = None,
    num_samples: int | None = None,
    data_root: PathLike | None = None,
    include_path: PathLike | Sequence[PathLike] = (),
    progress: bool = True,
    **flags: Any,
) -> Results:
    """Run a model over tasks, judge and score; stored responses and verdicts are reused.

    The same as `vsr1-bench run`, whose flags these are.

    Args:
        model: `tiny`, a folder, a hub id, or the id that an endpoint serves.
        tasks: Tasks, suites or patterns.
        output_path: Where runs are stored.
        limit: Only the first so many samples of each task.
        prompt: Prompt format.
        judge: Judge of every task; None = each task's own.
        backend: `auto`, `vllm`, `transformers`, `openai` or `scripted`.
        base_url: Endpoint that speaks the OpenAI protocol.
        gen_kwargs: Sampling: temperature, max_tokens and so on.
        model_args: Arguments of the backend.
        seed: Seed of the sampling.
        num_samples: Responses per sample.
        data_root: Local mirror of the data sets.
        include_path: Folders of your own task and judge files; their code is executed.
        progress: Show bars.
        **flags: Any other flag of `vsr1-bench run`, without its dashes: `judge_model="…"`,
            `trust_remote_code=True`.

    Returns:
        Samples and scores of the runs that this call made or continued.

    Raises:
        BenchError: as the command line would say in one line (`vsr1_bench.errors`).
    """
    given = {
        "model": model,
        "tasks": tasks if isinstance(tasks, str) else ",".join(tasks),
        "output_path": output_path,
        "limit": limit,
        "prompt": prompt,
        "judge": judge,
        "backend": backend,
        "base_url": base_url,
        "gen_kwargs": gen_kwargs,
        "model_args": model_args,
        "seed": seed,
        "num_samples": num_samples,
        "data_root": data_root,
        "include_path": [include_path]
        if isinstance(include_path, str | os.PathLike)
        else [*include_path],
        "verbosity": "INFO" if progress else "WARNING",
        **flags,
    }
    if flags.get("dry_run"):
        raise UsageError("evaluate(dry_run=…): the estimate is a table: vsr1-bench run --dry_run")
    if flags.get("help"):
        raise UsageError("evaluate(help=…): help(evaluate), or vsr1-bench run --help")
    with typed_as(["run", *command_words(given)]):
        run_flags = RunFlags.of(given)
        judging = run_flags.judge_options()
        with closing_account(judging.spending):
            outcome = run_evaluation(run_flags, judging)
    for line in unread_notices(outcome.documents or ()):
        notice(line)
    return replace(load_runs(*sorted(run.path for run in outcome.runs)), complete=outcome.complete)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a call of `run_evaluation` made or continued."""

    runs: tuple[RunFolder, ...]
    documents: tuple[dict[str, Any], ...] | None
    """Scores of the runs and of their groups; None if nothing was to be judged."""
    complete: bool
    """Whether every response is there and has its verdict."""


def run_evaluation(flags: RunFlags, judging: JudgeOptions | None = None) -> Evaluation:
    """Generate what is missing, judge and score; warnings go to standard error.

    Args:
        flags: What to run.
        judging: The options of judges, whose `spending` then holds what was spent; None = `flags`
            make them.

    Raises:
        UsageError, TaskError, ModelError, StoreError: before anything is generated.
        Interrupted: generation ended before its end; says what is safe.
        JudgeError: a judge cannot continue; verdicts so far are safe.
    """
    judging = judging or flags.judge_options()
    options = flags.run_options(judging.spending)
    check_trackers(flags.loggers, "--loggers", "scores are always in the run folder")
    with JudgePool(options.include_path, judging) as pool:
        tasks = resolve_tasks(options.tasks, options.include_path)
        # Before generation: a missing key or a typing error must not cost a run.
        judges: dict[str, JudgeChoice] = {}
        if not flags.predict_only:
            choosing = partial(choose_judges, tasks, flags.judge, pool)
            judges = together(choosing, options.external_reader)[0]
        elif flags.judge:
            pool.missing(flags.judge, tasks[0])  # refuses an unknown judge; a missing key is fine
        for judge in judges.values():
            if judge.warning:
                notice(judge.warning)
        if options.batch and (note := batch_note(options.batched() | batched_judges(judges))):
            notice(note)
        runs = generate(options)
        failed = sum(run.failed for run in runs)
        # Tasks without any of the chosen samples miss nothing.
        skipped = 0 if options.samples else len(tasks) - len({run.task.name for run in runs})
        for run in runs:
            report_responses(run)
        folders = tuple(run.folder for run in runs)
        then = f"judge and score with: vsr1-bench judge {options.output_path}"
        if flags.predict_only:
            print(f"generated; {then}", file=sys.stderr)
        elif options.shard != (0, 1):
            print(f"this shard is generated; when all are, {then}", file=sys.stderr)
        else:
            documents = judge_and_score_runs(folders, judges, pool, progress=options.progress)
            log_scores(flags.loggers, folders, documents, options.output_path)
            complete = not (failed or skipped or unscored(documents))
            return Evaluation(folders, tuple(documents), complete)
        return Evaluation(folders, None, not (failed or skipped))


def estimate_evaluation(flags: RunFlags) -> list[tuple[str, str, str, Estimate, bool]]:
    """What `run_evaluation` would ask and what that would cost; calls nobody, writes nothing.

    Returns:
        Rows of model, task, who is asked, the estimate, and whether its calls are a bound.

    Raises:
        UsageError, TaskError, ModelError, StoreError: as `run_evaluation`.
    """
    judging = flags.judge_options()
    options = flags.run_options(judging.spending)
    rows: list[tuple[str, str, str, Estimate, bool]] = []
    with JudgePool(options.include_path, judging) as pool:
        tasks = {task.name: task for task in resolve_tasks(options.tasks, options.include_path)}
        judges = {}
        if not flags.predict_only:
            choosing = partial(choose_judges, tasks.values(), flags.judge, pool)
            judges = together(choosing, options.external_reader)[0]
        if options.batch:
            asked = options.batched() | batched_judges(judges)
            if note := batch_note(asked, dry_run=True):
                notice(note)
        for run in estimate_runs(options):
            rows += [
                (run.model, run.task, part.what, part.estimate, part.at_most) for part in run.parts
            ]
            task = tasks[run.task.partition(" (")[0]]
            choice = judges.get(task.name)
            if choice is None or not choice.usable:
                continue
            stored = Estimate()
            if (run.folder.path / "run.json").exists():
                stored = estimate_run(run.folder, choice.spec, pool)[1]
            usual, longest = run.items(usual_text), run.items(longest_text)
            name, estimate = estimate_items(task, choice.spec, pool, usual, longest)
            rows.append(
                (run.model, run.task, f"judge {name}", stored + estimate, bool(estimate.calls))
            )
    return rows


def load_runs(*paths: PathLike, judge: str | None = None) -> Results:
    """Read stored runs.

    Args:
        *paths: Run folders, or folders that hold some; none = `runs`.
        judge: Only this judge's verdicts and scores.

    Returns:
        Their samples and scores, `complete` unless a response is missing, failed or unscored.

    Raises:
        StoreError: no run there, or a journal that cannot be read.
        UsageError: the judge has judged none of the runs.
    """
    runs = [run for path in paths or ("runs",) for run in find_runs(Path(path))]
    judge = stored_judge(judge, runs)
    known = {name for run in runs for name in run.judged()}
    if judge is not None and judge not in known:
        raise UsageError(f"judge {judge!r} has judged none of them; {nearest(judge, tuple(known))}")
    samples: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    for run in runs:
        samples += _sample_rows(run, judge)
        scores += _score_rows(run, judge)
    complete = {row["run"] for row in scores} == {str(run.path) for run in runs} and all(
        row["scored"] == row["total"] for row in scores
    )
    return Results(
        _frame(samples, SAMPLE_COLUMNS),
        _frame(scores, SCORE_COLUMNS),
        tuple(run.path for run in runs),
        complete,
    )


def _frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd  # heavy; the command `run` does without

    more = dict.fromkeys(name for row in rows for name in row if name not in columns)
    return pd.DataFrame(rows, columns=[*columns, *more])


def _run_columns(run: RunFolder) -> dict[str, Any]:
    spec = run.spec()
    return {
        "model": spec.model.id,
        "task": spec.task.name,
        "prompt": spec.prompt.format,
        "variant": spec.variant,
        "seed": spec.sampling.seed if spec.sampling else None,
        "run": str(run.path),
    }


def _sample_rows(run: RunFolder, judge: str | None) -> list[dict[str, Any]]:
    """One row per response and judge; a response that no judge has judged has one row."""
    columns = _run_columns(run)
    judged = {
        name: run.judgments(path) for name, path in run.judged().items() if judge in (None, name)
    }
    places = {sample.id: (row, sample) for row, sample in run.placed_samples().items()}
    rows = []
    for generation in run.generations().values():
        if generation.sample_id not in places:
            raise StoreError(
                f"{run.path}: a response to {generation.sample_id!r}, a sample that its samples "
                "journal does not have; restore it from a copy, or generate again"
            )
        place, sample = places[generation.sample_id]
        response = {**columns, **_response_columns(place, sample, generation)}
        verdicts = {name: of_run.get(generation.key) for name, of_run in judged.items()}
        rows += [{**response, **_verdict_columns(*one)} for one in verdicts.items()] or [response]
    return sorted(rows, key=lambda row: (row["row"], row["index"]))


def _response_columns(place: int, sample: Sample, generation: Generation) -> dict[str, Any]:
    return {
        "row": place,
        "sample_id": sample.id,
        "index": generation.index,
        "question": sample.question_text,
        "choices": sample.choices,
        "answer": sample.answer,
        "response": generation.text,
        "truncated": generation.truncated,
        "error": generation.error,
        "prompt_tokens": generation.usage.prompt_tokens,
        "completion_tokens": generation.usage.completion_tokens,
        "seconds": generation.seconds,
        **{f"group.{name}": group for name, group in sample.groups.items()},
    }


def _verdict_columns(judge: str, judgment: Judgment | None) -> dict[str, Any]:
    if judgment is None:
        return {"judge": judge, "outcome": "unscored", "reason": "not judged"}
    verdict = judgment.verdict
    graded = verdict.score if verdict.score is not None else float(verdict.outcome == "correct")
    return {
        "judge": judge,
        "extracted": verdict.extracted,
        "outcome": verdict.outcome,
        "correct": None if verdict.outcome == "unscored" else graded,
        "reason": verdict.reason,
        "label": verdict.label,
        "unparsed": verdict.unparsed,
    }


def _score_rows(run: RunFolder, judge: str | None) -> list[dict[str, Any]]:
    # Imported here: reading samples needs no table code.
    from vsr1_bench.leaderboard.collect import current_score, run_notes
    from vsr1_bench.leaderboard.wide import headline

    columns, precision, notes = _run_columns(run), precision_of(run), run_notes(run)
    rates = ("total", "scored", "unparsed", "truncated", "failed", "ranked")
    return [
        {
            **columns,
            "version": document["version"],
            "judge": document["judge"],
            "metric": metric,
            **value,
            **{name: document["rates"][name] for name in rates},
            "precision": precision,
            "headline": metric == headline(document),
            "footnote": "; ".join(filter(None, [document.get("footnote"), *notes])) or None,
            "spec_hash": document["spec_hash"],
        }
        for document in map(current_score, run.scores())
        if judge in (None, document["judge"])
        for metric, value in document["metrics"].items()
    ]


def _percent(share: float | None) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}"
