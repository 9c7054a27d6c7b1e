"""A cache of a run's request keys, by the positions of their samples in the data.

A key is a hash of the whole request, images included (`spec.request_key`): to know which responses
are missing, a resumed run would have to read every row and write every prompt again. The memo saves
that for the places whose responses are all there. It says nothing about what is there: only the
journals do. It counts only for the same spec (which names the rows by their content), the same code
of the task and of the prompts; and some of its keys are made again each time, to be compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import os
from collections.abc import Callable, Container
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vsr1_bench import records
from vsr1_bench._util.closing import Closing
from vsr1_bench.data import blind, dataset, rows
from vsr1_bench.data.dataset import TaskData
from vsr1_bench.prompts import formats
from vsr1_bench.store import spec

log = logging.getLogger(__name__)

KEY_BYTES = 16
CHECKED = 32
"""How many keys are made again before the others are believed."""
FLUSHED = 1000
"""Places noted between two writes: a killed run loses so many, and makes their keys again."""
_CODE = (blind, dataset, formats, records, rows, spec)

KeysOf = Callable[[int], list[str]]
"""Makes the keys of the sample at a place."""


def asking_digest(spec_digest: str, task: TaskData) -> str | None:
    """Hash of everything that decides the keys of a run; None if that cannot be known.

    That is the spec, the code here that makes prompts and keys, and the folder of the task's own.
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
    """The keys of one shard's requests; hold the shard's lock while it is open."""

    def __init__(self, path: Path, digest: str, per_sample: int) -> None:
        """Read what is remembered; nothing where it is of other requests, or damaged.

        Args:
            path: The memo's file.
            digest: Of what decides the keys (`asking_digest`).
            per_sample: Keys of a sample.
        """
        self._path, self._per_sample = path, per_sample
        self._head = hashlib.sha256(f"{digest}\0{per_sample}".encode()).digest()
        self._kind = np.dtype(
            [("place", "<u8"), ("check", "<u8"), ("keys", "<u8", (2 * per_sample,))]
        )
        self._known = np.zeros(0, self._kind)
        self._noted: list[tuple[int, list[str]]] = []
        self._file: BinaryIO | None = None
        try:
            self._open()
        except OSError as error:
            log.debug("%s: %s", path, error)

    def _open(self) -> None:
        held = self._path.read_bytes() if self._path.exists() else b""
        whole = (len(held) - len(self._head)) // self._kind.itemsize
        if held.startswith(self._head) and whole >= 0:
            found = np.frombuffer(held, self._kind, whole, len(self._head))
            if (found["check"] == _check(found)).all():
                self._known = found
        self._file = self._path.open("r+b" if len(self._known) else "wb")
        if not len(self._known):
            self._file.write(self._head)
        # What comes after the last whole entry is torn.
        self._file.truncate(len(self._head) + self._known.nbytes)
        self._file.seek(0, os.SEEK_END)

    def complete(self, places: int, finished: Container[str], keys_of: KeysOf) -> bytearray:
        """A 1 for each of the first places whose responses are all finished.

        Args:
            places: How many places.
            finished: Keys of what is stored.
            keys_of: Makes keys anew. Where one is not what it was, nothing is remembered.
        """
        known, self._known = self._known, np.zeros(0, self._kind)
        held, width = known["keys"].tobytes().hex(), 2 * KEY_BYTES * self._per_sample

        def keys(at: int) -> list[str]:
            first, step = at * width, 2 * KEY_BYTES
            return [held[start : start + step] for start in range(first, first + width, step)]

        done = bytearray(places)
        for at, place in enumerate(known["place"].tolist()):
            if place < places:
                done[place] = all(key in finished for key in keys(at))
        there = np.flatnonzero(np.frombuffer(done, np.uint8))
        for place in there[:: max(1, -(-len(there) // CHECKED))].tolist():
            if keys_of(place) != keys(int(np.flatnonzero(known["place"] == place)[-1])):
                log.debug("%s: other keys than before at place %d", self._path, place)
                self._forget()
                return bytearray(places)
        return done

    def _forget(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(len(self._head))
                self._file.seek(0, os.SEEK_END)

    def note(self, place: int, keys: list[str]) -> None:
        """Remember the keys of the sample at a place."""
        self._noted.append((place, keys))
        if len(self._noted) >= FLUSHED:
            self._flush()

    def _flush(self) -> None:
        noted, self._noted = self._noted, []
        if self._file is None:
            return
        try:
            entries = np.zeros(len(noted), self._kind)
            entries["place"] = [place for place, _ in noted]
            packed = bytes.fromhex("".join("".join(keys) for _, keys in noted))
            entries["keys"] = np.frombuffer(packed, "<u8").reshape(len(noted), -1)
            entries["check"] = _check(entries)
            self._file.write(entries.tobytes())
            self._file.flush()
        except (OSError, ValueError) as error:
            log.debug("%s cannot be written (%s)", self._path, error)
            self._file.close()
            self._file = None

    def drop(self) -> None:
        """Leave no memo behind: there is nothing whose keys it would spare."""
        self._noted = []
        self.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def close(self) -> None:
        """Write down what has been noted."""
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None


def _check(entries: NDArray[Any]) -> NDArray[np.uint64]:
    """A number that damage changes, for each entry."""
    mixed: NDArray[np.uint64] = np.bitwise_xor.reduce(entries["keys"], axis=1)
    return mixed ^ (entries["place"] * np.uint64(0x9E3779B97F4A7C15))
