"""ViLP: three samples a row, score and prior, one word against one word."""

from __future__ import annotations

import pytest

from vsr1_bench.judge import Item
from vsr1_bench.judges.vilp import grade
from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.task import ROW_NUMBER, Row, Task
from vsr1_bench.tasks.vilp import WITH_FACT, WITHOUT, example


def samples(task: Task, row: Row) -> tuple[Sample, ...]:
    found = task.to_sample(row)
    assert isinstance(found, tuple)
    return found


def test_a_row_is_three_questions_about_three_images() -> None:
    images = {f"image{n}": EncodedImage(data=str(n).encode()) for n in (1, 2, 3)}
    found = samples(WITH_FACT, example() | images)
    assert [s.answer for s in found] == ["4", "6", "Eight"]
    assert [s.images[0].data for s in found] == [b"1", b"2", b"3"]
    assert len({s.id for s in found}) == 3 and len({s.groups["question"] for s in found}) == 1
    assert WITH_FACT.per_row == 3 and WITH_FACT.cluster == "question"


def test_the_same_question_twice_in_the_set_is_two_samples() -> None:
    ids = {s.id for n in (0, 1) for s in samples(WITH_FACT, {**example(), ROW_NUMBER: n})}
    assert len(ids) == 6


def test_with_and_without_the_fact() -> None:
    told, asked = (samples(task, example())[0].question_text for task in (WITH_FACT, WITHOUT))
    assert told == "A dog has four legs. How many legs are there?"
    assert asked == "How many legs are there?"
    row = dict(example()) | {"question": "A St. Bernard is a dog. What is this?"}
    assert samples(WITHOUT, row)[0].question_text == "What is this?"
    assert samples(WITHOUT, row | {"question": "What is this?"})[0].question_text == "What is this?"


def test_score_is_of_the_unusual_images_and_prior_of_the_usual_one() -> None:
    responses = [
        Response(s.id, dict(s.groups), right)
        for n, rights in enumerate([(1, 0, 1), (1, 0, 0), (0, 0, 0), (1, 1, 1)])
        for s, right in zip(
            samples(WITH_FACT, {**example(), ROW_NUMBER: n}), map(float, rights), strict=True
        )
    ]
    score = score_responses(
        responses, WITH_FACT.metrics, cluster=WITH_FACT.cluster, per_sample=1
    ).metrics
    assert score["score"].value == pytest.approx(3 / 8) and score["score"].n == 8
    assert score["prior"].value == pytest.approx(3 / 4) and score["prior"].n == 4


def test_a_missing_image_fails_its_sample_only() -> None:
    found = samples(WITH_FACT, example() | {"image2": None})
    assert [s.images[0].sha256().startswith("unreadable") for s in found] == [False, True, False]


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("4", ["4", "four", "Four."], ["14", "forty", "5", "four or five"]),
        ("Sphere", ["sphere", "Spheres", "a sphere"], ["cube", "not a sphere"]),
        ("bee", ["bees", "Bee"], ["beetle", "be"]),
        ("butterfly", ["butterflies"], ["fly"]),
        ("mouse", ["mice"], ["moose"]),
        ("glasses", ["glasses"], ["glass"]),
        ("glass", ["glass"], ["glasses", "glas"]),
        ("bus", ["bus", "Bus"], ["bu"]),
    ],
)
def test_one_word(gold: str, right: list[str], wrong: list[str]) -> None:
    said = {w: grade(Item("x", f"\\boxed{{{w}}}", gold, "text")).outcome for w in (*right, *wrong)}
    assert [w for w in said if said[w] == "correct"] == right


def test_nothing_said_is_unparsed_and_a_missing_gold_is_not_the_models_fault() -> None:
    verdict = grade(Item("x", "", "dog", "text"))
    assert (verdict.outcome, verdict.unparsed) == ("incorrect", True)
    assert grade(Item("x", "dog", " ", "text")).outcome == "unscored"
