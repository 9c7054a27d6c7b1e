"""MathVista: its rows, and the authors' normalisation without their guesses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import item

from vsr1_bench.judge import Item
from vsr1_bench.judges.mathvista import JUDGE, distance, grade
from vsr1_bench.records import Sample, Verdict
from vsr1_bench.tasks.mathvista import TASK, example, to_sample

ROW = dict(example())


def row(answer: str, **changes: Any) -> dict[str, Any]:
    return ROW | {"answer": answer} | changes


def choice(answer: str, *choices: str) -> Sample:
    kind = {"question_type": "multi_choice", "answer_type": "text", "precision": None}
    return to_sample(row(answer, choices=list(choices), **kind))


def free(answer: str, kind: str, precision: float | None = None) -> Sample:
    return to_sample(row(answer, choices=None, answer_type=kind, precision=precision))


def judge(sample: Sample, response: str) -> Verdict:
    return grade(item(sample, response))


def test_the_gold_of_a_choice_is_its_text_in_the_row_and_a_letter_here() -> None:
    assert choice("Yes", "Yes", "No").answer == "A"
    # the letters of these options are texts
    assert choice("(b)", "(c)", "(a)", "(e)", "(d)", "(b)").answer == "E"
    assert choice("A", "B", "A").answer == "B"


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("\\boxed{B}", "B"),
        ("The answer is (B).", "B"),
        ("(B) a trigonometric function", "B"),
        ("\\boxed{a polynomial}", "A"),
        ("\\boxed{polynomial}", "A"),  # nearest
        ("\\boxed{an exponental function}", "C"),  # nearest, misspelt
    ],
)
def test_letters_texts_and_the_nearest_option(response: str, letter: str) -> None:
    options = ("a polynomial", "a trigonometric function", "an exponential function")
    verdicts = [judge(choice(gold, *options), response) for gold in options]
    assert [v.extracted for v in verdicts] == [letter] * 3
    assert [v.outcome == "correct" for v in verdicts] == [letter == x for x in "ABC"]


@pytest.mark.parametrize(
    ("response", "options"),
    [
        ("", ("Yes", "No")),  # the authors' nearest option to nothing is the shortest one
        ("I think so", ("8", "15")),
        ("\\boxed{pumpkin}", ("Yes", "No")),
        ("\\boxed{plum}", ("Yes", "Whichever")),  # the short one, having no letter of it
        ("\\boxed{12}", ("15", "13")),  # as near to one as to the other
        ("\\boxed{118}", ("62°", "1187°")),  # another number is another answer
        ("I cannot tell this from the image.", ("yes", "no")),
        ("\\boxed{Q}", ("Yes", "No")),
        # the opposite is not a misspelling
        ("\\boxed{decreasing}", ("increasing", "stable")),
        ("\\boxed{unequal}", ("equal", "red")),
        ("I do not know.", ("I do know", "Paris")),
        ("None of the above", ("Some of the above", "red")),
        # as near to the short one as to the one that it stands for
        ("\\boxed{trigonometric}", ("a polynomial", "a trigonometric function")),
    ],
)
def test_an_answer_that_names_no_option_is_never_one(
    response: str, options: tuple[str, ...]
) -> None:
    for gold in options:
        verdict = judge(choice(gold, *options), response)
        assert verdict.outcome == "incorrect" and verdict.unparsed and verdict.extracted is None


@pytest.mark.parametrize(
    ("gold", "kind", "precision", "right", "wrong"),
    [
        ("4", "integer", None, ["4", "4.0", "4 years"], ["4.7", "5", "-4", "1e999", "4 or 5", ""]),
        ("2001", "integer", None, ["2001", "2,001"], ["2002"]),
        ("0.8", "float", 1.0, ["0.8", "0.84", ".8", "0.75001"], ["0.7", "0.86", "4/5"]),
        ("1.25", "float", 2.0, ["1.25", "1.254"], ["1.2", "1.26"]),
        ("1.0", "float", 1.0, ["1", "1.02"], ["1.1"]),
        (
            "[0, 5]",
            "list",
            None,
            ["[0, 5]", "[0,5]", "0, 5"],
            ["[5, 0]", "[0]", "[0, 5, 5]", "0 5"],
        ),
        ("['a', 'b']", "list", None, ["[a, b]"], ["[b, a]", "ab"]),
        ("north", "text", None, ["north", "North."], ["south", "north-east"]),
    ],
)
def test_free_answers_by_type(
    gold: str, kind: str, precision: float | None, right: list[str], wrong: list[str]
) -> None:
    sample = free(gold, kind, precision)
    said = {words: judge(sample, f"\\boxed{{{words}}}").outcome for words in (*right, *wrong)}
    assert [w for w in said if said[w] == "correct"] == right


def test_a_decimal_without_a_precision_is_cut_to_none() -> None:
    assert judge(free("3.0", "float"), "\\boxed{3.2}").outcome == "correct"


def test_the_unit_is_asked_for() -> None:
    sample = to_sample(row("4", unit="years"))
    assert sample.question_text == "What part? (Unit: years)"


def test_groups_are_the_authors_and_skills_overlap() -> None:
    where = ROW["metadata"] | {"skills": ["algebraic reasoning", "statistical reasoning"]}
    groups = to_sample(ROW | {"metadata": where}).groups
    assert groups["question_type"] == "free_form" and groups["task"] == "x"
    assert [n for n in groups if n.startswith("skill: ")] == [
        "skill: algebraic reasoning",
        "skill: statistical reasoning",
    ]


def test_a_missing_image_fails_its_sample() -> None:
    (image,) = to_sample(ROW | {"decoded_image": None}).images
    assert image.sha256().startswith("unreadable")


def test_other_benchmarks_items_are_matched_as_strings() -> None:
    assert TASK.judge == JUDGE.name
    assert grade(Item("x", "\\boxed{4.7}", "4", "number")).outcome == "incorrect"
    assert grade(Item("x", "\\boxed{yes}", "yes", "yes_no")).outcome == "correct"


def by_definition(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    same = by_definition(a[1:], b[1:]) + (a[0] != b[0])
    return min(same, by_definition(a[1:], b) + 1, by_definition(a, b[1:]) + 1)


@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_the_distance_is_levenshteins(a: str, b: str) -> None:
    assert distance(a, b) == by_definition(a, b)


def test_real_rows(real_slices: Path) -> None:
    file = real_slices.parent / "loose/mathvista_testmini_without_images.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 60
    for line in lines:
        sample = to_sample(line)
        gold = line["answer"]  # as it is written there: a text for a choice
        assert judge(sample, f"So it is.\n\\boxed{{{gold}}}").outcome == "correct", line
        assert judge(sample, "").outcome == "incorrect"
        assert judge(sample, f"\\boxed{{{sample.answer}}}").outcome == "correct"
        if sample.choices:
            others = [c for c in sample.choices if c != gold]
            said = [judge(sample, f"\\boxed{{{other}}}") for other in others]
            assert not [v for v in said if v.outcome == "correct"], line
        else:
            wrong = judge(sample, f"\\boxed{{{float(gold) + 1}}}")
            assert wrong.outcome == "incorrect" and not wrong.unparsed
