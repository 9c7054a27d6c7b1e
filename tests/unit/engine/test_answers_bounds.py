"""Rule readers outside the worker: no response raises, and none takes long, whatever is in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsr1_bench.answers import read_quantity, same_value
from vsr1_bench.answers.forms import read_form
from vsr1_bench.answers.notation import read_base, to_latex, understood, written
from vsr1_bench.judge import Item
from vsr1_bench.judges import mathvista, mmmu, string_match, vilp, vlmsareblind
from vsr1_bench.records import AnswerType, Verdict

LIMIT = 0.05
"""Seconds of processor time on a quiet core."""
SLACK = 5
"""A machine that is shared takes that many times as long; quadratic code takes a thousand times."""

JUDGES: tuple[Callable[[Item], Verdict], ...] = (
    string_match.grade,
    mmmu.grade,
    mathvista.grade,
    vilp.grade,
    vlmsareblind.grade,
)
TYPES: dict[AnswerType, str] = {"choice": "B", "yes_no": "yes", "number": "5", "text": "red car"}
ANGLES = ("30 degrees", "40 degrees", "$4 \\pi$", "$x - y = 4$")
CATEGORIES = (
    "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn"
).split()


def items(response: str) -> list[Item]:
    made = []
    for kind, gold in TYPES.items():
        choices = ANGLES if kind == "choice" else None
        for extra in ({}, {"answer_type": "integer"}, {"alternatives": [gold, "red"]}):
            made.append(Item("1", response, gold, kind, choices, extra=extra))
    return made


def seconds(work: Callable[[], object], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
        if best < LIMIT:
            break
    return best


@pytest.mark.parametrize("category", CATEGORIES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_no_class_of_characters_raises_or_takes_long(category: str, data: st.DataObject) -> None:
    letters = st.text(st.characters(categories=[category]), max_size=60)
    mixed = st.text(st.characters(categories=[category, "Nd", "Ps", "Pe", "Sm"]), max_size=60)
    part = data.draw(st.one_of(letters, mixed))
    wrapped = data.draw(
        st.sampled_from(["{}", "\\boxed{{{}}}", "Answer: {}", "{} = 5", "<answer>{}</answer>"])
    )
    response = wrapped.format(part * data.draw(st.sampled_from([1, 30])))
    for item in items(response):
        for judge in JUDGES:
            verdict = judge(item)
            assert verdict.outcome in ("correct", "incorrect")
            assert seconds(lambda: judge(item), 2) < SLACK * LIMIT  # noqa: B023


OPENINGS = [
    "(", "[", "{", "\\{", "√(", "√{", "sqrt(", "\\frac{", "\\sqrt[", "\\text{", "\\boxed{",
    "\\log_{", "x_{", "^{", "\\begin{", "|", "$", "\\(", "<think>", "<answer>", "**", "((A)",
]  # fmt: skip
REPEATED = [
    "1", "1,", "1,111", "1 111 ", "1.111", "1/", ".1", "0.(1", "0.\\overline{1}", "1e1", "x=", "=",
    "a ", "a b, ", "A'", "²", "½", "1½", "- ", "×10^", "\\pm", "and ", "5 million ", "m/", "per ",
    "^-1", "\\\\", "1\u0305", "\u0301", "5米", "<=", "^\\circ", "pi ", "So, 5 ", "a=b", "(x,",
    "since ", "'1", "1_", "(A)", "option A is ", "not A ", "yes no ", "A:\n", "Answer: A\n",
]  # fmt: skip


@pytest.mark.parametrize("unit", [*OPENINGS, *REPEATED])
def test_readers_of_a_phrase_are_bounded(unit: str) -> None:
    """Of the length of an answer: what is longer is none."""
    for text in (unit * (1990 // len(unit)), "5" + unit * (1980 // len(unit)) + "5"):
        work: list[Callable[[str], object]] = [
            to_latex, written, read_base, read_quantity,
            lambda t: read_quantity(t, lead_in=False), lambda t: read_form(to_latex(t)),
            lambda t: understood(to_latex(t)), lambda t: same_value(t, t + "1"),
        ]  # fmt: skip
        for read in work:
            assert seconds(lambda: read(text)) < SLACK * LIMIT  # noqa: B023


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("unit", [*OPENINGS[::3], *REPEATED[::4], "(A)", "Answer: A\n"])
def test_a_megabyte_is_graded_as_fast(unit: str, closed: bool) -> None:
    text = unit * (1_000_000 // len(unit))
    if closed:
        closing = {"(": ")", "[": "]", "{": "}", ">": unit.replace("<", "</")}.get(unit[-1], " 5")
        text = unit * (500_000 // len(unit)) + closing * (500_000 // len(closing))
    for item in (items(text)[0], items(text)[6]):  # a choice, a number
        assert seconds(lambda: string_match.grade(item)) < SLACK * LIMIT  # noqa: B023


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*OPENINGS, *REPEATED, "}", ")", "]"]), max_size=30).map("".join))
def test_fragments_in_any_order(text: str) -> None:
    for item, judge in product(items(text), JUDGES):
        assert judge(item).outcome in ("correct", "incorrect")
    assert to_latex(text) == to_latex(text)
    assert same_value(text, text)
