"""What a run or a second pass would ask, and what that would cost; nobody is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from vsr1_bench.data.blind import open_variant, run_label
from vsr1_bench.generation.costs import Spending
from vsr1_bench.generation.estimates import Estimate, Seen, estimate_requests
from vsr1_bench.generation.open import PAID
from vsr1_bench.judge import Item
from vsr1_bench.perception.reader import PAID as PAID_READERS
from vsr1_bench.perception.reader import (
    SELF,
    ReaderSpec,
    perception_key,
    second_sampling,
)
from vsr1_bench.perception.second_pass import caption_key, reading_request, stored_descriptions
from vsr1_bench.pipeline.plan import RunOptions, plan
from vsr1_bench.pipeline.stream import TaskRun, requests_of
from vsr1_bench.prompts.formats import describe_messages
from vsr1_bench.records import Output, Request, Sample, Stage
from vsr1_bench.store.run_folder import RunFolder, Shard

CANDIDATE_CHARACTERS = 2000
"""What a judge is shown at most of a response without a final answer."""


@dataclass(frozen=True, slots=True)
class Part:
    """A row of a dry run: what would be asked for one task."""

    what: str
    """`model m`, `captions m`, `reader openai:big`, `judge openai[m]`."""
    estimate: Estimate
    at_most: bool = False
    """Whether the number of calls is a bound, because it depends on replies that are not there."""


@dataclass(slots=True)
class RunParts:
    """The calls to the model and to the reader for one run, and what would be judged after them."""

    folder: RunFolder
    model: str
    task: str
    """The task, with the variant of a blind run."""
    parts: list[Part] = field(default_factory=list)
    unjudged: list[tuple[Sample, str, Stage]] = field(default_factory=list)
    """Sample, key and kind of each response and reading that is not there yet."""

    def items(self, text: Callable[[str], str]) -> Iterator[Item]:
        """Items in the place of outputs that are not there yet; `text` makes one from a key."""
        for sample, key, stage in self.unjudged:
            yield Item.of(sample, key, text(key), stage)


def usual_text(key: str) -> str:
    """A short response without a final answer, another for each key."""
    return f"?{key[:16]}?"


def longest_text(key: str) -> str:
    """The longest response that a judge is shown, another for each key."""
    end = usual_text(key)
    return "\U0001f600" * (CANDIDATE_CHARACTERS - len(end)) + end


def estimate_runs(options: RunOptions) -> list[RunParts]:
    """Estimate the missing calls of a run to its model and its reader; writes nothing.

    Raises:
        UsageError, TaskError, ModelError, StoreError: as `generate`, before anything is generated.
    """
    external = options.external_reader()
    runs, model, options = plan(options)
    backend = options.backend
    paid = options.spending if backend in PAID else None
    if paid is not None:
        paid.check(model.id)
    seen = Seen()
    for folder in {run.folder.path.parent for run in runs}:
        for journal in sorted(folder.glob("*/run.json")):
            _count(RunFolder(journal.parent).generations().values(), seen)
    found = []
    for run in runs:
        missing = _Missing(run, options)
        name = run_label(run.task.name, run.spec.variant)
        parts = RunParts(run.folder, model.id, name, unjudged=missing.unjudged)
        parts.parts.append(
            Part(f"model {model.id}", _priced(missing.answers, paid, model.id, seen))
        )
        if missing.captions:
            captions = _priced(missing.captions, paid, model.id, seen)
            parts.parts.append(Part(f"captions {model.id}", captions))
        if missing.describing is not None:
            reader, itself = missing.reader(external[0] if external else None)
            whose = paid if itself else options.reader.spending
            _add_readings(parts, missing, reader, whose, seen, options.shard)
        found.append(parts)
    return found


class _Missing:
    """The requests of a run that are not answered yet; images are dropped."""

    def __init__(self, run: TaskRun, options: RunOptions) -> None:
        """Go through the samples of the run."""
        self.run, self._options = run, options
        self.describing = None if run.blind else options.descriptions
        self._second = second_sampling(run.sampling, options.reader.own_temperature())
        self.answers: list[Request] = []
        self.captions: list[Request] = []
        self.unjudged: list[tuple[Sample, str, Stage]] = []
        self.samples: dict[str, Sample] = {}
        finished = run.folder.finished()
        captioned = run.folder.finished("captions")
        seed = run.sampling.seed
        variant = open_variant(run.spec.variant, run.data, seed, progress=options.progress)
        for place, sample in run.data.placed_samples(run.samples, lambda *_: None):
            shown = variant(place, sample)
            if place % options.shard[1] != options.shard[0] or isinstance(shown, str):
                continue
            light = self.samples[shown.id] = replace(shown, images=())
            for request in requests_of(run, shown):
                if request.key not in finished:
                    self.answers.append(replace(request, images=()))
                    self.unjudged.append((light, request.key, "answer"))
            if self.describing == "caption" and shown.images:
                request = self._caption(shown)
                if request.key not in captioned:
                    self.captions.append(request)

    def _caption(self, sample: Sample) -> Request:
        messages = describe_messages(sample, system=self.run.spec.prompt.system)
        key = caption_key(self.run.digest, sample, messages, self._second.temperature)
        return Request(key, messages, self._second, (), sample.id, stage="caption")

    def reader(self, external: ReaderSpec | None) -> tuple[ReaderSpec, bool]:
        """The reader, and whether it is the model itself."""
        if external is not None:
            return external, False
        return self._options.own_reader(self.run.spec), True


def _add_readings(
    parts: RunParts,
    missing: _Missing,
    reader: ReaderSpec,
    spending: Spending | None,
    described: Seen,
    shard: Shard,
) -> None:
    """Add the readings of stored descriptions, and at most one of each that is not there yet."""
    seen = Seen()
    estimate = Estimate()
    if (parts.folder.path / "run.json").exists():
        known = estimate_readings(parts.folder, reader, spending, shard)
        estimate, seen = known.estimate, known.seen
        parts.unjudged += known.unjudged
    source = missing.captions if missing.describing == "caption" else missing.answers
    limit = missing.run.sampling.max_tokens
    length = min(described.mean() or limit, limit)

    def future(tokens: float) -> Iterator[Request]:
        for request in source:
            sample = missing.samples[request.sample_id]
            yield reading_request(reader, sample, request.key, "x" * round(4 * tokens))

    usual = _priced(future(length), spending, reader.model, seen)
    bound = _priced(future(limit), spending, reader.model, seen)
    parts.unjudged += [
        (missing.samples[r.sample_id], f"reading {r.key}", "reading") for r in source
    ]
    total = estimate + usual.bounded_by(bound)
    parts.parts.append(Part(f"reader {reader.label}", total, at_most=bool(usual.calls)))


@dataclass(slots=True)
class Readings:
    """The missing readings of stored descriptions."""

    estimate: Estimate
    seen: Seen
    """The replies of this reader to this run so far."""
    unjudged: list[tuple[Sample, str, Stage]]


def estimate_readings(
    folder: RunFolder, reader: ReaderSpec, spending: Spending | None, shard: Shard = (0, 1)
) -> Readings:
    """Estimate the readings of a stored run that a reader has not made yet.

    Args:
        folder: The run.
        reader: Who would read.
        spending: The prices; None = its calls cost nothing.
        shard: The part of the run.
    """
    digest = reader.digest()
    stored = {k: one for k, one in folder.perceptions().items() if one.reader == digest}
    found = Readings(Estimate(), Seen(), [])
    _count(stored.values(), found.seen)
    requests: dict[str, Request] = {}
    for sample, source, _, description in stored_descriptions(folder, reader, shard):
        key = perception_key(source, digest, description)
        if (key not in stored or stored[key].error is not None) and key not in requests:
            requests[key] = reading_request(reader, sample, key, description)
            found.unjudged.append((replace(sample, images=()), key, "reading"))
    paid = spending if reader.name in (SELF, *PAID_READERS) else None
    found.estimate = _priced(requests.values(), paid, reader.model, found.seen)
    return found


def _priced(
    requests: Iterable[Request], spending: Spending | None, model: str, seen: Seen
) -> Estimate:
    """The estimate of requests to a model; one without `spending` costs nothing."""
    estimate = estimate_requests(requests, spending or Spending(), model, seen)
    return estimate if spending else replace(estimate, cost=0.0, usual_cost=0.0)


def _count(outputs: Iterable[Output], seen: Seen) -> None:
    for output in outputs:
        if output.error is None:
            seen.add(output.usage)
