"""The paper's sets: all of them are here, and its merged set is read as its groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli import loaded
from judged import judged, load, mirrored

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.data.problem_rows import IMAGE_COLUMNS
from vsr1_bench.judging.choose import choose_judges
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.registry import load_registry, resolve_tasks
from vsr1_bench.task import Procedural, Source, UserDataset
from vsr1_bench.tasks.paper_sets import TASK
from vsr1_bench.tools import validate

TABLE_2 = {
    "mmmu_pro_4", "mmmu_pro_10", "mmmu_pro_vision", "mmmu", "realworldqa", "visnumbench",
    "mathverse", "mathvision", "hallusionbench_image", "hallusionbench_non_image",
}  # fmt: skip
TABLE_3 = {"vilp", "mmsi_bench", "omnispatial"}
TABLE_5 = {"mmlu_pro", "supergpqa", "gsm8k", "math500"}
# Of the evaluation scripts.
SCRIPTS = {"mllm_test", "mmstar", "mathvista", "clevr_count", "mmvet"}


def test_every_set_of_the_papers_tables_and_scripts_is_a_task() -> None:
    registry = load_registry()
    assert not (TABLE_2 | TABLE_3 | TABLE_5 | SCRIPTS) - set(registry.tasks)
    suites = {name: set(tasks) for name, tasks in registry.suites().items()}
    assert suites["paper"] == TABLE_2
    assert suites["text"] >= TABLE_5
    assert suites["mmmu_pro"] == {"mmmu_pro_4", "mmmu_pro_10", "mmmu_pro_vision"}
    assert {"mathvision", "mathverse", "mathvista"} <= suites["multimodal_math"]
    assert suites["hallucination"] >= {"hallusionbench_image", "hallusionbench_non_image"}
    assert suites["spatial"] >= {"mmsi_bench", "omnispatial"}
    assert suites["perception"] == {"naturalbench", "mmvp", "vlmsareblind"}


@pytest.mark.parametrize("name", sorted(load_registry().tasks))
def test_the_example_of_every_task_is_sound(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gold 1, empty 0, without any data."""
    real = validate.get_judge
    # In this process: a worker for each task would be nearly all of the time.
    monkeypatch.setattr(validate, "get_judge", lambda *a: replace(real(*a), bounded=False))
    task = load_registry().tasks[name]
    if isinstance(task.source, UserDataset):
        rows = [{"problem": "One and one?", "answer": "2"}]
        data = DataOptions(dataset=str(mirrored(tmp_path, "set", rows)))
    else:
        data = DataOptions(tmp_path, offline=True)
    found = validate.validate_task(task, data, limit=5)
    assert found.faults == () and found.rows > 0 and found.prompt
    assert task.license and task.description
    assert found.judged is (name != "mmvet")  # MM-Vet alone is graded by a model: test_mmvet.py
    if not isinstance(task.source, Procedural) and found.judged:
        assert task.example is not None
        assert isinstance(task.source, UserDataset) or "generated row" in found.source
        # the example alone: the row that `validate` falls back to
        mapped = task.to_sample(task.example())
        for sample in mapped if isinstance(mapped, tuple) else (mapped,):
            spoken = judged(task, sample, f"\\boxed{{{sample.answer}}}")
            assert spoken.outcome == "correct"


@pytest.mark.parametrize("name", sorted(load_registry().tasks))
def test_the_copies_of_every_task_name_other_rows(name: str) -> None:
    task = load_registry().tasks[name]
    for copy in task.copies.values():
        assert isinstance(task.source, Source)
        assert copy.source.hub_id != task.source.hub_id
    if "paper" in task.copies:
        source = task.copies["paper"].source
        assert source.hub_id.startswith("zli12321/")
        assert (source.split, source.config, source.images) == ("test", None, IMAGE_COLUMNS)


def test_every_copy_of_the_papers_scripts_can_be_read() -> None:
    names = (
        "mmstar MLLM_test visnumbench mmmu_pro_10options mmmu-pro-vision hallusionbench MMMU MMSI "
        "mathverse mathvision mathvista realWorldQA mmlu_pro SuperGPQA mm-vet"
    ).split()
    tasks = load_registry().tasks.values()
    copies = {task.copies["paper"].source.hub_id for task in tasks if "paper" in task.copies}
    assert isinstance(TASK.source, Source)
    assert copies | {TASK.source.hub_id} == {f"zli12321/{name}" for name in names}


def row(file_name: str, problem: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"file_name": file_name, "problem": problem, "answer": answer, **more}


MERGED = [
    row("mmmu-pro", "<image>Which?\n(A) red\n(B) blue", "B", images=["a.png"]),
    row("clevr_count_70k", "<image>How many items?", "4", images=["a.png"]),
    row("mm-vet", "<image>What is it?", "a red car<AND>parked", images=["b.png"]),
    row("mathverse", "<image>Find x.\nChoices:\nA:65°\nB:50°", "A", images=["a.png"]),
    row("mathvista", "<image>How much?", "0.5", images=["a.png"]),
    row("mathvision", "<image>How far?", r"3\sqrt{13}", images=["a.png"]),
    row("realWorldQA", "<image>Is it red?", "Yes", images=["a.png"]),
    # the same question of another image, as counting asks it again and again
    row("clevr_count_70k", "<image>How many items?", "5", images=["b.png"]),
]


def test_the_merged_set_is_read_group_by_group(tmp_path: Path) -> None:
    mirrored(tmp_path, "zli12321/MLLM_test/test", [r | {"id": 1} for r in MERGED])
    samples = load("mllm_test", tmp_path)
    assert len({s.id for s in samples}) == len(MERGED)
    assert [s.groups["set"] for s in samples] == [r["file_name"] for r in MERGED]
    kinds = ["choice", "number", "text", "choice", "number", "math", "yes_no", "number"]
    assert [s.answer_type for s in samples] == kinds
    said = [r"\boxed{blue}", "4", r"\boxed{a red car}", r"\boxed{65^\circ}", r"\boxed{1/2}"]
    said += [r"\boxed{\sqrt{117}}", "Yes.", "4"]
    outcomes = [judged(TASK, s, text).outcome for s, text in zip(samples, said, strict=True)]
    # MM-Vet wants both facts and partial credit, which no rule gives: it is left to the model
    right = [True, True, False, True, True, True, True, False]
    assert [outcome == "correct" for outcome in outcomes] == right


def test_the_merged_set_is_judged_as_in_the_paper(no_keys: None) -> None:
    """By rule, and by a model where the rule says wrong; without a key by the rule, and said so."""
    assert (TASK.judge, TASK.judge_fallback) == ("cascade:math,gemini", "math")
    with JudgePool() as pool:
        chosen = choose_judges([TASK], None, pool)["mllm_test"]
    assert chosen.spec == "math" and "judged by rule 'math' instead" in str(chosen.warning)


def test_listing_every_task_stays_light_and_shows_what_a_reader_needs() -> None:
    program = "from vsr1_bench.cli.main import main\nmain(['ls', 'tasks'])"
    (header, *lines), heavy = loaded(
        program, "torch", "numpy", "PIL", "pandas", "datasets", "sympy"
    )
    assert heavy == []
    names = ["task", "version", "n", "answers", "judge", "suites", "license", "what"]
    assert header.split() == names
    table = {line.split()[0]: line.split() for line in lines}
    assert set(table) == set(load_registry().tasks)
    assert table["mmmu"][1:6] == ["1.1", "900", "mixed", "mmmu", "paper"]
    assert table["supergpqa"][2] == "26,529" and table["demo"][2] == "1,000"
    assert table["custom"][2] == table["mllm_test"][2] == "–"  # nobody states them


def test_all_is_every_task_but_the_one_whose_rows_the_user_names() -> None:
    assert {t.name for t in resolve_tasks("all")} == set(load_registry().tasks) - {"custom"}
