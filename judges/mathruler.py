"""MathRuler: the rule grader of the Vision-SR1 paper, in parity with the package."""

import re

from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.records import Verdict

_NONE_IN_BOX = re.compile(r"\\boxed\{\s*None\s*\}")


def grade(item: Item) -> Verdict:
    """Return the package's verdict on the last box of the whole response.

    One deviation: the package reads a missing box as the text "None"; here it is unparsed.
    """
    from mathruler.grader import extract_boxed_content, grade_answer

    if not item.answer.strip():
        return Verdict("unscored", reason="gold_unreadable")
    if not item.response.strip():
        return Verdict("incorrect", unparsed=True, reason="empty")
    content = extract_boxed_content(item.response)
    last_box = max(item.response.rfind("\\boxed{"), 0)
    if content == "None" and not _NONE_IN_BOX.match(item.response, last_box):
        return Verdict("incorrect", unparsed=True, reason="no_answer")
    right = grade_answer(content, item.answer)
    return Verdict("correct" if right else "incorrect", extracted=content)


def warm_up() -> None:
    """Import sympy and run it once."""
    from mathruler.grader import grade_answer

    grade_answer("x+1", "1+x")


JUDGE = RuleJudge(
    name="mathruler",
    version=1,
    grade=grade,
    description="the paper's rule grader: \\boxed{} content compared by mathruler",
    bounded=True,
    warm_up=warm_up,
    answer_type="math",
)
