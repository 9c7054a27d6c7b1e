"""What must hold on a task's own samples, through its own judge, for every form of an answer."""

from __future__ import annotations

import pytest
from judged import RED, judged, one

from vsr1_bench.data.problem_rows import problem_row
from vsr1_bench.records import Sample
from vsr1_bench.registry import get_task
from vsr1_bench.tasks import mmlu_pro, mmstar, realworldqa

OPTIONS = ("30 degrees", "40 degrees", "50 degrees", "60 degrees")
LINES = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", OPTIONS, strict=True))
PROBLEM = f"How large is angle C?\n{LINES}"


def choices() -> dict[str, Sample]:
    """The same question as four tasks hold it."""
    row = {"question_id": 1, "question": "How large is angle C?", "options": list(OPTIONS)}
    star = {"index": 1, "question": PROBLEM, "image": RED, "category": "m", "l2_category": "g"}
    return {
        "mmlu_pro": one(mmlu_pro.to_sample(row | {"answer": "B", "category": "math"})),
        "mmstar": one(mmstar.to_sample(star | {"answer": "B"})),
        "realworldqa": one(
            realworldqa.to_sample({"question": PROBLEM, "answer": "B", "image": RED})
        ),
        "custom": problem_row({"problem": PROBLEM, "answer": "B"}),
    }


@pytest.mark.parametrize("task", sorted(choices()))
@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{B}",
        r"\boxed{\text{B}}",
        "**B**",
        "(B)",
        "B.",
        "B",
        "Answer: B",
        "Answer: (B) 40 degrees",
        "<answer>B</answer>",
        "40 degrees",
        r"\boxed{40}",
        r"\boxed{40^\circ}",
        "\uff22",
        "\\boxed{\uff22}",
        "Seen from here, option B is correct.",
        "So the angle at point C is acute, and I choose B.",
        "<think>A? C? D.</think> B",
        r"\boxed{A}, no: \boxed{B}",
    ],
)
def test_every_form_of_the_right_letter(task: str, response: str) -> None:
    verdict = judged(task, choices()[task], response)
    assert (verdict.outcome, verdict.extracted) == ("correct", "B")


@pytest.mark.parametrize("task", sorted(choices()))
@pytest.mark.parametrize(
    "response",
    ["B or C", "(A) (B)", "Answer: A/B", r"\boxed{A, B}", "Point B is the vertex", "", r"\boxed{B"],
)
def test_two_letters_or_none_are_unparsed_never_a_guess(task: str, response: str) -> None:
    verdict = judged(task, choices()[task], response)
    assert (verdict.outcome, verdict.unparsed, verdict.extracted) == ("incorrect", True, None)


@pytest.mark.parametrize(
    ("gold", "given"),
    [
        ("12,345", "12345"),
        ("0.25", r"\frac{1}{4}"),
        ("1500", r"1.5\times10^{3}"),
        ("1500", "1.5e3"),
        ("25\\%", "25\\%"),
        ("25\\%", "0.25"),
        ("12 cm", r"12\text{ cm}"),
        ("12 cm", "12"),
        ("$18.90", "18.9"),
        ("2 1/2", "2.5"),
        ("[0, 2)", r"\left[0, 2\right)"),
        (r"(-\infty, 1]", r"(-\infty,1]"),
        ("1, 2, 3", "1,2,3"),
        (r"\{1, 2, 3\}", r"\{3, 1, 2\}"),
        ("(3, 4)", r"\left(3, 4\right)"),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
        (r"2\sqrt{3} \text{ units}", r"\sqrt{12}\text{ units}"),
        (r"\text{Area} = 6\pi", r"6\pi"),
        (r"x \in [1, 2]", "[1, 2]"),
        ("even", r"\text{even}"),
    ],
)
def test_forms_of_one_value_in_a_set_of_ones_own(gold: str, given: str) -> None:
    sample = problem_row({"problem": "What is it?", "answer": gold})
    assert judged("custom", sample, rf"so \boxed{{{given}}}").outcome == "correct"


@pytest.mark.parametrize(
    ("gold", "given"),
    [
        ("12,345", "12"),
        ("12,345", "345"),
        ("0.25", "25"),
        ("12 cm", r"12\text{ m}"),
        ("[0, 2)", "[0, 2]"),
        ("[0, 2)", "(0, 2)"),
        ("1, 2, 3", "1, 2"),
        (r"\{1, 2, 3\}", r"\{1, 2\}"),
        ("(3, 4)", "(4, 3)"),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
        (r"6\pi", "6"),
        ("even", "neve"),
        ("1500", r"1.5\times10^{4}"),
        ("5", "5 or 6"),
    ],
)
def test_what_must_not_become_right(gold: str, given: str) -> None:
    sample = problem_row({"problem": "What is it?", "answer": gold})
    assert judged("custom", sample, rf"so \boxed{{{given}}}").outcome == "incorrect"


def test_the_default_judges_exist() -> None:
    for name in choices():
        assert get_task(name).judge in ("string_match", "math")
