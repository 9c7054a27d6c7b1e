"""A final answer that goes on with its reasons: the answer is what stands before them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import judged

from vsr1_bench.answers import extract
from vsr1_bench.records import AnswerType, Sample

OPTIONS = ("30 degrees", "40 degrees", "50 degrees")
REASONS = (
    ", as was to be shown in 2 steps.",
    ", because 2 and 3 are prime",
    " because 3*5=15 and 4*5=20.",
    " since 2 of the 7 are red.",
    " (since 6 * 7 = 42).",
    ", which follows from equation 3.",
    "\nStep 2 of 3 is above.",
)
PROSE = (" as 2 of them show.", ", found after 2 steps.", ", not 17.")
"""After a number or a formula these are no part of it; in a text they may be."""
STATEMENTS = ("The answer is {}", "Final answer: {}", "**Answer:** {}", "So the answer is **{}**")

UNITS = st.sampled_from(["", " cm", "%", " degrees", r"^\circ", r"\text{ km}", " apples", " m/s^2"])
WHOLE = st.integers(-(10**9), 10**9)
NUMBERS = st.one_of(
    WHOLE.map(str),
    WHOLE.map("{:,}".format),
    WHOLE.map(lambda n: f"${abs(n):,}.50"),
    st.decimals(-(10**6), 10**6, allow_nan=False, places=2).map("{:,}".format),
    st.tuples(WHOLE, st.integers(1, 99)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.tuples(st.integers(1, 99), st.integers(1, 99)).map(lambda p: f"\\frac{{{p[0]}}}{{{p[1]}}}"),
)
FORMULAS = st.one_of(
    NUMBERS,
    st.sampled_from(
        [
            r"$\frac{1}{2}$",
            r"3\sqrt{2}",
            r"\(x+1\)",
            "(1, 2)",
            r"$\{1, 2\}$",
            "x = 5",
            r"2\pi",
            "1, 2, 3",
        ]
    ),
)


@given(NUMBERS, UNITS, st.sampled_from(STATEMENTS), st.sampled_from(REASONS + PROSE))
def test_a_number_before_its_reasons(gold: str, unit: str, words: str, reasons: str) -> None:
    alone = extract(f"\\boxed{{{gold}{unit}}}", "number").value
    found = extract(words.format(gold + unit) + reasons, "number")
    assert alone is not None and (found.value, found.how) == (alone, "statement")


@given(FORMULAS, st.sampled_from(STATEMENTS), st.sampled_from(REASONS + PROSE))
def test_a_formula_before_its_reasons(gold: str, words: str, reasons: str) -> None:
    alone = extract(f"The answer is {gold}", "math").value
    assert alone is not None
    assert extract(words.format(gold) + reasons, "math").value == alone


@given(
    st.sampled_from(["(B)", "B", "B.", "40 degrees", "(B) 40 degrees", r"$40^\circ$"]),
    st.sampled_from(STATEMENTS),
    st.sampled_from(REASONS),
)
def test_a_choice_before_its_reasons(gold: str, words: str, reasons: str) -> None:
    assert extract(words.format(gold) + reasons, "choice", OPTIONS).value == "B"


@given(st.integers(-99, 99), st.integers(100, 999), st.sampled_from(STATEMENTS))
def test_a_second_answer_is_none_to_choose_from(one: int, other: int, words: str) -> None:
    for between in (
        ", ",
        " or ",
        ", or maybe ",
        " and ",
        " as well as ",
        ", as well as ",
        ", if not ",
    ):
        assert extract(words.format(f"{one}{between}{other}"), "number").value is None


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        # What is a part of the answer stays there.
        ("The answer is Paris, France.", "text", "Paris, France"),
        ("The answer is as good as gold.", "text", "as good as gold"),
        ("The answer is wet because of rain.", "text", "wet because of rain"),
        ("The answer is x = 1, y = 2.", "math", "x = 1, y = 2"),
        ("The answer is Alice, Bob.", "math", "Alice, Bob"),
        ("The answer is small, medium size.", "math", "small, medium size"),
        ("The answer is sqrt(2), sqrt(3).", "math", "sqrt(2), sqrt(3)"),
        ("The answer is 5, where n is odd.", "math", "5, where n is odd"),
        (r"The answer is $3\text{ cm, as told}$.", "math", r"3\text{ cm, as told}"),
        ("The answer is $x, as n$.", "math", "x, as n"),
        ("The answer is (3, pi r).", "math", "(3, pi r)"),
        ("The answer is (2cos t, sin t).", "math", "(2cos t, sin t)"),
        ("Answer: [0, two pi]", "math", "[0, two pi]"),
        ("The answer is y = cos x, sin x.", "math", "y = cos x, sin x"),
        ("The answer is 12 feet, six inches.", "math", "12 feet, six inches"),
        ("The answer is (1, n], as was told.", "math", "(1, n]"),
        ("The answer is 12 where x = 3, as told", "number", None),
        ("The answer is not 5, as 2 + 2 = 4", "number", None),
        ("The answer is 12, so 6 each", "number", None),
        ("The answer is 5 in. by 4 in.", "number", None),
        ("The answer is **1,234.5**. this took 3 steps", "number", "1234.5"),
        # The answer may come after them.
        ("The answer is, as computed, 42.", "number", "42"),
        ("The answer is therefore, as above, 42.", "number", "42"),
        # An explicit answer goes before numbers elsewhere, the last explicit one before others.
        ("The answer is 42, as 2 show.\nI took 7 steps.", "number", "42"),
        ("The answer is 41, as 2 show. No: the answer is 42, as 3 show.", "number", "42"),
        ("The answer is Paris, as the map of 1789 shows.", "text", "Paris"),
    ],
)
def test_what_is_and_what_is_not_a_reason(text: str, kind: AnswerType, value: str | None) -> None:
    assert extract(text, kind).value == value


@pytest.mark.parametrize(
    ("task", "sample"),
    [
        ("gsm8k", Sample("q", ("?",), "1200", "number")),
        ("mathvision", Sample("q", ("?",), "3.5", "math", extra={"rounded": True})),
        ("mathvision", Sample("q", ("?",), "B", "choice", choices=OPTIONS)),
    ],
)
def test_the_form_that_was_lost(task: str, sample: Sample) -> None:
    """Scored wrong by gsm8k and mathvision before (docs/lmms-eval.md)."""
    words = "The answer is {}, as was to be shown in 2 steps."
    assert judged(task, sample, words.format(sample.answer)).outcome == "correct"
    assert judged(task, sample, words.format("7")).outcome == "incorrect"
