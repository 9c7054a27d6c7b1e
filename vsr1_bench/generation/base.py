"""The Generator interface, and the typed arguments its backends take."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vsr1_bench._util.closing import Closing
from vsr1_bench.errors import GenerationError, UsageError, nearest
from vsr1_bench.generation.flags import RUN_FLAGS, Flags
from vsr1_bench.records import Completion, Request, Usage

if TYPE_CHECKING:
    from torch import Tensor

    from vsr1_bench.generation.chat import ChatRenderer

NO_SCHEMA = "this backend has no structured output (json_schema)"
"""Why a backend without structured output fails a request that wants it."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where the responses of some requests are stored, and so the record of their batches."""

    folder: Path
    name: str
    """What tells this record from others in the folder."""
    stored: Container[str]
    """Keys of the responses that are stored there."""


class Generator(Closing):
    """Turns requests into completions, each as it finishes, in any order.

    Requests may be submitted while completions are being read. A request that fails is a completion
    with its `error` set; only the death of the engine raises.
    """

    capacity: int = 1
    """Requests worth having submitted at once; more only hold memory."""
    by_batch: bool = False
    """Whether completions come by `--batch`, so that their time says nothing."""
    home: Callable[[Request], Home] | None = None
    """Says where a response will be stored. Only batches ask, which outlive this process."""
    on_arrival: Callable[[Completion], None] | None = None
    """Called with each completion as soon as it arrives, in the thread that received it. Only
    backends whose completions can wait for the reader of `completions` (endpoints) call it."""

    @abstractmethod
    def submit(self, request: Request) -> None:
        """Queue a request; returns at once."""

    @abstractmethod
    def completions(self) -> Iterator[Completion]:
        """Yield completions until nothing that was submitted is outstanding.

        Raises:
            GenerationError: the engine cannot continue.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the engine; outstanding requests are dropped. Safe to call twice."""

    def submitted(self, request: Request) -> bool:
        """Whether an earlier command has submitted and paid for a request (`--batch`)."""
        return False

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Answer all requests, reading them no further ahead than `capacity`."""
        waiting = iter(requests)
        return self.serve(lambda: next(waiting, None))

    def serve(self, following: Callable[[], Request | None]) -> Iterator[Completion]:
        """Answer requests, of which some depend on the answers to others.

        Args:
            following: Returns the next request, or None if there is none for now. It is called
                again after the caller has handled a completion, so a request that follows from it
                is submitted at once. At most `capacity` requests are under way.
        """
        running = 0
        while running < self.capacity and (request := following()) is not None:
            self.submit(request)
            running += 1
        for completion in self.completions():
            # First yield what was paid for: making the next request can fail.
            yield completion
            running -= 1
            while running < self.capacity and (request := following()) is not None:
                self.submit(request)
                running += 1


def failed(request: Request, reason: str, usage: Usage | None = None) -> Completion:
    """A completion that says why there is no text."""
    return Completion(request.key, finish_reason="error", error=reason, usage=usage or Usage())


class ScoringGenerator(Generator):
    """A generator that also scores given texts: one that returns log-probs of prompts."""

    renderer: ChatRenderer
    """Renders prompts."""

    @property
    def longest_scored(self) -> int | None:
        """Maximum tokens of a prompt with its continuation; None = no limit is known."""
        return None

    @abstractmethod
    def scores(
        self, texts: Sequence[tuple[Request, Sequence[int]]], *, masked: bool = False
    ) -> list[tuple[float, ...] | str]:
        """Log-probabilities of given continuations, teacher-forced, at temperature 1, no bans.

        Nothing may be outstanding.

        Args:
            texts: Pairs of a request, of which only the prompt is used, and the tokens after it.
            masked: Show masked images (`images.blackened`).

        Returns:
            Per text, the log-probability of each of its tokens, or why it cannot be scored.

        Raises:
            GenerationError: the engine cannot continue.
        """


class SyncableGenerator(ScoringGenerator):
    """A generator whose weights a trainer replaces while it lives.

    It never samples banned tokens. For example, a sampled image placeholder would have no image
    when the trainer encodes the answer.
    """

    @abstractmethod
    def sync(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load new weights, then drop everything that was computed with the old ones.

        Args:
            weights: Every parameter by its name in the Hugging Face model, tied ones under all of
                their names. Each tensor is valid until the next one is requested.

        Raises:
            GenerationError: the engine did not load them; its state is unknown now.
        """

    @abstractmethod
    def reset_caches(self) -> None:
        """Forget prefixes and image embeddings of earlier weights."""

    def score(self, texts: Sequence[tuple[Request, Sequence[int]]]) -> list[tuple[float, ...]]:
        """As `scores`, of texts that the engine must be able to score.

        Raises:
            GenerationError: the engine cannot score a text.
        """
        found = []
        for (request, _), each in zip(texts, self.scores(texts), strict=True):
            if isinstance(each, str):
                raise GenerationError(f"sample {request.sample_id} cannot be scored: {each}")
            found.append(each)
        return found

    @abstractmethod
    def checksums(self) -> dict[str, int]:
        """The `checksums` of the parameters that the engine holds, by its own names.

        Parameters that it keeps in the form of one kernel only are missing.
        """

    @abstractmethod
    def sleep(self) -> None:
        """Free memory for the trainer, if the backend can; `wake` and `sync` follow."""

    @abstractmethod
    def wake(self) -> None:
        """Prepare for `sync`; requests can follow after that."""


@dataclass(frozen=True, slots=True)
class InSpec:
    """Marks an argument that can change an answer, so it is part of a run's identity."""

    where: str = "engine"
    """The part of the spec that holds it; `engine` = under its own name, where it was given."""


@dataclass(frozen=True, slots=True)
class NotInSpec:
    """Marks an argument that cannot change an answer, so it is not part of a run's identity."""

    because: str
    """Why it cannot change an answer."""


ROUNDING = (
    "the same arithmetic at the same precision; only the order of rounding can differ, as it does "
    "between two batches"
)
"""Why the sizes of batches are not part of a run: otherwise it could not be resumed elsewhere."""
PACE = "changes when an answer comes, not what it says"
EXTRA = "adds numbers to a response, its text stays the same"


class BackendArgs(BaseModel):
    """Base of a backend's `--model_args`: typed, unknown names refused.

    Each field is marked `InSpec` or `NotInSpec`; one that is not marked counts as `InSpec`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Args = TypeVar("Args", bound=BackendArgs)


def parse_backend_args(
    kind: type[Args], backend: str, given: dict[str, Any], flags: Flags = RUN_FLAGS
) -> Args:
    """Check the arguments of a backend: `--model_args`, or those of a judge or a reader.

    Raises:
        UsageError: an unknown name (nearest ones offered) or a value of the wrong type.
    """
    known = tuple(kind.model_fields)
    for name in given:
        if name not in known:
            raise UsageError(
                f"{flags.args} {name}: backend {backend!r} does not take it; "
                f"{nearest(name, known)} (all: vsr1-bench ls model_args)"
            )
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{flags.args} {name}={first['input']!r}: {first['msg']}") from error
