"""Run a model over tasks: one stream of requests through one engine, stored as they finish.

    Task rows -> Sample -> Request -> Generator -> Completion -> Generation (journal)
    its description, the question -> Request -> Generator -> Completion -> Perception (journal)

Judging and scoring read the journals afterwards (`vsr1_bench.judging.runs`), so they can be
repeated without a model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from vsr1_bench.errors import BenchError, Interrupted
from vsr1_bench.generation.base import Generator
from vsr1_bench.generation.connect import Connection, by_batch
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.generation.open import PAID, open_generator
from vsr1_bench.perception.reader import SELF, ReaderSpec
from vsr1_bench.perception.second_pass import SecondPass, read_runs
from vsr1_bench.pipeline.dependence import check_backend, measure_dependences
from vsr1_bench.pipeline.key_memo import KeyMemo, asking_digest
from vsr1_bench.pipeline.plan import RunOptions, plan
from vsr1_bench.pipeline.stream import OpenRun, Stream, TaskRun
from vsr1_bench.store.environment import run_facts
from vsr1_bench.store.provenance import Provenance, discard_if_empty
from vsr1_bench.store.run_folder import Shard, shard_part
from vsr1_bench.store.writer import RunWriter

log = logging.getLogger(__name__)


def generate(
    options: RunOptions, generator: Generator | None = None, model: ModelInfo | None = None
) -> list[TaskRun]:
    """Generate every missing response, run the second pass, and return the runs.

    Args:
        options: What to run.
        generator: A running engine, which is not closed. None = the model is loaded if a response
            is missing, and freed afterwards.
        model: The model in that engine if it is in no folder (weights in training). None =
            `options.model` names it.

    Raises:
        UsageError, TaskError, ModelError, StoreError: before anything is generated.
        Interrupted: the engine, the disk or the user ended the run; says what is safe.
    """
    external = options.external_reader()
    runs, model, options = plan(options, model)
    backend = options.backend
    if options.visual_dependence:
        check_backend(backend)
    paid = backend in PAID and generator is None
    if paid:
        options.spending.check(model.id)
    with ExitStack() as stack:
        opened = [_open(run, options, backend, stack) for run in runs]
        engine = generator

        def opening() -> Generator:
            nonlocal engine
            if engine is None:
                engine = _engine(runs[0], model, options, stack)
            return engine

        stream = Stream(opened, shard=options.shard, progress=options.progress)
        try:
            with stream:
                if stream.waits():
                    stream.run(opening(), options.spending if paid else None, model.id)
            if options.visual_dependence:
                measure_dependences(runs, opening, shard=options.shard, progress=options.progress)
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


def _engine(run: TaskRun, model: ModelInfo, options: RunOptions, stack: ExitStack) -> Generator:
    """Load the model; the stack frees it."""
    backend, known = options.backend, run.spec.model
    at = f" in {known.precision_label}" if known.precision else ""
    log.info("loading %s by %s%s", model.id, backend, at)
    engine = open_generator(
        backend, model, options.model_args, trust_remote_code=options.trust_remote_code
    )
    return stack.enter_context(by_batch(engine, options.batch and backend in PAID))


def _read(
    runs: list[TaskRun], reader: ReaderSpec, connection: Connection, options: RunOptions
) -> None:
    """Run the second pass of another model on what has been generated.

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
    except BenchError as error:  # before the first reading; every response is stored
        safe = sum(run.answers.finished for run in runs)
        raise Interrupted(error, safe, sum(run.total for run in runs)) from error
    for run, tally in zip(seeing, tallies, strict=True):
        run.further.append(tally)


def _open(run: TaskRun, options: RunOptions, backend: str, stack: ExitStack) -> OpenRun:
    """Open a run's journals; the stack closes them.

    Raises:
        StoreError: they are damaged, cannot be written, or another process writes them.
    """
    writer = RunWriter(run.folder, shard=options.shard, force_unlock=options.force_unlock)
    stack.callback(writer.close)
    stack.enter_context(_discarding(run, shard_part(options.shard)))
    facts = run_facts(backend, options.limit) | run.facts
    if run.data.own is not None:  # part of its sampling is the task's; groups need ours
        facts["gen_kwargs"] = options.gen_kwargs
    provenance = Provenance(run.folder, run.spec, run.samples, facts)
    run.makers = provenance.before
    stack.callback(provenance.end, writer, writer.safe)
    descriptions, itself = options.descriptions, options.reader.name == SELF
    if descriptions is None or run.blind or not (itself or descriptions == "caption"):
        return OpenRun(run, writer, None, _memo(run, writer, options.shard, stack))
    reader = options.own_reader(run.spec) if itself else None
    second = SecondPass(run.folder, run.spec, descriptions, reader, options.shard)
    stack.callback(second.close)
    run.further = [second.captions] if descriptions == "caption" else []
    run.further += [second.readings.tally] if second.readings else []
    return OpenRun(run, writer, second)


def _memo(run: TaskRun, writer: RunWriter, shard: Shard, stack: ExitStack) -> KeyMemo | None:
    """The cached keys of a run's requests."""
    digest = asking_digest(run.digest, run.data)
    if digest is None or run.blind or run.data.own is not None:
        return None
    memo = KeyMemo(run.folder.path / f".keys{shard_part(shard)}", digest, run.sampling.n)
    stack.callback(lambda: memo.close() if writer.safe else memo.drop())
    return memo


@contextmanager
def _discarding(run: TaskRun, part: str) -> Iterator[None]:
    """Remove the folder of a failed start, which a table would take for a run."""
    try:
        yield
    except BaseException:
        discard_if_empty(run.folder, part)
        raise
