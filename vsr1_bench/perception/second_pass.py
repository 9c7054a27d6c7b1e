"""The second pass: a reader answers the question from the description, without the image.

`SecondPass` follows the first pass on the same engine: as soon as an answer arrives, its reading is
requested, so the engine never waits between the passes. `read_runs` lets another model read stored
descriptions (as the paper does, with Gemini).

In both cases a reading is stored as soon as it arrives, and never requested again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import ItemsView, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.errors import BenchError, Interrupted
from vsr1_bench.generation.base import Generator, Home
from vsr1_bench.generation.connect import Connection
from vsr1_bench.generation.costs import PaidCalls, Spending
from vsr1_bench.generation.tally import Tally
from vsr1_bench.perception.reader import (
    PAID,
    Descriptions,
    ReaderSpec,
    description_hash,
    description_in,
    perception_key,
    second_sampling,
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
    """The stored readings of one reader of a run, and the requests for the missing ones.

    Hold the folder's lock while it is open.
    """

    def __init__(self, folder: RunFolder, reader: ReaderSpec, shard: Shard = (0, 1)) -> None:
        """Read what is stored and open the shard's journal.

        Raises:
            StoreError: a journal is damaged or cannot be written.
        """
        self.reader, self.digest = reader, reader.digest()
        self.tally = Tally("readings")
        stored = folder.perceptions().items()
        mine = (key for key, one in stored if one.error is None and one.reader == self.digest)
        self._done = set(mine)
        self.tally.finished = len(self._done)
        self._asked: dict[str, tuple[str, str]] = {}
        """Key of a reading under way -> its source's key, its description's hash."""
        self._journal = Journal(folder.path / f"perceptions{shard_part(shard)}.jsonl")
        self._folder, self._noted = folder, False
        self._to_match = self._readings_of_another(stored)
        # A reader with fewer readings must not replace one with more.
        if len(self._done) >= self._to_match:
            self._note()

    def _readings_of_another(self, stored: ItemsView[str, Perception]) -> int:
        """Number of readings of the current reader, if that is another one."""
        front = next(iter(self._folder.readers()), None)
        if front is None or front["digest"] == self.digest:
            return 0
        # If the descriptions differ, there may be fewer of them: one success is enough.
        alike = front.get("spec", {}).get("descriptions") == self.reader.descriptions
        count = sum(one.error is None and one.reader == front["digest"] for _, one in stored)
        return count if alike and count else 1

    def has(self, source: str, description: str) -> bool:
        """Whether a description has been read."""
        return perception_key(source, self.digest, description) in self._done

    def request(self, sample: Sample, source: str, index: int, description: str) -> Request | None:
        """The request for a reading; None if it is stored or under way."""
        key = perception_key(source, self.digest, description)
        if key in self._done or key in self._asked:
            return None
        self._asked[key] = (source, description_hash(description))
        return reading_request(self.reader, sample, key, description, index)

    def keep(self, request: Request, completion: Completion, seconds: float | None) -> None:
        """Store a reading."""
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
        """Make this reader the current one, whose numbers are shown."""
        spec = self.reader.model_dump(mode="json")
        self._folder.note_reader(self.reader.label, self.digest, spec)
        self._noted = True

    def home(self, part: str) -> Home:
        """Where the record of batches of this reader is."""
        return Home(self._folder.path, f"-reader-{self.digest[:8]}{part}", self._done)

    def close(self) -> None:
        """Sync and close the journal.

        Raises:
            StoreError: the disk reports a late error.
        """
        self._journal.close()
        if not self._noted and (self._done or self.tally.failed):
            log.warning(
                "%s: reader %s has output %d readings; the %d of the reader before it still count",
                self._folder.path,
                self.reader.label,
                len(self._done),
                self._to_match,
            )


class SecondPass:
    """The requests that follow a run's answers on the same engine: captions, readings or both."""

    def __init__(
        self,
        folder: RunFolder,
        spec: RunSpec,
        descriptions: Descriptions,
        reader: ReaderSpec | None,
        shard: Shard = (0, 1),
    ) -> None:
        """Read what is stored and open the shard's journals, under the folder's lock.

        Args:
            folder: The run.
            spec: Its spec.
            descriptions: Where the descriptions are.
            reader: The run's own model as the reader; None = another model reads later.
            shard: The shard whose journals are written.

        Raises:
            StoreError: a journal is damaged or cannot be written.
        """
        assert spec.sampling is not None
        self._descriptions, self._system = descriptions, spec.prompt.system
        self._tags = reader.thinking_tags if reader else ()
        self._sampling = second_sampling(
            spec.sampling, reader.sampling.temperature if reader else 0.0
        )
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
            self._known = {key for key, output in stored.items() if output.error is None}
            if descriptions == "caption":
                self.captions.finished = len(self._known)
            for key in self._known if self.readings else ():
                description = description_in(stored[key].text, descriptions, self._tags)
                if description and self.readings and not self.readings.has(key, description):
                    self._unread[key] = stored[key].text
            self._open = stack.pop_all()

    def after_answer(self, sample: Sample, request: Request, text: str) -> Request | None:
        """The request that follows a new answer: for a caption, a reading or nothing."""
        if self._descriptions == "response":
            return self._reading(sample, request.key, request.index, text)
        return self._caption(sample, request)

    def after_stored(self, sample: Sample, request: Request) -> Request | None:
        """The request that is missing after an answer that was stored earlier."""
        if self._descriptions == "response":
            text = self._unread.pop(request.key, None)
            return None if text is None else self.after_answer(sample, request, text)
        return self._caption(sample, request)

    def keep(
        self, sample: Sample, request: Request, completion: Completion, seconds: float | None
    ) -> Request | None:
        """Store a caption or a reading; return the request that follows."""
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
            StoreError: the disk reports a late error.
        """
        self._open.close()

    def _reading(self, sample: Sample, source: str, index: int, text: str) -> Request | None:
        description = description_in(text, self._descriptions, self._tags)
        if description is None or self.readings is None:
            return None
        return self.readings.request(sample, source, index, description)

    def _caption(self, sample: Sample, answer: Request) -> Request | None:
        """The request for a description, once per sample; its responses share it."""
        if not sample.images:
            return None
        messages = describe_messages(sample, system=self._system)
        key = caption_key(self._spec_digest, sample, messages, self._sampling.temperature)
        if key in self._known:
            text = self._unread.pop(key, None)
            return None if text is None else self._reading(sample, key, 0, text)
        self._known.add(key)
        return Request(key, messages, self._sampling, sample.images, sample.id, stage="caption")


def caption_key(
    spec_digest: str, sample: Sample, messages: Sequence[Message], temperature: float = 0.0
) -> str:
    """Key of a separately requested description; its prompt is part of the messages."""
    how = f" at temperature {temperature:g}" if temperature else ""  # keys of old have none
    return request_key(f"{spec_digest} caption{how}", sample.id, messages, sample.images, 0)


def reading_request(
    reader: ReaderSpec, sample: Sample, key: str, description: str, index: int = 0
) -> Request:
    """The request of a reader for one description."""
    images, thinking = reader.layout
    messages = reading_messages(
        sample, description, images=images, thinking=thinking, system=reader.system
    )
    sampling = Sampling(**reader.sampling.model_dump())
    return Request(key, messages, sampling, (), sample.id, index, stage="reading")


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
    """Let another model read the descriptions of stored runs that it has not read yet.

    The model is loaded or called only if a reading is missing. No call is output that could exceed
    the limit of `spending`.

    Returns:
        The counts of readings, per run.

    Raises:
        StoreError: a run cannot be read, or is being written by another process.
        BenchError: the reader cannot be called (a refused key, a dead endpoint).
        Interrupted: the reader, the disk or the user ended it; with the number of safe readings.
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
        known = [stored_descriptions(folder, reader, shard) for folder in folders]
        total = sum(1 for description in known for _ in description)
        bar = progress_bar(total, f"read ({reader.label})", "desc", shown=progress)
        pending: dict[str, tuple[Readings, Request, float]] = {}

        def missing() -> Iterator[Request]:
            for folder, readings in opened:
                for description in stored_descriptions(folder, reader, shard):
                    request = readings.request(*description)
                    if request is None:
                        bar.update()
                        continue
                    pending[request.key] = (readings, request, time.monotonic())
                    yield request

        engine: list[Generator] = []

        def opening() -> Generator:
            engine.append(stack.enter_context(connection.open()))
            engine[0].home = lambda request: pending[request.key][0].home(part)
            return engine[0]

        part = shard_part(shard)
        paid = spending if spending and reader.name in PAID else Spending()
        calls = PaidCalls(missing(), paid, reader.model, f"reader {reader.label}")
        try:
            with bar:
                for completion, _ in calls.serve(opening):
                    readings, request, since = pending.pop(completion.key)
                    seconds = None if engine[0].by_batch else time.monotonic() - since
                    readings.keep(request, completion, seconds)
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


def stored_descriptions(
    folder: RunFolder, reader: ReaderSpec, shard: Shard
) -> Iterator[tuple[Sample, str, int, str]]:
    """Yield (sample, key of the source, index, description) for each stored description."""
    captioned = reader.descriptions == "caption"
    stored = folder.captions() if captioned else folder.generations()
    rows = {sample.id: (row, sample) for row, sample in folder.placed_samples().items()}
    for key, output in stored.items():
        row, sample = rows[output.sample_id]
        if output.error is None and row % shard[1] == shard[0]:
            description = description_in(output.text, reader.descriptions, reader.thinking_tags)
            if description is not None:
                yield sample, key, output.index, description
