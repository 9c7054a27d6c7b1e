"""What counts as a description that states the final answer, and what must not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsr1_bench.answers import states_answer

OPTIONS = ("top left", "top right", "bottom left", "bottom right")
LEAKS: list[tuple[str, str, str]] = [
    ("Four red dots. \\boxed{4}", "number", "4"),
    ("Four red dots. The answer is 4.", "number", "4"),
    ("Dots, so the final answer would be **4**", "number", "4"),
    ("Dots. <answer>4</answer>", "number", "4"),
    ("Two groups.\n#### 4", "number", "4"),
    ("A dot in a corner. The correct option is B.", "choice", "B"),
    ("A dot in a corner. Answer: (B)", "choice", "B"),
    ("A dot, hence option B is correct.", "choice", "B"),
    ("A dot, (B) is the right answer", "choice", "B"),
    ("We should choose B here.", "choice", "B"),
    ("The answer is top right.", "choice", "B"),
    ("More red than blue. Final answer: yes", "yes_no", "yes"),
    ("The answer is red.", "text", "red"),
    ("so the answer is $\\frac{1}{2}$", "math", "\\frac{1}{2}"),
]
INNOCENT: list[tuple[str, str, str]] = [
    ("Four red dots on white, 4 in all.", "number", "4"),
    ("There are 4 dots.", "number", "4"),
    ("The answer depends on the dots, of which 4 are red.", "number", "4"),
    ("The answer is 5.", "number", "4"),
    ("A red dot in row 1.", "text", "red"),
    ("The answer must be a color; red occurs once.", "text", "red"),
    ("A triangle with corners A, B and C; B is at the top right.", "choice", "B"),
    ("Options: A. top left B. top right", "choice", "B"),
    ("Option B shows a bird.", "choice", "B"),
    ("Option A is correct.", "choice", "B"),
    ("The sign says yes.", "yes_no", "yes"),
    ("Yes, there are dots.", "yes_no", "yes"),
    ("", "text", "red"),
]


def stated(text: str, kind: Any, final: str) -> bool:
    return states_answer(text, kind, OPTIONS if kind == "choice" else None, (None, final))


@pytest.mark.parametrize(("text", "kind", "final"), LEAKS)
def test_an_answer_given_as_an_answer_leaks(text: str, kind: str, final: str) -> None:
    assert stated(text, kind, final)


@pytest.mark.parametrize(("text", "kind", "final"), INNOCENT)
def test_words_of_the_answer_are_no_leak(text: str, kind: str, final: str) -> None:
    assert not stated(text, kind, final)


def test_either_final_answer_counts() -> None:
    assert states_answer("The answer is 5.", "number", None, ("5", "4"))
    assert not states_answer("The answer is 5.", "number", None, (None, None))


@given(st.text(max_size=60), st.integers(0, 99))
def test_a_box_leaks_whatever_stands_before_it(text: str, n: int) -> None:
    if not any(c in text for c in "\\{}<"):
        assert states_answer(f"{text} \\boxed{{{n}}}", "number", None, (str(n),))
