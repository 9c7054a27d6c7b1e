"""`download` a bundle: everything is checked before anything is moved into place."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard
from tqdm import tqdm

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.errors import ExchangeError, TransferError, UsageError
from vsr1_bench.publish.bundle import (
    MANIFEST,
    MAX_DOCUMENT,
    MAX_MANIFEST,
    SUFFIX,
    TOP,
    BundleFile,
    BundleRun,
    Manifest,
    foreign_names,
    read_manifest,
    strict_json,
)
from vsr1_bench.publish.remote import STAGING, Remote, sha256_of
from vsr1_bench.publish.remotes import open_remote
from vsr1_bench.publish.verify import check_run
from vsr1_bench.store.journal import Lock, write_atomic
from vsr1_bench.store.run_folder import RunFolder, utc_now
from vsr1_bench.store.spec import canonical_json

BLOCK = 1 << 20
SPARE = 1 << 28
"""A download leaves at least so many bytes free on the disk."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The result of a download."""

    new: list[RunFolder]
    known: list[RunFolder]
    """Runs of this bundle that existed already; they are not changed."""
    origin: str
    """The address; an address of the hub includes the commit."""


def download(
    source: str, to: Path, include_path: Sequence[str] = (), *, progress: bool = True
) -> Downloaded:
    """Download the runs of a bundle into a folder.

    Files are stored in `<to>/.download` under their hash, and files of an earlier call are reused.
    When every file of every run has been checked, the runs are moved into place, each in one step.

    Args:
        source: `hf://datasets/ORG/NAME[@REVISION]`, `https://…`, `file://…`, or a folder.
        to: The folder of runs.
        include_path: Folders of plug-ins with further tasks.
        progress: Show a bar.

    Raises:
        UsageError: it is not an address.
        ExchangeError: the bundle differs from its manifest, or asks for something forbidden.
        TransferError: the transfer broke off; the same call resumes from there.
    """
    remote = open_remote(source)
    with _staging(to) as staging:
        text = _fetch_manifest(remote, staging)
        manifest = read_manifest(text, f"{remote.name}/{MANIFEST}")
        foreign = foreign_names(manifest, remote.listing() or ())
        if foreign:
            raise ExchangeError(
                f"{remote.name}: {foreign[0]!r} is not in the manifest"
                + (f", and {len(foreign) - 1} more" if len(foreign) > 1 else "")
                + "; refused"
            )
        origin = {
            "source": remote.name,
            "manifest": hashlib.sha256(text).hexdigest(),
            "made_by": manifest.made_by,
        }
        new, known = _sort_out(manifest, to)
        files = [file for run in new for file in manifest.files_of(run)]
        _check_room(to, files)
        total = sum(file.size for file in files)
        with progress_bar(total, "download", "B", shown=progress) as bar:
            for file in files:
                _fetch(remote, manifest.location(file.path), file, staging, bar)
        runs = [(run, _assemble(manifest, run, staging)) for run in new]
        with progress_bar(len(new), "check", "run", shown=progress) as bar:
            for (
                run,
                folder,
            ) in runs:  # when all are complete, because scores also depend on blind runs
                check_run(folder, run, include_path)
                bar.update()
        for run, folder in runs:
            _move_in(folder, to / _inside(run), origin | {"content": _content(manifest, run)})
        for file in files:
            (staging / file.sha256).unlink(missing_ok=True)
    return Downloaded(
        [RunFolder(to / _inside(run)) for run in new],
        [RunFolder(to / _inside(run)) for run in known],
        remote.name,
    )


@contextmanager
def _staging(to: Path) -> Iterator[Path]:
    """The folder of unfinished downloads, for one download at a time; removed when empty."""
    folder = to / STAGING
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            raise ExchangeError(f"{path}: a link; nothing is written through it")
    lock = Lock(folder / ".lock")
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder / "whole", ignore_errors=True)
        if not [path for path in folder.iterdir() if path.name != ".lock"]:
            shutil.rmtree(folder)


def _fetch_manifest(remote: Remote, staging: Path) -> bytes:
    target = staging / f"{MANIFEST}.part"
    target.unlink(missing_ok=True)
    try:
        remote.fetch(MANIFEST, target, None, MAX_MANIFEST, lambda _: None)
        return target.read_bytes()
    finally:
        target.unlink(missing_ok=True)


def _inside(run: BundleRun) -> Path:
    return Path(run.path).relative_to(TOP)


def _content(manifest: Manifest, run: BundleRun) -> str:
    """Hash of everything that a manifest states about one run, whatever other runs it has."""
    parts = [one.model_dump(mode="json") for one in (run, *manifest.files_of(run))]
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def _sort_out(manifest: Manifest, to: Path) -> tuple[list[BundleRun], list[BundleRun]]:
    """Runs to download, and those that exist already with the same content.

    Raises:
        UsageError: a target folder already holds another run.
    """
    new, known = [], []
    for run in manifest.runs:
        target = to / _inside(run)
        for folder in (target.parent, target):
            if folder.is_symlink():
                raise ExchangeError(f"{folder}: a link; nothing is written through it")
        if not target.exists():
            new.append(run)
        elif RunFolder(target).meta().get("origin", {}).get("content") == _content(manifest, run):
            known.append(run)
        else:
            raise UsageError(
                f"{target} is there already, and not as this bundle has it; give another folder "
                "by --to"
            )
    return new, known


def _check_room(to: Path, files: list[BundleFile]) -> None:
    needed = sum(file.size + file.unpacked for file in files)
    free = shutil.disk_usage(to).free
    if needed + SPARE > free:
        raise ExchangeError(
            f"{to}: {needed:,} bytes are needed and {free:,} are free; give another --to"
        )


def _fetch(remote: Remote, path: str, file: BundleFile, staging: Path, bar: tqdm[Any]) -> None:
    """Download a file and compare its hash; a wrong file is deleted."""
    staged, part = staging / file.sha256, staging / f"{file.sha256}.part"
    if staged.exists() and sha256_of(staged) == file.sha256:
        bar.update(file.size)
        return
    found = ""
    # A piece of an earlier call may be of another file; then all of it is asked for again, once.
    for resumed in (True, False) if part.exists() else (False,):
        if not resumed:
            part.unlink(missing_ok=True)
        remote.fetch(path, part, file.size, file.size, bar.update)
        found = sha256_of(part)
        if found == file.sha256:
            part.replace(staged)
            return
        part.unlink()
    raise ExchangeError(
        f"{remote.name}: {file.path} has sha256 {found[:16]}…, its manifest says "
        f"{file.sha256[:16]}…; deleted. Ask who published it, or run the same command again"
    )


def _assemble(manifest: Manifest, run: BundleRun, staging: Path) -> Path:
    """Assemble a run's files in a temporary folder beside the runs.

    Raises:
        ExchangeError: a journal does not unpack to what the manifest says.
    """
    folder = staging / "whole" / _inside(run)
    shutil.rmtree(folder, ignore_errors=True)
    for file in manifest.files_of(run):
        inside = file.path.removeprefix(f"{run.path}/")
        target = folder / inside.removesuffix(SUFFIX if file.content_size is not None else "")
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.content_size is None:
            shutil.copyfile(staging / file.sha256, target)
        else:
            decompress(staging / file.sha256, target, file)
    return folder


def decompress(packed: Path, target: Path, file: BundleFile) -> None:
    """Decompress a journal; never write more bytes than its manifest states."""
    content, size, rest = hashlib.sha256(), 0, b""
    wanted = file.content_size or 0
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    try:
        with packed.open("rb") as source, target.open("wb") as out:
            stream = reader.stream_reader(source, read_across_frames=False)
            while block := stream.read(BLOCK):
                size += len(block)
                if size > wanted:
                    raise ExchangeError(
                        f"{file.path}: unpacks to more than the {wanted:,} bytes that its manifest "
                        "says; a decompression bomb, refused"
                    )
                content.update(block)
                out.write(block)
                rest = _check_lines(rest + block, file.path)
    except zstandard.ZstdError as error:
        raise ExchangeError(f"{file.path}: not readable as zstd ({error}); refused") from error
    if rest or size != wanted or content.hexdigest() != file.content_sha256:
        raise ExchangeError(
            f"{file.path}: unpacks to {size:,} bytes that are not those that its manifest names "
            "or end within a line; refused"
        )


def _check_lines(text: bytes, where: str) -> bytes:
    """Check each complete line, and return the rest after the last one."""
    *lines, rest = text.split(b"\n")
    for line in lines:
        if not isinstance(strict_json(line, where), dict):
            raise ExchangeError(f"{where}: a line that is not a record; refused")
    if len(rest) > MAX_DOCUMENT:
        raise ExchangeError(f"{where}: a line of over {MAX_DOCUMENT >> 20} MiB; refused")
    return rest


def _move_in(folder: Path, target: Path, origin: dict[str, str]) -> None:
    """Record where a run came from, and move it into place in one step."""
    meta = RunFolder(folder).meta() | {"origin": origin | {"downloaded": utc_now()}}
    write_atomic(folder / "run.json", json.dumps(meta, indent=1, sort_keys=True) + "\n")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except OSError as error:
        raise TransferError(f"{target}: {error.strerror}; give another --to") from error
