"""Answers that are out to hurt: nothing raises, nothing takes more than linear time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsr1_bench.answers import (
    boxed,
    extract,
    normalize_text,
    read_number,
    read_quantity,
    same_number,
    units_clash,
)
from vsr1_bench.answers.rules import RULES
from vsr1_bench.records import LETTERS, AnswerType

ANGLES = ("30 degrees", "40 degrees", "50 degrees", "60 degrees")
TYPES: tuple[AnswerType, ...] = ("choice", "yes_no", "number", "math", "text")

FRAGMENTS = [
    "\\boxed{", "\\fbox{", "}", "{", "\\", "\\\\", "\\}", "<think>", "</think>", "<answer>",
    "</answer>", "Answer: ", "the answer is ", "####", "**", "(", ")", "A", "B", "I", "J", "K",
    "yes", "no", "not ", "true", "1", ",", ".", "/", "-", "e", "10^", "\\frac{1}{2}", "\\text{",
    "$", "\n", " ", "\0", "\ud800", "\uff22", "½", "²", "a\u0301", "\u0327", "option ", "is ",
    "or ", "<description>", "\\times", "x", "%", "40 degrees",
]  # fmt: skip
HOSTILE = st.one_of(
    st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join), st.just("")
)


@settings(max_examples=600, deadline=None)
@given(HOSTILE, st.lists(HOSTILE, max_size=12), st.sampled_from(TYPES))
def test_no_text_raises_and_no_letter_is_out_of_range(
    text: str, choices: list[str], kind: AnswerType
) -> None:
    found = extract(text, kind, choices)
    assert found == extract(text, kind, choices)
    if found.value is None:
        assert found.how in {
            "empty", "unfinished", "no_answer", "ambiguous", "not_an_option", "conflict",
        }  # fmt: skip
        return
    assert found.how in {rule.name for rule in RULES}
    assert found.value
    if kind == "choice":
        assert found.value in (LETTERS[: len(choices)] if choices else LETTERS)
    if kind == "yes_no":
        assert found.value in ("yes", "no")
    if kind == "number":
        assert read_number(found.value) is not None


@given(st.text(st.characters(exclude_characters="{}\\<>"), min_size=1).filter(str.strip))
def test_a_box_gives_its_content_back(content: str) -> None:
    assert boxed(f"so {{x}} \\boxed{{{content}}}.") == content.strip()


@settings(deadline=None)
@given(HOSTILE, HOSTILE)
def test_comparing_never_raises_and_is_symmetric(a: str, b: str) -> None:
    assert same_number(a, b) == same_number(b, a)
    assert units_clash(a, b) == units_clash(b, a)
    assert normalize_text(normalize_text(a)) is not None
    assert read_quantity(a) == read_quantity(a)


MEGA = 1_000_000
ADVERSARIAL: dict[str, Callable[[int], str]] = {
    "nested boxes": lambda n: "\\boxed{" * (n // 7),
    "nested closed boxes": lambda n: "\\boxed{" * (n // 8) + "}" * (n // 8),
    "blank nested boxes": lambda n: "\\boxed{ " * (n // 9) + "}" * (n // 9),
    "one huge box": lambda n: "\\boxed{" + "1" * n + "}",
    "text in text": lambda n: "\\boxed{" + "\\text{" * (n // 7) + "}" * (n // 7) + "}",
    "braces": lambda n: "{" * n,
    "backslashes": lambda n: "\\" * n,
    "spaces": lambda n: "a" + " " * n + "b",
    "bare box and spaces": lambda n: "\\boxed" + " " * n,
    "angle and spaces": lambda n: ("<" + " " * 50) * (n // 51),
    "think tags": lambda n: "<think>" * (n // 7),
    "think pairs": lambda n: "<think></think>" * (n // 15) + "B",
    "answer tags": lambda n: "<answer>" * (n // 8),
    "answer closings": lambda n: "<answer>" + " " * (n // 2) + "</answer>" * (n // 18),
    "answer pairs": lambda n: "<answer> </answer>" * (n // 18),
    "markers": lambda n: "answer:" * (n // 7),
    "markers and stars": lambda n: "answer is ***" * (n // 13),
    "headings": lambda n: "\n# answer " * (n // 10),
    "marker lines": lambda n: "\nanswer" * (n // 7),
    "digits": lambda n: "1" * n,
    "digits and commas": lambda n: "1,111" * (n // 5),
    "fractions": lambda n: "1/" * (n // 2),
    "letters": lambda n: "(A)" * (n // 3),
    "short lines": lambda n: "A\n" * (n // 2),
    "blank lines": lambda n: "\n" * n,
    "stars": lambda n: "*" * n,
    "no": lambda n: "no " * (n // 3),
    "no and spaces": lambda n: ("no" + " " * 98) * (n // 100),
    "not yes": lambda n: "not yes " * (n // 8),
    "combining marks": lambda n: "a" + "\u0327\u0301" * (n // 2),
    "full width": lambda n: "\uff22" * n,
    "surrogates": lambda n: "\ud800" * n,
    "NUL": lambda n: "\0" * n,
    "hashes": lambda n: "#" * n,
    "hash lines": lambda n: "#### 1\n" * (n // 7),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_megabyte_takes_linear_time(name: str) -> None:
    """Every reader together, best of several: quadratic code would need minutes here."""
    text = ADVERSARIAL[name](MEGA)
    start = time.process_time()
    for kind in TYPES:
        extract(text, kind, ANGLES)
    same_number(text, text)
    normalize_text(text)
    assert time.process_time() - start < 12
