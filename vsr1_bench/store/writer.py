"""Write to the folder of a run."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from vsr1_bench.records import SCHEMA_VERSION, Completion, Generation, Request, Sample
from vsr1_bench.store.journal import Journal, Lock
from vsr1_bench.store.lines import record_of_sample
from vsr1_bench.store.run_folder import RunFolder, Shard, shard_part, utc_now


class RunWriter:
    """Writes the samples and generations of one shard of a run."""

    def __init__(
        self, folder: RunFolder, *, shard: Shard = (0, 1), force_unlock: bool = False
    ) -> None:
        """Lock the shard's journals and read what is stored.

        Raises:
            StoreError: another process writes the same shard, or the folder is not writable.
        """
        part = shard_part(shard)
        self.folder = folder
        with ExitStack() as stack:
            self._lock = Lock(folder.path / f".lock{part}", force=force_unlock)
            stack.callback(self._lock.release)
            self._generations = stack.enter_context(
                Journal(folder.path / f"generations{part}.jsonl")
            )
            self._samples = stack.enter_context(Journal(folder.path / f"samples{part}.jsonl"))
            self.known_samples: dict[str, int] = {}
            """Sample id -> place in the data set."""
            self._skipped: set[int] = set()
            for place in folder.places():
                if place.id is not None:
                    self.known_samples[place.id] = place.row
                else:
                    self._skipped.add(place.row)
            self.finished = folder.finished()
            """Keys of finished responses, over all shards."""
            self.safe = len(folder.finished(part=part) if part else self.finished)
            """Finished responses of this shard."""
            self._open = stack.pop_all()

    def add_sample(self, sample: Sample, row: int) -> None:
        """Store a sample, once, with its place in the data set (from 0)."""
        if sample.id not in self.known_samples:
            self._samples.append(record_of_sample(sample, row))
            self.known_samples[sample.id] = row

    def skip(self, row: int, reason: str) -> None:
        """Record, once, that the run skips the sample at this place."""
        if row not in self._skipped:
            self._samples.append({"schema": SCHEMA_VERSION, "row": row, "left_out": reason})
            self._skipped.add(row)

    def add(self, generation: Generation) -> None:
        """Store a response.

        Raises:
            StoreError: it could not be written, or another host has taken the folder over.
        """
        self._lock.check()
        self._generations.append(asdict(generation))
        if generation.error is None:
            self.finished.add(generation.key)
            self.safe += 1

    def close(self) -> None:
        """Sync, close and release the lock.

        Raises:
            StoreError: the disk refuses data that it had accepted.
        """
        self._open.close()


def output_fields(
    request: Request, completion: Completion, seconds: float | None
) -> dict[str, Any]:
    """The fields of `records.Output` for a finished or failed request."""
    return {
        "key": request.key,
        "sample_id": request.sample_id,
        "index": request.index,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "usage": completion.usage,
        "error": completion.error,
        "seconds": None if seconds is None else round(seconds, 4),
        "created": utc_now(),
    }


def generation_of(request: Request, completion: Completion, seconds: float | None) -> Generation:
    """The journal line of a finished or failed request."""
    return Generation(**output_fields(request, completion, seconds))
