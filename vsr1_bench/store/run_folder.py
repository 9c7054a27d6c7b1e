"""The run store: one folder per run, which never loses a finished response.

    runs/<org--model>/<task>-<8 hex of the spec's hash>/
      run.json            the spec, its hash, and what is not part of it (versions, times, command)
      samples.jsonl       the questions asked, so that judging and viewing need no data set
      generations.jsonl   a line per response, written the moment it finishes
      captions.jsonl      descriptions from separate requests (`--perception caption`)
      perceptions.jsonl   the second pass: a line per description that was read
      readers/<name>-<8 hex>.json   the readers' specs
      judgments/<judge>-<8 hex>.jsonl
      replies/<judge>-<8 hex>.jsonl    a judging model's replies, keyed by the request
      perception_judgments/<judge>-<8 hex>.jsonl   the same judge's verdicts on the second pass
      scores/<judge>.json appears only when complete

A shard (`--shard i/n`) writes `generations.<i>-of-<n>.jsonl` and its other journals beside those of
the others. Reading merges all by key: the last record of a key counts, but a failed response never
replaces a finished one, whichever journal it is in.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote, unquote

from pydantic import ValidationError

from vsr1_bench._util.garbage import without_gc
from vsr1_bench.errors import DamagedRunError, StoreError
from vsr1_bench.records import Generation, Judgment, Perception, Sample
from vsr1_bench.store import journal_index
from vsr1_bench.store.journal import read_lines, write_atomic
from vsr1_bench.store.judge_names import bare, stored_name
from vsr1_bench.store.lines import (
    Place,
    meta_fault,
    place_of_line,
    read_records,
    record_as,
    sample_of_record,
    score_fault,
)
from vsr1_bench.store.spec import RunSpec

RESTORE = "restore the file from a copy, or move the folder away"
Shard = tuple[int, int]
Read = TypeVar("Read")
Whole = TypeVar("Whole", Generation, Perception)
P = ParamSpec("P")


def utc_now() -> str:
    """The present instant, ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def shard_part(shard: Shard) -> str:
    """The shard's part of file names; empty if there is only one shard."""
    return "" if shard == (0, 1) else f".{shard[0]}-of-{shard[1]}"


def safe_name(name: str) -> str:
    """Turn a model id into a folder name: `Qwen/Qwen2.5-VL` -> `Qwen--Qwen2.5-VL`."""
    cleaned = re.sub(r"[^A-Za-z0-9._+-]", "-", name.strip("/").replace("/", "--"))
    return cleaned.lstrip(".")[:120] or "model"


def naming_run(
    read: Callable[Concatenate[RunFolder, P], Read],
) -> Callable[Concatenate[RunFolder, P], Read]:
    """Let an error of a reading method name the run (see `RunFolder._naming_run`)."""

    @wraps(read)
    def reading(run: RunFolder, /, *args: P.args, **kwargs: P.kwargs) -> Read:
        with run._naming_run():
            return read(run, *args, **kwargs)

    return reading


class RunFolder:
    """One run on disk. Reading needs no lock; `RunWriter` takes it."""

    def __init__(self, path: Path) -> None:
        """Bind to a folder; nothing is read or created yet."""
        self.path = path

    @contextmanager
    def _naming_run(self) -> Iterator[None]:
        """Let an error name the run, so that a command can continue with the other runs."""
        try:
            yield
        except DamagedRunError:
            raise
        except StoreError as error:
            raise DamagedRunError(str(error), self.path) from error

    @classmethod
    def of(cls, root: Path, spec: RunSpec) -> RunFolder:
        """The folder of a spec below an output path."""
        task = safe_name(spec.task.name)
        return cls(root / safe_name(spec.model.id) / f"{task}-{spec.digest()[:8]}")

    def write_meta(self, spec: RunSpec, samples: int, facts: dict[str, Any]) -> None:
        """Write `run.json`: the spec and its hash, plus facts that do not change the question.

        Args:
            spec: The run's spec.
            samples: How many samples are asked for (from the first on), over all shards.
            facts: Further entries.

        Raises:
            StoreError: the folder holds a run of another spec, or cannot be written.
        """
        known = self.meta() if (self.path / "run.json").exists() else {}
        if known and known.get("spec_hash") != spec.digest():
            raise StoreError(
                f"{self.path} holds another run (its spec hash differs); move that folder away"
            )
        meta = {
            "schema": 1,
            "spec_hash": spec.digest(),
            "spec": spec.model_dump(mode="json"),
            "samples": samples,
            "created": known.get("created", utc_now()),
            "updated": utc_now(),
            **facts,
        }
        write_atomic(self.path / "run.json", json.dumps(meta, indent=1, sort_keys=True) + "\n")

    @naming_run
    def meta(self) -> dict[str, Any]:
        """Read `run.json`.

        Raises:
            StoreError: missing or not readable.
        """
        path = self.path / "run.json"
        try:
            meta = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: not a run's run.json ({error}); {RESTORE}") from error
        if fault := meta_fault(meta):
            raise StoreError(f"{path}: not a run's run.json ({fault}); {RESTORE}")
        found: dict[str, Any] = meta
        return found

    @naming_run
    def spec(self) -> RunSpec:
        """Read the spec.

        Raises:
            StoreError: the spec does not have this version's fields.
        """
        try:
            return RunSpec.model_validate(self.meta()["spec"])
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            fault = f"spec.{where}: {first['msg']}; {RESTORE}"
            raise StoreError(f"{self.path / 'run.json'}: {fault}") from error

    def withheld(self) -> tuple[str, ...]:
        """Fields of the samples that a published run withholds: gold answers, questions.

        Judging needs them (see `publish.gold_answers`); scoring and tables do not.
        """
        return tuple(self.meta().get("withheld", ()))

    def samples(self) -> dict[str, Sample]:
        """Sample id -> sample without images, in data order (see `placed_samples`)."""
        return {sample.id: sample for sample in self.placed_samples().values()}

    def stream_samples(self) -> Iterator[Sample]:
        """Yield the samples without images, in the order of the journals.

        Raises:
            StoreError: a journal is damaged, or of another version.
        """
        with self._naming_run():
            yield from self._sample_records(sample_of_record)

    @naming_run
    @without_gc()
    def placed_samples(self) -> dict[int, Sample]:
        """Place in the data set (from 0) -> sample, in data order.

        Raises:
            StoreError: a journal is damaged, or of another version.
        """
        placed = self._sample_records(lambda record: (record["row"], sample_of_record(record)))
        return dict(sorted(placed, key=lambda pair: pair[0]))

    def skipped(self) -> dict[int, str]:
        """Place in the data set -> why the sample there was skipped (see `blind`)."""
        skipped = ((p.row, p.skipped) for p in self.places() if p.skipped is not None)
        return dict(sorted(skipped))

    def _sample_records(self, decode: Callable[[dict[str, Any]], Read]) -> Iterator[Read]:
        """Read the samples' records, shard by shard; only sorting gives the data's order."""
        for journal in sorted(self.path.glob("samples*.jsonl")):
            samples = read_records(journal, lambda r: None if "left_out" in r else decode(r))
            yield from (record for record in samples if record is not None)

    def places(self) -> Iterator[Place]:
        """Yield the places of all samples, skipped ones included; in no order.

        Raises:
            StoreError: a journal is damaged, or of another version.
        """
        with self._naming_run():
            for journal in sorted(self.path.glob("samples*.jsonl")):
                for number, line in read_lines(journal):
                    yield place_of_line(journal, number, line)

    def wanted(self) -> int:
        """How many samples the last command asked for."""
        return int(self.meta()["samples"])

    @naming_run
    @without_gc()
    def generations(self, part: str = "*") -> dict[str, Generation]:
        """Key -> the record of it that counts, over all shards or in one shard's journal.

        Raises:
            StoreError: a journal is damaged, or of another version.
        """
        return self._merged(f"generations{part}.jsonl", Generation)

    def output_summaries(
        self, kind: str = "generations", part: str = "*"
    ) -> Iterator[journal_index.OutputSummary]:
        """Yield all records of a kind without their texts, over all shards or of one.

        The order is that of journals and lines; `generations` defines which record counts.

        Args:
            kind: `generations`, `captions` or `perceptions`.
            part: The shard's part of the journal's name.

        Raises:
            StoreError: a journal is damaged, or of another version.
        """
        read = journal_index.PERCEPTIONS if kind == "perceptions" else journal_index.GENERATIONS
        with self._naming_run():
            for journal in sorted(self.path.glob(f"{kind}{part}.jsonl")):
                yield from journal_index.summaries(journal, read)

    @without_gc()
    def finished(self, kind: str = "generations", part: str = "*") -> set[str]:
        """Keys of the outputs that did not fail; arguments as for `output_summaries`."""
        return {one.key for one in self.output_summaries(kind, part) if not one.failed}

    @without_gc()
    def count(self) -> int:
        """How many responses there are, failed ones included."""
        return len({one.key for one in self.output_summaries()})

    def verdict_summaries(self, path: Path) -> Iterator[journal_index.VerdictSummary]:
        """Yield the verdicts of a journal; the last one on a key counts (see `judgments`).

        Raises:
            StoreError: the journal is damaged, or of another version.
        """
        with self._naming_run():
            yield from journal_index.summaries(path, journal_index.JUDGMENTS)

    @naming_run
    @without_gc()
    def captions(self) -> dict[str, Generation]:
        """Key -> caption (a description from a separate request); as `generations`."""
        return self._merged("captions*.jsonl", Generation)

    @naming_run
    @without_gc()
    def perceptions(self) -> dict[str, Perception]:
        """Key -> reading, over all readers; as `generations`."""
        return self._merged("perceptions*.jsonl", Perception)

    def _merged(self, pattern: str, kind: type[Whole]) -> dict[str, Whole]:
        merged: dict[str, Whole] = {}
        for journal in sorted(self.path.glob(pattern)):
            for record in read_records(journal, partial(record_as, kind)):
                known = merged.get(record.key)
                if known is None or known.error is not None or record.error is None:
                    merged[record.key] = record
        return merged

    @naming_run
    def readers(self) -> list[dict[str, Any]]:
        """Who has read this run's descriptions, the one that was asked last in front.

        Raises:
            StoreError: a file of `readers/` is not readable.
        """
        readers = []
        for path in (self.path / "readers").glob("*.json"):
            try:
                document = json.loads(path.read_text("utf-8"))
                readers.append((document["used"], document["digest"], document))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{path}: not a reader's file; restore it from a copy") from error
        return [document for *_, document in sorted(readers, key=lambda one: one[:2], reverse=True)]

    def note_reader(self, name: str, digest: str, spec: dict[str, Any]) -> None:
        """Write down who reads: from now on, until another reads, this reader's numbers count."""
        document = {"digest": digest, "used": utc_now(), "spec": spec}
        path = self.path / "readers" / f"{safe_name(name)}-{digest[:8]}.json"
        write_atomic(path, json.dumps(document, indent=1, sort_keys=True) + "\n")

    def judgment_path(self, judge: str, digest: str) -> Path:
        """Journal of one judge's verdicts."""
        return self.path / "judgments" / f"{quote(judge, safe='')}-{digest[:8]}.jsonl"

    @property
    def replies(self) -> Path:
        """Folder of what judging models have replied, for whichever judge asks the same again."""
        return self.path / "replies"

    def perception_judgment_path(self, verdicts: Path) -> Path:
        """Journal of the verdicts on the second pass, by the judge of a journal on the first."""
        return self.path / "perception_judgments" / verdicts.name

    def judged(self) -> dict[str, Path]:
        """Judge's name -> the journal of verdicts that its score was made of, else its newest."""
        journals = (self.path / "judgments").glob("*.jsonl")
        newest = sorted(journals, key=lambda path: (path.stat().st_mtime_ns, path.name))
        chosen = {unquote(path.stem.rpartition("-")[0]): path for path in newest}
        # A copied folder has lost its times: what was scored is written down.
        for document in self.scores():
            path = self.path / "judgments" / Path(str(document.get("verdicts"))).name
            if path.is_file():
                chosen[str(document["judge"])] = path
        return chosen

    @naming_run
    def verdicts(self, judge: str) -> Path:
        """The journal of a judge whose score is stored (see `judged`).

        Raises:
            StoreError: it is not there.
        """
        path = self.judged().get(judge)
        if path is None:
            raise StoreError(
                f"{self.path}: a score by {judge!r}, but no verdicts in judgments/; restore them "
                f"from a copy, or run: vsr1-bench judge {self.path} --judge {shlex.quote(judge)}"
            )
        return path

    @naming_run
    def scores(self) -> list[dict[str, Any]]:
        """The score documents of this run.

        Raises:
            StoreError: a score file is not readable.
        """
        documents = []
        for path in sorted((self.path / "scores").glob("*.json")):
            try:
                document = json.loads(path.read_text("utf-8"))
                fault = score_fault(document)
            except (OSError, ValueError) as error:
                fault = str(error)
            if fault:
                raise StoreError(
                    f"{path}: not a score file ({fault}); delete it, then run: vsr1-bench score "
                    f"{shlex.quote(str(self.path))}"
                )
            documents.append(document)
        return documents

    @naming_run
    @without_gc()
    def judgments(self, path: Path) -> dict[str, Judgment]:
        """Key of what was judged -> the last verdict on it.

        Raises:
            StoreError: the journal is damaged, or of another version.
        """
        return {
            judgment.key: judgment for judgment in read_records(path, partial(record_as, Judgment))
        }

    def write_scores(self, judge: str, document: dict[str, Any]) -> Path:
        """Write `scores/<judge>.json`, which appears only complete; metrics stay in their order."""
        path, unnamed = (self._score_path(name) for name in (judge, bare(judge)))
        write_atomic(path, json.dumps(document, indent=1) + "\n")
        # What a judge that could not be had has left open is under a name without its model.
        for known in self.scores() if unnamed != path and unnamed.exists() else ():
            if known["judge"] == bare(judge) and bare(judge) not in self.judged():
                unnamed.unlink()
        return path

    def _score_path(self, judge: str) -> Path:
        return self.path / "scores" / f"{quote(judge, safe='')}.json"


def find_runs(path: Path) -> list[RunFolder]:
    """List the runs at or below a folder, in a fixed order.

    Raises:
        StoreError: there is none.
    """
    if (path / "run.json").is_file():
        return [RunFolder(path)]
    folders = sorted(run_folders(path))
    if not folders:
        raise StoreError(f"{path}: no run there; give a folder that `vsr1-bench run` has written")
    return [RunFolder(folder) for folder in folders]


def run_folders(path: Path) -> Iterator[Path]:
    """Yield the folders of runs below a folder; links to folders are followed.

    `run` writes through such a link (a model's folder on another disk). Hidden folders are skipped:
    they contain unfinished downloads.
    """
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(path, followlinks=True):
        stat = os.stat(place)
        known = (
            stat.st_dev,
            stat.st_ino,
        ) in seen  # by two links, or a link upward
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = [] if known else sorted(f for f in folders if not f.startswith("."))
        if "run.json" in files and not known:
            yield Path(place)


def stored_judge(typed: str | None, runs: Sequence[RunFolder]) -> str | None:
    """The stored judge that a name means, all runs taken together; as it was typed if none is.

    Raises:
        UsageError: several may be meant.
    """
    if typed is None:
        return None
    judged = {name for run in runs for name in run.judged()}
    return stored_name(typed, judged | {d["judge"] for run in runs for d in run.scores()}) or typed
