"""legacy_vsr1: the published scorer of the paper, faults included, to show their effect.

Correct by the rule is correct; elsewhere a judgment counts as correct unless it contains
"incorrect", and a failed call is the text "error". Never report a number of this judge as a score.
"""

from dataclasses import replace

from vsr1_bench.judge import JudgeContext, JudgeRunner, ModelJudge
from vsr1_bench.judging.compose import Legacy, open_both, two_specs

DEFAULT = "mathruler,gemini"


def open_legacy(context: JudgeContext) -> JudgeRunner:
    """Open rule and LLM, the latter with the paper's own prompt."""
    first, second = two_specs(context.argument or DEFAULT, context.spec)
    options = replace(context.options, prompt="paper", task_prompt=None)
    rule, model = open_both(context, (first, second), options)
    return Legacy(f"legacy_vsr1:{rule.name},{model.name}", rule, model)


JUDGE = ModelJudge(
    name="legacy_vsr1",
    version=1,
    open=open_legacy,
    description="the paper's published scorer with its faults, to show the delta: [:RULE,LLM]",
)
