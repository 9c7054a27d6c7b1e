"""CLEVR-count: numbers, and a training split that is not the test split."""

from __future__ import annotations

import pytest
from judged import RED, judged, one

from vsr1_bench.errors import TaskError
from vsr1_bench.records import ImagePlace
from vsr1_bench.task import ROW_NUMBER, Source
from vsr1_bench.tasks.clevr_count import TASK, to_sample

ROW = {"problem": "<image>How many items?", "answer": "4", "images": (RED,)}


@pytest.mark.parametrize("gold", ["4", "<answer> 4 </answer>", 4])
def test_the_gold_is_a_number(gold: object) -> None:
    found = one(to_sample(ROW | {"answer": gold}))
    assert (found.answer, found.answer_type) == ("4", "number")
    assert found.question == (ImagePlace(0), "How many items?") and found.images == (RED,)
    for response in (r"\boxed{4}", "<answer>4</answer>", "There are 4 items.", "4"):
        assert judged(TASK, found, response).outcome == "correct", response
    for response in (r"\boxed{5}", "4 or 5", "", r"\boxed{14}"):
        assert judged(TASK, found, response).outcome == "incorrect", response


def test_a_gold_that_is_no_number_is_refused() -> None:
    with pytest.raises(TaskError, match="'many' is not a number"):
        to_sample(ROW | {"answer": "many"})


def test_one_question_of_many_images_has_many_ids() -> None:
    assert one(to_sample(ROW | {ROW_NUMBER: 1})).id != one(to_sample(ROW | {ROW_NUMBER: 2})).id


def test_training_rows_are_of_another_split() -> None:
    assert isinstance(TASK.source, Source) and isinstance(TASK.train, Source)
    assert (TASK.source.split, TASK.train.split) == ("test", "train")
