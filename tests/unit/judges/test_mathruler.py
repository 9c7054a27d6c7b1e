"""MathRuler: the package's verdicts, and its faults that are not repeated."""

from __future__ import annotations

import pytest

from vsr1_bench.judge import Item
from vsr1_bench.judges.mathruler import JUDGE
from vsr1_bench.records import Verdict


def judge(response: str, answer: str) -> Verdict:
    return JUDGE.grade(Item("1", response, answer, "math"))


@pytest.mark.parametrize(
    ("response", "answer", "outcome", "extracted"),
    [
        (r"\boxed{5}", "5", "correct", "5"),
        (r"<think>\boxed{5}</think>", "5", "correct", "5"),
        (r"\boxed{\frac{1}{2}}", "1/2", "correct", r"\frac{1}{2}"),
        (r"\boxed{2/4}", "1/2", "incorrect", "2/4"),
        (r"\boxed{b}", "B", "correct", "b"),
        (r"\boxed{5} or \boxed{6}", "5", "incorrect", "6"),
        (r"\boxed{None}", "None", "correct", "None"),
        (r"\boxed{ None }", "5", "incorrect", "None"),
        (r"\boxed{}", "5", "incorrect", ""),
    ],
)
def test_a_box_is_graded(response: str, answer: str, outcome: str, extracted: str) -> None:
    verdict = judge(response, answer)
    assert (verdict.outcome, verdict.extracted) == (outcome, extracted)
    assert not verdict.unparsed


@pytest.mark.parametrize("answer", ["5", "None", "none"])
@pytest.mark.parametrize("response", ["", " ", "None", "5", r"\boxed{5", r"\boxed{None} \boxed{"])
def test_a_missing_box_is_never_the_text_none(response: str, answer: str) -> None:
    verdict = judge(response, answer)
    assert (verdict.outcome, verdict.extracted, verdict.unparsed) == ("incorrect", None, True)


def test_an_empty_gold_answer_is_unscored() -> None:
    assert judge(r"\boxed{}", "").outcome == "unscored"
