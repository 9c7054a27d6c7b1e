"""The second pass: a description goes back with its question and without the image.

`SecondPass` rides on the stream of the first: as soon as an answer is there, what follows from it
goes to the same engine, which never waits between the passes. `read_runs` has stored descriptions
read by another model (the paper's way, with Gemini).

Either way a reading is journalled the moment it is there, and what is stored is never asked again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import ItemsView, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.errors import BenchError, Interrupted
from vsr1_bench.generation.connect import Connection
from vsr1_bench.generation.costs import PaidCalls, Spending
from vsr1_bench.generation.tally import Tally
from vsr1_bench.perception.reader import (
    PAID,
    Descriptions,
    ReaderSpec,
    description_hash,
    description_in,
    greedy,
    perception_key,
)
from vsr1_bench.prompts.formats import describe_messages, reading_messages
from vsr1_bench.records import (
    Completion,
    Message,
    Perception,
    Request,
    Sample,
    Sampling,
)
from vsr1_bench.store.journal import Journal, Lock
from vsr1_bench.store.run_folder import RunFolder, Shard, shard_part
from vsr1_bench.store.spec import RunSpec, request_key
from vsr1_bench.store.writer import generation_of, output_fields

log = logging.getLogger(__name__)


class Readings:
    """What one reader has made of a run's descriptions, and what it is still to read.

    Hold the folder's lock while it is open.
    """

    def __init__(self, folder: RunFolder, reader: ReaderSpec, shard: Shard = (0, 1)) -> None:
        """Read what is stored and open the shard's journal.

        Raises:
            StoreError: a journal is damaged or cannot be written.
        """
        self.reader, self.digest = reader, reader.digest()
        self.tally = Tally("readings")
        self._sampling = Sampling(**reader.sampling.model_dump())
        stored = folder.perceptions().items()
        mine = (key for key, one in stored if one.error is None and one.reader == self.digest)
        self._done = set(mine)
        self.tally.finished = len(self._done)
        self._asked: dict[str, tuple[str, str]] = {}
        """Key of a reading on its way -> its source's key, its description's hash."""
        self._journal = Journal(folder.path / f"perceptions{shard_part(shard)}.jsonl")
        self._folder, self._noted = folder, False
        self._to_match = self._readings_of_another(stored)
        # A reader that has said less must not take the place of one that has said more.
        if len(self._done) >= self._to_match:
            self._note()

    def _readings_of_another(self, stored: ItemsView[str, Perception]) -> int:
        """How many readings the reader has whose numbers count now, if it is not this one."""
        front = next(iter(self._folder.readers()), None)
        if front is None or front["digest"] == self.digest:
            return 0
        # Of other descriptions there may be fewer: one success is enough there.
        alike = front.get("spec", {}).get("descriptions") == self.reader.descriptions
        count = sum(one.error is None and one.reader == front["digest"] for _, one in stored)
        return count if alike and count else 1

    def has(self, source: str, description: str) -> bool:
        """Whether a description has been read."""
        return perception_key(source, self.digest, description) in self._done

    def request(self, sample: Sample, source: str, index: int, description: str) -> Request | None:
        """Ask for a reading; None if it is stored or on its way."""
        key = perception_key(source, self.digest, description)
        if key in self._done or key in self._asked:
            return None
        self._asked[key] = (source, description_hash(description))
        reader = self.reader
        messages = reading_messages(sample, description, images=reader.images, system=reader.system)
        return Request(key, messages, self._sampling, (), sample.id, index, stage="reading")

    def keep(self, request: Request, completion: Completion, seconds: float) -> None:
        """Write a reading down; after this it cannot be lost."""
        source, hashed = self._asked.pop(request.key)
        output = output_fields(request, completion, seconds)
        reading = Perception(**output, source=source, reader=self.digest, description_hash=hashed)
        self._journal.append(asdict(reading))
        if completion.error is None:
            self._done.add(request.key)
            if not self._noted and len(self._done) >= self._to_match:
                self._note()
        self.tally.note(completion.error)

    def _note(self) -> None:
        """Let this reader's numbers count from now on."""
        spec = self.reader.model_dump(mode="json")
        self._folder.note_reader(self.reader.label, self.digest, spec)
        self._noted = True

    def close(self) -> None:
        """Sync and close the journal.

        Raises:
            StoreError: the disk refuses what it had accepted.
        """
        self._journal.close()
        if not self._noted and (self._done or self.tally.failed):
            log.warning(
                "%s: reader %s has made %d readings; the %d of the reader before it still count",
                self._folder.path,
                self.reader.label,
                len(self._done),
                self._to_match,
            )


class SecondPass:
    """What follows a run's answers on the engine that gave them: captions, readings, or both."""

    def __init__(
        self,
        folder: RunFolder,
        spec: RunSpec,
        descriptions: Descriptions,
        reader: ReaderSpec | None,
        shard: Shard = (0, 1),
    ) -> None:
        """Read what is stored and open the shard's journals; hold the folder's lock meanwhile.

        Args:
            folder: The run.
            spec: Its spec.
            descriptions: Where the descriptions are.
            reader: The run's own model as the reader; None = another model reads afterwards.
            shard: Whose journals to write.

        Raises:
            StoreError: a journal is damaged or cannot be written.
        """
        assert spec.sampling is not None
        self._descriptions, self._system = descriptions, spec.prompt.system
        self._tags = reader.thinking_tags if reader else ()
        self._sampling = greedy(Sampling(**spec.sampling.model_dump()))
        self._spec_digest = spec.digest()
        self.captions = Tally("captions")
        self._unread: dict[str, str] = {}
        """Stored generations or captions whose description has not been read: key -> text."""
        with ExitStack() as stack:
            self.readings = Readings(folder, reader, shard) if reader else None
            if self.readings:
                stack.callback(self.readings.close)
            stored = folder.generations()
            if descriptions == "caption":
                stored = folder.captions()
                journal = Journal(folder.path / f"captions{shard_part(shard)}.jsonl")
                self._journal = stack.enter_context(journal)
            self._known = {key for key, made in stored.items() if made.error is None}
            if descriptions == "caption":
                self.captions.finished = len(self._known)
            for key in self._known if self.readings else ():
                found = description_in(stored[key].text, descriptions, self._tags)
                if found and self.readings and not self.readings.has(key, found):
                    self._unread[key] = stored[key].text
            self._open = stack.pop_all()

    def after_answer(self, sample: Sample, request: Request, text: str) -> Request | None:
        """What follows an answer that has just been stored: a caption, a reading, or nothing."""
        if self._descriptions == "response":
            return self._reading(sample, request.key, request.index, text)
        return self._caption(sample, request)

    def after_stored(self, sample: Sample, request: Request) -> Request | None:
        """What is missing behind an answer that an earlier run has stored."""
        if self._descriptions == "response":
            text = self._unread.pop(request.key, None)
            return None if text is None else self.after_answer(sample, request, text)
        return self._caption(sample, request)

    def keep(
        self, sample: Sample, request: Request, completion: Completion, seconds: float
    ) -> Request | None:
        """Write down a caption or a reading; return what follows."""
        if request.stage == "reading":
            assert self.readings is not None
            self.readings.keep(request, completion, seconds)
            return None
        self._journal.append(asdict(generation_of(request, completion, seconds)))
        self.captions.note(completion.error)
        if completion.error is not None:
            return None
        return self._reading(sample, request.key, 0, completion.text)

    def close(self) -> None:
        """Sync and close the journals.

        Raises:
            StoreError: the disk refuses what it had accepted.
        """
        self._open.close()

    def _reading(self, sample: Sample, source: str, index: int, text: str) -> Request | None:
        found = description_in(text, self._descriptions, self._tags)
        if found is None or self.readings is None:
            return None
        return self.readings.request(sample, source, index, found)

    def _caption(self, sample: Sample, answer: Request) -> Request | None:
        """Ask for a description, once a sample; its responses share it."""
        if not sample.images:
            return None
        messages = describe_messages(sample, system=self._system)
        key = caption_key(self._spec_digest, sample, messages)
        if key in self._known:
            text = self._unread.pop(key, None)
            return None if text is None else self._reading(sample, key, 0, text)
        self._known.add(key)
        return Request(key, messages, self._sampling, sample.images, sample.id, stage="caption")


def caption_key(spec_digest: str, sample: Sample, messages: Sequence[Message]) -> str:
    """Key of a description that is asked for by itself; its prompt is part of the messages."""
    return request_key(f"{spec_digest} caption", sample.id, messages, sample.images, 0)


def read_runs(
    folders: Sequence[RunFolder],
    reader: ReaderSpec,
    connection: Connection,
    spending: Spending | None = None,
    *,
    shard: Shard = (0, 1),
    force_unlock: bool = False,
    progress: bool = True,
) -> list[Tally]:
    """Have the descriptions of stored runs read by another model, those that it has not read yet.

    The model is loaded or called only if something is missing. No call is made that could go over
    the bound of `spending`.

    Returns:
        For each run how its readings have gone.

    Raises:
        StoreError: a run cannot be read, or is being written by another process.
        BenchError: the reader cannot be asked (a refused key, a dead endpoint).
        Interrupted: the reader, the disk or the user ended it; says what is safe.
    """
    with ExitStack() as stack:
        opened: list[tuple[RunFolder, Readings]] = []
        for folder in folders:
            lock = Lock(folder.path / f".lock{shard_part(shard)}", force=force_unlock)
            stack.callback(lock.release)
            readings = Readings(folder, reader, shard)
            readings.tally.asked_apart = True
            stack.callback(readings.close)
            opened.append((folder, readings))
        known = [_descriptions(folder, reader, shard) for folder in folders]
        total = sum(1 for found in known for _ in found)
        bar = progress_bar(total, f"read ({reader.label})", "desc", shown=progress)
        pending: dict[str, tuple[Readings, Request, float]] = {}

        def missing() -> Iterator[Request]:
            for folder, readings in opened:
                for found in _descriptions(folder, reader, shard):
                    request = readings.request(*found)
                    if request is None:
                        bar.update()
                        continue
                    pending[request.key] = (readings, request, time.monotonic())
                    yield request

        paid = spending if spending and reader.name in PAID else Spending()
        calls = PaidCalls(missing(), paid, reader.model)
        try:
            with bar:
                for completion, _ in calls.serve(lambda: stack.enter_context(connection.open())):
                    readings, request, since = pending.pop(completion.key)
                    readings.keep(request, completion, time.monotonic() - since)
                    bar.update()
                calls.check()
        except (KeyboardInterrupt, BenchError) as error:
            if isinstance(error, BenchError):
                error = type(error)(f"reader {reader.label}: {error}")
            safe = sum(readings.tally.finished for _, readings in opened)
            if safe == 0 and isinstance(error, BenchError):
                raise error from None
            raise Interrupted(error, safe, total, "readings") from error
    return [readings.tally for _, readings in opened]


def _descriptions(
    folder: RunFolder, reader: ReaderSpec, shard: Shard
) -> Iterator[tuple[Sample, str, int, str]]:
    """Yield (sample, key of the source, index, description) of what a run has stored."""
    captioned = reader.descriptions == "caption"
    stored = folder.captions() if captioned else folder.generations()
    rows = {sample.id: (row, sample) for row, sample in folder.placed_samples().items()}
    for key, made in stored.items():
        row, sample = rows[made.sample_id]
        if made.error is None and row % shard[1] == shard[0]:
            found = description_in(made.text, reader.descriptions, reader.thinking_tags)
            if found is not None:
                yield sample, key, made.index, found
