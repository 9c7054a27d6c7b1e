"""MMSI-Bench: several images, options in the question, one letter out of a reply."""

from __future__ import annotations

import pytest
from judged import item

from vsr1_bench.judges.string_match import grade
from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import EncodedImage, ImagePlace, Sample
from vsr1_bench.tasks.mmsi_bench import TASK, example, to_sample

ROW = dict(example())


def judge(sample: Sample, response: str) -> str:
    return str(grade(item(sample, response)).outcome)


def test_all_images_come_first_and_in_order() -> None:
    images = [EncodedImage(data=bytes([n])) for n in range(5)]
    sample = to_sample(ROW | {"images": images})
    (message,) = build_messages(sample, get_format("native"), native=TASK.native_prompt)
    assert message.content[:5] == tuple(ImagePlace(n) for n in range(5))
    assert sample.images == tuple(images)
    (text,) = message.content[5:]
    assert isinstance(text, str) and text.startswith("Which way")
    assert text.count("B: right") == 1 and "B. right" not in text
    assert text.endswith("Enclose the option's letter within ``.")


def test_options_are_known_to_the_judge() -> None:
    sample = to_sample(ROW)
    assert sample.choices == ("left", "right", "up", "down")
    assert sample.groups == {"question_type": "Motion (Cam.)"}
    hard = to_sample(ROW | {"difficulty": "hard"})
    assert hard.groups["difficulty"] == "hard"


@pytest.mark.parametrize("question", ["Which way?", "Which way?\nOptions: A: left, C: up"])
def test_options_that_are_in_doubt_leave_the_letters(question: str) -> None:
    sample = to_sample(ROW | {"question": question})
    assert sample.choices is None and sample.answer == "B"
    assert judge(sample, "\\boxed{B}") == "correct"


def test_a_gold_beyond_the_options_is_a_doubt_too() -> None:
    assert to_sample(ROW | {"answer": "E"}).choices is None


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        ("``B``", "correct"),
        ("`B`", "correct"),
        ("It turns right, so ``B``.", "correct"),
        ("\\boxed{B}", "correct"),
        ("B", "correct"),
        ("``A``", "incorrect"),
        # no word of it names an option: the first A to F of a text is not an answer
        ("A camera moves. Be careful.", "incorrect"),
        ("", "incorrect"),
    ],
)
def test_replies_in_the_asked_form(response: str, outcome: str) -> None:
    assert judge(to_sample(ROW), response) == outcome
