"""Shared by backends behind a URL: calls on a separate event loop, bounded and retried.

At most `concurrency` calls run at a time. Transient errors are retried with back-off and jitter,
respecting Retry-After. A call that still fails is a failed sample. A `BenchError` ends the run,
because every remaining sample would fail, too.

The clients' own retries are off. They would also retry what was paid for, obey a Retry-After of
hours and not notice that the endpoint is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import queue
import random
import re
import threading
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from traceback import format_tb
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from vsr1_bench.errors import BenchError, GenerationError, ModelError, UsageError
from vsr1_bench.generation.base import PACE, BackendArgs, Generator, NotInSpec, failed
from vsr1_bench.generation.batch_book import BatchBook
from vsr1_bench.generation.bounded import Intercept, RefusedReplyError
from vsr1_bench.generation.images import ImageError
from vsr1_bench.records import Completion, Request, Usage

if TYPE_CHECKING:
    from vsr1_bench.generation.batch import BatchService

log = logging.getLogger(__name__)

Result = TypeVar("Result")

LONGEST_WAIT = 120.0
"""Seconds. An endpoint that asks for a longer wait ends the run, which can be resumed later."""
CONNECT_SECONDS = 15.0
RETRIED_STATUS = (408, 409, 425, 429)
GONE_STATUS = (502, 503, 504)
"""Status of a gateway whose server is down."""
# Images in error texts: servers that validate a request quote it back.
_QUOTED_DATA = re.compile(r"(?<=base64,)[A-Za-z0-9+/=\\]+|[A-Za-z0-9+/=\\_-]{100,}")


GIVEN_UP = "a call that fails for good is a failed request, which a later run retries"


class CallArgs(BackendArgs):
    """`--model_args` of backends behind a URL."""

    # The client opens 1000 connections at most.
    concurrency: Annotated[int, NotInSpec(PACE)] = Field(32, ge=1, le=1000)
    """Calls at the same time."""
    timeout: Annotated[float, NotInSpec(GIVEN_UP)] = Field(600.0, gt=0)
    """Seconds per call, from sending it to the last byte of the answer."""
    max_retries: Annotated[int, NotInSpec(GIVEN_UP)] = Field(6, ge=0)
    """Further tries of a call after rate limits, server errors and lost connections."""


class TryAgainError(Exception):
    """A call failed, and a retry may succeed."""

    def __init__(self, reason: str, *, wait: float = 0.0, retries: int = 1000) -> None:
        super().__init__(reason)
        self.wait, self.retries = wait, retries


class CallingGenerator(Generator):
    """Answers from an endpoint; subclasses know the protocol."""

    intercept: Intercept | None = None
    """Answers the client's requests instead of the endpoint (`batch`)."""

    def __init__(
        self, name: str, url: str, key: str, args: CallArgs, secrets: tuple[str, ...] = ()
    ) -> None:
        """Start the event loop; the endpoint is first called by the first request.

        Args:
            name: The backend's.
            url: The endpoint.
            key: Its key; empty if it has none.
            args: Arguments of the backend.
            secrets: What messages must not quote, besides the key.
        """
        self.url = url
        self.capacity = 2 * args.concurrency
        self._call_args = args
        self._key = key
        # A shorter one is a placeholder and could be part of any word.
        self._secrets = [one for one in (key, *secrets) if len(one) >= 8]
        self._done: queue.SimpleQueue[Completion | Exception] = queue.SimpleQueue()
        self._outstanding, self._closed = 0, False
        self._books: dict[tuple[Path, str], BatchBook] = {}
        """Open batches, by where they are recorded."""
        # Only the loop's thread uses the next four.
        self._calls: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(args.concurrency)
        self._answered = False
        self._death: Exception | None = None
        # Images are decoded and encoded on the CPU, so more threads would only use memory.
        self._encoders = ThreadPoolExecutor((os.cpu_count() or 1) + 1, f"{name}-images")
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name=f"{name}-calls", daemon=True)
        self._thread.start()

    @abstractmethod
    def _prepare(self, request: Request) -> Any:
        """Write a request in the protocol's form; requests with images in a separate thread.

        Raises:
            ImageError: an image cannot be decoded.
        """

    _lost: type[Exception]
    """What the client raises if there is no connection, or if it breaks."""

    _refusal: type[Exception]
    """What the client raises for a reply that is an HTTP error."""

    @abstractmethod
    def _refusal_of(self, error: Any) -> tuple[int, str]:
        """Status and message of such a reply."""

    @abstractmethod
    def batches(self) -> BatchService:
        """The endpoint's batch service, by the same client."""

    @abstractmethod
    async def _send(self, request: Request, prepared: Any) -> Completion:
        """Call once and read the reply.

        Raises:
            TryAgainError: the call may succeed later.
            BenchError: every other sample would fail, too.
        """

    @abstractmethod
    async def _is_there(self) -> bool:
        """Ask the endpoint for something cheap; raises as the client does."""

    @abstractmethod
    async def _close_client(self) -> None:
        """Close the client's connections."""

    def _intercepted(self, request: Any) -> tuple[int, bytes] | None:
        return None if self.intercept is None else self.intercept(request)

    def send_once(self, request: Request) -> Completion:
        """Send a request, wait for the reply and read it, without retries.

        Raises:
            ImageError, UnicodeEncodeError: the request cannot be written.
            TryAgainError: a retry may succeed.
            BenchError: every other request would fail, too.
        """
        prepared = self._prepare(request)
        return self._wait(self._send(request, prepared))

    def call_service(self, call: Coroutine[Any, Any, Result], seconds: float) -> Result:
        """Make one call of the batch service, and wait for its result.

        Raises:
            GenerationError: it does not answer, or the call may succeed later.
            ModelError: it refuses the call.
        """
        return self._wait(self._served(call, seconds))

    async def _served(self, call: Coroutine[Any, Any, Result], seconds: float) -> Result:
        try:
            async with asyncio.timeout(seconds):
                return await call
        except TimeoutError:
            raise GenerationError(
                f"endpoint {self.url}: no answer of its batch service in {seconds:g} s"
            ) from None
        except RefusedReplyError as error:
            raise ModelError(f"endpoint {self.url}: {error}") from None
        except self._refusal as error:
            status, reason = self._refusal_of(error)
            kind = GenerationError if status >= 500 or status in RETRIED_STATUS else ModelError
            hint = "; without --batch each request is a call" if status in (404, 405) else ""
            raise kind(
                f"endpoint {self.url}: its batch service refused a call (HTTP {status}: "
                f"{self._clean(reason)}){hint}"
            ) from None
        except self._lost as error:
            reason = type(error.__cause__ or error).__name__
            raise GenerationError(
                f"endpoint {self.url}: the connection to its batch service failed ({reason})"
            ) from None

    def _wait(self, call: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def submit(self, request: Request) -> None:
        """Start a call as soon as a slot is free.

        Raises:
            UsageError: the request is in a batch that was submitted by an earlier command.
        """
        if self.home is not None:
            home = self.home(request)
            place = home.folder, home.name
            if place not in self._books:
                self._books[place] = BatchBook(home)
            self._books[place].refuse_single(request.key)
        self._outstanding += 1
        self._loop.call_soon_threadsafe(self._start, request)

    def completions(self) -> Iterator[Completion]:
        """Yield completions as the endpoint finishes them."""
        while self._outstanding:
            try:
                result = self._done.get(timeout=0.5)
            except queue.Empty:
                if self._closed:  # by another thread; what was outstanding is dropped
                    return
                continue
            self._outstanding -= 1
            if isinstance(result, Exception):
                self._outstanding = 0
                raise result
            yield result

    def close(self) -> None:
        """Cancel outstanding calls and end the threads."""
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)
        self._encoders.shutdown()

    def _serve(self) -> None:
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        await self._stop.wait()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._close_client()

    def _start(self, request: Request) -> None:
        if self._death is not None:
            self._done.put(self._death)
            return
        call = self._loop.create_task(self._answer(request))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def _die(self, error: Exception) -> None:
        """Pass on the error that ends the run, and make no further calls."""
        error.__cause__ = None  # its traceback would show the client's error with the key
        self._death = error
        self._done.put(error)
        for call in self._calls - {asyncio.current_task()}:
            call.cancel()

    async def _answer(self, request: Request) -> None:
        try:
            async with self._slots:
                if request.images:
                    run = self._loop.run_in_executor
                    prepared = await run(self._encoders, self._prepare, request)
                else:  # a thread would cost more than writing text
                    prepared = self._prepare(request)
                completion = await self._call(request, prepared)
                if self.on_arrival is not None:
                    self.on_arrival(completion)
                self._done.put(completion)
        except ImageError as error:
            self._done.put(failed(request, str(error)))
        except UnicodeEncodeError:
            self._done.put(failed(request, "the prompt is not Unicode text: a lone surrogate"))
        except BenchError as error:
            self._die(error)
        except Exception as error:  # a bug here must end the run, not block it
            log.debug("%s:\n%s", request.sample_id, "".join(format_tb(error.__traceback__)))
            self._die(GenerationError(self._clean(f"{type(error).__name__}: {error}")))

    async def _call(self, request: Request, prepared: Any) -> Completion:
        """Call until there is an answer, or an error that fails this sample or the run."""
        attempt = 1
        while True:
            try:
                return await self._attempt(request, prepared)
            except TryAgainError as error:
                log.debug("%s, try %d: %s", request.sample_id, attempt, error)
                if attempt > min(self._call_args.max_retries, error.retries):
                    await self._raise_if_gone(str(error))
                    return failed(request, str(error))
                await asyncio.sleep(wait_seconds(attempt, error.wait))
            attempt += 1

    async def _attempt(self, request: Request, prepared: Any) -> Completion:
        """Call once within the time limit."""
        try:
            async with asyncio.timeout(self._call_args.timeout):
                return await self._send(request, prepared)
        except TimeoutError:  # a second time-out is likely, and would load a busy server
            reason = f"no answer in {self._call_args.timeout:g} s"
            raise TryAgainError(reason, retries=1) from None
        except RefusedReplyError as error:
            if "redirects" in str(error):  # those of every sample
                raise self._fatal(str(error)) from None
            return failed(request, str(error))
        except self._lost as error:
            reason = type(error.__cause__ or error).__name__
            if not self._answered:  # a wrong address is reported at once, not after all retries
                await self._raise_if_gone(reason)
            raise TryAgainError(reason) from None

    async def _raise_if_gone(self, reason: str) -> None:
        """Distinguish one bad request from an endpoint that is not there.

        Raises:
            GenerationError: it is not there.
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if await self._is_there():
                    return
        except RefusedReplyError:
            return  # there is a server
        except (TimeoutError, self._lost):
            pass
        more = " any more" if self._answered else ""
        raise GenerationError(
            f"endpoint {self.url} does not answer{more} ({reason}); is its server running?"
        ) from None

    def _fatal(self, trouble: str) -> BenchError:
        """What ends the run; after the first answer, the same command can resume it later."""
        return (GenerationError if self._answered else ModelError)(f"endpoint {self.url} {trouble}")

    def _later(self, reason: str, wait: float) -> Exception:
        """The error for an endpoint that asks to wait: a retry, or the end of the run."""
        if wait > LONGEST_WAIT:
            return GenerationError(f"endpoint {self.url} asks to wait {wait:.0f} s ({reason})")
        return TryAgainError(reason, wait=wait)

    def _clean(self, text: str) -> str:
        """A message of the endpoint as one short line, without secrets and image data."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return " ".join(_QUOTED_DATA.sub("…", text[:100_000]).split())[:300]


def usage_of(value: Any) -> Usage | None:
    """Read the token counts of a reply; None if it has none. Negative counts are ignored."""
    if not isinstance(value, dict):
        return None
    counts = [_count(value.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    return None if counts == [None, None] else Usage(*counts)


def cached_of(value: Any) -> int | None:
    """Prompt tokens that an endpoint read from its cache, from a reply's token counts."""
    details = value.get("prompt_tokens_details") if isinstance(value, dict) else None
    return _count(details.get("cached_tokens")) if isinstance(details, dict) else None


def _count(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40
    return value if known else None


def billed(request: Request, body: bytes, read: Callable[[], Completion]) -> Completion:
    """Read a reply. A reply with token counts was paid for, so it is counted and never retried.

    Raises:
        TryAgainError: a retry may succeed, and the reply has no token counts.
    """
    try:
        completion = read()
    except TryAgainError as error:
        if (usage := _usage_in(body)) is None:
            raise
        return failed(request, str(error), usage)
    if completion.error is not None and completion.usage == Usage():
        return replace(completion, usage=_usage_in(body) or Usage())
    return completion


def _usage_in(body: bytes) -> Usage | None:
    """The token counts of a reply in any form."""
    with suppress(ValueError, RecursionError):
        document = json.loads(body)
        return usage_of(document.get("usage")) if isinstance(document, dict) else None
    return None


def checked_key(variable: str) -> str:
    """Read a key from the environment; empty if there is none.

    Raises:
        UsageError: no header can carry it.
    """
    key = os.environ.get(variable, "").strip()  # keys read from files end with a line break
    if not re.fullmatch(r"[!-~]*", key):
        raise UsageError(f"{variable} holds a blank or a character that no header can carry")
    return key


def asked_seconds(retry_after: str | None) -> float:
    """Seconds that a Retry-After header asks for; 0 if it cannot be read."""
    with suppress(ValueError):
        seconds = float(retry_after or 0)
        return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
    with suppress(ValueError):
        date = parsedate_to_datetime(retry_after or "")
        return max(0.0, (date.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    return 0.0


def wait_seconds(attempt: int, asked: float) -> float:
    """Seconds to wait after a failed attempt (counted from 1), with jitter."""
    backoff = min(LONGEST_WAIT, 0.25 * 2.0**attempt)
    return max(asked, backoff / 2) + random.uniform(0.0, max(0.1 * asked, backoff / 2))
