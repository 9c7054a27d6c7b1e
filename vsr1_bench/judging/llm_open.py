"""From flags to a model that judges: the endpoints and engines behind LLM judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vsr1_bench.errors import UsageError
from vsr1_bench.generation.connect import (
    Connection,
    ConnectOptions,
    connect_gemini,
    connect_openai,
    connect_vllm,
)
from vsr1_bench.generation.flags import Flags
from vsr1_bench.judge import JudgeContext, JudgeOptions, JudgeRunner
from vsr1_bench.prompts.judge_prompts import STRICT, get_prompt
from vsr1_bench.store.judge_names import llm_name, model_label, read_name, split_first

JUDGE_FLAGS = Flags(
    "judge", "--judge_model", "--judge_base_url", "--judge_args", "VSR1_JUDGE_API_KEY"
)


def open_openai(context: JudgeContext) -> JudgeRunner:
    """A judge behind any OpenAI-compatible URL."""
    return _runner(context, connect_openai)


def open_gemini(context: JudgeContext) -> JudgeRunner:
    """Gemini as judge."""
    return _runner(context, connect_gemini)


def open_vllm(context: JudgeContext) -> JudgeRunner:
    """A local LLM as judge."""
    return _runner(context, connect_vllm)


def _named(context: JudgeContext) -> JudgeOptions:
    """The options, with the model and prompt that are in the judge's brackets.

    Raises:
        UsageError: an argument, which such a judge does not take.
    """
    kind, options = read_name(context.spec).kind, context.options
    if context.argument:
        raise UsageError(
            f"judge {context.spec!r} takes nothing after a colon; a model stands in brackets: "
            f"'{kind}[{context.argument}]', or in --judge_model"
        )
    if not context.brackets:
        return options
    model, prompt = split_first(context.brackets)
    # A folder's name stands for the folder that --judge_model gives; `_runner` compares them.
    return replace(options, model=options.model or model, prompt=prompt or options.prompt)


def _runner(context: JudgeContext, connect: Callable[[ConnectOptions], Connection]) -> JudgeRunner:
    """The judge at work, under its name.

    Raises:
        JudgeMissingError: its model, key, endpoint or package is not there.
        UsageError: its brackets and --judge_model name two models, or an argument cannot be used.
    """
    from vsr1_bench.judging.llm import LLMRunner  # `ls` does without pydantic

    options = _named(context)
    connection = connect(
        ConnectOptions(
            JUDGE_FLAGS,
            options.model,
            options.base_url,
            options.args,
            options.concurrency,
            options.dry_run,
        )
    )
    asked = split_first(context.brackets)[0]
    if asked and asked != model_label(connection.model):
        raise UsageError(
            f"judge {context.spec!r} and --judge_model {connection.model} name two models; drop "
            "one of them"
        )
    prompt = options.task_prompt or get_prompt(options.prompt)
    usual = prompt in (STRICT, options.task_prompt)
    name = llm_name(read_name(context.spec).kind, connection.model, None if usual else prompt.name)
    return LLMRunner(name, 1, connection, prompt, options.spending)
