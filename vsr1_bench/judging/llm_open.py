"""From flags to a model that judges (or reads): the endpoints and engines behind LLM judges."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import JudgeMissingError, UsageError
from vsr1_bench.judge import JudgeOptions, Opening, RunningJudge
from vsr1_bench.prompts.judge_prompts import STRICT, get_prompt
from vsr1_bench.records import Sampling
from vsr1_bench.store.judge_names import llm_name, model_label, read_name, split_first

if TYPE_CHECKING:
    from vsr1_bench.generation.base import BackendArgs, Generator
    from vsr1_bench.judging.llm import Connection

KEY_VARIABLE = "VSR1_JUDGE_API_KEY"
"""Key of an OpenAI-compatible judge; where it is not set, OPENAI_API_KEY goes to the judge, too."""
SAMPLING: dict[str, type] = {"temperature": float, "top_p": float, "max_tokens": int, "seed": int}
# These change when a reply comes, not what it says.
HARMLESS = (
    "concurrency",
    "timeout",
    "max_retries",
    "capacity",
    "threads",
    "gpu_memory_utilization",
)


def open_openai(opening: Opening) -> RunningJudge:
    """A judge behind any OpenAI-compatible URL."""
    options = _named(opening)
    return _runner(opening, options, connect_openai(options))


def open_gemini(opening: Opening) -> RunningJudge:
    """Gemini as judge."""
    options = _named(opening)
    return _runner(opening, options, connect_gemini(options))


def open_vllm(opening: Opening) -> RunningJudge:
    """A local LLM as judge."""
    options = _named(opening)
    return _runner(opening, options, connect_vllm(options))


def connect_openai(options: JudgeOptions, key_variable: str = KEY_VARIABLE) -> Connection:
    """An LLM behind any OpenAI-compatible URL.

    Args:
        options: What was said about the model.
        key_variable: Where its key is; where that is not set, in OPENAI_API_KEY.
    """
    if not options.model or not options.base_url:
        raise JudgeMissingError(
            "judge 'openai' needs --judge_model NAME and --judge_base_url http://HOST:PORT/v1"
        )
    sampling, rest = split_args(options, {"max_tokens": 2048})
    model, url = options.model, options.base_url.rstrip("/")
    told = {"vllm_fields": False, "concurrency": options.concurrency or 32} | rest

    def connect(args: BackendArgs) -> Generator:
        from vsr1_bench.generation.models import find_model
        from vsr1_bench.generation.openai import KEY_VARIABLE as SHARED
        from vsr1_bench.generation.openai import OpenAIArgs, OpenAIGenerator

        assert isinstance(args, OpenAIArgs)
        shared = os.environ.get(SHARED) and not os.environ.get(key_variable)
        variable = SHARED if shared else key_variable  # the one that an error is to name
        found = find_model(model, backend="openai", base_url=url)
        return OpenAIGenerator(found, args, key_variable=variable)

    def checked() -> BackendArgs:
        from vsr1_bench.generation.base import parse_backend_args
        from vsr1_bench.generation.calls import checked_url
        from vsr1_bench.generation.openai import OpenAIArgs

        checked_url(url)
        return parse_backend_args(OpenAIArgs, "openai", told)

    return _connection(model, _endpoint_mark(url, model), sampling, told, checked, connect)


def connect_gemini(options: JudgeOptions, key_variable: str = "") -> Connection:
    """Gemini, by Google's own client, which knows its key's variables itself."""
    sampling, rest = split_args(options, {"max_tokens": 8192})  # thinking counts, too
    model, url = options.model or "gemini-2.5-flash", (options.base_url or "").rstrip("/")
    told = {"concurrency": options.concurrency or 16} | rest
    variables = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    if not options.dry_run and not any(os.environ.get(name) for name in variables):
        raise JudgeMissingError(f"judge 'gemini' needs a key in {' or '.join(variables)}")

    def connect(args: BackendArgs) -> Generator:
        from vsr1_bench.generation.gemini import GeminiArgs, GeminiGenerator
        from vsr1_bench.generation.models import ModelInfo

        assert isinstance(args, GeminiArgs)
        return GeminiGenerator(ModelInfo(model, "", verified=False, base_url=url or None), args)

    def checked() -> BackendArgs:
        from vsr1_bench.generation.base import parse_backend_args
        from vsr1_bench.generation.calls import checked_url
        from vsr1_bench.generation.gemini import ENDPOINT, GeminiArgs

        checked_url(url or ENDPOINT)
        return parse_backend_args(GeminiArgs, "gemini", told)

    return _connection(model, _endpoint_mark(url, model), sampling, told, checked, connect)


def connect_vllm(options: JudgeOptions, key_variable: str = "") -> Connection:
    """A local LLM in vLLM's engine, in this process; it has no key."""
    if not options.model:
        raise JudgeMissingError("judge 'vllm' needs --judge_model: a folder or a hub id")
    if options.base_url:
        raise UsageError("--judge_base_url goes with judge 'openai', not 'vllm'; drop one of them")
    if find_spec("vllm") is None:
        raise JudgeMissingError("judge 'vllm' needs vLLM: pip install 'vsr1-bench[vllm]'")
    from vsr1_bench.generation.devices import check_devices
    from vsr1_bench.generation.models import find_model
    from vsr1_bench.generation.precision import precision_of

    sampling, told = split_args(options, {"max_tokens": 512})
    if options.concurrency:
        told = {"max_num_seqs": options.concurrency} | told
    model = find_model(options.model, backend="vllm", offline=options.dry_run)

    def connect(args: BackendArgs) -> Generator:
        from vsr1_bench.generation.vllm import VllmArgs, VllmGenerator

        assert isinstance(args, VllmArgs)
        return VllmGenerator(model, args)

    def checked() -> BackendArgs:
        from vsr1_bench.generation.base import parse_backend_args
        from vsr1_bench.generation.vllm import VllmArgs

        args = parse_backend_args(VllmArgs, "vllm", told)
        check_devices("vllm", args)
        return args

    found = _connection(model.id, model.fingerprint, sampling, told, checked, connect)
    if "dtype" not in told and (dtype := precision_of(model.path, checked()).dtype) == "float32":
        # vLLM by itself ran such weights in bf16: verdicts of that time are another judge's.
        found = replace(found, told={**found.told, "dtype": dtype})
    return found


def _named(opening: Opening) -> JudgeOptions:
    """The options, with the model and prompt that are in the judge's brackets.

    Raises:
        UsageError: an argument, which such a judge does not take.
    """
    kind, options = read_name(opening.spec).kind, opening.options
    if opening.argument:
        raise UsageError(
            f"judge {opening.spec!r} takes nothing after a colon; a model stands in brackets: "
            f"'{kind}[{opening.argument}]', or in --judge_model"
        )
    if not opening.brackets:
        return options
    model, prompt = split_first(opening.brackets)
    # A folder's name stands for the folder that --judge_model gives; `_runner` compares them.
    return replace(options, model=options.model or model, prompt=prompt or options.prompt)


def _runner(opening: Opening, options: JudgeOptions, connection: Connection) -> RunningJudge:
    """The judge at work, under its name.

    Raises:
        UsageError: its brackets and --judge_model name two models.
    """
    from vsr1_bench.judging.llm import LLMRunner  # `ls` does without pydantic

    asked = split_first(opening.brackets)[0]
    if asked and asked != model_label(connection.model):
        raise UsageError(
            f"judge {opening.spec!r} and --judge_model {connection.model} name two models; drop "
            "one of them"
        )
    prompt = options.task_prompt or get_prompt(options.prompt)
    usual = prompt in (STRICT, options.task_prompt)
    name = llm_name(read_name(opening.spec).kind, connection.model, None if usual else prompt.name)
    return LLMRunner(name, 1, connection, prompt, options.spending)


def _connection(
    model: str,
    mark: str,
    sampling: Sampling,
    told: Mapping[str, Any],
    checked: Callable[[], BackendArgs],
    connect: Callable[[BackendArgs], Generator],
) -> Connection:
    from vsr1_bench.judging.llm import Connection

    try:
        args = checked()  # a typing error must not cost a generation
    except UsageError as error:
        said = str(error).replace("--model_args", "--judge_args")
        raise UsageError(said.replace("--base_url", "--judge_base_url")) from None
    decides = {name: value for name, value in told.items() if name not in HARMLESS}
    return Connection(model, mark, lambda: connect(args), sampling, decides)


def split_args(
    options: JudgeOptions, defaults: Mapping[str, Any]
) -> tuple[Sampling, dict[str, Any]]:
    """Split `--judge_args` into sampling and what the backend takes.

    Raises:
        UsageError: a sampling field of the wrong kind.
    """
    sampling: dict[str, Any] = dict(defaults)
    rest: dict[str, Any] = {}
    for name, value in options.args.items():
        kind = SAMPLING.get(name)
        if kind is None:
            rest[name] = value
        elif isinstance(value, bool) or not isinstance(value, int | float) or kind(value) != value:
            wanted = "a whole number" if kind is int else "a number"
            raise UsageError(f"--judge_args {name}={value}: wanted {wanted}")
        else:
            sampling[name] = kind(value)
    for name, low in (("temperature", 0), ("max_tokens", 1)):
        if sampling.get(name, low) < low:
            raise UsageError(f"--judge_args {name}={sampling[name]}: wanted at least {low}")
    return Sampling(**sampling), rest


def _endpoint_mark(url: str, model: str) -> str:
    return hashlib.sha256(f"{url}\0{model}".encode()).hexdigest()[:32]
