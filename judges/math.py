"""Math: formulas compared by math-verify (numbers, fractions, intervals, lists, sets, matrices)."""

from vsr1_bench.answers import extract, is_no_gold, rounds_to
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.judges._formulas import same_formula
from vsr1_bench.judges.string_match import grade as grade_string
from vsr1_bench.records import Verdict


def grade(item: Item) -> Verdict:
    """Compare the final answer with the gold LaTeX; choices and yes/no as string match does."""
    if item.answer_type in ("choice", "yes_no"):
        return grade_string(item)
    if is_no_gold(item.answer):
        return Verdict("unscored", reason="gold_unreadable")
    found = extract(item.response, "math")
    if found.value is None:
        return found.verdict(False)
    close = item.extra.get("rounded") and rounds_to(found.value, item.answer)
    right = bool(close) or same_formula(found.value, item.answer)
    return found.verdict(right)


JUDGE = RuleJudge(
    name="math",
    version=2,
    grade=grade,
    description="formulas by math-verify; choices and yes/no by string match",
    bounded=True,
    warm_up=lambda: same_formula("x+1=y", "y=1+x"),
    late_warm_up=True,
    answer_type="math",
)
