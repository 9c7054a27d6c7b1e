"""From options to a model that judges or reads: an endpoint, or an engine in this process.

Nothing is loaded or called here. Everything that can be checked before the first request is checked
here, so that a typing error does not waste a generation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vsr1_bench._util.installing import install_command
from vsr1_bench.errors import BenchError, JudgeMissingError, UsageError
from vsr1_bench.generation.further_fields import FIELDS, headers_of, read_field
from vsr1_bench.generation.hosts import with_host_args
from vsr1_bench.records import Sampling
from vsr1_bench.store.environment import BASE_URL_VARIABLE

if TYPE_CHECKING:
    from vsr1_bench.generation.base import Generator
    from vsr1_bench.generation.flags import Flags

OPENAI = "https://api.openai.com/v1"
"""OpenAI's own endpoint."""
SAMPLING: dict[str, type] = {"temperature": float, "top_p": float, "max_tokens": int, "seed": int}
# These affect when a reply arrives, not its content.
HARMLESS = (
    "concurrency",
    "timeout",
    "max_retries",
    "capacity",
    "threads",
    "gpu_memory_utilization",
)


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """The command-line options of a model that judges or reads."""

    flags: Flags
    """The names of these options, for messages."""
    model: str | None = None
    base_url: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    """Sampling (`SAMPLING`), and arguments of the backend."""
    concurrency: int | None = None
    dry_run: bool = False
    """No call will be made: a missing key is not an error, and no model is downloaded."""
    batch: bool = False
    """Endpoints are asked by their batch service."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A model that judges or reads, not yet loaded or called."""

    model: str
    mark: str
    """Fingerprint of the weights, or of endpoint and served id."""
    open: Callable[[], Generator]
    sampling: Sampling
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other settings that can change a reply (`safety`, `dtype`)."""
    by_batch: bool = False
    """Whether its endpoint can have a batch service."""


def connect_openai(options: ConnectOptions) -> Connection:
    """An LLM behind any OpenAI-compatible URL; if it has no separate key, OPENAI_API_KEY is sent.

    Without a URL it is the endpoint of OPENAI_BASE_URL, or OpenAI's own.

    Raises:
        JudgeMissingError: no model was given, or OpenAI's own endpoint has no key.
        UsageError: an argument that cannot be used.
    """
    flags = options.flags
    given = options.base_url or os.environ.get(BASE_URL_VARIABLE)
    keys = (flags.key_variable, "OPENAI_API_KEY")
    unpaid = not (given or options.dry_run or any(os.environ.get(name) for name in keys))
    key = f"a key in {' or '.join(keys)}"
    if not options.model:
        raise JudgeMissingError(
            f"{flags.role} 'openai' needs {flags.model} NAME, and {flags.base_url} "
            "http://HOST:PORT/v1 unless it is OpenAI's" + f", which needs {key}" * unpaid
        )
    if unpaid:
        raise JudgeMissingError(
            f"{flags.role} 'openai' without {flags.base_url} is OpenAI's own endpoint, which needs "
            f"{key}; another endpoint: {flags.base_url} http://HOST:PORT/v1"
        )
    headers_of(flags.headers_variable)  # a wrong one must not waste a generation
    sampling, rest = split_args(options, {"max_tokens": 2048}, FIELDS)
    settings = {"vllm_fields": False, "concurrency": options.concurrency or 32} | rest

    from vsr1_bench.generation.base import parse_backend_args
    from vsr1_bench.generation.models import find_model
    from vsr1_bench.generation.openai import KEY_VARIABLE, OpenAIArgs, OpenAIGenerator

    model = find_model(options.model, backend="openai", base_url=given or OPENAI, flags=flags)
    # Not in `settings`: judges are who they were before hosts were known.
    args = parse_backend_args(OpenAIArgs, "openai", with_host_args(model.base_url, settings), flags)

    def connect() -> Generator:
        shared = os.environ.get(KEY_VARIABLE) and not os.environ.get(flags.key_variable)
        variable = KEY_VARIABLE if shared else flags.key_variable  # the one that an error names
        return by_batch(OpenAIGenerator(model, args, key_variable=variable), options.batch)

    decides = _decides(settings)
    return Connection(model.id, model.fingerprint, connect, sampling, decides, by_batch=True)


def connect_gemini(options: ConnectOptions) -> Connection:
    """Gemini, through Google's client.

    Raises:
        JudgeMissingError: there is no key.
        UsageError: an argument that cannot be used.
    """
    flags = options.flags
    sampling, rest = split_args(options, {"max_tokens": 8192})  # thinking counts, too
    model, url = options.model or "gemini-2.5-flash", (options.base_url or "").rstrip("/")
    settings = {"concurrency": options.concurrency or 16} | rest
    variables = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    if not options.dry_run and not any(os.environ.get(name) for name in variables):
        raise JudgeMissingError(f"{flags.role} 'gemini' needs a key in {' or '.join(variables)}")

    from vsr1_bench.generation.base import parse_backend_args
    from vsr1_bench.generation.gemini import ENDPOINT, GeminiArgs, GeminiGenerator
    from vsr1_bench.generation.models import ModelInfo, checked_url, endpoint_mark

    checked_url(url or ENDPOINT, flags)
    args = parse_backend_args(GeminiArgs, "gemini", settings, flags)
    mark = endpoint_mark(url, model)
    info = ModelInfo(model, mark, verified=False, base_url=url or None, flags=flags)

    def connect() -> Generator:
        return by_batch(GeminiGenerator(info, args), options.batch)

    return Connection(model, mark, connect, sampling, _decides(settings), by_batch=True)


def connect_vllm(options: ConnectOptions) -> Connection:
    """A local LLM in vLLM's engine, in this process; it has no key.

    Raises:
        JudgeMissingError: no model was given, or vLLM is not installed.
        UsageError: an argument that cannot be used.
    """
    flags = options.flags
    missing = [] if options.model else [f"{flags.model}: a folder or a hub id"]
    missing += [] if find_spec("vllm") else [f"vLLM: {install_command('vllm')}"]
    if options.base_url:
        raise UsageError(
            f"{flags.base_url} goes with {flags.role} 'openai', not 'vllm'; drop one of them"
        )
    if missing or not options.model:
        raise JudgeMissingError(f"{flags.role} 'vllm' needs {', and '.join(missing)}")
    from vsr1_bench.generation.base import parse_backend_args
    from vsr1_bench.generation.devices import check_devices
    from vsr1_bench.generation.models import find_model
    from vsr1_bench.generation.precision import precision_of
    from vsr1_bench.generation.vllm import VllmArgs, VllmGenerator

    sampling, settings = split_args(options, {"max_tokens": 512})
    if options.concurrency:
        settings = {"max_num_seqs": options.concurrency} | settings
    model = find_model(options.model, backend="vllm", offline=options.dry_run, flags=flags)
    args = parse_backend_args(VllmArgs, "vllm", settings, flags)
    check_devices("vllm", args, flags=flags)
    if (
        "dtype" not in settings
        and (dtype := precision_of(model.path, args, flags).dtype) == "float32"
    ):
        # vLLM by itself ran such weights in bf16: verdicts of that time are another judge's.
        settings["dtype"] = dtype
    connect = partial(VllmGenerator, model, args)
    return Connection(model.id, model.fingerprint, connect, sampling, _decides(settings))


def together(*steps: Callable[[], Any]) -> list[Any]:
    """Run steps that each open judges or a reader; all that they miss is named at once.

    Raises:
        JudgeMissingError: of one step, or with the messages of several.
    """
    results: list[Any] = []
    missing: dict[str, JudgeMissingError] = {}
    for step in steps:
        try:
            results.append(step())
        except JudgeMissingError as error:
            missing.setdefault(str(error), error)
        except BenchError:
            if not missing:
                raise
            break  # what was missing first is said first
    if missing:
        raise JudgeMissingError("; ".join(missing)) from next(iter(missing.values()))
    return results


def batch_note(parts: Mapping[str, bool | None], *, dry_run: bool = False) -> str | None:
    """What `--batch` does not change, in one line; None = it changes all that is asked.

    Args:
        parts: Who answers -> whether a batch service can be asked; None = nobody is asked (a rule).
        dry_run: Also name those that would be asked by batch.

    Raises:
        UsageError: it would change nothing.
    """
    alone = ", ".join(name for name, can in parts.items() if can is False)
    if not any(parts.values()):
        raise UsageError(
            f"--batch: nothing that this command asks has a batch service ({alone or 'only rules'})"
            "; drop it, or ask an endpoint: --base_url, --judge or --reader openai or gemini"
        )
    asked = ", ".join(name for name, can in parts.items() if can)
    notes = [f"would submit a batch to {asked}"] if dry_run else []
    notes += [f"no batch service for {alone}; works as without"] if alone else []
    return f"--batch: {'; '.join(notes)}" if notes else None


def by_batch(generator: Generator, wanted: bool) -> Generator:
    """Let an endpoint answer by its batch service, if that is wanted."""
    if not wanted:
        return generator
    from vsr1_bench.generation.batch import BatchGenerator
    from vsr1_bench.generation.calls import CallingGenerator

    assert isinstance(generator, CallingGenerator)
    return BatchGenerator(generator)


CONNECT = {"openai": connect_openai, "gemini": connect_gemini, "vllm": connect_vllm}
"""How to connect to a model that judges or reads, by the name of the backend."""


def _decides(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in HARMLESS}


def split_args(
    options: ConnectOptions, defaults: Mapping[str, Any], further: Sequence[str] = ()
) -> tuple[Sampling, dict[str, Any]]:
    """Split the arguments into sampling and arguments of the backend.

    Args:
        options: With the arguments.
        defaults: Sampling of this kind of model.
        further: The fields of `further_fields` that the backend has.

    Raises:
        UsageError: a sampling field has the wrong type.
    """
    flag = options.flags.args
    sampling: dict[str, Any] = dict(defaults)
    rest: dict[str, Any] = {}
    for name, value in options.args.items():
        kind = SAMPLING.get(name)
        if name in further:
            sampling[name] = read_field(name, value, flag)
        elif kind is None:
            rest[name] = value
        elif isinstance(value, bool) or not isinstance(value, int | float) or kind(value) != value:
            wanted = "a whole number" if kind is int else "a number"
            raise UsageError(f"{flag} {name}={value}: wanted {wanted}")
        else:
            sampling[name] = kind(value)
    for name, low in (("temperature", 0), ("max_tokens", 1)):
        if sampling.get(name, low) < low:
            raise UsageError(f"{flag} {name}={sampling[name]}: wanted at least {low}")
    return Sampling(**sampling), rest
