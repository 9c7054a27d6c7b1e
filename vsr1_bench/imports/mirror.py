"""`download data`: rows of tasks in the layout of a mirror, to work without the hub.

    DIR/<hub id>/[<config>/]<split>-00000-of-00001.parquet
    DIR/<hub id>/[<config>/]<split>.vsr1.json    commit, and sha256 and size of each file

Where the hub holds a split as parquet, its very files are taken and compared with the hub's hashes;
other forms are converted. The rows' fingerprint is the same as when they come from the hub.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.data.rows import load_hub
from vsr1_bench.errors import (
    BenchError,
    ExchangeError,
    TaskError,
    TransferError,
    UsageError,
    nearest,
)
from vsr1_bench.publish.bundle import MAX_CONTENT
from vsr1_bench.publish.remote import sha256_of
from vsr1_bench.publish.remotes import HubRemote
from vsr1_bench.store.journal import write_atomic
from vsr1_bench.task import ExternalTask, Procedural, Source, Task, UserDataset

SCHEMA = 1


@dataclass
class DataReport:
    """The result of a download."""

    ready: list[str] = field(default_factory=list)
    """A line for each split that is now present."""
    made: list[str] = field(default_factory=list)
    """Tasks whose rows are generated, not downloaded."""
    missing: list[str] = field(default_factory=list)
    """A line for each split that could not be downloaded."""


def download_data(
    tasks: Sequence[Task], to: Path, copy: str | None = None, *, progress: bool = True
) -> DataReport:
    """Download the rows of tasks into a folder for `--data_root`.

    Existing files with the right hash are not downloaded again.

    Args:
        tasks: The tasks.
        to: The top of the mirror.
        copy: Which copy of the rows (`--source`); None = the official one.
        progress: Show bars.

    Raises:
        UsageError: a task does not have this copy, or its rows are chosen by the user.
        TransferError: a transfer broke off; the same call resumes from there.
    """
    report = DataReport()
    sources: dict[Source, str] = {}
    for task in tasks:
        source = _source(task, copy)
        if isinstance(source, Procedural):
            report.made.append(task.name)
        else:
            sources.setdefault(source, task.name)
    for source, name in sources.items():
        configs = source.config if isinstance(source.config, tuple) else (source.config,)
        remote = HubRemote(source.hub_id, source.revision)
        for config in configs:
            where = "/".join(filter(None, (source.hub_id, config, source.split)))
            try:
                n = _bring(remote, name, source, config, to, progress)
                report.ready.append(f"{where}: {n} file{'s' if n > 1 else ''}")
            except TransferError:
                raise
            except BenchError as error:
                report.missing.append(f"{where}: {error}")
    return report


def _source(task: Task, copy: str | None) -> Source | Procedural:
    source = task.source
    if copy is not None and copy in task.copies:
        source = task.copies[copy].source
    elif copy is not None and not isinstance(source, Procedural):
        known = tuple(task.copies) or ("none",)
        raise UsageError(
            f"--source {copy}: task {task.name!r} has no such copy; {nearest(copy, known)}"
        )
    if isinstance(source, UserDataset):
        raise UsageError(f"task {task.name!r} reads rows that you name: there is nothing to fetch")
    if isinstance(source, ExternalTask):
        raise UsageError(
            f"task {task.name!r} is of {source.harness}, which fetches its rows by itself"
        )
    return source


def _bring(
    remote: HubRemote, name: str, source: Source, config: str | None, to: Path, progress: bool
) -> int:
    """Download one split of one configuration; return the number of its files."""
    folder = to / source.hub_id / (config or "")
    note = folder / f"{source.split}.vsr1.json"
    commit = remote.resolve()
    known = _read_note(note)
    if known.get("revision") == commit and all(
        _is(folder / file, facts) for file, facts in known["files"].items()
    ):
        return len(known["files"])
    folder.mkdir(parents=True, exist_ok=True)
    paths = _parquet_files(remote, source, config)
    written = (
        _copy_files(remote, paths, folder, source.split, progress)
        if paths
        else [_convert(name, source, config, folder, commit)]
    )
    for old in known.get("files", {}).keys() - {file.name for file in written}:
        (folder / old).unlink(missing_ok=True)
    files = {file.name: _facts(file) for file in written}
    about = {"schema": SCHEMA, "id": source.hub_id, "config": config, "split": source.split}
    about |= {"revision": commit, "files": files}
    write_atomic(note, json.dumps(about, indent=1, sort_keys=True) + "\n")
    return len(written)


def _read_note(note: Path) -> dict[str, Any]:
    try:
        known = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    right = isinstance(known, dict) and isinstance(known.get("files"), dict)
    return known if right and all("/" not in name for name in known["files"]) else {}


def _is(path: Path, facts: Any) -> bool:
    return path.is_file() and _facts(path) == facts


def _facts(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "size": path.stat().st_size}


def _parquet_files(remote: HubRemote, source: Source, config: str | None) -> list[str]:
    """The split's files in the repository, in order, if all are parquet; else none.

    `datasets` finds the files of a split, from the data-set card or from file names.
    """
    from datasets import load_dataset_builder

    try:
        builder = load_dataset_builder(source.hub_id, config, revision=remote.resolve())
        urls = list((builder.config.data_files or {}).get(source.split, ()))
    except (
        Exception
    ) as error:  # the library raises many kinds; each means that this way does not work
        text = " ".join(str(error).split())[:200]
        raise TaskError(f"{type(error).__name__}: {text}") from error
    if not urls:
        raise TaskError(f"no split {source.split!r} in it")
    known = remote.files()
    paths = [str(url).rpartition(f"@{remote.resolve()}/")[2] for url in urls]
    return paths if all(p in known and p.endswith(".parquet") for p in paths) else []


def _copy_files(
    remote: HubRemote, paths: Sequence[str], folder: Path, split: str, progress: bool
) -> list[Path]:
    """Download files under the mirror's names, and compare each with the hub's hash."""
    written = []
    known = remote.files()
    total = sum(known[path].size for path in paths)
    with progress_bar(total, remote.repository, "B", shown=progress) as bar:
        for number, path in enumerate(paths):
            target = folder / f"{split}-{number:05d}-of-{len(paths):05d}.parquet"
            if target.is_file() and known[path].matches(target):
                bar.update(known[path].size)
            else:
                part = target.with_name(f".{target.name}.part")
                remote.fetch(path, part, known[path].size, MAX_CONTENT, bar.update)
                part.replace(target)
            written.append(target)
    return written


def _convert(name: str, source: Source, config: str | None, folder: Path, commit: str) -> Path:
    """Load a split that is not parquet, and write it as parquet."""
    from dataclasses import replace

    from vsr1_bench.data.rows import keep_encoded

    dataset, _ = load_hub(name, replace(source, revision=commit), config, None, False)
    target = folder / f"{source.split}.parquet"
    part = target.with_name(f".{target.name}.part")
    try:
        keep_encoded(dataset).to_parquet(part)
    except OSError as error:
        raise ExchangeError(f"{target}: {error.strerror or error}; give another --to") from error
    part.replace(target)
    return target
