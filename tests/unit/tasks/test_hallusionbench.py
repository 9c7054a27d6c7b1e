"""HallusionBench: the five official numbers over both splits, against a calculation of our own."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import TaskError
from vsr1_bench.generation.images import ImageError, decode
from vsr1_bench.imports.responses import ImportOptions, import_responses
from vsr1_bench.judge import JudgeOptions
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.records import EncodedImage
from vsr1_bench.scoring.groups import score_groups
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.tasks.hallusionbench import IMAGE, TEXT, example, to_sample, verdict_of_label

# A row without its picture.
EXAMPLE = {name: cell for name, cell in example().items() if name != "image"}

Rows = dict[str, list[dict[str, Any]]]
SPLITS = ("image", "non_image")


def read_rows(mirror: Path) -> Rows:
    folder = mirror / "lmms-lab/HallusionBench"
    return {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        for split in SPLITS
    }


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run_of(
    mirror: Path,
    folder: Path,
    split: str,
    said: list[str],
    labels: list[int] | None = None,
    copy: str | None = None,
) -> RunFolder:
    responses = write(folder / f"{split}.jsonl", [{"response": words} for words in said])
    options = ImportOptions(
        task=f"hallusionbench_{split}",
        responses=responses,
        model="theirs",
        by="row",
        output_path=folder / "runs",
        data=DataOptions(mirror, copy=copy),
        progress=False,
    )
    run = import_responses(options)
    if labels is None:
        judge_and_score(run, None, progress=False)
        return run
    lines = [{"row": n, "label": label} for n, label in enumerate(labels)]
    file = write(folder / f"labels-{split}.jsonl", lines)
    judge_and_score(run, "labels", options=JudgeOptions(labels=file), progress=False)
    return run


def official(rows: Rows, labels: dict[str, list[int]]) -> dict[str, float]:
    """The authors' aggregation, written out: label 1 right, 0 wrong, 2 unclear."""
    questions: list[tuple[dict[str, Any], bool]] = []
    for split in SPLITS:
        for row, label in zip(rows[split], labels[split], strict=True):
            no_figure = row["category"] == "VS" and int(row["figure_id"]) == 0
            questions.append((row, label == 1 or (label == 2 and no_figure)))

    def share(last: str, keep: Callable[[dict[str, Any]], bool]) -> float:
        groups = defaultdict(list)
        for row, right in questions:
            if keep(row):
                topic = row["subcategory"].strip()
                groups[row["category"], topic, row["set_id"], row[last]].append(right)
        return sum(all(group) for group in groups.values()) / len(groups)

    def shown(row: dict[str, Any]) -> bool:
        return not (row["category"] == "VS" and int(row["figure_id"]) == 0)

    return {
        "aAcc": sum(right for _, right in questions) / len(questions),
        "qAcc": share("question_id", lambda row: True),
        "fAcc": share("figure_id", shown),
        "easy": share("question_id", lambda row: row["visual_input"] != "2"),
        "hard": share("question_id", lambda row: row["visual_input"] == "2"),
    }


VECTORS: dict[str, Callable[[int, str], int]] = {
    "all_yes": lambda n, gold: int(gold == "1"),
    "all_no": lambda n, gold: int(gold == "0"),
    "all_unclear": lambda n, gold: 2,
    "all_right": lambda n, gold: 1,
    "mixed": lambda n, gold: (1, 1, 2, 1, 0, 1, 1)[n % 7],
}


@pytest.mark.parametrize("vector", VECTORS)
def test_the_five_numbers(real_slices: Path, tmp_path: Path, vector: str) -> None:
    rows = read_rows(real_slices)
    labels = {
        split: [VECTORS[vector](n, row["gt_answer"]) for n, row in enumerate(rows[split])]
        for split in SPLITS
    }
    runs = [
        run_of(real_slices, tmp_path, split, ["?"] * len(rows[split]), labels[split])
        for split in SPLITS
    ]
    (document,) = score_groups(runs)
    assert document["task"] == "hallusionbench" and document["version"] == "1.1/1.1"
    assert document["n"] == 56 and document["rates"]["scored"] == 56
    found = {name: value["value"] for name, value in document["metrics"].items()}
    assert found.pop("accuracy_strict") == found["aAcc"]
    assert found == pytest.approx(official(rows, labels))
    if vector == "all_unclear":
        assert found["fAcc"] == 0 and found["aAcc"] == pytest.approx(12 / 56)
    if vector == "mixed":  # nothing that would be the same whichever way it is counted
        assert len({round(value, 9) for value in found.values()}) == 5
    # one split alone does not give the benchmark's numbers
    assert score_groups(runs[:1]) == []


def test_the_rule_judge_and_labels_agree(real_slices: Path, tmp_path: Path) -> None:
    rows = read_rows(real_slices)
    runs = [
        run_of(real_slices, tmp_path, split, ["The answer is yes."] * len(rows[split]))
        for split in SPLITS
    ]
    (document,) = score_groups(runs)
    labels = {s: [int(row["gt_answer"] == "1") for row in rows[s]] for s in SPLITS}
    found = {name: value["value"] for name, value in document["metrics"].items()}
    assert {n: found[n] for n in official(rows, labels)} == pytest.approx(official(rows, labels))


def test_two_imports_of_one_split_are_not_paired_at_random(
    real_slices: Path, tmp_path: Path
) -> None:
    sizes = {split: len(found) for split, found in read_rows(real_slices).items()}
    runs = [run_of(real_slices, tmp_path, split, ["yes"] * sizes[split]) for split in SPLITS]
    runs.append(run_of(real_slices, tmp_path, "image", ["no"] * sizes["image"]))
    assert score_groups(runs) == []


def test_rows_of_the_papers_copy_have_no_official_numbers(
    real_slices: Path, tmp_path: Path
) -> None:
    """They do not say which figure and set they are of: half a benchmark would be summed up."""
    size = len(read_rows(real_slices)["non_image"])
    told = run_of(real_slices, tmp_path, "non_image", ["yes"] * size)
    folder = tmp_path / "paper/zli12321/hallusionbench"
    folder.mkdir(parents=True)
    write(folder / "test.jsonl", [{"problem": f"Is it {n}?", "answer": "yes"} for n in range(3)])
    copied = run_of(tmp_path / "paper", tmp_path, "image", ["yes"] * 3, copy="paper")
    assert copied.spec().data.id == "zli12321/hallusionbench"
    assert score_groups([told, copied]) == []


def test_a_run_of_the_group_ends_in_the_official_numbers(real_slices: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    write(script, [{"id": "*", "response": "\\boxed{yes}"}])
    options = RunOptions(
        model="m",
        tasks="hallusionbench",
        backend="scripted",
        model_args={"script": script},
        output_path=tmp_path / "runs",
        data=DataOptions(real_slices),
        progress=False,
    )
    runs = [run.folder for run in generate(options)]
    for run in runs:
        judge_and_score(run, None, progress=False)
    (document,) = score_groups(runs)
    rows = read_rows(real_slices)
    labels = {s: [int(row["gt_answer"] == "1") for row in rows[s]] for s in SPLITS}
    expected = official(rows, labels)
    assert {n: document["metrics"][n]["value"] for n in expected} == pytest.approx(expected)


def test_a_label_means_what_the_authors_say() -> None:
    figure = to_sample(EXAMPLE | {"category": "VS", "figure_id": "1", "visual_input": "2"})
    none = to_sample(EXAMPLE | {"category": "VS", "figure_id": "0", "visual_input": "0"})
    dependent = to_sample(EXAMPLE | {"category": "VD", "figure_id": "0", "visual_input": "1"})
    meant = [verdict_of_label(s, "unclear") for s in (figure, none, dependent)]
    assert meant == ["incorrect", "correct", "incorrect"]
    assert [verdict_of_label(none, label) for label in ("correct", "0", "incorrect")] == [None] * 3


def test_white_space_and_gold() -> None:
    a, b = (to_sample(EXAMPLE | {"subcategory": s, "category": "VS"}) for s in ("map ", "map"))
    assert a.id == b.id and a.groups == b.groups
    golds = [to_sample(EXAMPLE | {"gt_answer": gold}).answer for gold in ("0", "1", 1)]
    assert golds == ["no", "yes", "yes"]
    with pytest.raises(KeyError):
        to_sample(EXAMPLE | {"gt_answer": "2"})


def test_a_gold_that_is_neither_names_the_row(tmp_path: Path) -> None:
    folder = tmp_path / "lmms-lab/HallusionBench"
    folder.mkdir(parents=True)
    write(folder / "non_image.jsonl", [EXAMPLE | {"gt_answer": "unclear"}])
    with pytest.raises(TaskError, match=r"row 0 of lmms-lab/HallusionBench.*unclear"):
        list(open_data(TEXT, DataOptions(tmp_path)).samples())


def test_rows_without_their_images(real_slices: Path) -> None:
    """They can be imported and judged; to ask them blind would be another benchmark."""
    asked = list(open_data(IMAGE, DataOptions(real_slices)).samples())
    assert len(asked) == 44 and all(len(sample.images) == 1 for sample in asked)
    with pytest.raises(ImageError, match="cannot be read"):
        decode(asked[0].images[0], 1, 1000)
    told = list(open_data(TEXT, DataOptions(real_slices)).samples())
    assert len(told) == 12 and not any(sample.images for sample in told)
    assert not {s.id for s in asked} & {s.id for s in told}


def test_a_figure_that_is_there_is_shown_first() -> None:
    image = EncodedImage(data=b"png")
    sample = to_sample(EXAMPLE | {"image": image})
    assert sample.images == (image,) and sample.question_text == EXAMPLE["question"]
    # a row that asks without a figure is asked without one
    assert to_sample(EXAMPLE | {"visual_input": "0", "image": image}).images == ()


def test_both_splits_are_of_the_paper_and_of_the_hallucination_suite() -> None:
    assert {task.suites for task in (IMAGE, TEXT)} == {("paper", "hallucination")}
    assert {task.native_prompt for task in (IMAGE, TEXT)} == {""}
