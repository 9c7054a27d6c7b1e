"""Math: what math-verify adds, and its misreadings that must not become right answers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from vsr1_bench.judge import Item
from vsr1_bench.judges.math import JUDGE
from vsr1_bench.records import Verdict


def judge(answer: str, gold: str) -> Verdict:
    return JUDGE.grade(Item("1", f"<think>x</think> \\boxed{{{answer}}}", gold, "math"))


RIGHT = [
    ("5", "5"),
    ("1000", "1,000"),
    (r"10,\!000", "10000"),
    (r"\frac{2}{4}", r"\frac{1}{2}"),
    ("0.5", r"\frac{1}{2}"),
    ("1/2", r"\frac12"),
    ("3 1/2", r"\frac{7}{2}"),
    (r"\frac{7}{2}", r"3\frac{1}{2}"),
    (r"50\%", "50"),
    (r"40^\circ", "40"),
    (r"5.4 \text{ cents}", "5.4"),
    ("18.9", r"\$18.90"),
    (r"\sqrt{117}", r"3\sqrt{13}"),
    ("(x+1)^2", "x^2+2x+1"),
    ("q-p", "-p + q"),
    ("7i-2", "-2+7i"),
    ("x=5", "5"),
    ("5", "x=5"),
    (r"\{2, 1\}", r"\{1, 2\}"),
    ("2, 1", "1, 2"),
    (r"1+\sqrt{19}, 1-\sqrt{19}", r"1 \pm \sqrt{19}"),
    (r"(-\infty,2)\cup(3,\infty)", r"(-\infty, 2) \cup (3, \infty)"),
    ("[0, 1)", "[0,1)"),
    (r"(3, \pi/2)", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"\begin{bmatrix}1\\2\end{bmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("Evelyn", r"\text{Evelyn}"),
    ("evelyn", r"\text{Evelyn}"),
    ("3!", "6"),
    ("1e3", "1000"),
    ("16/7", r"$\boxed{\frac{16}{7}}$"),
    ("2516_8", "2516_8"),
    ("5 cm", r"5\text{ cm}"),
]
WRONG = [
    ("6", "5"),
    ("-5", "5"),
    ("5, 6", "5"),
    ("5 or 6", "5"),
    ("(1, 2)", "[1, 2]"),
    ("2, 1", "(1, 2)"),
    ("(2, 1)", "(1, 2)"),
    ("x<2", "2"),
    (r"3\pi", "3"),
    ("3.14", r"\pi"),
    ("0.333", r"\frac{1}{3}"),
    ("12x", "12"),
    ("3!", "3"),
    ("n!", "n"),
    (r"\text{cats}", "cat"),
    ("god", "dog"),
    ("neve", "even"),
    (r"\text{tan}", "nat"),
    ("1 2", "3"),
    ("2516", "2516_8"),
    ("2516_8", "2516"),
    ("--5", "5"),
    ("5 m", "5 cm"),
    ("the area of 10 circles is 5", "5"),
    ("#@! 5", "5"),
    (r"\foo 5", "5"),
    ("6:30", "6"),
    (r"\emptyset", "0"),
]


@pytest.mark.parametrize(("answer", "gold"), RIGHT)
def test_equal(answer: str, gold: str) -> None:
    assert judge(answer, gold) == Verdict("correct", extracted=answer)


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_not_equal(answer: str, gold: str) -> None:
    assert judge(answer, gold) == Verdict("incorrect", extracted=answer)


@pytest.mark.parametrize("response", ["", "5 and\n6", r"\boxed{5", "<think>\\boxed{5}"])
def test_without_a_final_answer_it_is_unparsed(response: str) -> None:
    verdict = JUDGE.grade(Item("1", response, "5", "math"))
    assert (verdict.outcome, verdict.unparsed, verdict.extracted) == ("incorrect", True, None)


def test_only_the_final_answer_counts() -> None:
    verdict = JUDGE.grade(Item("1", r"\boxed{5} no: \boxed{6}", "5", "math"))
    assert verdict == Verdict("incorrect", extracted="6")


def test_choices_and_yes_no_are_read_as_such() -> None:
    item = Item("1", r"\boxed{\frac{1}{2}}", "B", "choice", ("1", "0.5", "2"))
    assert JUDGE.grade(item) == Verdict("correct", extracted="B")
    assert JUDGE.grade(Item("1", "Yes.", "yes", "yes_no")).outcome == "correct"


def test_an_empty_gold_answer_is_unscored() -> None:
    assert JUDGE.grade(Item("1", "5", " ", "math")).outcome == "unscored"


def test_the_file_does_not_shadow_the_standard_library() -> None:
    import math

    assert sys.modules["vsr1_bench.judges.math"] is not math
    assert math.sqrt(4) == 2


def test_every_gold_answer_of_math_500_is_right_for_itself(real_slices: Path) -> None:
    rows = (real_slices / "HuggingFaceH4/MATH-500/test.jsonl").read_text("utf-8").splitlines()
    golds = [json.loads(row)["answer"] for row in rows]
    assert len(golds) == 500
    assert [gold for gold in golds if judge(gold, gold).outcome != "correct"] == []
    taken = [pair for pair in pairwise(golds) if judge(*pair).outcome == "correct"]
    assert [(a, b) for a, b in taken if a.removeprefix("x=") != b.removeprefix("x=")] == []


def test_a_decimal_is_rounded_as_the_gold_only_where_the_task_says_so() -> None:
    exact = Item("1", "\\boxed{2.71}", "2.7", "math")
    assert JUDGE.grade(exact).outcome == "incorrect"
    assert JUDGE.grade(replace(exact, extra={"rounded": True})).outcome == "correct"
