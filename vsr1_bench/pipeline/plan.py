"""Plan a run from its options: tasks, data, model, and a spec for each task."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vsr1_bench.data.blind import NONE
from vsr1_bench.data.circular import CIRCULAR, CircularData
from vsr1_bench.data.dataset import DataOptions, TaskData, missing_data, open_data
from vsr1_bench.data.selection import FACT, by_draw, by_ids, refuse_unknown_ids, selection_spec
from vsr1_bench.errors import TaskError, UsageError
from vsr1_bench.generation.connect import Connection
from vsr1_bench.generation.costs import Spending
from vsr1_bench.generation.further_fields import refuse_fields
from vsr1_bench.generation.identity import identify
from vsr1_bench.generation.models import ModelInfo, default_pixels, find_model
from vsr1_bench.generation.open import PAID, choose_backend, suited_backend
from vsr1_bench.perception.reader import PAID as PAID_READERS
from vsr1_bench.perception.reader import (
    SELF,
    Descriptions,
    ReaderOptions,
    ReaderSpec,
    external_reader,
    self_reader,
)
from vsr1_bench.pipeline.stream import TaskRun
from vsr1_bench.prompts.formats import DEFAULT_FORMAT, OWN, PromptFormat, get_format, trained_with
from vsr1_bench.records import Sampling
from vsr1_bench.registry import resolve_tasks
from vsr1_bench.store.run_folder import RunFolder, Shard
from vsr1_bench.store.spec import ModelSpec, PromptSpec, RunSpec, SamplingSpec, TaskSpec
from vsr1_bench.task import ExternalTask, Task, UserDataset

BATCH = {"transformers": "batch_size", "vllm": "max_num_seqs", "openai": "concurrency"}
"""Each backend's name for `batch_size`."""
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
    batch_size: int | None = None
    """Requests at the same time, under the name that the backend has for it (`BATCH`)."""
    gen_kwargs: dict[str, Any] = field(default_factory=dict)
    """Fields of `Sampling` that differ from its defaults."""
    prompt: str = DEFAULT_FORMAT
    system_instruction: str | None = None
    limit: int | None = None
    samples: tuple[str, ...] = ()
    """Ids of the samples to ask; empty = all."""
    sample_seed: int | None = None
    """Seed of a random draw of `limit` samples; None = the first ones."""
    shard: Shard = (0, 1)
    data: DataOptions = field(default_factory=DataOptions)
    include_path: tuple[str, ...] = ()
    revision: str | None = None
    trust_remote_code: bool = False
    adapter: str | None = None
    """Folder or hub id of a LoRA adapter of the model."""
    force_unlock: bool = False
    progress: bool = True
    perception: str | None = None
    """`self`: descriptions are read from the responses; `caption`: asked for in separate calls;
    None: no second pass, unless a reader is named."""
    reader: ReaderOptions = field(default_factory=ReaderOptions)
    spending: Spending = field(default_factory=Spending)
    """Prices and the cost limit of the model if it is behind a URL; `reader` has the same."""
    blind: tuple[str, ...] = ()
    """Variants of blind runs for each task."""
    circular: bool = False
    """Also ask each question with its options in every other order (`data.circular`)."""
    visual_dependence: bool = False
    """Also score each response with masked images (`pipeline.dependence`)."""
    dry_run: bool = False
    """Nothing will be generated: no weights are downloaded."""
    batch: bool = False
    """A model behind a URL is asked by the endpoint's batch service."""

    @property
    def descriptions(self) -> Descriptions | None:
        """Where the descriptions of the second pass come from; None = no second pass."""
        if self.perception == "caption":
            return "caption"
        return "response" if self.perception or self.reader.name != SELF else None

    def external_reader(self) -> tuple[ReaderSpec, Connection] | None:
        """The external reader and the connection to it; None if there is none.

        Raises:
            UsageError: an unknown reader, or a required flag of it is missing.
        """
        if self.descriptions is None or self.reader.name == SELF:
            return None
        return external_reader(self.reader, self.descriptions)

    def own_reader(self, spec: RunSpec) -> ReaderSpec:
        """The model of a run as the reader of its own descriptions."""
        assert self.descriptions is not None
        reader = self.reader
        return self_reader(spec, self.descriptions, reader.thinking_tags, reader.own_temperature())

    def batched(self) -> dict[str, bool | None]:
        """The model and its reader, for `connect.batch_note`."""
        backend = choose_backend(self.backend, self.base_url)
        parts: dict[str, bool | None] = {f"model {self.model} by {backend}": backend in PAID}
        if self.descriptions is not None and self.reader.name != SELF:
            parts[f"reader {self.reader.name}"] = self.reader.name in PAID_READERS
        return parts


def check_external(tasks: list[Task], *, changed: bool, selected: bool = False) -> None:
    """Refuse to ask external tasks in our ways.

    Args:
        tasks: What is asked.
        changed: Whether without images, or for descriptions.
        selected: Whether other samples than the first ones.

    Raises:
        UsageError: names one of them.
    """
    external = [task.name for task in tasks if isinstance(task.source, ExternalTask)]
    if external and changed:
        raise UsageError(
            f"{external[0]}: --blind, --variant, --perception, --reader and --visual_dependence go "
            "with this project's own tasks; one of another harness is asked and scored in its own "
            "way only"
        )
    if external and selected:
        raise UsageError(
            f"{external[0]}: --samples and --sample_seed go with this project's own tasks; one of "
            "another harness takes --limit"
        )


def plan(
    options: RunOptions, model: ModelInfo | None = None
) -> tuple[list[TaskRun], ModelInfo, RunOptions]:
    """Resolve everything that a run needs, loading no weights; `model` as for `generate`.

    Returns:
        The runs, the model, and the options with their backend settled.
    """
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
        offline=options.data.offline or options.dry_run,
        script=str(script) if script else None,
        trust_remote_code=options.trust_remote_code,
        adapter=options.adapter,
    )
    options = settled(options, suited_backend(options.backend, backend, model, options.model_args))
    identity = identify(options.backend, model, options.model_args)
    usual = make_sampling(options.gen_kwargs, model)
    refuse_fields(backend, usual)
    if options.data.offline and (missing := missing_data(tasks, options.data)):
        raise TaskError("--offline, and data are missing:\n  " + "\n  ".join(missing))
    if any(not isinstance(task.source, ExternalTask) for task in tasks):
        warn_of_format(model, fmt)
    if options.descriptions == "response" and not fmt.describes:
        log.warning(
            "prompt %r asks for no description: --prompt see_think, or --perception caption",
            fmt.name,
        )
    selection = selection_spec(options.samples, options.sample_seed)
    changed = bool(options.blind) or options.circular or options.descriptions is not None
    changed = changed or options.visual_dependence
    check_external(tasks, changed=changed, selected=selection is not None)
    runs: list[TaskRun] = []
    for task, data, facts in _selected(_open_tasks(tasks, options), options):
        sampling = usual
        words = (fmt.name, fmt.digest(task.native_prompt if fmt.name == "native" else None))
        if data.own is not None:
            words = (OWN.name, data.own.prompt_hash)
            # The user's settings take precedence over the task's; n=1 is only the default.
            given = {k: v for k, v in options.gen_kwargs.items() if (k, v) != ("n", 1)}
            sampling = make_sampling({**data.own.sampling, **given}, model)
        spec = RunSpec(
            model=ModelSpec(
                id=model.id,
                revision=model.revision,
                fingerprint=model.fingerprint,
                verified=model.verified,
                adapter=model.adapter.fingerprint if model.adapter else None,
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
            data=data.spec,
            engine=identity.engine,
            selection=selection,
        )
        runs += _runs_of(task, data, spec, sampling, facts, options)
    if options.circular and not any(run.spec.variant == CIRCULAR for run in runs):
        raise UsageError(
            f"--variant {CIRCULAR}: no sample of {options.tasks} has options that can change "
            "places; drop --variant, or name a multiple-choice task"
        )
    return runs, model, options


def _runs_of(
    task: Task,
    data: TaskData,
    spec: RunSpec,
    sampling: Sampling,
    facts: dict[str, Any],
    options: RunOptions,
) -> Iterator[TaskRun]:
    """The runs of a task: the ordinary one, blind ones, and that of the options' other orders."""
    count = len(data) if options.limit is None else min(options.limit, len(data))
    shown = [(variant, data, count) for variant in (NONE, *options.blind)]
    if options.circular:
        circular = CircularData(data, count, progress=options.progress)
        if circular.rotatable:
            shown.append((CIRCULAR, circular, len(circular)))
        else:
            log.warning(
                "--variant %s: task %s has no options that can change places", CIRCULAR, task.name
            )
    for variant, asked, places in shown:
        one = spec.model_copy(update={"variant": variant})
        folder = RunFolder.of(options.output_path, one)
        total = len(range(options.shard[0], places, options.shard[1])) * sampling.n
        yield TaskRun(task, asked, one, folder, places, total, sampling, facts=facts)


def settled(options: RunOptions, backend: str) -> RunOptions:
    """The options with this backend, and its own name for the batch size."""
    args = dict(options.model_args)
    if options.batch_size is not None and backend in BATCH:
        args[BATCH[backend]] = options.batch_size
    return replace(options, backend=backend, model_args=args, batch_size=None)


def _selected(
    opened: list[tuple[Task, TaskData]], options: RunOptions
) -> Iterator[tuple[Task, TaskData, dict[str, Any]]]:
    """Yield each task with the samples that the run asks, and what run.json records of them.

    Raises:
        UsageError: an id that no task has.
    """
    if not options.samples:
        for task, data in opened:
            if options.sample_seed is None:
                yield task, data, {}
            else:
                chosen, facts = by_draw(data, options.sample_seed)
                yield task, chosen, {FACT: facts}
        return
    found = [(task, data, *by_ids(data, options.samples)) for task, data in opened]
    refuse_unknown_ids(options.samples, [(data, facts["ids"]) for _, data, _, facts in found])
    for task, _, chosen, facts in found:
        if len(chosen):
            yield task, chosen, {FACT: facts}
        else:
            log.warning("skipped: task %s has none of the samples of --samples", task.name)


def warn_of_format(model: ModelInfo, fmt: PromptFormat) -> None:
    """Warn if a released checkpoint is asked with a format that it was not trained with."""
    known = trained_with(name for name in (model.id, model.origin) if name)
    if known is None or fmt.name in known[1]:
        return
    named = "" if trained_with([model.id]) else " (by its config.json)"
    log.warning(
        "model %r%s is %s, trained and evaluated by the code released with it with prompt %s; "
        "this run asks with %s, which is another measurement (--prompt %s asks as they did)",
        *(model.id, named, known[0], " or ".join(known[1]), fmt.name, known[1][0]),
    )


def _open_tasks(tasks: list[Task], options: RunOptions) -> list[tuple[Task, TaskData]]:
    """Open the data of all tasks.

    The data of a named task must be there. A task of a suite, a group or a pattern whose data are
    missing is skipped with a warning, because a mirror need not hold every benchmark.

    Raises:
        TaskError: the data of a named task, or of all tasks, are missing.
    """
    named = {name.strip() for name in options.tasks.split(",")}
    opened: list[tuple[Task, TaskData]] = []
    wanted: list[TaskError] = []
    missing: list[TaskError] = []
    for task in tasks:
        try:
            opened.append((task, open_data(task, options.data)))
        except TaskError as error:
            (wanted if task.name in named else missing).append(error)
    if wanted:
        if len(wanted) == 1:
            raise wanted[0]
        raise TaskError("data are missing:\n  " + "\n  ".join(map(str, wanted)))
    if not opened:
        raise missing[0]
    for absent in missing:
        log.warning("skipped: %s", absent)
    return opened


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
