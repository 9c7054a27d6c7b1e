"""String match: verdicts, gold answers in any form, and what it must not call right."""

from __future__ import annotations

import pytest

from vsr1_bench.judge import Item
from vsr1_bench.judges.string_match import JUDGE
from vsr1_bench.records import AnswerType, Verdict

CARS = ("red car", "blue car", "green car")


def judge(
    response: str, answer: str, kind: AnswerType, choices: tuple[str, ...] | None = None
) -> Verdict:
    return JUDGE.grade(Item("1", response, answer, kind, choices))


@pytest.mark.parametrize("gold", ["B", "b", "(B)", "B.", "blue car", "Blue Car."])
@pytest.mark.parametrize("response", [r"\boxed{B}", "**B**", "Answer: B", "blue car"])
def test_gold_choice_is_a_letter_or_an_option(response: str, gold: str) -> None:
    assert judge(response, gold, "choice", CARS) == Verdict("correct", extracted="B")


def test_another_letter_is_wrong() -> None:
    assert judge("A", "B", "choice", CARS) == Verdict("incorrect", extracted="A")


@pytest.mark.parametrize(
    ("response", "answer", "kind", "outcome"),
    [
        ("Yes.", "yes", "yes_no", "correct"),
        (r"\boxed{True}", "Yes", "yes_no", "correct"),
        ("No", "yes", "yes_no", "incorrect"),
        ("The answer is 1,000.", "1000", "number", "correct"),
        (r"\boxed{\frac{1}{2}}", "0.5", "number", "correct"),
        (r"\boxed{40^\circ}", "40 degrees", "number", "correct"),
        (r"\boxed{5 m}", "5 cm", "number", "incorrect"),
        (r"\boxed{5}", "5 cm", "number", "correct"),
        (r"\boxed{0.5}", "50%", "number", "incorrect"),
        ("0.33", "1/3", "number", "incorrect"),
        ("The Red Car.", "red car", "text", "correct"),
        ("1,000", "1000", "text", "correct"),
        (r"\boxed{5.0}", "5", "text", "correct"),
        ("car", "red car", "text", "incorrect"),
        ("5 cats", "5 dogs", "text", "incorrect"),
        (r"\boxed{\frac{1}{2}}", r"$\frac12$", "math", "correct"),
        (r"\boxed{x+1}", "1+x", "math", "incorrect"),
    ],
)
def test_outcome(response: str, answer: str, kind: AnswerType, outcome: str) -> None:
    verdict = judge(response, answer, kind)
    assert verdict.outcome == outcome
    assert verdict.extracted is not None
    assert not verdict.unparsed


@pytest.mark.parametrize("kind", ["choice", "yes_no", "number", "math", "text"])
@pytest.mark.parametrize("response", ["", "  \n", "<think>B yes 5", "one line\nother line"])
def test_what_cannot_be_read_is_incorrect_and_unparsed(response: str, kind: AnswerType) -> None:
    gold: dict[AnswerType, str] = {"choice": "B", "yes_no": "yes", "number": "5"}
    verdict = judge(response, gold.get(kind, "line"), kind, CARS)
    assert verdict.outcome == "incorrect"
    assert verdict.unparsed
    assert verdict.extracted is None
    assert verdict.reason


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("", "choice"),
        ("D", "choice"),
        ("bicycle", "choice"),
        ("A or B", "choice"),
        ("", "yes_no"),
        ("maybe", "yes_no"),
        ("many", "number"),
        ("3 or 4", "number"),
        (" ", "text"),
        ("", "math"),
    ],
)
def test_gold_that_cannot_be_read_is_unscored(answer: str, kind: AnswerType) -> None:
    verdict = judge("B yes 5", answer, kind, CARS)
    assert verdict == Verdict("unscored", reason="gold_unreadable")


def test_nothing_is_guessed_for_any_option() -> None:
    """lmms-eval draws a random letter here; ours must be wrong whatever the gold answer is."""
    for gold in "ABC":
        assert judge("It depends.", gold, "choice", CARS).outcome == "incorrect"
