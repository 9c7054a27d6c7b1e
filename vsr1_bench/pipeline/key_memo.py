"""A cache of a run's request keys, by the positions of their samples in the data.

A key is a hash of the whole request, images included (`spec.request_key`). To know which responses
are missing, a resumed run would have to read every row and write every prompt again. The memo saves
that for places whose responses are complete; only the journals decide what is complete. It is valid
for the same spec (which identifies the rows by content) and the same code of the task and the
prompts. Some of its keys are computed again each time and compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import os
import zlib
from array import array
from collections.abc import Callable, Container
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

from vsr1_bench import records
from vsr1_bench._util.closing import Closing
from vsr1_bench.data import blind, dataset, rows
from vsr1_bench.data.dataset import TaskData
from vsr1_bench.prompts import formats
from vsr1_bench.store import spec

log = logging.getLogger(__name__)

CHECKED = 32
"""How many keys are computed again before the others are trusted."""
FLUSHED = 1000
"""Places noted between two writes; a killed run loses at most these."""
_CODE = (blind, dataset, formats, records, rows, spec)

KeysOf = Callable[[int], list[str]]
"""Place -> the keys of its sample, computed again."""


def asking_digest(spec_digest: str, task: TaskData) -> str | None:
    """Hash of everything that decides the keys of a run; None if its source cannot be read.

    That is the spec, our code that makes prompts and keys, and the files in the task's folder.
    """
    own: Any = task.to_sample
    while isinstance(own, partial):
        own = own.func
    try:
        folder = Path(inspect.getfile(own)).parent
        files = [Path(module.__file__ or "") for module in _CODE] + sorted(folder.glob("*.py"))
        sources = [file.read_bytes() for file in files]
    except (OSError, TypeError):
        return None
    words = f"{spec_digest}\0{own.__module__}\0{getattr(own, '__qualname__', '')}\0".encode()
    return hashlib.sha256(words + b"\0".join(sources)).hexdigest()


class KeyMemo(Closing):
    """The keys of one shard's requests; hold the shard's lock while it is open.

    The file has a head, then one line per sample: its place, its keys and a checksum of both. The
    last line of a place counts.
    """

    def __init__(self, path: Path, digest: str, per_sample: int) -> None:
        """Read the memo; one of other requests is begun again.

        Args:
            path: The memo's file.
            digest: Of what decides the keys (`asking_digest`).
            per_sample: Keys of a sample.
        """
        self._path, self._per_sample = path, per_sample
        self._head = hashlib.sha256(f"{digest}\0{per_sample}".encode()).hexdigest().encode() + b"\n"
        self._known = b""
        self._noted: list[bytes] = []
        self._file: FileIO | None = None
        try:
            self._open()
        except OSError as error:
            log.debug("%s: %s", path, error)

    def _open(self) -> None:
        held = self._path.read_bytes() if self._path.exists() else b""
        if held.startswith(self._head):
            self._known = held[: held.rfind(b"\n") + 1]  # what comes after is torn
        # Unbuffered: on a full disk, closing would fail on what is still in a buffer.
        self._file = self._path.open("r+b" if self._known else "wb", buffering=0)
        self._file.truncate(len(self._known))
        self._file.seek(0, os.SEEK_END)
        if not self._known:
            self._file.write(self._head)

    def complete(self, places: int, finished: Container[str], keys_of: KeysOf) -> bytearray:
        """A 1 for each of the first places whose responses are all finished.

        Args:
            places: How many places.
            finished: Keys of what is stored.
            keys_of: Makes keys again. If one is not what it was, or a line is damaged, the memo is
                begun again.
        """
        known, self._known = self._known, b""
        done = bytearray(places)
        last = array("q", bytes(8 * places))  # where the line of each place begins
        at = len(self._head)
        while at < len(known):
            after = known.index(b"\n", at) + 1
            entry = self._entry(known[at:after])
            if entry is None:
                log.debug("%s: damaged at byte %d", self._path, at)
                return self._forget(places)
            place, keys = entry
            if place < places:
                done[place] = all([key in finished for key in keys])
                last[place] = at
            at = after
        there = [place for place in range(places) if done[place]]
        for place in there[:: max(1, -(-len(there) // CHECKED))]:
            at = last[place]
            if self._entry(known[at : known.index(b"\n", at) + 1]) != (place, keys_of(place)):
                log.debug("%s: other keys than before at place %d", self._path, place)
                return self._forget(places)
        return done

    def _entry(self, line: bytes) -> tuple[int, list[str]] | None:
        """The place and the keys on a line; None if it is damaged."""
        entry, _, check = line.rpartition(b" ")
        place, *keys = entry.decode(errors="replace").split(" ")
        if check != _checksum(entry) or len(keys) != self._per_sample:
            return None
        return int(place), keys

    def _forget(self, places: int) -> bytearray:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(len(self._head))
                self._file.seek(0, os.SEEK_END)
        return bytearray(places)

    def note(self, place: int, keys: list[str]) -> None:
        """Remember the keys of the sample at a place."""
        entry = " ".join([str(place), *keys]).encode()
        self._noted.append(entry + b" " + _checksum(entry))
        if len(self._noted) >= FLUSHED:
            self._flush()

    def _flush(self) -> None:
        noted, self._noted = self._noted, []
        if self._file is None:
            return
        lines = b"".join(noted)
        try:
            if self._file.write(lines) == len(lines):
                return
            log.debug("%s is written in part", self._path)
        except (OSError, ValueError) as error:
            log.debug("%s cannot be written (%s)", self._path, error)
        self._file.close()
        self._file = None

    def drop(self) -> None:
        """Delete the memo; without a response it saves nothing."""
        self._noted = []
        self.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def close(self) -> None:
        """Write what has been noted and close the file."""
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None


def _checksum(entry: bytes) -> bytes:
    """What ends a line: a number that damage changes, and the line end."""
    return b"%08x\n" % zlib.crc32(entry)
