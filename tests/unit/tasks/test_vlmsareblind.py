"""VLMs are Blind: four kinds of answers in the forms of the prompts, and the task mean."""

from __future__ import annotations

import pytest
from judged import BLUE, RED, judged

from vsr1_bench.errors import RowError
from vsr1_bench.judge import Item
from vsr1_bench.judges.vlmsareblind import grade
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.task import ROW_NUMBER
from vsr1_bench.tasks.vlmsareblind import TASK, example, to_sample

ROW = dict(example())
PATHS = ROW | {"task": "Subway Connections", "groundtruth": "3"}
LETTER = ROW | {"task": "Circled Letter", "groundtruth": "c"}
CIRCLES = ROW | {"task": "Touching Circles", "groundtruth": "Yes"}
GRID = ROW | {"groundtruth": "5,6"}


@pytest.mark.parametrize(
    ("row", "right", "wrong", "unread"),
    [
        (
            PATHS,
            ["{3}", "There are 3 paths. {3}", "I see two.\n\nNo, there are {3}", "3", "three",
             "\\boxed{3}", "\\boxed{\\{3\\}}", "$\\{3\\}$", "The answer is { 3 }.", "{three}",
             "<think>{4}</think>{3}"],
            ["{4}", "\\boxed{5}", "13", "{A}"],
            ["", "{3} or {4}", "I cannot tell.", "\\boxed{{3} or {4}}"],
        ),
        (
            GRID,
            ["rows={5} columns={6}", "(5,6)", "( 5, 6 )", "{5}{6}", "{5},{6}", "5, 6", "5x6",
             "\\boxed{5,6}", "\\boxed{rows={5} columns={6}}", "The table has 5 rows and 6 columns.",
             "It has 6 columns and 5 rows.", "columns={6} rows={5}", "rows: 5, columns: 6",
             "I count.\n\n**rows={5} columns={6}**", "The answer is (5,6)."],
            ["rows={6} columns={5}", "(6,5)", "5 columns and 6 rows", "{5}{5}"],
            ["", "{5}", "5", "(5,6) or (6,5)", "5 or 6 of them", "56"],
        ),
        (
            LETTER,
            ["c", "C", "{c}", '"c"', "**c**", 'The letter being circled is "c".', "\\boxed{C}",
             "The letter in the red oval is 'c'.", "The circled letter is **C**.",
             "I look closely.\n\nThe circled letter is c."],
            ["d", "{d}", 'It is "o".'],
            ["", '"c" or "o"', "{c} {o}", "The circled letter is a vowel.", "C or O"],
        ),
        (
            CIRCLES,
            ["Yes", "yes.", "\\boxed{Yes}", "Yes, they overlap."],
            ["No", "no"],
            ["", "Maybe"],
        ),
    ],
)  # fmt: skip
def test_answers_in_the_asked_forms(
    row: dict[str, object], right: list[str], wrong: list[str], unread: list[str]
) -> None:
    sample = to_sample(row)
    found = {text: judged(TASK, sample, text) for text in (*right, *wrong, *unread)}
    assert [t for t, v in found.items() if v.outcome == "correct"] == right
    assert [t for t, v in found.items() if v.unparsed] == unread


def test_a_long_response_takes_no_time() -> None:
    for text in ("{" * 100_000, "(5, " * 50_000, "rows " * 50_000, "5 " * 100_000):
        assert grade(Item("x", text, "5,6", "text")).outcome == "incorrect"


def test_the_gold_decides_what_is_read() -> None:
    kinds = [to_sample(row).answer_type for row in (PATHS, GRID, LETTER, CIRCLES)]
    assert kinds == ["number", "text", "text", "yes_no"]
    with pytest.raises(RowError, match="groundtruth '1' of Touching Circles is neither yes nor no"):
        to_sample(CIRCLES | {"groundtruth": "1"})
    with pytest.raises(RowError, match="groundtruth is empty"):
        to_sample(PATHS | {"groundtruth": " "})


def test_two_prompts_of_an_image_are_one_cluster() -> None:
    rows = [ROW | {ROW_NUMBER: n, "image": image} for n, image in enumerate((RED, RED, BLUE))]
    found = [to_sample(row) for row in rows]
    assert len({s.id for s in found}) == 3
    assert len({s.groups["image"] for s in found}) == 2 and TASK.cluster == "image"
    assert to_sample(ROW | {"image": None}).images[0].sha256().startswith("unreadable")


def test_the_task_mean_counts_both_sorts_of_grids_as_one_task() -> None:
    sorts = ["Counting Grid - Blank Grids", "Counting Grid - Word Grids", "Circled Letter"]
    responses = [
        Response(s.id, dict(s.groups), right)
        for n, (name, right) in enumerate(zip(sorts, (1.0, 0.0, 1.0), strict=True))
        for s in [to_sample(ROW | {"task": name, ROW_NUMBER: n})]
    ]
    score = score_responses(responses, TASK.metrics, cluster=None, per_sample=1)
    found = {name: value.value for name, value in score.metrics.items()}
    assert found["task_mean"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["accuracy"] == pytest.approx(2 / 3)
