"""`publish`: pack runs into a bundle that reveals nothing about this machine."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import zstandard

from vsr1_bench._util.progress import progress_bar
from vsr1_bench._util.version import __version__
from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.errors import ExchangeError, StoreError, UsageError
from vsr1_bench.publish.bundle import (
    FACTS,
    GOLD_ANSWERS,
    KINDS,
    QUESTION,
    SCHEMA,
    SUFFIX,
    TOP,
    BundleFile,
    BundleRun,
    Manifest,
    check_manifest,
    image_kind,
    strict_json,
)
from vsr1_bench.publish.gold_answers import matching_data
from vsr1_bench.publish.licenses import may_hand_on
from vsr1_bench.publish.redact import Private
from vsr1_bench.publish.remote import sha256_of
from vsr1_bench.publish.rename import Renaming
from vsr1_bench.publish.verify import check_scores
from vsr1_bench.registry import get_task
from vsr1_bench.store.journal import read_journal
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import canonical_json
from vsr1_bench.task import Task

WITHHELD = "withheld"
LEVEL = 10
"""Of zstd: close to its best on journals, at tens of MB a second."""


@dataclass(frozen=True, slots=True)
class PackOptions:
    """What goes into a bundle; the fields are the flags of `vsr1-bench publish`."""

    with_golds: bool = False
    with_images: bool = False
    model: str | None = None
    """Another name for the model, where its own says too much."""
    data: DataOptions = field(default_factory=DataOptions)
    """Where the images are."""
    include_path: tuple[str, ...] = ()
    progress: bool = True


def pack(runs: Sequence[RunFolder], folder: Path, options: PackOptions) -> Manifest:
    """Write a bundle's files, all but its manifest, into an empty folder.

    Raises:
        UsageError: gold answers or images whose license does not let them be passed on.
        ExchangeError: something in a run must not be published, or does not fit a bundle.
        StoreError: a run cannot be read.
    """
    private = Private.here(*(run.path for run in runs))
    packed: list[BundleRun] = []
    files: list[BundleFile] = []
    bar = progress_bar(len(runs), "pack", "run", shown=options.progress)
    with bar:
        for run in runs:
            one = _Packing(run, folder, options, private)
            if one.about.path in (known.path for known in packed):
                raise UsageError(f"{run.path}: a run of the same spec is packed already; name one")
            files += one.write()
            packed.append(one.about)
            bar.update()
    manifest = Manifest(
        schema_version=SCHEMA,
        made_by=f"vsr1-bench {__version__}",
        runs=tuple(packed),
        files=tuple(files),
    )
    check_manifest(manifest, "this bundle")
    return manifest


class _Packing:
    """One run on its way into a bundle."""

    def __init__(
        self, run: RunFolder, folder: Path, options: PackOptions, private: Private
    ) -> None:
        self.run, self.folder, self.options, self.private = run, folder, options, private
        known = run.spec()
        self.names = Renaming(run, options.model)
        self.spec = self.names.spec
        self.task = get_task(known.task.name, options.include_path)
        check_scores(run, known, self.task, str(run.path), options.include_path)
        allowed = may_hand_on(self.task.license)
        _check_license(run, self.task, options, allowed)
        self.withheld = (() if options.with_golds else GOLD_ANSWERS) + (() if allowed else QUESTION)
        if options.with_golds and run.withheld():
            raise UsageError(
                f"{run.path}: came without gold answers, so it cannot be published with them; "
                f"judge it once with its data, which puts them back"
            )
        inside = RunFolder.of(Path(TOP), self.spec).path.as_posix()
        self.about = BundleRun(
            path=inside,
            model=self.spec.model.id,
            task=self.task.name,
            version=known.task.version,
            spec_hash=self.spec.digest(),
            license=self.task.license,
            citation=self.task.citation,
            golds=options.with_golds,
            images=options.with_images,
        )
        self._tell(inside, inside)
        self._tell(canonical_json(self.spec.model_dump(mode="json")), f"the spec of {run.path}")
        if Path(self.spec.model.id).is_absolute() or ":\\" in self.spec.model.id:
            raise UsageError(
                f"{run.path}: its model is named by a path; give it a name to be published under: "
                "--model NAME"
            )

    def write(self) -> list[BundleFile]:
        """Write every file; journals first, and `run.json` last."""
        written = []
        for kind in KINDS:
            if kind.name == "replies" and not self.options.with_golds:
                continue  # a judge that was shown the gold answer quotes it
            for path in self._paths(kind.pattern):
                inside = self.names.file(path.relative_to(self.run.path).as_posix())
                if kind.journal:
                    records = self._records(path, kind.name)
                    written.append(self._write_journal(inside, records))
                elif kind.name == "scores":
                    written.append(self._write_document(inside, self._score(path)))
                elif kind.name == "readers":
                    reader = strict_json(path.read_bytes(), str(path))
                    written.append(self._write_document(*self.names.reader_file(reader)))
        if self.options.with_images:
            written += self._write_images()
        written.append(self._write_document("run.json", self._meta()))
        return written

    def _paths(self, pattern: str) -> Iterator[Path]:
        for path in sorted(self.run.path.rglob("*")):
            inside = path.relative_to(self.run.path).as_posix()
            if not re.fullmatch(pattern, inside) or not path.is_file():
                continue
            if not path.resolve().is_relative_to(self.run.path.resolve()):
                raise StoreError(f"{path}: a link that leaves the run's folder; copy the file in")
            yield path

    def _records(self, path: Path, kind: str) -> Iterator[dict[str, Any]]:
        for record in read_journal(path):
            record = self.private.redacted(self.names.record(kind, record))
            if kind == "samples":
                record = _without(record, self.withheld)
            elif kind.endswith("judgments") and not self.options.with_golds:
                record = _without_words(record)
            yield record

    def _score(self, path: Path) -> dict[str, Any]:
        document: dict[str, Any] = strict_json(path.read_bytes(), str(path))
        redacted: dict[str, Any] = self.private.redacted(self.names.score(document))
        return redacted

    def _meta(self) -> dict[str, Any]:
        known = self.run.meta()
        facts = {name: known[name] for name in FACTS if name in known}
        redacted: dict[str, Any] = self.private.redacted(facts)
        identity = {"spec": self.spec.model_dump(mode="json"), "spec_hash": self.spec.digest()}
        withheld = sorted({*self.withheld, *self.run.withheld()})
        meta = redacted | identity | ({"withheld": withheld} if withheld else {})
        return dict(sorted(meta.items()))

    def _write_journal(self, inside: str, records: Iterator[dict[str, Any]]) -> BundleFile:
        target = self._target(inside + SUFFIX)
        content, size = hashlib.sha256(), 0
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        with target.open("wb") as file, compressor.stream_writer(file) as packed:
            for number, record in enumerate(records, start=1):
                line = json.dumps(record, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
                # Also as it is read: a path with letters beyond ASCII is escaped in the line.
                self._tell(line, f"{self.run.path / inside}:{number}")
                self._tell(json.dumps(record, ensure_ascii=False), f"{inside}:{number}")
                encoded = line.encode("ascii") + b"\n"
                content.update(encoded)
                size += len(encoded)
                packed.write(encoded)
        return self._entry(target, content.hexdigest(), size)

    def _write_document(self, inside: str, document: dict[str, Any]) -> BundleFile:
        target = self._target(inside)
        # In its own order: a score's first metric is its headline.
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        self._tell(text, str(self.run.path / inside))
        target.write_text(text, "utf-8")
        return self._entry(target)

    def _write_images(self) -> Iterator[BundleFile]:
        """Write the pictures of the samples that were asked, each once."""
        asked = {
            digest
            for path in self._paths(r"samples[^/]*\.jsonl")
            for record in read_journal(path)
            for digest in record.get("images", ())  # a blind run leaves samples out
        }
        data = matching_data(self.run, self.options.data, self.options.include_path)
        for _, sample in data.samples(self.run.wanted()):
            for image in sample.images:
                digest = image.sha256()
                if digest in asked:
                    asked.discard(digest)
                    encoded = image.read()
                    suffix = image_kind(encoded)
                    if suffix is None:
                        raise ExchangeError(
                            f"{self.run.path}: sample {sample.id!r} has an image of a kind that is "
                            "not published; leave --with_images out"
                        )
                    target = self._target(f"images/{digest}.{suffix}")
                    target.write_bytes(encoded)
                    yield self._entry(target)
        if asked:
            raise ExchangeError(
                f"{self.run.path}: {len(asked)} of its images are not in the data; leave "
                "--with_images out"
            )

    def _target(self, inside: str) -> Path:
        self._tell(unquote(inside), f"the name {unquote(inside)!r} in {self.run.path}")
        target = self.folder / self.about.path / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _entry(
        self, target: Path, content: str | None = None, size: int | None = None
    ) -> BundleFile:
        return BundleFile(
            path=target.relative_to(self.folder).as_posix(),
            sha256=sha256_of(target),
            size=target.stat().st_size,
            content_sha256=content,
            content_size=size,
        )

    def _tell(self, text: str, where: str) -> None:
        self.private.check(text, where)


def _without(record: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """A sample with these fields emptied; that a question has images is not a secret."""
    kept = record | dict.fromkeys((name for name in fields if name in record), None)
    if "question" in fields and record.get("question"):
        kept["question"] = [part for part in record["question"] if not isinstance(part, str)]
    return kept


_CODE = re.compile(r"empty|[a-z]+(_[a-z]+)+")
"""A reason that is a word of the tool's own, such as `grader_timeout`."""
_WORD = re.compile(r"[A-Za-z-]{3,20}")


def _without_words(record: dict[str, Any]) -> dict[str, Any]:
    """A verdict without the judge's words: one that was shown the gold answer quotes it.

    That there were words, none, or a failed call is kept: `table --delta` counts it.
    """
    raw, verdict = record.get("raw"), dict(record["verdict"])
    if isinstance(raw, str) and raw.strip().lower() not in ("", "error"):
        raw = WITHHELD
    for name, plain in (("reason", _CODE), ("label", _WORD)):
        if isinstance(verdict.get(name), str) and not plain.fullmatch(verdict[name]):
            verdict[name] = WITHHELD
    return record | {"raw": raw, "verdict": verdict}


def _check_license(run: RunFolder, task: Task, options: PackOptions, allowed: bool) -> None:
    asked = [
        flag
        for flag, wanted in (
            ("--with_golds", options.with_golds),
            ("--with_images", options.with_images),
        )
        if wanted
    ]
    if asked and not allowed:
        raise UsageError(
            f"{run.path}: {' and '.join(asked)}: the license of {task.name} ({task.license}) is "
            "not among those under which its rows are handed on; publish that run without"
        )
