"""Requests by an endpoint's batch service: half the price, an answer within a day.

`BatchGenerator` stands in the place of a `CallingGenerator`. It writes the same requests, and reads
the same replies, by the same code and the endpoint's own client: the client's call is answered here
and not sent. Requests are collected into batches and submitted; then the command ends with
`BatchPendingError`. The same command finds its batches (`batch_book`) and collects their results.
"""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from vsr1_bench.errors import (
    BatchPendingError,
    BenchError,
    GenerationError,
    ModelError,
    UsageError,
)
from vsr1_bench.generation.base import Generator, failed
from vsr1_bench.generation.batch_book import Batch, BatchBook
from vsr1_bench.generation.calls import CallingGenerator, TryAgainError
from vsr1_bench.generation.images import ImageError
from vsr1_bench.records import Completion, Message, Request, Sampling

log = logging.getLogger(__name__)

SETTLING_SECONDS = 10.0
"""How long after the request to run a batch it must be listed, if the endpoint has received it."""
MOST_TRIES = 3
"""Batches that a request can be in before its failure is final."""
DOWNLOADS = 2
"""How often a file of results is downloaded that has lines which cannot be read."""
COMPLETE = ("completed", "succeeded")
"""A batch with this status has results, and was paid for."""
REMOTE_SECONDS = 900.0
"""Longest time of one call to the batch service; files are large."""

T = TypeVar("T")
State = Literal["running", "ended", "failed"]


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch at the endpoint."""

    id: str
    state: State
    """`failed`: no request of it was run."""
    status: str
    """The endpoint's own word for it."""
    results: tuple[str, ...] = ()
    """Ids of the files with its results."""
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one request: an HTTP status, and the body of the reply."""

    key: str
    status: int
    body: bytes


class BatchService(ABC):
    """The batch service of an endpoint, by the endpoint's own client; runs in its event loop."""

    @abstractmethod
    def line(self, key: str, body: Any) -> dict[str, Any]:
        """The line of a request in a file of requests."""

    @abstractmethod
    def key(self, line: dict[str, Any]) -> str:
        """The key of a line of requests or results."""

    @abstractmethod
    async def upload(self, path: Path, name: str) -> str:
        """Upload a file of requests; return its id."""

    @abstractmethod
    async def create(self, file: str, name: str) -> RemoteBatch:
        """Run an uploaded file as a batch of this name."""

    @abstractmethod
    def listed(self) -> Any:
        """Iterate (asynchronously) over the account's batches as (name, batch), newest first."""

    @abstractmethod
    async def get(self, id: str) -> RemoteBatch:
        """The state of a batch."""

    @abstractmethod
    async def download(self, file: str) -> bytes:
        """The content of a file of results."""

    @abstractmethod
    def result(self, line: dict[str, Any]) -> Result:
        """Read a line of a file of results.

        Raises:
            KeyError, TypeError, ValueError: it has another form.
        """


class BatchGenerator(Generator):
    """Answers by batch; `home` must be set before the first request."""

    by_batch = True

    def __init__(self, calls: CallingGenerator) -> None:
        """Take a generator that calls one by one; it is closed with this one."""
        self._calls = calls
        self._service = calls.batches()
        self._books: dict[tuple[Path, str], BatchBook] = {}
        self._awaited: dict[str, tuple[BatchBook, Batch]] = {}
        """Requests of this command that are in an open batch."""
        self._ready: deque[Completion] = deque()
        """Requests that failed before they could be sent."""
        self._sent: list[str] = []
        """What was submitted or is running, in words."""
        self._failures: list[str] = []
        self._reply: tuple[int, bytes] = (200, b"{}")
        self._recorded: Any = None
        calls.intercept = self._intercept

    def submit(self, request: Request) -> None:
        """Add a request to the next batch, unless it is in one already."""
        book = self._book(request)
        batch = book.holding(request.key)
        if batch is not None:
            self._awaited[request.key] = book, batch
            return
        try:
            line = json.dumps(self._service.line(request.key, self._written(request)))
        except ImageError as error:
            self._ready.append(failed(request, str(error)))
            return
        except UnicodeEncodeError:
            self._ready.append(failed(request, "the prompt is not Unicode text: a lone surrogate"))
            return
        if full := book.add(request.key, line.encode()):
            self._submit(book, full)

    def submitted(self, request: Request) -> bool:
        """Whether a request is in a batch already, and so paid for."""
        return self._book(request).holding(request.key) is not None

    def completions(self) -> Iterator[Completion]:
        """Yield what is finished, and submit the rest.

        Raises:
            BatchPendingError: not everything is finished; names the batches.
        """
        return self.serve(lambda: None)

    def serve(self, following: Callable[[], Request | None]) -> Iterator[Completion]:
        """Take all requests, yield what is finished, and submit the rest.

        Raises:
            BatchPendingError: not everything is finished; names the batches.
        """

        def take() -> None:
            while (request := following()) is not None:
                self.submit(request)

        try:
            take()
            for completion, batch in self._finished():
                yield completion
                # The consumer has stored it, and may ask the same again in another form.
                if batch is not None:
                    batch.waiting.discard(completion.key)
                take()
            for book in self._books.values():
                if planned := book.planned():
                    self._submit(book, planned)
            if self._failures or self._sent:
                words = "; ".join([*self._failures, *self._sent])
                raise BatchPendingError(f"{words}; run the same command later to collect it")
        finally:
            self._forget()

    def close(self) -> None:
        """Close the records and the client; submitted batches go on at the endpoint."""
        self._forget()
        self._calls.close()

    def _forget(self) -> None:
        books, self._books = list(self._books.values()), {}
        self._awaited.clear()
        self._sent, self._failures = [], []
        for book in books:
            book.close()

    def _book(self, request: Request) -> BatchBook:
        if self.home is None:
            raise UsageError("--batch needs a place for its record: give --output a plain file")
        home = self.home(request)
        book = self._books.get((home.folder, home.name))
        if book is None:
            book = self._books[home.folder, home.name] = BatchBook(home)
            self._reconcile(book)
        return book

    def _reconcile(self, book: BatchBook) -> None:
        """Find out what became of batches whose submission or collection was interrupted."""
        for batch in list(book.open.values()):
            if batch.remote is not None:
                if all(key in book.home.stored for key in batch.waiting):
                    book.close_batch(batch, "collected")
                continue
            remote = None
            if batch.creating is not None:
                remote = self._remote(self._find(batch.name))
                age = time.time() - batch.creating
                if remote is None and age < SETTLING_SECONDS:
                    time.sleep(SETTLING_SECONDS - max(age, 0.0))
                    remote = self._remote(self._find(batch.name))
            if remote is None:
                book.close_batch(batch, "never submitted")
            else:
                book.submitted(batch, remote.id)

    async def _find(self, name: str) -> RemoteBatch | None:
        async for known, batch in self._service.listed():
            if known == name:
                found: RemoteBatch = batch
                return found
        return None

    def _submit(self, book: BatchBook, batch: Batch) -> None:
        """Upload the requests of a batch and have it run."""
        count = len(batch.waiting)
        file = self._remote(self._service.upload(book.requests(batch), batch.name))
        book.creating(batch)
        try:
            remote = self._remote(self._service.create(file, batch.name))
        except ModelError:
            book.close_batch(batch, "refused")
            raise
        book.submitted(batch, remote.id)
        self._sent.append(f"batch {remote.id} of {count:,} requests is submitted")

    def _finished(self) -> Iterator[tuple[Completion, Batch | None]]:
        """Yield the results of the batches that have ended, each with its batch."""
        while self._ready:
            yield self._ready.popleft(), None
        visited: set[str] = set()
        while left := [one for one in self._awaited.values() if one[1].name not in visited]:
            book, batch = left[0]
            visited.add(batch.name)
            assert batch.remote is not None
            remote = self._of_batch(book, batch, self._service.get(batch.remote))
            if remote.state == "running":
                count = len(batch.waiting)
                self._sent.append(f"batch {remote.id} of {count:,} requests is {remote.status}")
            elif remote.state == "failed":
                book.close_batch(batch, remote.status)
                self._awaited = {k: v for k, v in self._awaited.items() if v[1] is not batch}
                reason = remote.reason or remote.status
                self._failures.append(f"batch {remote.id} failed, and is not paid for: {reason}")
            elif remote.status in COMPLETE and not remote.results:
                self._failures.append(
                    f"batch {remote.id} is {remote.status}, but has no results yet"
                )
            else:
                yield from self._collect(book, batch, remote)
            while self._ready:
                yield self._ready.popleft(), None

    def _collect(
        self, book: BatchBook, batch: Batch, remote: RemoteBatch
    ) -> Iterator[tuple[Completion, Batch | None]]:
        """Yield the results of one batch; what got none goes into the next batch."""
        again: dict[str, str] = {}
        wanted = {key for key in batch.waiting if key in self._awaited}
        for result in self._results(book, batch, remote):
            if result.key not in wanted:
                continue
            wanted.discard(result.key)
            try:
                completion = self._read(result)
            except TryAgainError as error:
                again[result.key] = str(error)
                continue
            self._awaited.pop(result.key)
            yield completion, batch
        again |= dict.fromkeys(wanted, f"the batch is {remote.status}, and has no result for it")
        yield from self._again(book, batch, again)
        # A key that this command does not ask for stays, unless it is stored.
        if all(key in book.home.stored for key in batch.waiting):
            book.close_batch(batch, remote.status)

    def _again(
        self, book: BatchBook, batch: Batch, reasons: dict[str, str]
    ) -> Iterator[tuple[Completion, Batch | None]]:
        """Put requests without a result into the next batch, or give them up."""
        lines = {self._key(line): line for line in book.lines(batch)} if reasons else {}
        for key, reason in reasons.items():
            self._awaited.pop(key)
            batch.waiting.discard(key)
            tries = batch.tries.get(key, 0) + 1
            if tries >= MOST_TRIES or key not in lines:
                yield failed(_blank(key), reason), None
            elif full := book.add(key, lines[key], tries):
                self._submit(book, full)

    def _key(self, line: bytes) -> str:
        return self._service.key(json.loads(line))

    def _results(self, book: BatchBook, batch: Batch, remote: RemoteBatch) -> Iterator[Result]:
        """Yield the results of a batch that can be read; a file with others is downloaded again.

        A download costs nothing, a request that is asked again does. So a result counts that any
        download has, and a later download that fails takes none away.
        """
        for file in remote.results:
            results: dict[str, Result] = {}
            faults: list[str] = []
            for download in range(DOWNLOADS):
                try:
                    content = self._of_batch(book, batch, self._service.download(file))
                except BenchError:
                    if not download:
                        raise
                    break
                read, unread = self._parsed(content)
                known = len(results)
                results |= {result.key: result for result in read}
                faults = faults[len(results) - known :] if download else unread
                if not faults:
                    break
            if faults:
                log.warning(
                    "batch %s: lines of its results that cannot be read, after %d downloads: %d "
                    "(%s); their requests are asked, and paid for, again",
                    *(remote.id, DOWNLOADS, len(faults), faults[0]),
                )
            yield from results.values()

    def _parsed(self, content: bytes) -> tuple[list[Result], list[str]]:
        """The results of a file, and why its other lines cannot be read."""
        results: list[Result] = []
        faults: list[str] = []
        for line in filter(bytes.strip, content.splitlines()):
            try:
                results.append(self._service.result(json.loads(line)))
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                faults.append(f"{type(error).__name__}: {error}")
        return results, faults

    def _written(self, request: Request) -> Any:
        """The body that the client would send for a request."""
        self._recorded, self._reply = None, (200, b"{}")
        with suppress(TryAgainError, BenchError):  # of the empty reply
            self._calls.send_once(request)
        if self._recorded is None:
            raise GenerationError(f"endpoint {self._calls.url}: the client sent no request")
        return self._recorded

    def _read(self, result: Result) -> Completion:
        """Read a result as the client would read the reply of a single call.

        Raises:
            TryAgainError: the request can be tried again.
        """
        self._reply = result.status, result.body
        request = _blank(result.key)
        try:
            return self._calls.send_once(request)
        except BenchError as error:  # of this request only: the others have results
            return failed(request, str(error))

    def _intercept(self, request: Any) -> tuple[int, bytes] | None:
        """Answer the client's own calls for a completion; the others are sent."""
        if not request.url.path.endswith(("/chat/completions", ":generateContent")):
            return None
        self._recorded = json.loads(request.content)
        return self._reply

    def _of_batch(self, book: BatchBook, batch: Batch, call: Coroutine[Any, Any, T]) -> T:
        """Call the batch service about a batch that was submitted.

        Raises:
            ModelError: the endpoint does not know it (with the way out), or refuses the call.
        """
        try:
            return self._remote(call)
        except ModelError as error:
            raise ModelError(
                f"{error}; batch {batch.remote} is recorded in {book.folder}: use the key that "
                "submitted it, or remove that folder to ask, and pay, again"
            ) from None

    def _remote(self, call: Coroutine[Any, Any, T]) -> T:
        """Call the batch service.

        Raises:
            GenerationError: it does not answer, or the call may succeed later.
            ModelError: it refuses the call.
        """
        return self._calls.call_service(call, REMOTE_SECONDS)


def _blank(key: str) -> Request:
    """A request that only has a key: enough to read its reply."""
    return Request(key, (Message("user", ("-",)),), Sampling(), sample_id=key)
