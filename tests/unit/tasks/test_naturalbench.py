"""NaturalBench: four samples a row, and accuracy by group, question and image."""

from __future__ import annotations

import pytest
from judged import item

from vsr1_bench.errors import RowError
from vsr1_bench.judges.string_match import grade
from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import EncodedImage
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.task import Row
from vsr1_bench.tasks.naturalbench import TASK, example, to_samples

CHOICE: Row = {**example(), "Image_0": EncodedImage(data=b"0"), "Image_1": EncodedImage(data=b"1")}
YES_NO: Row = {
    **CHOICE,
    "Index": 7,
    "Question_0": "Is the dog on the left?",
    "Image_0_Question_0": "Yes",
    "Image_1_Question_0": "No",
    "Question_1": "Does the dog sleep?",
    "Image_0_Question_1": "No",
    "Image_1_Question_1": "Yes",
    "Question_Type": "yes_no",
}


def test_a_row_is_two_questions_about_two_images() -> None:
    found = to_samples(YES_NO)
    assert [s.id for s in found] == ["7-q0-i0", "7-q0-i1", "7-q1-i0", "7-q1-i1"]
    assert [s.images[0].data for s in found] == [b"0", b"1", b"0", b"1"]
    assert [s.answer for s in found] == ["yes", "no", "no", "yes"]
    assert {s.answer_type for s in found} == {"yes_no"} and found[0].choices is None
    assert [s.question_text for s in found[1:3]] == [YES_NO["Question_0"], YES_NO["Question_1"]]


def test_options_are_asked_once_and_known_to_the_judge() -> None:
    first, *_, last = to_samples(CHOICE)
    assert (first.choices, first.answer) == (("on the left", "on the right"), "A")
    assert (last.choices, last.answer) == (("It runs", "It sleeps"), "A")
    (message,) = build_messages(first, get_format("direct"))
    assert str(message.content).count("on the right") == 1
    said = ["A", "On the left", "\\boxed{B}", "on the right", ""]
    right = [grade(item(first, text)).outcome == "correct" for text in said]
    assert right == [True, True, False, False, False]


@pytest.mark.parametrize(
    "ending", ["", " A or B?", " Option: A:left;", " Option: A: x; B: y; C: z;"]
)
def test_options_in_another_form_leave_the_letters(ending: str) -> None:
    first = to_samples({**CHOICE, "Question_0": f"Where is it?{ending}"})[0]
    assert first.choices is None
    assert grade(item(first, "\\boxed{A}")).outcome == "correct"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Image_1_Question_0": "Yes"}, "Image_1_Question_0 is 'Yes', none of a, b"),
        ({"Question_Type": "yes_no"}, "Image_0_Question_0 is 'A', none of yes, no"),
        ({"Question_Type": "open"}, "Question_Type 'open' is none of yes_no, multiple_choice"),
    ],
)
def test_a_row_that_does_not_fit_is_named(change: Row, message: str) -> None:
    with pytest.raises(RowError, match=message):
        to_samples({**CHOICE, **change})


def test_a_missing_image_fails_its_two_samples_only() -> None:
    found = to_samples({**CHOICE, "Image_1": None})
    unreadable = [s.images[0].sha256().startswith("unreadable") for s in found]
    assert unreadable == [False, True, False, True]


def test_the_four_numbers() -> None:
    """By hand, from q0i0, q0i1, q1i0, q1i1 of each group."""
    rights = [(1, 1, 1, 1), (1, 1, 0, 1), (1, 0, 1, 0), (0, 1, 1, 0)]
    responses = [
        Response(s.id, dict(s.groups), float(right))
        for n, row in enumerate(rights)
        for s, right in zip(to_samples({**YES_NO, "Index": n}), row, strict=True)
    ]
    score = score_responses(responses, TASK.metrics, cluster=TASK.cluster, per_sample=1)
    found = {name: (value.value, value.n) for name, value in score.metrics.items()}
    assert found["gAcc"] == (pytest.approx(1 / 4), 4)
    assert found["qAcc"] == (pytest.approx(3 / 8), 8)
    assert found["iAcc"] == (pytest.approx(4 / 8), 8)
    assert found["accuracy"] == (pytest.approx(11 / 16), 16)
    assert next(iter(found)) == "gAcc"  # the headline
