"""Append-only JSON-lines journals that survive SIGKILL, a full disk and a second writer.

A record is acknowledged when `append` returns: it has reached the operating system, so no death of
the process loses it. `fsync` follows each second and at the end, which bounds what a power cut can
lose. A torn last line (the process died in the middle of a write) is cut off, with a warning, by
the next writer. A bad line anywhere else is damage, and an error.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from vsr1_bench._util.closing import Closing
from vsr1_bench.errors import DiskFullError, StoreError

log = logging.getLogger(__name__)

FSYNC_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 120.0
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Errors of `flock` on file systems without it (some cluster and FUSE mounts).
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a journal's records in the order they were written, without a torn last line.

    Raises:
        StoreError: a whole line is not a JSON object (names file:line), or the file cannot be read.
    """
    for number, line in read_lines(path):
        record = parse_line(line)
        if record is None:
            raise bad_line(path, number)
        yield record


def read_lines(path: Path, start: int = 0, number: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield a journal's whole lines with their numbers, from 1.

    Args:
        path: The journal; a missing one is empty.
        start: Byte to begin at: the end of a line.
        number: That line's number.

    Raises:
        StoreError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            for at, line in enumerate(file, start=number + 1):
                if not line.endswith(b"\n"):
                    log.debug("%s:%d is torn or being written, and skipped", path, at)
                    return
                yield at, line
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Read a journal's line; None if it is not a record."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        # Only json reads NaN, and half a surrogate pair, which a model may write.
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
    return record if isinstance(record, dict) else None


def bad_line(path: Path, number: int) -> StoreError:
    """The error for a whole line that is not a record."""
    return StoreError(
        f"{path}:{number}: not a record of this journal; restore the file from a copy, "
        "or delete that line to have its sample generated again"
    )


class Lock:
    """One writer for a folder's journals: `flock` on this host, a heartbeat across hosts.

    A lock file holds its writer's host and process id. On one host the kernel releases a dead
    writer's lock. A writer on another host (a shared file system) is considered dead once it has
    not touched the file for `STALE_SECONDS`. If it comes back, it finds another name in the file,
    or another file in its place, and stops writing.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        """Take the lock.

        Args:
            path: The lock file; it stays, empty, when the lock is released.
            force: Take over from another host even if its lock is not stale, and work without
                `flock` if the file system has none.

        Raises:
            StoreError: another writer holds it, or the folder cannot be written.
        """
        self.path = path
        self._owner = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}
        self._stop = threading.Event()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._take(force)
            except BaseException:
                os.close(self._fd)
                raise
        except OSError as error:
            raise os_failure(path, error) from error
        _held.add(self)
        self._thread = threading.Thread(target=self._beat, name="lock-heartbeat", daemon=True)
        self._thread.start()

    def _take(self, force: bool) -> None:
        here = self._owner["host"]
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = self._holder()
            where = "" if holder.get("host") in (None, here) else " on another host"
            raise StoreError(
                f"{self.path.parent} is being written by process {holder.get('pid', '?')}{where}; "
                "wait for it, or give this run another --output_path"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            if not force:
                raise StoreError(
                    f"{self.path.parent}: this file system has no locks ({error.strerror}); give "
                    "an --output_path that has, or see to it that only one process writes there "
                    "and add --force_unlock"
                ) from error
        holder = self._holder()
        age = max(0.0, time.time() - os.fstat(self._fd).st_mtime)
        elsewhere = holder and holder.get("host") != here
        if elsewhere and age < STALE_SECONDS and not force:
            raise StoreError(
                f"{self.path.parent} is being written on another host (last sign of life "
                f"{age:.0f} s ago); wait {STALE_SECONDS:.0f} s after its end, or take it over by "
                "--force_unlock"
            )
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(self._owner).encode(), 0)

    def _holder(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            held = json.loads(os.pread(self._fd, 4096, 0))
            if isinstance(held, dict):
                return held
        return {}

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS) and not self._lost():
            with contextlib.suppress(OSError):
                os.utime(self._fd)

    def _lost(self) -> bool:
        """Whether the file names another writer, was replaced, or is gone."""
        try:
            moved = not os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except FileNotFoundError:
            return True
        except OSError:  # temporarily unreachable
            return False
        return moved or self._holder() not in ({}, self._owner)

    def check(self) -> None:
        """Make sure that the lock is still ours.

        Raises:
            StoreError: its file was deleted, or another writer has taken it over.
        """
        if self._lost():
            raise StoreError(
                f"{self.path} was deleted, or taken over by another writer; this one stops, so "
                "that nothing is written twice"
            )

    def release(self) -> None:
        """Release the lock at once."""
        if self not in _held:
            return
        _held.discard(self)
        self._stop.set()
        self._thread.join()
        if not self._lost():
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
        os.close(self._fd)

    def leave_in_child(self) -> None:
        """In a forked child: close the copy of the lock, which would outlive a dead writer."""
        os.close(self._fd)


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _drop_locks() -> None:
    for lock in list(_held):
        lock.leave_in_child()
    _held.clear()


os.register_at_fork(after_in_child=_drop_locks)


class Journal(Closing):
    """Appends to one journal; hold its folder's `Lock` while it is open."""

    def __init__(self, path: Path) -> None:
        """Open for appending and cut off a torn last line.

        Raises:
            StoreError: the file cannot be written.
        """
        self.path = path
        self._synced = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            try:
                self._end = self._repair()
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise os_failure(path, error) from error

    def _repair(self) -> int:
        """Cut off a torn last line; return the length of the file then."""
        with self.path.open("rb") as file:
            end = whole = file.seek(0, os.SEEK_END)
            while whole > 0:
                start = max(0, whole - 65536)
                file.seek(start)
                cut = file.read(whole - start).rfind(b"\n")
                whole = start + cut + 1 if cut >= 0 else start
                if cut >= 0:
                    break
        if whole != end:
            log.warning("%s: cut off a torn last line (%d bytes)", self.path, end - whole)
            os.ftruncate(self._file.fileno(), whole)
        return whole

    def append(self, record: dict[str, Any]) -> None:
        """Write one record; once this returns, the death of the process cannot lose it.

        Raises:
            StoreError: disk full or not writable, or the record is not made of JSON values; the
                journal is left as it was before.
        """
        try:
            text = json.dumps(record, ensure_ascii=True, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"{self.path}: a record is not made of JSON values: {error}"
            ) from error
        line = text.encode("ascii") + b"\n"
        try:
            view = memoryview(line)
            while view:
                view = view[self._file.write(view) :]
            self._end += len(line)
        except OSError as error:
            # Part of the line may be written: cut it off.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._end)
            raise os_failure(self.path, error) from error
        if time.monotonic() - self._synced >= FSYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Flush everything written to the disk.

        Raises:
            StoreError: the disk refuses data that it had accepted (network file systems, quotas);
                records of the last second may be lost.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise os_failure(self.path, error) from error
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync and close; raises as `sync`."""
        try:
            with self._file:
                self.sync()
        except OSError as error:
            raise os_failure(self.path, error) from error


@contextlib.contextmanager
def replacing(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield a temporary path beside a file, which it replaces if the block ends without an error.

    Args:
        path: The file.
        suffix: What the temporary name ends in.

    Raises:
        StoreError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise os_failure(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_atomic(path: Path, text: str | Iterator[str]) -> None:
    """Write a file atomically, from one text or from pieces.

    Raises:
        StoreError: the folder cannot be written.
    """
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.writelines([text] if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())


def os_failure(path: Path, error: OSError) -> StoreError:
    """The error for an operation that the file system refused, with the way out."""
    if error.errno in FULL_DISK:
        return DiskFullError(f"{path}: the disk is full; free some space")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = error.strerror
        return StoreError(
            f"{path}: not writable ({reason}); give a folder you own by --output_path"
        )
    return StoreError(f"{path}: {error.strerror or error}; give another folder by --output_path")
