"""cascade:RULE,LLM: as in the paper, the LLM judges what the rule calls wrong."""

from dataclasses import replace

from vsr1_bench.judge import JudgeContext, JudgeRunner, ModelJudge
from vsr1_bench.judging.compose import Cascade, open_both, two_specs

ALL = "(all)"


def open_cascade(context: JudgeContext) -> JudgeRunner:
    """Open both; with --judge_all the LLM sees every response, and the name says so."""
    options, argument = context.options, context.argument
    if argument.endswith(ALL):  # a stored name, typed as it is
        options, argument = replace(options, judge_all=True), argument.removesuffix(ALL)
    first, second = two_specs(argument, context.spec)
    rule, model = open_both(context, (first, second), options)
    name = f"cascade:{rule.name},{model.name}{ALL if options.judge_all else ''}"
    return Cascade(name, rule, model, judge_all=options.judge_all)


JUDGE = ModelJudge(
    name="cascade",
    version=1,
    open=open_cascade,
    description="cascade:RULE,LLM: the LLM where the rule says wrong (--judge_all: everywhere)",
)
