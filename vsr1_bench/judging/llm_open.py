"""Judges that ask an LLM: which model, at which endpoint or in which engine, with which prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from vsr1_bench.errors import UsageError
from vsr1_bench.generation.connect import CONNECT
from vsr1_bench.judge import JudgeContext, JudgeOptions, JudgeRunner
from vsr1_bench.prompts.judge_prompts import STRICT, JudgePrompt, get_prompt
from vsr1_bench.store.judge_names import llm_name, model_label, read_name, split_first


def llm_judge(
    backend: str, prompt: JudgePrompt | None = None
) -> Callable[[JudgeContext], JudgeRunner]:
    """Make the `open` of a `ModelJudge` that asks an LLM.

    Args:
        backend: `openai` (any OpenAI-compatible URL), `gemini` or `vllm` (in this process).
        prompt: The judge's own prompt; None = `--judge_prompt`, or the prompt of the task.
    """
    return partial(_open, backend=backend, prompt=prompt)


def _open(context: JudgeContext, backend: str, prompt: JudgePrompt | None) -> JudgeRunner:
    """Open the judge under its name.

    Raises:
        JudgeMissingError: its model, key, endpoint or package is not there.
        UsageError: its brackets and --judge_model name two models, or an argument cannot be used.
    """
    from vsr1_bench.judging.llm import LLMRunner  # imports pydantic, which `ls` does without

    options = _options(context)
    connection = CONNECT[backend](options)
    named, other = split_first(context.brackets)
    if prompt and other:
        raise UsageError(f"judge {context.spec!r} has its own prompt; drop {other!r}")
    if named and named != model_label(connection.model):
        raise UsageError(
            f"judge {context.spec!r} and --judge_model {connection.model} name two models; drop "
            "one of them"
        )
    usual = prompt or options.task_prompt
    used = usual or get_prompt(options.prompt)
    shown = None if used in (STRICT, usual) else used.name
    name = llm_name(read_name(context.spec).kind, connection.model, shown)
    return LLMRunner(name, connection, used, options.spending)


def _options(context: JudgeContext) -> JudgeOptions:
    """The options, with the model and prompt that are in the judge's brackets.

    Raises:
        UsageError: an argument, which such a judge does not take.
    """
    kind, options = read_name(context.spec).kind, context.options
    if context.argument:
        raise UsageError(
            f"judge {context.spec!r} takes nothing after a colon; put the model in brackets: "
            f"'{kind}[{context.argument}]', or in --judge_model"
        )
    if not context.brackets:
        return options
    model, prompt = split_first(context.brackets)
    # A folder's name refers to the folder in --judge_model; `_open` compares them.
    return replace(options, model=options.model or model, prompt=prompt or options.prompt)
