"""OmniSpatial: two published layouts, and no match is not an "A"."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import TaskError
from vsr1_bench.judge import Item
from vsr1_bench.judges.string_match import grade
from vsr1_bench.task import example_image
from vsr1_bench.tasks.omnispatial import TASK, example, to_sample

ROW = dict(example())
KIND = {"task_type": "Complex_Logic", "sub_task_type": "Pattern_Recognition"}


def test_the_gold_is_a_number_from_0_or_a_letter() -> None:
    assert to_sample(ROW).answer == "B"
    assert to_sample(ROW | {"answer": 0}).answer == "A"
    assert to_sample(ROW | {"answer": "1"}).answer == "B"
    lettered = {name: value for name, value in ROW.items() if name != "answer"} | {"gt": "A"}
    assert to_sample(lettered).answer == "A"


@pytest.mark.parametrize("gold", [{"answer": 2}, {"answer": -1}, {"gt": "C"}, {"gt": ""}])
def test_a_gold_beyond_the_options_is_refused(gold: dict[str, object]) -> None:
    with pytest.raises(TaskError, match="none of 2 options"):
        to_sample(ROW | gold)


def test_ids_repeat_between_sub_tasks() -> None:
    a = to_sample(ROW | {"id": "0_0"})
    b = to_sample(ROW | KIND | {"id": "0_0"})
    assert a.id != b.id and a.id.endswith("0_0")
    assert a.groups == {n: ROW[n] for n in ("task_type", "sub_task_type")}


def write(folder: Path, **changes: object) -> None:
    (folder / "img").mkdir(parents=True)
    (folder / "img/0.png").write_bytes(example_image().read())
    row = {"question": "Which?", "options": ["left", "right"], **KIND, **changes}
    (folder / "test.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": "0_1"}))


def test_both_layouts_of_a_mirror(tmp_path: Path) -> None:
    write(tmp_path / "nv-njb/OmniSpatial-Test", image="img/0.png", answer=1)
    write(tmp_path / "pangyyyyy/OmniSpatial", image_path="img/0.png", gt="B", id="0_0")
    for copy in (None, "paths"):
        samples = list(open_data(TASK, DataOptions(tmp_path, copy=copy)).samples())
        assert len({sample.id for sample in samples}) == 2
        assert {sample.answer for sample in samples} == {"B"}
        assert {sample.images[0].read() for sample in samples} == {example_image().read()}


def test_a_missing_image_fails_its_sample() -> None:
    (image,) = to_sample(ROW | {"image": None}).images
    assert image.sha256().startswith("unreadable")


def test_no_match_is_no_answer() -> None:
    sample = to_sample(ROW | {"answer": 0})  # gold A, which a harness gives for free
    item = Item("x", "I cannot say.", sample.answer, "choice", choices=sample.choices)
    verdict = grade(item)
    assert verdict.outcome == "incorrect" and verdict.unparsed
