"""Write a report folder: everything into a new folder beside it, which then takes its place."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.store.journal import os_failure

SCHEMA = 1
"""Of the report's files; raise it here and in `web/src/types.ts`."""
MARKER = "report.json"
THREADS = 2
_WAITING = 2 * THREADS
_LEVEL = 1
"""Of gzip: level 6 writes a third less, in four times the time."""


def write_json(value: Any) -> bytes:
    """Encode as JSON in ASCII; half surrogates and NUL are escapes in it."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def data_script(name: str, encoded: bytes) -> bytes:
    """A script that hands JSON to the viewer: one call, whose arguments are a name and base64."""
    packed = base64.b64encode(gzip.compress(encoded, _LEVEL, mtime=0))
    return b'vsr1_data("' + name.encode("ascii") + b'","' + packed + b'");\n'


def check_target(path: Path) -> None:
    """Refuse to replace what is no report.

    Raises:
        UsageError: the path is a file, or a folder with something else in it.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(f"-o {path} is not a folder; give the report a folder of its own")
    if path.is_dir() and any(path.iterdir()) and not _is_report(path):
        raise UsageError(
            f"-o {path} holds something that is no report; give the report a folder of its own"
        )


def _is_report(path: Path) -> bool:
    try:
        marker = json.loads((path / MARKER).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(marker, dict) and marker.get("made_by") == "vsr1-bench view"


class ReportFolder:
    """A report that is being written; it appears, whole, when its `with` block ends well."""

    def __init__(self, path: Path) -> None:
        """Bind to the folder that the report will be.

        Raises:
            UsageError: that folder holds something else.
        """
        check_target(path)
        self.path = path
        name = path.resolve().name
        self.part = path.resolve().with_name(f".{name}.{os.getpid()}.part")
        self.bytes = 0
        """Written so far."""
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        """Make the new folder.

        Raises:
            StoreError: it cannot be made.
        """
        try:
            shutil.rmtree(self.part, ignore_errors=True)
            for name in ("data", "images"):
                (self.part / name).mkdir(parents=True)
        except OSError as error:
            raise os_failure(self.path, error) from error
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="report")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the new folder in the place of the old one, or remove it after an error."""
        try:
            if kind is None:
                self._await(0)
                self.write(MARKER, write_json({"schema": SCHEMA, "made_by": "vsr1-bench view"}))
                self._swap()
        except OSError as failure:
            raise _failure(self.path, failure) from failure
        finally:
            self._pool.shutdown(cancel_futures=True)
            shutil.rmtree(self.part, ignore_errors=True)

    def _swap(self) -> None:
        old = self.part.with_suffix(".old")
        target = self.path.resolve()
        if target.exists():
            target.rename(old)
        try:
            self.part.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)

    def write(self, name: str, content: bytes) -> None:
        """Write a file; names never come from data.

        Raises:
            StoreError: it cannot be written.
        """
        try:
            (self.part / name).write_bytes(content)
        except OSError as error:
            raise _failure(self.path, error) from error
        self.bytes += len(content)

    def write_data(self, name: str, value: Any) -> None:
        """Write `data/NAME.js` in the background; the value is encoded at once.

        Raises:
            StoreError: this or an earlier file cannot be written.
        """
        encoded = write_json(value)
        self.later(lambda: self.write(f"data/{name}.js", data_script(name, encoded)))

    def later(self, work: Callable[[], None]) -> None:
        """Do work on another thread, so that compressing overlaps with reading.

        Raises:
            StoreError: earlier work failed.
        """
        self._await(_WAITING)
        self._waiting.append(self._pool.submit(work))

    def finish(self) -> None:
        """Wait for all work that was given away.

        Raises:
            StoreError: some of it failed.
        """
        self._await(0)

    def _await(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()


def _failure(path: Path, error: OSError) -> StoreError:
    failure = os_failure(path, error)
    return type(failure)(str(failure).replace("--output_path", "-o"))
