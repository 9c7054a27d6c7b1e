"""majority:SPEC*K: the verdict of more than half of K votes; ties are unscored."""

from dataclasses import replace

from vsr1_bench.judge import JudgeContext, JudgeRunner, ModelJudge
from vsr1_bench.judging.compose import Majority, spec_times

TEMPERATURE = 0.7
"""At temperature 0 all votes would be equal. `--judge_args temperature=…` takes precedence."""


def open_majority(context: JudgeContext) -> JudgeRunner:
    """Open the judge that votes."""
    spec, votes = spec_times(context.argument, context.spec)
    args = {"temperature": TEMPERATURE, **context.options.args}
    voter = context.open(spec, replace(context.options, args=args))
    return Majority(f"majority:{voter.name}*{votes}", voter, votes)


JUDGE = ModelJudge(
    name="majority",
    version=1,
    open=open_majority,
    description="majority:SPEC*K: the verdict of more than half of K votes",
)
