"""The flags of `vsr1-bench run`: the command line and `evaluate()` fill the same fields.

Each class holds a group of flags, checks them, and makes the options that the engine takes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from vsr1_bench._util.flag_values import read_shard
from vsr1_bench.data.blind import parse_variants
from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.data.selection import read_ids
from vsr1_bench.errors import UsageError
from vsr1_bench.generation.costs import Spending
from vsr1_bench.perception.reader import SELF, ReaderOptions
from vsr1_bench.pipeline.gen_kwargs import sampling_fields, stop_strings
from vsr1_bench.pipeline.judge_flags import (
    JudgeFlags,
    PathText,
    ThinkingFlags,
    UserPath,
    mapping,
    read_mapping,
    read_text,
    refuse_key,
)
from vsr1_bench.pipeline.other_tools import refuse_other_forms
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.prompts.formats import DEFAULT_FORMAT
from vsr1_bench.registry import resolve_tasks
from vsr1_bench.store.environment import BASE_URL_VARIABLE
from vsr1_bench.task import UserDataset

PARALLEL = ("tensor_parallel_size", "data_parallel_size")


def _read_gen_kwargs(value: Any) -> dict[str, Any]:
    fields = read_mapping(value, "--gen_kwargs")
    stops = {name: stop_strings(value, name) for name in ("stop", "until") if name in fields}
    return fields | stops


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


class ReaderFlags(ThinkingFlags):
    """Flags of the reader of the descriptions."""

    reader: str | None = None
    reader_model: PathText | None = None
    reader_base_url: str | None = None
    reader_args: Annotated[dict[str, Any], mapping("--reader_args")] = Field(default_factory=dict)
    dry_run: bool = False
    batch: bool = False

    def reader_options(self, spending: Spending | None = None) -> ReaderOptions:
        """The options of the reader; `spending` is that of the judges, which bounds both.

        Raises:
            UsageError: flags of another reader for the reader `self`, or values that are not valid.
        """
        name = self.reader or SELF
        further = {*self.reader_args} - {"temperature"}
        if name == SELF and (self.reader_model or self.reader_base_url or further):
            raise UsageError(
                "--reader_model, --reader_base_url, --reader_args go with --reader openai, gemini "
                "or vllm; the reader `self` is the model itself and takes only --reader_args "
                "temperature"
            )
        refuse_key(self.reader_base_url, "--reader_base_url", "VSR1_READER_API_KEY")
        options = ReaderOptions(
            name=name,
            model=self.reader_model,
            base_url=self.reader_base_url,
            args=self.reader_args,
            spending=spending or Spending(),
            thinking_tags=self.thinking_tags,
            dry_run=self.dry_run,
            batch=self.batch,
        )
        options.own_temperature()  # a wrong one is refused before anything is made
        return options


class RunFlags(JudgeFlags, ReaderFlags):
    """All flags of `run`."""

    model: PathText
    tasks: str
    limit: PositiveInt | None = None
    samples: Annotated[tuple[str, ...], read_text(read_ids, ",")] = ()
    sample_seed: int | None = None
    output_path: UserPath = Path("runs")
    prompt: str = DEFAULT_FORMAT
    system_instruction: str | None = None
    perception: Annotated[
        Literal["self", "caption"], BeforeValidator(lambda v: SELF if v is True else v)
    ] | None = None  # fmt: skip
    blind: str | None = None
    variant: Literal["circular"] | None = None
    visual_dependence: bool = False
    backend: str = "auto"
    base_url: str | None = None
    model_args: Annotated[dict[str, Any], mapping("--model_args")] = Field(default_factory=dict)
    batch_size: str | None = None
    device: str | None = None
    tensor_parallel_size: PositiveInt | None = None
    data_parallel_size: PositiveInt | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    adapter: PathText | None = None
    gen_kwargs: Annotated[dict[str, Any], BeforeValidator(_read_gen_kwargs)] = Field(
        default_factory=dict
    )
    seed: int = 0
    num_samples: PositiveInt = 1
    data_root: PathText | None = None
    source: str | None = None
    dataset: PathText | None = None
    split: str | None = None
    offline: bool = False
    include_path: tuple[PathText, ...] = ()
    predict_only: bool = False
    loggers: Annotated[tuple[Literal["wandb", "trackio"], ...], read_text(_names, ",")] = ()
    shard: Annotated[tuple[int, int], read_text(read_shard, "/")] = (0, 1)
    force_unlock: bool = False
    verbosity: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], read_text(str.upper)
    ] = "INFO"  # fmt: skip
    # Flags of lm-eval: they have no effect, or are refused.
    log_samples: bool = False
    num_fewshot: int | None = None
    use_cache: str | None = None
    apply_chat_template: bool = False

    @model_validator(mode="before")
    @classmethod
    def _url_of_environment(cls, given: dict[str, Any]) -> dict[str, Any]:
        url = os.environ.get(BASE_URL_VARIABLE)
        if url and given.get("backend") == "openai" and not given.get("base_url"):
            return {**given, "base_url": url}
        return given

    @model_validator(mode="before")
    @classmethod
    def _no_share_as_limit(cls, given: dict[str, Any]) -> dict[str, Any]:
        refuse_share(given.get("limit"), given)
        return given

    @property
    def progress(self) -> bool:
        """Whether bars are shown."""
        return self.verbosity in ("DEBUG", "INFO")

    def run_options(self, spending: Spending | None = None) -> RunOptions:
        """The options of generation; `spending` is that of the judges, which bounds all.

        Raises:
            UsageError: a refused flag, or a value that cannot be used.
        """
        if self.num_fewshot:
            raise UsageError(
                "--num_fewshot: vsr1-bench is zero-shot only, as the paper's tables are; drop the "
                "flag"
            )
        if self.sample_seed is not None and (self.samples or self.limit is None):
            raise UsageError(
                f"--sample_seed {self.sample_seed}: draws the samples of --limit N; "
                + ("drop --samples" if self.samples else "give --limit, too")
            )
        if self.use_cache:
            raise UsageError(
                "--use_cache: the run folder is the cache; rerun with the same --output_path"
            )
        reader = self.reader_options(spending)
        if reader.name == SELF and self.reader_args and self.perception is None:
            raise UsageError("--reader_args: this run has no second pass; add --perception")
        refuse_other_forms(self.model, self.model_args, self.backend, self.base_url)
        return RunOptions(
            model=self.model,
            tasks=self.tasks,
            output_path=self.output_path,
            backend=self.backend,
            base_url=self.base_url,
            model_args=self.backend_args(),
            batch_size=self.requests_at_once(),
            gen_kwargs=self.sampling_fields(),
            prompt=self.prompt,
            system_instruction=self.system_instruction,
            limit=self.limit,
            samples=self.samples,
            sample_seed=self.sample_seed,
            shard=self.shard,
            data=DataOptions.from_flags(
                self.data_root, self.offline, self.source, self.dataset, self.split
            ),
            include_path=self.include_path,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            adapter=self.adapter,
            force_unlock=self.force_unlock,
            progress=self.progress,
            perception=self.perception,
            reader=reader,
            spending=spending or Spending(),
            blind=parse_variants(self.blind),
            circular=self.variant is not None,
            visual_dependence=self.visual_dependence,
            dry_run=self.dry_run,
            batch=self.batch,
        )

    def backend_args(self) -> dict[str, Any]:
        """`model_args`, with `device` and the like."""
        args = dict(self.model_args)
        for name in ("device", *PARALLEL):
            if (value := getattr(self, name)) is not None:
                args[name] = value
        return args

    def requests_at_once(self) -> int | None:
        """`batch_size`; None = the backend's default.

        Raises:
            UsageError: it is not a number.
        """
        if self.batch_size is None or self.batch_size == "auto":
            return None
        if not self.batch_size.isdigit() or int(self.batch_size) < 1:
            raise UsageError(
                f"--batch_size {self.batch_size}: wanted a whole number of at least 1, or auto"
            )
        return int(self.batch_size)

    def sampling_fields(self) -> dict[str, Any]:
        """Fields of `Sampling`: `gen_kwargs`, `seed` and `num_samples`.

        Raises:
            UsageError: an unknown field or a value of the wrong kind.
        """
        return sampling_fields(self.gen_kwargs, self.seed, self.num_samples)


def refuse_share(limit: Any, given: Mapping[str, Any]) -> None:
    """Refuse `--limit 0.1`, with the count that it would be.

    Args:
        limit: As typed.
        given: The flags of a run: `tasks`, `include_path`.

    Raises:
        UsageError: the limit is a share.
    """
    if not isinstance(limit, float) or not 0 < limit < 1:
        return
    counts = {}
    for task in resolve_tasks(str(given.get("tasks")), tuple(given.get("include_path") or ())):
        stated = None if isinstance(task.source, UserDataset) else task.source.n
        counts[task.name] = stated and max(1, round(limit * stated * task.per_row))
    known = [f"{count} of {name}" for name, count in counts.items() if count]
    would = f"; {limit:g} would be {', '.join(known[:5])}" if known else ""
    first = next((count for count in counts.values() if count), 100)
    raise UsageError(f"--limit {limit:g}: wanted a number of samples{would}: --limit {first}")
