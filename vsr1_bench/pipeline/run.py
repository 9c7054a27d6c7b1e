"""Runs a model over tasks: one stream of requests through one engine, journalled as they finish.

    Task rows -> Sample -> Request -> Generator -> Completion -> Generation (journal)
    its description, the question -> Request -> Generator -> Completion -> Perception (journal)

Judging and scoring read the journals afterwards (`vsr1_bench.judging.runs`), so they can be
repeated without a model.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from vsr1_bench.data.blind import NONE
from vsr1_bench.data.dataset import DataOptions, TaskData, data_spec, missing_data, open_data
from vsr1_bench.errors import BenchError, Interrupted, TaskError, UsageError
from vsr1_bench.generation.base import Generator
from vsr1_bench.generation.connect import Connection
from vsr1_bench.generation.identity import identify
from vsr1_bench.generation.models import ModelInfo, default_pixels, find_model
from vsr1_bench.generation.open import choose_backend, open_generator
from vsr1_bench.perception.reader import (
    SELF,
    Descriptions,
    ReaderOptions,
    ReaderSpec,
    external_reader,
    self_reader,
)
from vsr1_bench.perception.second_pass import SecondPass, read_runs
from vsr1_bench.pipeline.key_memo import KeyMemo, asking_digest
from vsr1_bench.pipeline.stream import OpenRun, Stream, TaskRun
from vsr1_bench.prompts.formats import DEFAULT_FORMAT, OWN, PromptFormat, get_format, trained_with
from vsr1_bench.records import Sampling
from vsr1_bench.registry import resolve_tasks
from vsr1_bench.store.environment import run_facts
from vsr1_bench.store.provenance import Provenance, discard_if_empty
from vsr1_bench.store.run_folder import RunFolder, Shard, shard_part
from vsr1_bench.store.spec import ModelSpec, PromptSpec, RunSpec, SamplingSpec, TaskSpec
from vsr1_bench.store.writer import RunWriter
from vsr1_bench.task import ExternalTask, Task, UserDataset

log = logging.getLogger(__name__)


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
    perception: str | None = None
    """`self`: descriptions are read from the responses; `caption`: asked for in separate calls;
    None: no second pass, unless a reader is named."""
    reader: ReaderOptions = field(default_factory=ReaderOptions)
    blind: tuple[str, ...] = ()
    """Variants that are run beside each task."""

    @property
    def descriptions(self) -> Descriptions | None:
        """Where the second pass takes its descriptions from; None = there is no second pass."""
        if self.perception == "caption":
            return "caption"
        return "response" if self.perception or self.reader.name != SELF else None

    def external_reader(self) -> tuple[ReaderSpec, Connection] | None:
        """The other model that reads, and the way to it; None if there is none.

        Raises:
            UsageError: an unknown reader, or one that was not given what it needs.
        """
        if self.descriptions is None or self.reader.name == SELF:
            return None
        return external_reader(self.reader, self.descriptions)


def generate(
    options: RunOptions, generator: Generator | None = None, model: ModelInfo | None = None
) -> list[TaskRun]:
    """Generate every response that is missing, have descriptions read, and return the runs.

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
    external = options.external_reader()
    runs, model, backend = plan(options, model)
    with ExitStack() as stack:
        opened = [_open(run, options, backend, stack) for run in runs]
        stream = Stream(opened, limit=options.limit, shard=options.shard, progress=options.progress)
        try:
            with stream:
                if stream.waits():
                    engine = generator
                    if engine is None:
                        known = runs[0].spec.model
                        at = f" in {known.precision_label}" if known.precision else ""
                        log.info("loading %s by %s%s", model.id, backend, at)
                        engine = stack.enter_context(
                            open_generator(
                                backend,
                                model,
                                options.model_args,
                                trust_remote_code=options.trust_remote_code,
                            )
                        )
                    stream.run(engine)
        except (KeyboardInterrupt, BenchError) as error:
            safe = sum(one.safe for one in opened)
            if safe == 0 and isinstance(error, BenchError):
                raise
            read = [one.second.readings for one in opened if one.second and one.second.readings]
            more = sum(readings.tally.finished for readings in read)
            what = f"responses and {more} readings" if read else "responses"
            raise Interrupted(error, safe, sum(run.total for run in runs), what) from error
    if external is not None:
        _read(runs, *external, options)
    return runs


def _read(
    runs: list[TaskRun], reader: ReaderSpec, connection: Connection, options: RunOptions
) -> None:
    """Have another model read what has been generated.

    Raises:
        Interrupted: the reader, the disk or the user ended it; says what is safe.
    """
    seeing = [run for run in runs if not run.blind]
    try:
        tallies = read_runs(
            [run.folder for run in seeing],
            reader,
            connection,
            options.reader.spending,
            shard=options.shard,
            force_unlock=options.force_unlock,
            progress=options.progress,
        )
    except Interrupted:
        raise
    except BenchError as error:  # before the first reading; all that was generated is there
        safe = sum(run.answers.finished for run in runs)
        raise Interrupted(error, safe, sum(run.total for run in runs)) from error
    for run, tally in zip(seeing, tallies, strict=True):
        run.further.append(tally)


def _open(run: TaskRun, options: RunOptions, backend: str, stack: ExitStack) -> OpenRun:
    """Open a run's journals, to be closed by the stack.

    Raises:
        StoreError: they are damaged, cannot be written, or are being written by somebody else.
    """
    writer = RunWriter(run.folder, shard=options.shard, force_unlock=options.force_unlock)
    stack.callback(writer.close)
    stack.push(partial(_discard, run, shard_part(options.shard)))
    facts = run_facts(backend, options.limit)
    if run.data.own is not None:  # its sampling is in part the task's: groups go by ours
        facts["gen_kwargs"] = options.gen_kwargs
    provenance = Provenance(run.folder, run.spec, run.samples, facts)
    run.makers = provenance.before
    stack.callback(provenance.end, writer, writer.safe)
    descriptions, itself = options.descriptions, options.reader.name == SELF
    if descriptions is None or run.blind or not (itself or descriptions == "caption"):
        return OpenRun(run, writer, None, _memo(run, writer, options.shard, stack))
    reader = self_reader(run.spec, descriptions, options.reader.thinking_tags) if itself else None
    second = SecondPass(run.folder, run.spec, descriptions, reader, options.shard)
    stack.callback(second.close)
    run.further = [second.captions] if descriptions == "caption" else []
    run.further += [second.readings.tally] if second.readings else []
    return OpenRun(run, writer, second)


def _memo(run: TaskRun, writer: RunWriter, shard: Shard, stack: ExitStack) -> KeyMemo | None:
    """The keys of a run's requests, as an earlier command has left them."""
    digest = asking_digest(run.digest, run.data)
    if digest is None or run.blind or run.data.own is not None:
        return None
    memo = KeyMemo(run.folder.path / f".keys{shard_part(shard)}", digest, run.sampling.n)
    stack.callback(lambda: memo.close() if writer.safe else memo.drop())
    return memo


def _discard(
    run: TaskRun,
    part: str,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    """Leave no folder of a start that failed: a table would take it for a run."""
    if error is not None:
        discard_if_empty(run.folder, part)


def check_external(tasks: list[Task], *, changed: bool) -> None:
    """Refuse to ask external tasks in our ways.

    Args:
        tasks: What is asked.
        changed: Whether without images, or for descriptions.

    Raises:
        UsageError: names one of them.
    """
    external = [task.name for task in tasks if isinstance(task.source, ExternalTask)]
    if external and changed:
        raise UsageError(
            f"{external[0]}: --blind, --perception and --reader go with this project's own tasks; "
            "one of another harness is asked and scored in its own way only"
        )


def plan(
    options: RunOptions, model: ModelInfo | None = None
) -> tuple[list[TaskRun], ModelInfo, str]:
    """Resolve everything that a run needs, loading no weights; `model` as for `generate`."""
    tasks = resolve_tasks(options.tasks, options.include_path)
    if options.data.dataset and not any(isinstance(task.source, UserDataset) for task in tasks):
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
    identity = identify(backend, model, options.model_args)
    usual = make_sampling(options.gen_kwargs, model)
    if options.data.offline and (missing := missing_data(tasks, options.data)):
        raise TaskError("--offline, and data are missing:\n  " + "\n  ".join(missing))
    if any(not isinstance(task.source, ExternalTask) for task in tasks):
        warn_of_format(model, fmt)
    if options.descriptions == "response" and not fmt.describes:
        log.warning(
            "prompt %r asks for no description: --prompt see_think, or --perception caption",
            fmt.name,
        )
    check_external(tasks, changed=bool(options.blind) or options.descriptions is not None)
    runs = []
    for task, data in _found(tasks, options):
        sampling = usual
        words = (fmt.name, fmt.digest(task.native_prompt if fmt.name == "native" else None))
        if data.own is not None:
            words = (OWN.name, data.own.prompt_hash)
            # The user's settings take precedence over the task's; n=1 is only the default.
            told = {k: v for k, v in options.gen_kwargs.items() if (k, v) != ("n", 1)}
            sampling = make_sampling({**data.own.sampling, **told}, model)
        spec = RunSpec(
            model=ModelSpec(
                id=model.id,
                revision=model.revision,
                fingerprint=model.fingerprint,
                verified=model.verified,
                precision=identity.precision,
            ),
            sampling=SamplingSpec(**asdict(sampling)),
            prompt=PromptSpec(
                format=words[0],
                hash=words[1],
                chat_template_hash=model.chat_template_hash,
                system=options.system_instruction,
            ),
            task=TaskSpec(name=task.name, version=task.spec_version),
            data=data_spec(data.info),
            engine=identity.engine,
        )
        count = len(data) if options.limit is None else min(options.limit, len(data))
        total = len(range(options.shard[0], count, options.shard[1])) * sampling.n
        for variant in (NONE, *options.blind):
            one = spec.model_copy(update={"variant": variant})
            folder = RunFolder.of(options.output_path, one)
            runs.append(TaskRun(task, data, one, folder, count, total, sampling))
    return runs, model, backend


def warn_of_format(model: ModelInfo, fmt: PromptFormat) -> None:
    """Say which format a released checkpoint was trained with, where another is asked for."""
    known = trained_with(name for name in (model.id, model.origin) if name)
    if known is None or fmt.name in known[1]:
        return
    named = "" if trained_with([model.id]) else " (by its config.json)"
    log.warning(
        "model %r%s is %s, trained and evaluated by the code released with it with prompt %s; "
        "this run asks with %s, which is another measurement (--prompt %s asks as they did)",
        *(model.id, named, known[0], " or ".join(known[1]), fmt.name, known[1][0]),
    )


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
