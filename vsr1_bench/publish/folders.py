"""A folder as a remote for bundles: local, or on another file system of fsspec.

    manifest.json          names what counts, and the folder that it lies in
    bundle-<16 hex>/runs/  the files of the manifest
    parquet/  README.md    with `--parquet`; a download does not read them
    .publish.lock          on this machine: one publish at a time

A publish writes a complete new `bundle-` folder (unchanged files are linked or copied into it).
Then it replaces the manifest in one step. So the manifest always names files that exist. Readers
ignore what a killed publish has left over, and the next publish removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vsr1_bench.errors import ExchangeError, StoreError, TransferError, UsageError
from vsr1_bench.publish.bundle import MANIFEST, ROOT, Manifest
from vsr1_bench.publish.remote import (
    BLOCK,
    WANTED,
    Moved,
    NotThereError,
    Remote,
    Upload,
    bounded_copy,
    shown,
)
from vsr1_bench.store.journal import Lock

LOCK = ".publish.lock"
PART = ".part"


class FolderRemote(Remote):
    """A folder that fsspec reaches: a local one, or s3://, gs:// if their package is installed."""

    def __init__(self, address: str) -> None:
        """Take a `file://` address, a plain path, or another of fsspec's."""
        import fsspec

        try:
            fs, self._root = fsspec.core.url_to_fs(address)
        except (ValueError, ImportError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(f"{shown(address)}: {reason}; {WANTED}") from error
        self._fs: Any = fs
        self._local = "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))
        if self._local:
            self._root = str(Path(self._root).expanduser())
        self.name = f"folder {Path(self._root).name}" if self._local else shown(address)

    def fetch(self, path: str, target: Path, size: int | None, most: int, moved: Moved) -> None:
        """Resume at the end of the target."""
        source = f"{self._root}/{path}"
        self._refuse_links(path)
        self._refuse_odd(path)
        have = target.stat().st_size if target.exists() else 0
        try:
            with self._fs.open(source, "rb") as file, target.open("ab") as out:
                file.seek(have)
                blocks = iter(lambda: file.read(BLOCK), b"")
                bounded_copy(blocks, out, have, most, f"{self.name}: {path}", moved)
        except FileNotFoundError as error:
            raise NotThereError(f"{self.name}: has no {path}") from error
        except OSError as error:
            raise TransferError(f"{self.name}: {path}: {type(error).__name__}: {error}") from error

    def _refuse_links(self, path: str) -> None:
        """Refuse links: in a folder from somebody else they may lead anywhere."""
        if not self._local:
            return
        place = Path(self._root)
        for part in path.split("/"):
            place = place / part
            if place.is_symlink():
                raise ExchangeError(f"{self.name}: {path}: a link where a file is wanted; refused")

    def _refuse_odd(self, path: str) -> None:
        """Refuse FIFOs and devices: reading them may block or never end."""
        if not self._local:
            return
        with contextlib.suppress(OSError):  # opening it reports a missing file
            if not stat.S_ISREG(os.stat(Path(self._root, path)).st_mode):
                raise ExchangeError(f"{self.name}: {path}: not a regular file; refused")

    def listing(self) -> list[str]:
        """Every file below, links to folders not followed."""
        found = self._fs.find(self._root)
        cut = len(self._fs._strip_protocol(self._root).rstrip("/")) + 1
        return [str(path)[cut:] for path in found]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the folder; other file systems have no lock."""
        if not self._local:
            yield
            return
        self._refuse_links(LOCK)
        try:
            lock = Lock(Path(self._root, LOCK))
        except StoreError as error:
            busy = re.search(r"is being written (by process \d+|on another host)", str(error))
            raise ExchangeError(
                f"--to {self.name}: {f'another publish {busy[0]}; wait for it' if busy else error}"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def next_root(self, known: Manifest | None) -> str:
        """Return a name that was never used."""
        return f"bundle-{secrets.token_hex(8)}"

    def push(self, upload: Upload) -> str:
        """Fill a new folder, then let the manifest name it, then remove the others."""
        manifest, known, new = upload.manifest, upload.known, set(upload.packed)
        for path in (MANIFEST, *upload.stale, *upload.beside):
            self._refuse_links(path)
            self._refuse_links(f"{path}{PART}")
        try:
            for path in upload.stale:
                self._fs.rm_file(f"{self._root}/{path}")
            for file in manifest.files:
                target = f"{self._root}/{manifest.location(file.path)}"
                self._fs.makedirs(self._fs._parent(target), exist_ok=True)
                if file.path in new:
                    self._bring(upload.folder / file.path, target)
                else:
                    assert known is not None
                    self._keep(known.location(file.path), target)
            self._replace(upload.folder / MANIFEST, MANIFEST)
            self._clear(manifest, known)
            for path in upload.beside:
                self._fs.makedirs(self._fs._parent(f"{self._root}/{path}"), exist_ok=True)
                self._replace(upload.folder / path, path)
        except OSError as error:
            raise ExchangeError(
                f"--to {self.name}: {error.strerror or error}; give a folder you may write"
            ) from error
        return str(self._root) if self._local else self.name

    def _bring(self, source: Path, target: str) -> None:
        if not self._local:
            self._fs.put_file(str(source), target)
            return
        shutil.copyfile(source, target)
        _sync(Path(target))

    def _keep(self, path: str, target: str) -> None:
        """Link or copy a file of the current manifest into the new folder."""
        self._refuse_links(path)
        source = f"{self._root}/{path}"
        try:
            if not self._local:
                self._fs.cp_file(source, target)
                return
            try:
                os.link(source, target)
            except FileNotFoundError:
                raise
            except OSError:  # a file system without hard links
                shutil.copyfile(source, target)
        except FileNotFoundError as error:
            raise ExchangeError(
                f"--to {self.name}: its manifest names {path}, which is not there; give another "
                "folder, or publish all of its runs anew to it after deleting its manifest.json"
            ) from error

    def _replace(self, source: Path, name: str) -> None:
        """Write a file in one step; a new manifest activates the new files."""
        target = f"{self._root}/{name}"
        if not self._local:
            self._fs.put_file(str(source), target)
            return
        part = Path(f"{target}{PART}")
        shutil.copyfile(source, part)
        _sync(part)
        part.replace(target)

    def _clear(self, manifest: Manifest, known: Manifest | None) -> None:
        """Remove folders of earlier publishes, and the files that the last manifest named."""
        for path in self._fs.ls(self._root, detail=False):
            name = str(path).rstrip("/").rpartition("/")[2]
            if not re.fullmatch(ROOT, name) or name == manifest.root:
                continue
            if self._local and not Path(self._root, name).is_symlink():
                shutil.rmtree(Path(self._root, name))
            elif not self._local:
                self._fs.rm(f"{self._root}/{name}", recursive=True)
        if known is None or known.root:
            return
        for path in sorted(known.names()):  # a bundle of the form without its own folder
            self._refuse_links(path)
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._root}/{path}")
            if self._local:
                _remove_empty(Path(self._root), Path(path).parent)


def _sync(path: Path) -> None:
    """Flush a file to disk before anything refers to it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_empty(top: Path, inside: Path) -> None:
    """Remove a folder and its parents, as long as they are empty."""
    while inside.parts:
        try:
            (top / inside).rmdir()
        except OSError:
            return
        inside = inside.parent
