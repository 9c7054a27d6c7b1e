"""One queue of requests for all runs: first passes, and the requests that follow from answers.

An answer is stored as soon as it arrives. Requests that follow from it (a caption, a reading of its
description) go to the engine before any new question.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from vsr1_bench._util.closing import Closing
from vsr1_bench._util.progress import progress_bar
from vsr1_bench.data.blind import NONE, open_variant
from vsr1_bench.data.dataset import TaskData
from vsr1_bench.errors import GenerationError, TaskError
from vsr1_bench.generation.base import Generator, Home
from vsr1_bench.generation.costs import PaidCalls, Spending
from vsr1_bench.generation.tally import Tally
from vsr1_bench.perception.second_pass import SecondPass
from vsr1_bench.pipeline.key_memo import KeyMemo
from vsr1_bench.prompts.formats import OWN, build_messages, get_format
from vsr1_bench.records import Completion, Request, Sample, Sampling
from vsr1_bench.store.provenance import Maker
from vsr1_bench.store.run_folder import RunFolder, Shard, shard_part
from vsr1_bench.store.spec import RunSpec, request_key
from vsr1_bench.store.writer import RunWriter, generation_of
from vsr1_bench.task import Task

log = logging.getLogger(__name__)

_NEVER = object()
"""A request that never comes: the requests of a stream end when its engine has nothing to do."""


@dataclass(slots=True)
class TaskRun:
    """One task of a run: its data, its spec and where its records go."""

    task: Task
    data: TaskData
    spec: RunSpec
    folder: RunFolder
    samples: int
    """Samples asked for, over all shards."""
    total: int
    """Responses wanted (of this shard)."""
    sampling: Sampling
    answers: Tally = field(default_factory=lambda: Tally("responses"))
    further: list[Tally] = field(default_factory=list)
    """Tallies of the second pass: captions, readings."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Reason why a variant skips samples -> how many (of this shard)."""
    reused: int = 0
    """Responses that were in the store already."""
    makers: list[Maker] = field(default_factory=list)
    """The commands that made them."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What run.json records of the selection of its samples."""
    digest: str = ""
    """Of the spec."""

    def __post_init__(self) -> None:
        """Hash the spec once."""
        self.digest = self.spec.digest()

    @property
    def blind(self) -> bool:
        """Whether the run asks a variant: a blind run, or other orders of the options."""
        return self.spec.variant != NONE

    @property
    def failed(self) -> int:
        """Number of failed requests of all kinds."""
        return sum(tally.failed for tally in (self.answers, *self.further))


@dataclass(slots=True)
class OpenRun:
    """A run with its journals."""

    run: TaskRun
    writer: RunWriter
    second: SecondPass | None
    memo: KeyMemo | None = None
    """Cached keys of its requests, if they can be cached."""

    @property
    def safe(self) -> int:
        """Responses of this shard that are stored.

        Not `run.answers.finished`, which in a resumed run counts only what the stream has reached.
        """
        return min(self.run.total, self.writer.safe)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A request on its way."""

    of: OpenRun
    sample: Sample
    request: Request
    since: float


def requests_of(run: TaskRun, sample: Sample) -> list[Request]:
    """The first-pass requests of a sample."""
    fmt = get_format(run.spec.prompt.format) if run.data.own is None else OWN
    messages = build_messages(
        sample, fmt, native=run.task.native_prompt, system=run.spec.prompt.system
    )
    digest = run.digest
    return [
        Request(
            request_key(digest, sample.id, messages, sample.images, index),
            messages,
            run.sampling,
            sample.images,
            sample.id,
            index,
        )
        for index in range(run.sampling.n)
    ]


class Stream(Closing):
    """One queue of the requests of all runs, and the journals for their completions."""

    def __init__(
        self,
        runs: list[OpenRun],
        *,
        shard: Shard,
        progress: bool,
    ) -> None:
        """Bind to the runs; nothing is read yet."""
        self._runs = runs
        self._shard, self._progress = shard, progress
        self._pending: dict[str, _Pending] = {}
        self._following: deque[_Pending] = deque()
        self._by_batch = False
        self._missing = self._first_pass()
        passes = sum(opened.run.total * (2 if opened.second else 1) for opened in runs)
        self._bar = progress_bar(passes, "generate", "resp", shown=progress)

    def close(self) -> None:
        """Clear the bar."""
        self._bar.close()

    def waits(self) -> bool:
        """Whether any request is pending for an engine."""
        if not self._following:
            pending = next(self._missing, None)
            self._following.extend([pending] if pending else [])
        return bool(self._following)

    def run(self, generator: Generator, spending: Spending | None = None, model: str = "") -> None:
        """Serve every pending request.

        Args:
            generator: The engine.
            spending: The prices and the limit, if its calls cost money.
            model: The model whose price counts.

        Raises:
            GenerationError: the engine cannot continue.
            BudgetSpentError: the cost limit is reached; every call under way has finished.
            StoreError: a journal cannot be written.
        """
        if spending is None:
            for completion in generator.serve(self._next):
                self._acknowledge(completion)
            return
        self._by_batch, generator.home = generator.by_batch, self._home
        calls = PaidCalls(iter(self._next, _NEVER), spending, model, f"model {model}")
        for completion, _ in calls.serve(lambda: generator):
            self._acknowledge(completion)
        calls.check()

    def _next(self) -> Request | None:
        pending = self._following.popleft() if self._following else next(self._missing, None)
        if pending is None:
            return None
        kept = replace(pending, since=time.monotonic())
        if self._by_batch and pending.of.second is None:  # thousands wait: without their images
            request = replace(kept.request, images=())
            kept = replace(kept, request=request, sample=replace(kept.sample, images=()))
        self._pending[pending.request.key] = kept
        return pending.request

    def _home(self, request: Request) -> Home:
        """Where the record of a request's batch is."""
        of = self._pending[request.key].of
        return Home(of.run.folder.path, shard_part(self._shard), of.writer.finished)

    def _follow(self, of: OpenRun, sample: Sample, request: Request | None) -> None:
        if request is not None:
            self._following.append(_Pending(of, sample, request, 0.0))
        elif of.second is not None:
            self._bar.update()

    def _first_pass(self) -> Iterator[_Pending]:
        """Yield a request for each unfinished response, and follow-ups of stored ones."""
        for opened in self._runs:
            run, writer = opened.run, opened.writer
            variant = open_variant(
                run.spec.variant, run.data, run.sampling.seed, progress=self._progress
            )
            unusable = partial(self._unusable, run)
            done, known = self._pass_over(opened), writer.known_samples.items()
            taken = (name for name, place in known if place < len(done) and done[place])
            for place, sample in run.data.placed_samples(run.samples, unusable, done, taken):
                if place % self._shard[1] != self._shard[0]:
                    continue
                shown = variant(place, sample)
                if isinstance(shown, str):
                    writer.skip(place, shown)
                    run.skipped[shown] = run.skipped.get(shown, 0) + 1
                    run.total -= run.sampling.n
                    self._bar.skip(run.sampling.n)
                    continue
                writer.add_sample(shown, place)
                requests = requests_of(run, shown)
                if opened.memo is not None:
                    opened.memo.note(place, [request.key for request in requests])
                for request in requests:
                    if request.key not in writer.finished:
                        yield _Pending(opened, shown, request, 0.0)
                        continue
                    run.answers.note(None)
                    run.reused += 1
                    self._bar.skip()
                    if opened.second is not None:
                        following = opened.second.after_stored(shown, request)
                        if following is None:
                            self._bar.skip()
                        else:
                            yield _Pending(opened, shown, following, 0.0)

    def _pass_over(self, opened: OpenRun) -> bytearray:
        """Count the samples whose responses are complete; return a 1 for each, by its place."""
        run, memo = opened.run, opened.memo
        if memo is None:
            return bytearray()

        def keys_of(place: int) -> list[str]:
            try:
                return [request.key for request in requests_of(run, run.data.sample(place))]
            except TaskError:  # the row cannot be read any more; the stream reports it
                return []

        done = memo.complete(run.samples, opened.writer.finished, keys_of)
        count = sum(done) * run.sampling.n
        if count:
            run.answers.note(None, count)
            run.reused += count
            self._bar.skip(count)
        return done

    def _unusable(self, run: TaskRun, places: range, error: TaskError) -> None:
        """Count the samples (of this shard) of a row that cannot be mapped as failed."""
        index, shards = self._shard
        count = sum(place % shards == index for place in places) * run.sampling.n
        if count:
            run.answers.note(str(error), count)
            self._bar.skip(count)

    def _acknowledge(self, completion: Completion) -> None:
        """Store a completion; after this it cannot be lost."""
        pending = self._pending.pop(completion.key, None)
        if pending is None:
            raise GenerationError(f"the engine answered {completion.key!r}, which nobody asked")
        opened, sample, request = pending.of, pending.sample, pending.request
        seconds = None if self._by_batch else time.monotonic() - pending.since
        if completion.error is not None:
            log.debug("%s %s: %s", opened.run.task.name, request.sample_id, completion.error)
        self._bar.update()
        if request.stage != "answer":
            assert opened.second is not None
            following = opened.second.keep(sample, request, completion, seconds)
            if following is not None:
                self._following.append(_Pending(opened, sample, following, 0.0))
            return
        opened.writer.add(generation_of(request, completion, seconds))
        opened.run.answers.note(completion.error)
        if opened.second is not None:
            following = None
            if completion.error is None:
                following = opened.second.after_answer(sample, request, completion.text)
            self._follow(opened, sample, following)
