"""MMMU-Pro's two overall numbers, hand-worked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scored import spec_of, stored_run, tasks_folder

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.imports.responses import ImportOptions, import_responses
from vsr1_bench.scoring.groups import score_groups
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.store.run_folder import RunFolder

SETS = {
    "mmmu_pro_4": ("standard (4 options)", "AABB"),  # all right
    "mmmu_pro_10": ("standard (10 options)", "AB"),  # half right
    "mmmu_pro_vision": ("vision", "BBBB"),  # none right
}


def write_mirror(root: Path) -> None:
    for config, answers in SETS.values():
        folder = root / "MMMU/MMMU_Pro" / config
        folder.mkdir(parents=True)
        lines = []
        for number, answer in enumerate(answers):
            row: dict[str, Any] = {
                "id": f"test_Art_{number}",
                "options": "['one', 'two']",
                "answer": "A",
                "subject": "Art",
            }
            if config != "vision":
                row |= {"question": f"Which {config} {number}?", "topic_difficulty": "Easy"}
                row["answer"] = answer if config.startswith("standard (4") else "A"
            lines.append(json.dumps(row))
        (folder / "test.jsonl").write_text("\n".join(lines) + "\n")


def run_of(root: Path, task: str, answers: str) -> RunFolder:
    responses = root / f"{task}.jsonl"
    said = [json.dumps({"response": f"\\boxed{{{answer}}}"}) for answer in answers]
    responses.write_text("\n".join(said) + "\n")
    options = ImportOptions(
        task=task,
        responses=responses,
        model="theirs",
        by="row",
        output_path=root / "runs",
        data=DataOptions(root / "mirror"),
        progress=False,
    )
    run = import_responses(options)
    judge_and_score(run, None, progress=False)
    return run


def test_official_is_the_mean_of_two_and_the_papers_pools_three(tmp_path: Path) -> None:
    write_mirror(tmp_path / "mirror")
    runs = [run_of(tmp_path, task, answers) for task, (_, answers) in SETS.items()]
    # imported responses have a fingerprint of their own each: they are not one model's
    assert score_groups(runs) == []
    for run in runs:
        meta = json.loads((run.path / "run.json").read_text())
        meta["spec"]["model"]["fingerprint"] = "same"
        (run.path / "run.json").write_text(json.dumps(meta))
    (document,) = score_groups(runs)
    assert document["task"] == "mmmu_pro" and document["version"] == "2/2/2"
    metrics = document["metrics"]
    assert metrics["official_overall"]["value"] == pytest.approx((0.5 + 0.0) / 2)
    assert metrics["official_overall"]["n"] == 6
    assert metrics["paper_weighted"]["value"] == pytest.approx((4 + 1 + 0) / 10)
    assert metrics["paper_weighted"]["n"] == 10
    # without the 4-option set only the official number can be told
    (partial,) = score_groups(runs[1:])
    assert list(partial["metrics"]) == ["official_overall"]


def test_a_group_whose_tasks_were_labelled_in_a_file_each(tmp_path: Path) -> None:
    def label(task: str, file: str) -> RunFolder:
        verdicts = [1.0, 0.0, 1.0, float(task == "alpha")]
        return stored_run(tmp_path / "runs", spec_of("m", task), verdicts, judge=f"labels[{file}]")

    def groups() -> dict[str, float]:
        found = score_groups(runs, [str(tasks_folder(tmp_path))])
        return {d["judge"]: d["metrics"]["both"]["value"] for d in found}

    runs = [label("alpha", "a~1"), label("beta", "b~2")]
    assert groups() == {"labels": 5 / 8}
    label("alpha", "b~2")  # a second file for alpha: the one that labels both tasks is meant
    assert groups() == {"labels[b~2]": 5 / 8}
    label("beta", "a~1")
    assert groups() == {"labels[a~1]": 5 / 8, "labels[b~2]": 5 / 8}


def test_a_group_that_one_file_labels_is_scored_once(tmp_path: Path) -> None:
    runs = [
        stored_run(tmp_path / "runs", spec_of("m", task), [1.0, 0.0], judge="labels[a~1]")
        for task in ("alpha", "beta")
    ]
    (found,) = score_groups(runs, [str(tasks_folder(tmp_path))])
    assert found["judge"] == "labels[a~1]"
