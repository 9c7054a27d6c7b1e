"""MathVerse: options out of the question, five versions, golds as they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from judged import item

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.judges.math import grade
from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import Sample
from vsr1_bench.tasks import mathverse_text_only
from vsr1_bench.tasks.mathverse import TASK, example, to_sample

ROW = dict(example())
FREE = {"question_type": "free-form"}


def outcome(sample: Sample, said: str) -> str:
    return grade(item(sample, f"\\boxed{{{said}}}")).outcome


def prompt(sample: Sample) -> str:
    (message,) = build_messages(sample, get_format("direct"))
    return "".join(part for part in message.content if isinstance(part, str))


def test_options_are_known_and_written_once() -> None:
    sample = to_sample(ROW)
    assert (sample.answer_type, sample.answer, sample.choices) == ("choice", "B", ("1", "2"))
    assert prompt(sample).count("A:1") == 1 and "A. 1" not in prompt(sample)


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Find x.\nChoices:\nA.4\nB.6\nC.8", ("4", "6", "8")),
        ("True?\nChoice:\nA. False\nB. True", ("False", "True")),
        ("Which?\nChoices:\nA:one\n\nB:two", ("one", "two")),
        ("Find AB.\nChoices:\nA:1\nC:2", None),  # a gap is a doubt
        ("Find AB.", None),
    ],
)
def test_both_ways_of_writing_options(question: str, options: tuple[str, ...] | None) -> None:
    sample = to_sample(ROW | {"question": question, "answer": "A"})
    assert sample.choices == options and sample.answer == "A"
    assert sample.question_text == question


def test_a_gold_that_is_an_options_text() -> None:
    row = ROW | {"question": "True?\nChoice:\nA. False\nB. True", "answer": "False"}
    assert to_sample(row).answer == "A"


def test_two_right_options_are_no_single_choice() -> None:
    question = "Choose 2 answers:\nChoices:\nA:p\nB:q\nC:r\nD:s"
    sample = to_sample(ROW | {"question": question, "answer": "C\nD"})
    assert sample.answer_type == "math" and sample.choices is None
    assert "A:p" in sample.question_text
    said = {words: outcome(sample, words) for words in ("C, D", "D, C", "C", "C, A", "CD")}
    right = {words for words, verdict in said.items() if verdict == "correct"}
    assert right == {"C, D", "D, C"}


def test_vision_only_shows_its_question_in_the_image() -> None:
    hidden = {"problem_version": "Vision Only", "question": "", "answer": "B"}
    sample = to_sample(ROW | hidden | {"question_for_eval": ROW["question"]})
    assert sample.choices == ("1", "2") and sample.choices_in_image
    assert "A:1" not in prompt(sample) and "Find x" not in prompt(sample)
    assert "shown in the image" in prompt(sample)
    unknown = to_sample(ROW | hidden)
    assert unknown.choices is None and unknown.answer == "B"
    # should a copy hold the text there, it is not to be told: that is another version
    told = to_sample(ROW | hidden | {"question": ROW["question"]})
    assert "Find x" not in prompt(told)


def test_a_missing_picture_fails_and_text_only_has_none() -> None:
    (missing,) = to_sample({**ROW, "image": None}).images
    assert missing.sha256().startswith("unreadable")
    for version in ("Text Only", "Text_Only"):
        for image in ("", None):
            row = {**ROW, "image": image, "problem_version": version}
            assert to_sample(row).images == ()


def test_versions_of_a_problem_are_one_cluster() -> None:
    assert TASK.cluster == "problem"
    groups = to_sample(ROW).groups
    assert groups["version"] == "Text Lite" and groups["problem"] == "1"
    assert groups["subject"] == "Plane Geometry"


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("Volume $=113.10 \\mathrm{~cm}^{3}$", "113.10", "113"),
        ("Area $=347.4248 \\pi \\mathrm{cm}^{2}$", "347.4248\\pi", "347.4248"),
        ("$h=15$", "15", "16"),
        ("S.A. $=1209.84$", "1209.84", "1209"),
        ("$\\frac{4}{3}$", "4/3", "3/4"),
        ("f(x)=-(x+1)^2+2", "-(x+1)^2+2", "(x+1)^2+2"),
        ("$(x, y)=\\left(90^{\\circ}, 5\\right)$", "(90^\\circ, 5)", "(5, 90^\\circ)"),
    ],
)
def test_golds_with_names_and_units(gold: str, right: str, wrong: str) -> None:
    sample = to_sample(ROW | FREE | {"answer": gold, "question": "Find it."})
    assert [outcome(sample, right), outcome(sample, wrong)] == ["correct", "incorrect"]


def rows(mirror: Path) -> list[dict[str, Any]]:
    file = mirror / "AI4Math/MathVerse/testmini_text_only/testmini_text_only.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_real_rows(real_slices: Path) -> None:
    data = open_data(mathverse_text_only.TASK, DataOptions(real_slices))
    samples = {sample.id: sample for sample in data.samples()}
    assert len(samples) == 60
    for row in rows(real_slices):
        sample = samples[row["sample_index"]]
        assert sample.question_text == row["question"].strip() and not sample.images
        single = row["question_type"] == "multi-choice" and row["answer"] != "C\nD"
        assert (sample.answer_type == "choice") == single
        assert (sample.choices is not None) == single  # each of them could be read
        if single:
            assert sample.choices is not None
            gold = sample.choices["ABCDE".index(sample.answer)]
            assert row["answer"] in (sample.answer, gold)
