"""The Python API: run an evaluation, and read stored runs as tables."""

from __future__ import annotations

import contextlib
import html
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vsr1_bench.errors import StoreError, UsageError, nearest
from vsr1_bench.records import Generation, Judgment, Sample
from vsr1_bench.store.environment import typed_as
from vsr1_bench.store.provenance import precision_of
from vsr1_bench.store.run_folder import RunFolder, find_runs, run_folders, stored_judge

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
    """A row a response and judge (one row where nobody has judged yet): `SAMPLE_COLUMNS`, then
    `group.NAME`. `correct` is 1, 0, a grade between, or missing where there is no verdict."""
    scores: pd.DataFrame
    """A row a run, judge and metric: `SCORE_COLUMNS`. Values and rates are shares in [0, 1]."""
    runs: tuple[Path, ...]
    """The folders they were read from."""
    complete: bool = True
    """False where responses failed or have no verdict: call `evaluate` again to try those anew."""

    def __repr__(self) -> str:
        """Say how much there is, not all of it."""
        return (
            f"Results({len(self.runs)} runs, {len(self.samples):,} responses, "
            f"{len(self.scores)} scores{'' if self.complete else ', incomplete'})"
        )

    @property
    def headline(self) -> pd.DataFrame:
        """The number that each task is known by, a row a run and judge: `HEADLINE_COLUMNS`.

        `scores` has a row for every metric of a run: a mean over them is a mean of different
        things.
        """
        found = self.scores[self.scores["headline"] == True].copy()  # noqa: E712
        found["scored/total"] = found["scored"].astype(str) + "/" + found["total"].astype(str)
        return found[list(HEADLINE_COLUMNS)].reset_index(drop=True)

    def _repr_html_(self) -> str:
        """The headline table, for a notebook; every text in it is escaped."""
        shown = self.headline
        for name in ("value", "low", "high"):
            shown[name] = [_percent(share) for share in shown[name]]
        said = html.escape(repr(self))
        if shown.empty:
            return f"<p>{said}</p>"
        for name in shown.columns:
            shown[name] = ["" if pd.isna(cell) else _one_line(str(cell)) for cell in shown[name]]
        table = shown.rename(columns={n: f"{n}, %" for n in ("value", "low", "high")})
        return f"<p>{said}</p>\n" + table.to_html(index=False, escape=True, border=0)


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
    """Run a model over tasks, judge and score; what is stored already is not made again.

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
        seed: Of the sampling.
        num_samples: Responses a sample.
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
    from vsr1_bench.cli.main import parse

    words = ["run", *_words(given)]
    if flags.get("help"):
        raise UsageError("evaluate(help=…): help(evaluate), or vsr1-bench run --help")
    module, options = parse(words)
    before = _written(Path(output_path))
    # The table that the command prints is in `scores`; its warnings are let through.
    with contextlib.redirect_stdout(io.StringIO()), typed_as(words):
        code = module.execute(options)
    written = _written(Path(output_path))
    mine = [path for path, mark in written.items() if before.get(path) != mark]
    found = load_runs(*mine)
    return Results(found.samples, found.scores, found.runs, complete=code == 0)


def load_runs(*paths: PathLike, judge: str | None = None) -> Results:
    """Read stored runs.

    Args:
        *paths: Run folders, or folders that hold some; none = `runs`.
        judge: Only this judge's verdicts and scores.

    Returns:
        Their samples and scores, `complete` unless a response is missing, failed or unscored.

    Raises:
        StoreError: no run there, or a journal that cannot be read.
        UsageError: a judge that has judged none of them.
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
    more = dict.fromkeys(name for row in rows for name in row if name not in columns)
    return pd.DataFrame(rows, columns=[*columns, *more])


def _asked(run: RunFolder) -> dict[str, Any]:
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
    """A row a response and judge; a response that nobody judged has one row."""
    asked = _asked(run)
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
        made = {**asked, **_made(place, sample, generation)}
        verdicts = {name: found.get(generation.key) for name, found in judged.items()}
        rows += [{**made, **_said(name, found)} for name, found in verdicts.items()] or [made]
    return sorted(rows, key=lambda row: (row["row"], row["index"]))


def _made(place: int, sample: Sample, generation: Generation) -> dict[str, Any]:
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


def _said(judge: str, judgment: Judgment | None) -> dict[str, Any]:
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
    # Lazily, as everything that a table is made of: reading samples does without.
    from vsr1_bench.leaderboard.collect import current_score, run_notes
    from vsr1_bench.leaderboard.wide import headline

    asked, precision, notes = _asked(run), precision_of(run), run_notes(run)
    rates = ("total", "scored", "unparsed", "truncated", "failed", "ranked")
    return [
        {
            **asked,
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
    return "–" if share is None or pd.isna(share) else f"{100 * share:.1f}"


def _one_line(text: str) -> str:
    from vsr1_bench.leaderboard.sheet import one_line

    return one_line(text)


def _written(folder: Path) -> dict[Path, tuple[int, int]]:
    """Run folder -> what changes whenever its run.json is written."""
    found = {path: (path / "run.json").stat() for path in run_folders(folder)}
    return {path: (status.st_mtime_ns, status.st_ino) for path, status in found.items()}


def _words(flags: Mapping[str, Any]) -> list[str]:
    """Flags as the command line has them.

    Raises:
        UsageError: a value that no flag can hold.
    """
    words = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        if value is True:
            words.append(f"--{name}")
        elif isinstance(value, Mapping):
            words.append(f"--{name}={','.join(f'{k}={_text(v)}' for k, v in value.items())}")
        elif isinstance(value, str | int | float | os.PathLike):
            words.append(f"--{name}={value}")
        elif isinstance(value, Sequence):
            words += [f"--{name}={one}" for one in value]
        else:
            raise UsageError(f"evaluate({name}={value!r}): wanted a text, a number or a mapping")
    return words


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return json.dumps(value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
