"""`table --format latex`: short names, no sources, members behind their group, units said once."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from cli import here
from scored import spec_of, stored_run, tasks_folder
from tree import ROOT

from vsr1_bench.registry import in_suite_order, load_registry, resolve_tasks

GOOD, FAIR = [1.0] * 90 + [0.0] * 10, [1.0] * 60 + [0.0] * 40


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for model in ("org/model-a", "org/model-b"):
        for task, verdicts in (("alpha", GOOD), ("beta", FAIR)):
            stored_run(tmp_path / "runs", spec_of(model, task), verdicts)
    return tmp_path / "runs"


def told(runs: Path, *flags: object, code: int = 0) -> str:
    """Standard output and error of `table`."""
    folder = tasks_folder(runs.parent)
    done = here("table", runs, "--include_path", folder, *flags)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_paper_sees_neither_sources_nor_members(runs: Path) -> None:
    made = told(runs, "--format", "latex")
    head = re.search(r"\\toprule\n(.*) \\\\", made)
    assert head and head[1] == "Model & {pair}"  # one setting: no column for it
    assert "model-a & 75.0" in made and "org/" not in made and "string" not in made
    assert made.count("percentages") == 1 and r"\caption" not in made
    assert r"Metrics other than accuracy: pair: both.\par" in made
    everything = told(runs, "--format", "latex", "--members", "--source")
    head = re.search(r"\\toprule\n(.*) \\\\", everything)
    assert head and head[1] == "Model & {alpha} & {beta} & {pair} & Source"
    # Other formats are for looking at: they have everything.
    assert "| alpha |" in re.sub(" +", " ", told(runs)) and "org/model-a" in told(runs)


def test_names_are_taken_from_a_file(runs: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.toml"
    names.write_text(
        '[models]\n"org/model-a" = "Model A & Co"\n[tasks]\npair = "Pair"\nnone = "None"\n'
        '[metrics]\nboth = "mean"\n'
    )
    made = told(runs, "--format", "latex", "--names", names)
    assert r"Model A \& Co & 75.0" in made and "{Pair}" in made
    assert "Metrics other than accuracy: Pair: mean." in made
    assert f"{names}: not in this table: none" in made
    plain = told(runs, "--names", names)
    assert "| Model A &amp; Co |" in plain and "Pair mean" in plain and "org/model-b" in plain
    assert "org/model-a" in told(runs, "--names", names, "--format", "json")


def test_models_keep_their_organisation_where_it_tells_them_apart(tmp_path: Path) -> None:
    for model in ("one/model", "two/model", "three/other"):
        stored_run(tmp_path / "runs", spec_of(model, "alpha"), GOOD)
    made = told(tmp_path / "runs", "--format", "latex")
    assert "\none/model &" in made and "\ntwo/model &" in made and "\nother &" in made


def test_caption_and_label(runs: Path) -> None:
    made = told(runs, "--format", "latex", "--caption", "50 % & more", "--label", "tab:all_1")
    assert r"\caption{50 \% \& more}" in made and r"\label{tab:all_1}" in made


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--caption", "x"], "--caption goes with --format latex"),
        (["--source", "--format", "html"], "--source goes with --format latex"),
        (["--members", "--format", "latex", "--layout", "long"], "--members goes with"),
        (["--label", "x", "--format", "latex"], "--label x: a label refers to a caption"),
        (["--label", "a}b", "--caption", "c", "--format", "latex"], "--label 'a}b': wanted"),
        (["--names", "none.toml"], "--names none.toml: not readable"),
    ],
)
def test_what_is_wrong_is_one_line(runs: Path, flags: list[str], said: str) -> None:
    made = told(runs, *flags, code=2)
    assert said in made and made.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model]\na = 'b'", "unknown section [model]; did you mean models"),
        ("[models]\na = 3", "[models]: wanted lines"),
        ("models = 3", "[models]: wanted lines"),
        ("[models", "not readable as TOML"),
    ],
)
def test_a_wrong_file_of_names(runs: Path, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "names.toml"
    file.write_text(text)
    assert said in told(runs, "--names", file, code=2)


def test_the_papers_table_has_the_papers_names() -> None:
    words = ("--results", ROOT / "results" / "paper", "--tasks", "paper", "--format", "latex")
    made = here("table", *words).stdout
    names = ("MMMU-Pro", "MMMU", "RealWorldQA", "VisNumBench", "MathVerse", "MATH-Vision")
    assert all(f"{{{name}}}" in made for name in names)
    assert r"{\shortstack{HallusionBench\\(image)}}" in made
    assert r"\multicolumn{11}{l}{\emph{Reported by arXiv:2508.19652v2}}" in made
    assert "mmmu" not in made.replace("mmmu\\_pro\\_weighted", "")


PAPER = (
    *("mmmu_pro_4", "mmmu_pro_10", "mmmu_pro_vision", "mmmu", "realworldqa", "visnumbench"),
    *("mathverse", "mathvision", "hallusionbench_image", "hallusionbench_non_image"),
)


def heading(runs: Path, *flags: object) -> list[str]:
    document = json.loads(told(runs, "--format", "json", *flags))
    return [column["task"] for column in document["columns"]]


def test_columns_of_the_paper_s_suite_are_in_the_paper_s_order(tmp_path: Path) -> None:
    assert tuple(task.name for task in resolve_tasks("paper")) == PAPER
    assert in_suite_order({"zebra", "apple", *PAPER}) == [*PAPER, "apple", "zebra"]
    for task in reversed(PAPER[3:]):
        stored_run(tmp_path / "runs", spec_of("m", task), GOOD)
    assert heading(tmp_path / "runs") == [*PAPER[3:]]
    assert heading(tmp_path / "runs", "--tasks", "paper") == [*PAPER[3:]]


def test_columns_are_in_the_order_of_the_command_that_made_the_runs(tmp_path: Path) -> None:
    folder = tasks_folder(tmp_path)
    runs = [
        stored_run(tmp_path / "runs", spec_of(model, task), GOOD)
        for model in ("a", "b")
        for task in ("alpha", "beta", "figures")
    ]
    assert heading(tmp_path / "runs") == ["alpha", "beta", "pair", "figures"]
    several = f"vsr1-bench --tasks figures,beta,alpha --include_path {shlex.quote(str(folder))}"
    for run in runs[:3]:
        meta = json.loads((run.path / "run.json").read_text())
        one = {"command": "vsr1-bench run --tasks=figures", "started": "2026-01-01"}
        meta["commands"] = [one, {"command": several, "started": "2026-01-02"}]
        (run.path / "run.json").write_text(json.dumps(meta))
    assert heading(tmp_path / "runs") == ["figures", "beta", "alpha", "pair"]
    assert heading(tmp_path / "runs", "--tasks", "beta,figures,alpha") == [
        *("beta", "figures", "alpha", "pair")
    ]
    # A command that says nothing of them, cannot be read, or names what is gone.
    for text in ("vsr1-bench --tasks 'gone", "vsr1-bench --tasks gone,figures", "vsr1-bench -t"):
        for run in runs[:3]:
            meta["commands"] = [{"command": text, "started": "2026-01-01"}]
            (run.path / "run.json").write_text(json.dumps(meta | {"spec": run.meta()["spec"]}))
        assert heading(tmp_path / "runs")[0] == "alpha"


def test_every_task_of_ours_has_a_title() -> None:
    registry = load_registry()
    known = {**registry.tasks, **registry.groups}
    assert [name for name, one in known.items() if not one.title] == ["custom"]
