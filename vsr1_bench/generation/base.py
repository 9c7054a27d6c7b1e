"""The Generator interface, and the typed arguments its backends take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.records import Completion, Request

NO_SCHEMA = "this backend has no structured output (json_schema)"
"""Why a backend without structured output fails a request that wants it."""


class Generator(ABC):
    """Turns requests into completions, each as it finishes, in any order.

    Requests may be submitted while completions are being read. A request that fails is a completion
    with its `error` set; only the death of the engine raises.
    """

    capacity: int = 1
    """Requests worth having submitted at once; more only hold memory."""
    on_arrival: Callable[[Completion], None] | None = None
    """Where a completion can lie ready before `completions` is asked for it (an endpoint's, while
    the reader is busy elsewhere), this is called with it at once, in the thread that it came in."""

    @abstractmethod
    def submit(self, request: Request) -> None:
        """Queue a request; returns at once."""

    @abstractmethod
    def completions(self) -> Iterator[Completion]:
        """Yield completions until nothing that was submitted is outstanding.

        Raises:
            GenerationError: the engine cannot go on.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the engine; outstanding requests are dropped. Safe to call twice."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Answer all requests, reading them no further ahead than `capacity`."""
        waiting = iter(requests)
        return self.serve(lambda: next(waiting, None))

    def serve(self, following: Callable[[], Request | None]) -> Iterator[Completion]:
        """Answer requests of which some come up only when others are answered.

        Args:
            following: The next request, None where there is none for now. It is asked after each
                completion, when that has been dealt with, so what follows from one joins the rest
                at once; never are more than `capacity` requests under way.
        """
        running = 0
        while running < self.capacity and (request := following()) is not None:
            self.submit(request)
            running += 1
        for completion in self.completions():
            # First hand over what was paid for: making the next request can fail.
            yield completion
            running -= 1
            while running < self.capacity and (request := following()) is not None:
                self.submit(request)
                running += 1

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class BackendArgs(BaseModel):
    """Base of a backend's `--model_args`: typed, unknown names refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Args = TypeVar("Args", bound=BackendArgs)


def parse_backend_args(kind: type[Args], backend: str, given: dict[str, Any]) -> Args:
    """Check `--model_args` for a backend.

    Raises:
        UsageError: an unknown name (nearest ones offered) or a value of the wrong type.
    """
    known = tuple(kind.model_fields)
    for name in given:
        if name not in known:
            raise UsageError(
                f"--model_args {name}: backend {backend!r} does not take it; {nearest(name, known)}"
            )
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"--model_args {name}={first['input']!r}: {first['msg']}") from error
