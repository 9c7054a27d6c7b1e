"""Score a run of an lmms-eval task with the task's own scorer, and store the result as usual."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from vsr1_bench._util.progress import progress_bar
from vsr1_bench._util.worker import Worker
from vsr1_bench.errors import JudgeError, UsageError
from vsr1_bench.lmms_eval import NAME, own_judge
from vsr1_bench.lmms_eval.index import package_version
from vsr1_bench.records import Generation, Judgment, Verdict
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.join import join_responses
from vsr1_bench.scoring.metrics import Response, compute
from vsr1_bench.store.journal import Journal, Lock
from vsr1_bench.store.run_folder import RunFolder, utc_now
from vsr1_bench.store.spec import canonical_json
from vsr1_bench.task import ExternalTask, Metric, Task

Replies = Generator[dict[str, Any], Mapping[str, Any] | None, None]
OWN_UNIT = "own"
"""Unit of a value that is not a fraction: shown as lmms-eval prints it, not in percent."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """A document with all its responses."""

    sample_id: str
    generations: tuple[Generation, ...]

    @property
    def texts(self) -> list[str]:
        return [one.text for one in self.generations]

    @property
    def text_hash(self) -> str:
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()[:16]


def score_run(run: RunFolder, task: Task, *, progress: bool = True) -> dict[str, Any]:
    """Have lmms-eval score a run; write and return the score document (`scoring.runs.score_run`).

    Each document's values are stored as soon as they exist, so that a scorer's judge is not paid
    twice. The scorer's files go to a folder that belongs to exactly these responses.

    Raises:
        UsageError: lmms-eval is not installed, or the run is of another version of this mapping.
        JudgeError: the scorer cannot continue; the values so far are stored.
        StoreError: the run cannot be read or written.
    """
    assert isinstance(task.source, ExternalTask)
    spec, source = run.spec(), task.source
    if spec.task.version != task.spec_version:
        raise UsageError(
            f"{run.path} was made with version {spec.task.version} of the mapping of "
            f"{task.name!r}, this is version {task.version}; generate it again"
        )
    of_task = {
        "name": source.name,
        "include_path": [os.path.abspath(path) for path in source.include_path],
        "folder": str((run.path / NAME).resolve()),
    }
    with closing(_worker().ask(of_task)) as replies:
        digest = next(replies)["digest"]
        scorer = _scorer(digest)
        path = run.judgment_path(NAME, scorer)
        lock = Lock(path.with_name(f".{path.stem}.lock"))
        try:
            heads, summary = _score_documents(
                run, _answered_documents(run), path, scorer, replies, progress
            )
        finally:
            lock.release()
    document = _document(run, task, path, heads, summary)
    if spec.prompt.hash != digest[:16]:
        document["footnote"] = "asked by another definition or version of lmms-eval than scored by"
    run.write_scores(NAME, document)
    return document


def _scorer(digest: str) -> str:
    """Identity of the verdicts: the task's definition, and the settings of the judge it calls."""
    chosen = own_judge.settings()
    if not chosen:
        return digest
    return hashlib.sha256(canonical_json([digest, chosen]).encode()).hexdigest()


def _answered_documents(run: RunFolder) -> dict[int, _Answered]:
    """Documents whose responses are all there, by number."""
    per_sample = run.spec().responses_per_sample
    generations: dict[str, dict[int, Generation]] = {}
    for one in run.generations().values():
        if one.error is None:
            generations.setdefault(one.sample_id, {})[one.index] = one
    placed = {place.row: place.id for place in run.places() if place.id is not None}
    return {
        row: _Answered(known, tuple(generations[known][i] for i in range(per_sample)))
        for row, known in sorted(placed.items())
        if row < run.wanted() and len(generations.get(known, ())) == per_sample
    }


def _score_documents(
    run: RunFolder,
    documents: Mapping[int, _Answered],
    path: Path,
    scorer: str,
    replies: Replies,
    progress: bool,
) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """Score documents; return each one's numbers, and lmms-eval's summary of all."""
    stored = run.judgments(path)
    heads: dict[int, dict[str, Any]] = {}
    known: dict[int, Any] = {}
    fresh = set(documents)
    for number, one in documents.items():
        judgment = stored.get(one.generations[0].key)
        if judgment is not None and judgment.text_hash == one.text_hash and judgment.raw:
            fresh.discard(number)
            values = json.loads(judgment.raw)["values"]
            if values is not None:
                known[number] = values
    texts = {number: one.texts for number, one in documents.items()}
    mark = hashlib.sha256(json.dumps([scorer, texts]).encode()).hexdigest()[:16]
    folder = str((run.path / NAME / mark).resolve())
    fingerprint = run.spec().data.fingerprint
    first = replies.send(
        {"folder": folder, "fingerprint": fingerprint, "texts": texts, "known": known}
    )
    summary: dict[str, Any] = {}
    bar = progress_bar(len(documents), f"score {run.spec().task.name}", "doc", shown=progress)
    with Journal(path) as lines, bar:
        for reply in chain((first,), replies):
            if "document" not in reply:
                summary |= reply
                continue
            number = int(reply["document"])
            heads[number] = reply.get("heads", {})
            if number in fresh or "error" in reply:
                for judgment in _judgments(documents[number], reply, summary):
                    lines.append(asdict(judgment))
            bar.update()
    return {number: heads[number] for number in documents}, summary


def _judgments(
    one: _Answered, reply: Mapping[str, Any], summary: Mapping[str, Any]
) -> list[Judgment]:
    verdict, raw = Verdict("unscored", reason=f"its scorer: {reply.get('error')}"), None
    if "error" not in reply:
        verdict = _verdict(reply["heads"], summary)
        raw = json.dumps({"values": reply["values"]})
    return [
        Judgment(
            generation.key,
            one.sample_id,
            generation.index,
            verdict,
            created=utc_now(),
            text_hash=one.text_hash,
            raw=raw,
        )
        for generation in one.generations
    ]


def _verdict(heads: Mapping[str, Any], summary: Mapping[str, Any]) -> Verdict:
    """The first of a document's values that is a fraction, as a verdict to compare runs by."""
    for metric in summary["order"]:
        value = heads.get(metric)
        if isinstance(value, dict):
            value = value.get(summary["score_key"])
        if value is None or not 0 <= value <= 1 or metric.rpartition(",")[0] in summary["falling"]:
            continue
        graded = None if value in (0, 1) else value
        return Verdict("correct" if value == 1 else "incorrect", score=graded)
    return Verdict("unscored", reason="scored with the whole set, not by itself")


def _document(
    run: RunFolder,
    task: Task,
    path: Path,
    heads: Mapping[int, Mapping[str, Any]],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    spec, package = run.spec(), package_version()
    responses = join_responses(run, path)
    score = score_responses(responses, (), cluster=None, per_sample=1)
    scored = sum(bool(values) for values in heads.values()) * spec.responses_per_sample
    score = replace(score, metrics={}, by={}, rates=replace(score.rates, scored=scored))
    metrics = {}
    for name in summary["order"]:
        items = [values.get(name) for values in heads.values() if values]
        for part, value in summary["metrics"].get(name, {}).items():
            shown = name.removesuffix(",none") + (f".{part}" if part else "")
            low, high = _interval(items, value)
            size = summary["n"][name]
            metrics[shown] = {
                "value": value,
                "low": low,
                "high": high,
                "n": size,
                "unit": OWN_UNIT,
            }
    return {
        "schema": 1,
        "model": spec.model.id,
        "task": spec.task.name,
        "version": f"{summary['version']} (lmms-eval {package})",
        "judge": NAME,
        "prompt": spec.prompt.format,
        "variant": spec.variant,
        "spec_hash": spec.digest(),
        "verdicts": path.name,
        "footnote": None,
        "judging": None,
        **score.document(),
        "metrics": metrics,
        NAME: {
            "package": package,
            "values": {key: values.get("") for key, values in summary["metrics"].items()},
            "samples": summary["samples"],
            "groups": summary["groups"],
        },
    }


def _interval(items: Sequence[Any], value: float | None) -> tuple[float | None, float | None]:
    """The interval of a metric that is clearly the mean of its documents' fractions; else none."""
    shares = [item for item in items if isinstance(item, int | float)]
    if value is None or not items or len(shares) < len(items):
        return None, None
    if any(not 0 <= share <= 1 for share in shares):
        return None, None
    if abs(sum(shares) / len(shares) - value) > 1e-12:
        return None, None
    responses = [Response(str(i), {}, share) for i, share in enumerate(shares)]
    metric = compute(Metric("accuracy"), responses, None)
    return metric.low, metric.high


class _Worker(Worker):
    """The process that runs lmms-eval's code: one per command; it forks once per run."""

    def ask(self, request: Mapping[str, Any]) -> Replies:
        """Yield the digest of a run's task, and after the responses were sent, their scores.

        Raises:
            JudgeError: the scorer failed.
        """
        finished, failed, summed_up = False, "", False
        try:
            self._write(request)
            for reply in map(json.loads, self.stdout):
                if "failed" in reply:
                    failed = reply["failed"]
                elif "done" in reply:
                    # After any other end, unread input may be left in its pipe.
                    finished = reply["done"] in (0, 1)
                    if reply["done"] and not failed:
                        failed = f"the process of its scorer ended with {reply['done']}"
                    elif not summed_up and not failed:  # a task called exit(0)
                        failed = "its scorer ended before it had summed up"
                    break
                else:
                    summed_up = "metrics" in reply
                    if (more := (yield reply)) is not None:
                        self._write(more)
            if failed:
                raise JudgeError(f"lmms_eval/{request['name']}: {failed}")
            if not finished:
                raise JudgeError(f"lmms_eval/{request['name']}: its scorer's process was ended")
        except BrokenPipeError as error:
            raise JudgeError(f"lmms_eval/{request['name']}: its scorer cannot start") from error
        finally:
            if not finished:  # later lines would be taken for those of another run
                self.close()

    def _write(self, message: Mapping[str, Any]) -> None:
        self.stdin.write(json.dumps(message).encode() + b"\n")
        self.stdin.flush()


_running: list[_Worker] = []


def _worker() -> _Worker:
    """The worker of this process; it is kept because importing lmms-eval takes seconds."""
    if not _running or not _running[-1].alive:
        _running.append(_Worker("vsr1_bench.lmms_eval.worker:serve"))
        atexit.register(_running[-1].close)
    return _running[-1]
