"""The record of the batches that were submitted for one folder, so that none is paid for twice.

    .batches<name>/journal.jsonl     what was planned, submitted and collected
    .batches<name>/<batch>.jsonl     the requests of a batch, until it is collected

A batch costs money from the moment that the endpoint accepts it. So its record is written in steps,
and each step before what it announces:

| event | meaning | after a death there |
|---|---|---|
| `planned` | its requests are in the file | nothing was sent that costs: it is dropped |
| `creating` | the endpoint is being asked to run it | it is looked for by its name |
| `submitted` | the endpoint has given its id | it is collected |
| `closed` | it is collected, or will never run | nothing |

The folder is removed when no batch is open. Hold the lock of the records it belongs to.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from vsr1_bench._util.closing import Closing
from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.generation.base import Home
from vsr1_bench.store.journal import Journal, os_failure, read_journal

MOST_BYTES = 150 << 20
"""Bytes of the requests of a batch; OpenAI takes 200 MB."""
MOST_REQUESTS = 10_000
"""Requests of a batch; OpenAI takes 50,000, but their replies are read at once."""
SCHEMA = 1


@dataclass(slots=True)
class Batch:
    """A batch that is not closed."""

    name: str
    """Its name at the endpoint, unique."""
    waiting: set[str] = field(default_factory=set)
    """Keys of requests whose result was not passed on yet."""
    tries: dict[str, int] = field(default_factory=dict)
    """Key -> how many batches it has been in before, if there were any."""
    creating: float | None = None
    """When the endpoint was asked to run it (seconds since the epoch)."""
    remote: str | None = None
    """Its id at the endpoint."""


class BatchBook(Closing):
    """The batches of one `Home`."""

    def __init__(self, home: Home) -> None:
        """Read the record; nothing is written before the first batch.

        Raises:
            StoreError: the record is damaged.
        """
        self.home = home
        self.folder = home.folder / f".batches{home.name}"
        self.open: dict[str, Batch] = {}
        self._journal: Journal | None = None
        self._spool: BinaryIO | None = None
        self._draft: Batch | None = None
        self._bytes = 0
        path = self.folder / "journal.jsonl"
        for number, record in enumerate(read_journal(path), start=1):
            try:
                self._replay(record)
            except (KeyError, TypeError, ValueError) as error:
                raise StoreError(
                    f"{path}:{number}: not a record of batches ({type(error).__name__}: {error}); "
                    "restore the file from a copy"
                ) from error

    def _replay(self, record: dict[str, Any]) -> None:
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']!r}")
        name, event = str(record["batch"]), record["event"]
        if event == "planned":
            self.open[name] = Batch(name, set(record["keys"]), dict(record["tries"]))
        elif event == "creating":
            self.open[name].creating = float(record["at"])
        elif event == "submitted":
            self.open[name].remote = str(record["remote"])
        elif event == "closed":
            del self.open[name]
        else:
            raise ValueError(f"event {event!r}")

    def holding(self, key: str) -> Batch | None:
        """The batch that holds a request; None if it is in none."""
        return next((batch for batch in self.open.values() if key in batch.waiting), None)

    def refuse_single(self, key: str) -> None:
        """Check that a request may be sent as a single call.

        Raises:
            UsageError: it is in a batch, so that it would be paid for twice.
        """
        if (batch := self.holding(key)) is not None:
            raise UsageError(
                f"{self.folder}: batch {batch.remote or batch.name} holds requests of this command "
                "and is paid for: add --batch to collect it, or remove that folder to pay again"
            )

    def add(self, key: str, line: bytes, tries: int = 0) -> Batch | None:
        """Add a request to the next batch; return a batch that is full, to be submitted.

        Raises:
            StoreError: its file cannot be written.
        """
        full = self.planned() if self._bytes + len(line) > MOST_BYTES else None
        try:
            if self._spool is None:
                self._draft = Batch(f"vsr1-bench-{uuid.uuid4().hex[:16]}")
                path = self.requests(self._draft)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._spool, self._bytes = path.open("wb"), 0
            self._spool.write(line + b"\n")
        except OSError as error:
            raise os_failure(self.folder, error) from error
        assert self._draft is not None
        self._bytes += len(line) + 1
        self._draft.waiting.add(key)
        if tries:
            self._draft.tries[key] = tries
        if full is None and len(self._draft.waiting) >= MOST_REQUESTS:
            full = self.planned()
        return full

    def planned(self) -> Batch | None:
        """End the file of the next batch and record it; None if it has no requests.

        Raises:
            StoreError: the disk refuses it.
        """
        spool, batch = self._spool, self._draft
        if spool is None or batch is None:
            return None
        self._spool = self._draft = None
        try:
            with spool:
                spool.flush()
                os.fsync(spool.fileno())
        except OSError as error:
            raise os_failure(self.folder, error) from error
        self._bytes = 0
        self._note(batch, "planned", keys=sorted(batch.waiting), tries=batch.tries)
        self.open[batch.name] = batch
        return batch

    def creating(self, batch: Batch) -> None:
        """Record that the endpoint is now asked to run a batch."""
        batch.creating = time.time()
        self._note(batch, "creating", at=batch.creating)

    def submitted(self, batch: Batch, remote: str) -> None:
        """Record the id of a batch at the endpoint."""
        batch.remote = remote
        self._note(batch, "submitted", remote=remote)

    def close_batch(self, batch: Batch, why: str) -> None:
        """Record that a batch is collected, or will never run, and drop its requests."""
        self._note(batch, "closed", why=why)
        self.open.pop(batch.name, None)
        self.requests(batch).unlink(missing_ok=True)

    def requests(self, batch: Batch) -> Path:
        """The file with the requests of a batch."""
        return self.folder / f"{batch.name}.jsonl"

    def lines(self, batch: Batch) -> Iterator[bytes]:
        """The requests of a batch; none if its file is gone."""
        with suppress(FileNotFoundError), self.requests(batch).open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")

    def _note(self, batch: Batch, event: str, **more: Any) -> None:
        if self._journal is None:
            self._journal = Journal(self.folder / "journal.jsonl")
        self._journal.append({"schema": SCHEMA, "batch": batch.name, "event": event, **more})

    def close(self) -> None:
        """Close the record; drop a batch that was not planned, and the folder if none is open.

        Raises:
            StoreError: the disk reports a late error.
        """
        if self._spool is not None:
            self._spool.close()
            self._spool = self._draft = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if not self.open:
            shutil.rmtree(self.folder, ignore_errors=True)
