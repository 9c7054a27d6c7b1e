"""Runs a model over tasks: one stream of requests through one engine, journalled as they finish.

    Task rows -> Sample -> Request -> Generator -> Completion -> Generation (journal)

Judging and scoring read the journals afterwards (`vsr1_bench.assess`), so they can be repeated
without a model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vsr1_bench.data import DataOptions, TaskData, data_spec, missing_data, open_data
from vsr1_bench.environment import run_facts
from vsr1_bench.errors import (
    EXIT_INTERRUPTED,
    BenchError,
    GenerationError,
    TaskError,
    UsageError,
)
from vsr1_bench.generation import Generator, choose_backend, open_generator
from vsr1_bench.models import ModelInfo, default_pixels, find_model
from vsr1_bench.progress import progress_bar
from vsr1_bench.prompts import DEFAULT_FORMAT, build_messages, get_format
from vsr1_bench.records import Completion, Generation, Request, Sample, Sampling
from vsr1_bench.registry import resolve_tasks
from vsr1_bench.spec import (
    ModelSpec,
    PromptSpec,
    RunSpec,
    SamplingSpec,
    TaskSpec,
    request_key,
)
from vsr1_bench.store import RunFolder, RunWriter, Shard, utc_now
from vsr1_bench.task import Chosen, Task

log = logging.getLogger(__name__)

HOPELESS = 32
"""If so many responses of a task fail before any succeeds, the run stops: it is not the samples."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to run; the fields are the flags of `vsr1-bench run`."""

    model: str
    tasks: str
    output_path: Path = Path("runs")
    backend: str = "auto"
    base_url: str | None = None
    model_args: dict[str, Any] = field(default_factory=dict)
    gen_kwargs: dict[str, Any] = field(default_factory=dict)
    """Fields of `Sampling` that differ from its defaults."""
    prompt: str = DEFAULT_FORMAT
    system_instruction: str | None = None
    limit: int | None = None
    shard: Shard = (0, 1)
    data: DataOptions = field(default_factory=DataOptions)
    include_path: tuple[str, ...] = ()
    revision: str | None = None
    trust_remote_code: bool = False
    force_unlock: bool = False
    progress: bool = True


@dataclass(slots=True)
class TaskRun:
    """One task of a run: its data, its spec and where its records go."""

    task: Task
    data: TaskData
    spec: RunSpec
    folder: RunFolder
    samples: int
    """Samples asked for, shards taken together."""
    total: int
    """Responses wanted (of this shard)."""
    finished: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


class Interrupted(BenchError):
    """A run ended before its end; what is finished is safe."""

    def __init__(self, cause: BaseException, finished: int, total: int) -> None:
        """Word the line that ends the run."""
        reason = "interrupted" if isinstance(cause, KeyboardInterrupt) else str(cause)
        super().__init__(f"{reason}; {finished} of {total} responses are safe")
        self.exit_code = cause.exit_code if isinstance(cause, BenchError) else EXIT_INTERRUPTED


def generate(
    options: RunOptions, generator: Generator | None = None, model: ModelInfo | None = None
) -> list[TaskRun]:
    """Generate every response that is missing, and return the runs.

    Args:
        options: What to run.
        generator: An engine that is up already and stays so; None = the model is loaded, if a
            response is missing, and freed.
        model: What that engine holds, where it is in no folder (weights in training); None = it
            is found by `options.model`.

    Raises:
        UsageError, TaskError, ModelError, StoreError: before anything is generated.
        Interrupted: the engine, the disk or the user ended the run; says what is safe.
    """
    runs, model, sampling, backend = plan(options, model)
    with ExitStack() as stack:
        writers = {}
        for run in runs:
            writer = RunWriter(run.folder, shard=options.shard, force_unlock=options.force_unlock)
            stack.callback(writer.close)
            writers[id(run)] = writer
            run.folder.write_meta(run.spec, run.samples, run_facts(backend, options.limit))
        stream = _Stream(runs, writers, options, sampling)
        try:
            with stream:
                first = next(stream.requests, None)
                if first is not None:
                    opened = generator
                    if opened is None:
                        log.info("loading %s by %s", model.id, backend)
                        opened = stack.enter_context(
                            open_generator(
                                backend,
                                model,
                                options.model_args,
                                trust_remote_code=options.trust_remote_code,
                            )
                        )
                    for completion in opened.generate(stream.resumed(first)):
                        stream.acknowledge(completion)
        except (KeyboardInterrupt, BenchError) as error:
            # Not `run.finished`: of a resumed run that knows only as far as the stream has come.
            safe = sum(min(run.total, writers[id(run)].safe) for run in runs)
            if safe == 0 and isinstance(error, BenchError):
                raise
            raise Interrupted(error, safe, sum(run.total for run in runs)) from error
    return runs


def plan(
    options: RunOptions, model: ModelInfo | None = None
) -> tuple[list[TaskRun], ModelInfo, Sampling, str]:
    """Resolve everything that a run needs, loading no weights; `model` as for `generate`."""
    tasks = resolve_tasks(options.tasks, options.include_path)
    if options.data.dataset and not any(isinstance(task.source, Chosen) for task in tasks):
        raise UsageError(
            f"--dataset {options.data.dataset}: no task of this run reads it; add --tasks custom"
        )
    fmt = get_format(options.prompt)
    backend = choose_backend(options.backend, options.base_url)
    script = options.model_args.get("script")
    model = model or find_model(
        options.model,
        backend=backend,
        base_url=options.base_url,
        revision=options.revision,
        offline=options.data.offline,
        script=str(script) if script else None,
        trust_remote_code=options.trust_remote_code,
    )
    sampling = make_sampling(options.gen_kwargs, model)
    if options.data.offline and (missing := missing_data(tasks, options.data)):
        raise TaskError("--offline, and data are missing:\n  " + "\n  ".join(missing))
    runs = []
    for task, data in _found(tasks, options):
        spec = RunSpec(
            model=ModelSpec(
                id=model.id,
                revision=model.revision,
                fingerprint=model.fingerprint,
                verified=model.verified,
            ),
            sampling=SamplingSpec(**asdict(sampling)),
            prompt=PromptSpec(
                format=fmt.name,
                hash=fmt.digest(task.native_prompt if fmt.name == "native" else None),
                chat_template_hash=model.chat_template_hash,
                system=options.system_instruction,
            ),
            task=TaskSpec(name=task.name, version=task.version),
            data=data_spec(data.info),
        )
        count = len(data) if options.limit is None else min(options.limit, len(data))
        total = len(range(options.shard[0], count, options.shard[1])) * sampling.n
        folder = RunFolder.of(options.output_path, spec)
        runs.append(TaskRun(task, data, spec, folder, count, total))
    return runs, model, sampling, backend


def _found(tasks: list[Task], options: RunOptions) -> list[tuple[Task, TaskData]]:
    """Open the data of all tasks.

    A task that was named must have its data. One that came with a suite, a group or a pattern is
    left out with a warning where it has none: a mirror need not hold every benchmark.

    Raises:
        TaskError: the data of a named task, or of all tasks, are missing.
    """
    named = {name.strip() for name in options.tasks.split(",")}
    found, missing = [], []
    for task in tasks:
        try:
            found.append((task, open_data(task, options.data)))
        except TaskError as error:
            if task.name in named:
                raise
            missing.append(error)
    if not found:
        raise missing[0]
    for absent in missing:
        log.warning("left out: %s", absent)
    return found


def make_sampling(given: dict[str, Any], model: ModelInfo) -> Sampling:
    """Fill `Sampling` from `--gen_kwargs` and the model's pixel bounds.

    Raises:
        UsageError: values that contradict each other.
    """
    least, most = default_pixels(model)
    sampling = replace(Sampling(min_pixels=least, max_pixels=most), **given)
    if sampling.min_pixels > sampling.max_pixels:
        raise UsageError(
            f"min_pixels {sampling.min_pixels} is above max_pixels {sampling.max_pixels}; "
            "give both by --gen_kwargs min_pixels=…,max_pixels=…"
        )
    try:
        SamplingSpec.model_validate(asdict(sampling))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise UsageError(f"{name} {first['input']!r}: {first['msg']} (--gen_kwargs)") from None
    if sampling.n > 1 and sampling.temperature == 0:
        log.warning("num_samples %d at temperature 0: every response will be the same", sampling.n)
    return sampling


class _Stream:
    """Requests of all tasks in one line, and the journals their completions go to."""

    def __init__(
        self,
        runs: list[TaskRun],
        writers: dict[int, RunWriter],
        options: RunOptions,
        sampling: Sampling,
    ) -> None:
        self.runs = runs
        self.writers = writers
        self.options = options
        self.sampling = sampling
        self.pending: dict[str, tuple[TaskRun, Request, float]] = {}
        self.requests = self._missing()
        total = sum(run.total for run in runs)
        self.bar = progress_bar(total, "generate", "resp", shown=options.progress)

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def resumed(self, first: Request) -> Iterator[Request]:
        """The whole line again, its first request put back."""
        yield first
        yield from self.requests

    def _missing(self) -> Iterator[Request]:
        """Yield a request for each response that has no finished record."""
        fmt = get_format(self.options.prompt)
        for run in self.runs:
            writer, digest = self.writers[id(run)], run.spec.digest()
            unusable = partial(self._unusable, run)
            for number, sample in run.data.placed_samples(self.options.limit, unusable):
                if number % self.options.shard[1] != self.options.shard[0]:
                    continue
                writer.add_sample(sample, number)
                messages = build_messages(
                    sample,
                    fmt,
                    native=run.task.native_prompt,
                    system=self.options.system_instruction,
                )
                for request in self._responses(digest, sample, messages):
                    if request.key in writer.finished:
                        run.finished += 1
                        self.bar.update()
                        continue
                    self.pending[request.key] = (run, request, time.monotonic())
                    yield request

    def _unusable(self, run: TaskRun, error: TaskError) -> None:
        """Count a row that cannot be mapped: its samples fail, the run goes on."""
        self._failed(run, str(error), run.task.per_row * self.sampling.n)
        self.bar.update(run.task.per_row * self.sampling.n)

    def _failed(self, run: TaskRun, reason: str, count: int = 1) -> None:
        run.failed += count
        run.reasons[reason] = run.reasons.get(reason, 0) + count
        if run.failed >= HOPELESS and not run.finished:
            raise GenerationError(f"the first {run.failed} responses all failed: {reason}")

    def _responses(self, digest: str, sample: Sample, messages: Any) -> Iterator[Request]:
        for index in range(self.sampling.n):
            key = request_key(digest, sample.id, messages, sample.images, index)
            yield Request(key, messages, self.sampling, sample.images, sample.id, index)

    def acknowledge(self, completion: Completion) -> None:
        """Write a completion down; after this it cannot be lost."""
        if completion.key not in self.pending:
            raise GenerationError(f"the engine answered {completion.key!r}, which nobody asked")
        run, request, since = self.pending.pop(completion.key)
        self.writers[id(run)].add(
            Generation(
                key=completion.key,
                sample_id=request.sample_id,
                index=request.index,
                text=completion.text,
                finish_reason=completion.finish_reason,
                usage=completion.usage,
                error=completion.error,
                seconds=round(time.monotonic() - since, 4),
                created=utc_now(),
            )
        )
        if completion.error is None:
            run.finished += 1
        else:
            self._failed(run, completion.error)
            log.debug("%s %s: %s", run.task.name, request.sample_id, completion.error)
        self.bar.set_description(run.task.name, refresh=False)
        self.bar.update()
