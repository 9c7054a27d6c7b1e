"""The loop as a list of commands: what is run, in which order, and what is not run twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli import error_line, here

from vsr1_bench.errors import UsageError
from vsr1_bench.generation import adapters
from vsr1_bench.train import loop
from vsr1_bench.train.loop import LoopError, LoopOptions, run_loop
from vsr1_bench.train.loop_summary import before_and_after


class Commands:
    """Stands in for the commands: notes them, makes what a training and an export make."""

    def __init__(self, fails_at: str | None = None, steps: int = 6) -> None:
        self.fails_at, self.steps, self.run = fails_at, steps, list[Sequence[str]]()

    def __call__(self, arguments: Sequence[str]) -> int:
        self.run.append(arguments)
        if self.fails_at and self.fails_at in arguments:
            return 75
        if arguments[:2] == ("train", "export"):
            Path(arguments[3]).mkdir(parents=True)
        elif arguments[0] == "train":
            (where,) = [word for word in arguments if word.startswith("output_dir=")]
            checkpoints = Path(json.loads(where.partition("=")[2])) / "checkpoints"
            made = checkpoints / f"step-{self.steps:06d}"
            made.mkdir(parents=True, exist_ok=True)
            mark = {"step": self.steps, "steps": 6, "files": {}}
            (made / "complete.json").write_text(json.dumps(mark))
        return 0

    @property
    def said(self) -> list[str]:
        return [" ".join(a[:2] if a[0] == "train" else a[:1]) for a in self.run]


@pytest.fixture(autouse=True)
def no_summary(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The runs of these tests are empty; what is summed up is tested on real ones."""
    seen: list[Any] = []

    def write(folder: Path, labels: list[str], identity: dict[str, Any]) -> Path:
        seen.append(labels)
        return folder / "summary.md"

    monkeypatch.setattr(loop, "write_summary", write)
    return seen


def options(folder: Path, **changes: Any) -> LoopOptions:
    base = {"recipe": "tiny/vision_sr1", "tasks": "demo", "output_path": folder}
    return LoopOptions(**(base | changes))


def value(arguments: Sequence[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_start_train_evaluate_and_again_from_what_came_out(
    tmp_path: Path, no_summary: list[Any]
) -> None:
    done = Commands()
    run_loop(options(tmp_path, rounds=2, start="tiny/cold_start", limit=7), done)
    one = ["train sft", "train export", "run"]
    other = ["train grpo", "train export", "run"]
    assert done.said == [*one, *other, *other]
    first, second = done.run[3], done.run[6]
    assert f'model="{tmp_path}/models/start"' in first and "seed=0" in first
    assert f'model="{tmp_path}/models/round-1"' in second and "seed=1" in second
    assert f'output_dir="{tmp_path}/round-2"' in second
    evaluations = [run for run in done.run if run[0] == "run"]
    assert [value(run, "--model") for run in evaluations] == [
        str(tmp_path / "models" / label) for label in ("start", "round-1", "round-2")
    ]
    assert {tuple(run[run.index("--prompt") :]) for run in evaluations} == {
        tuple("--prompt see_think --limit 7 --perception self --blind drop".split())
    }
    assert no_summary == [["start", "round-1", "round-2"]]


def test_where_it_stopped_it_goes_on(tmp_path: Path) -> None:
    stopped = Commands(fails_at="grpo")
    with pytest.raises(LoopError, match="stopped at train round-1") as error:
        run_loop(options(tmp_path), stopped)
    assert error.value.exit_code == 75 and stopped.said == ["run", "train grpo"]
    again = Commands()
    run_loop(options(tmp_path), again)
    assert again.said == ["run", "train grpo", "train export", "run"]
    more = Commands()  # evaluations find nothing missing; a finished training is not started
    run_loop(options(tmp_path, rounds=2), more)
    assert more.said == ["run", "run", "train grpo", "train export", "run"]


def test_a_training_that_says_it_is_done_and_is_not_is_not_exported(tmp_path: Path) -> None:
    cut = Commands(steps=3)
    with pytest.raises(LoopError, match=r"train round-1: .*/round-1 has 3 of 6 steps") as error:
        run_loop(options(tmp_path), cut)
    assert error.value.exit_code == 75 and cut.said == ["run", "train grpo"]
    again = Commands()
    run_loop(options(tmp_path), again)
    assert again.said == ["run", "train grpo", "train export", "run"]


def test_weights_are_not_chosen_on_what_is_tested(tmp_path: Path) -> None:
    """The best by validation on the tested rows would look better than it is."""
    for tasks, last in (("paper", True), ("demo", False)):
        done = Commands()
        recipe = "qwen2_5_vl_3b/vision_sr1_2025"  # validates on visnumbench
        run_loop(options(tmp_path / tasks, recipe=recipe, tasks=tasks), done)
        (export,) = [words for words in done.run if words[:2] == ("train", "export")]
        assert ("--last" in export) is last


def test_an_evaluation_that_broke_off_stops_the_loop(tmp_path: Path) -> None:
    with pytest.raises(LoopError, match="stopped at evaluate start"):
        run_loop(options(tmp_path), Commands(fails_at="run"))


def test_another_loop_in_the_folder_is_refused(tmp_path: Path) -> None:
    run_loop(options(tmp_path), Commands())
    told = json.loads((tmp_path / "loop.json").read_text())
    assert told.pop("include_path") == []
    (tmp_path / "loop.json").write_text(json.dumps(told))  # as before there was this flag
    run_loop(options(tmp_path), Commands())
    with pytest.raises(UsageError, match=r"other settings \(limit: None -> 3\)"):
        run_loop(options(tmp_path, limit=3), Commands())
    assert json.loads((tmp_path / "loop.json").read_text())["tasks"] == "demo"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": ("output_dir=x",)}, "the loop sets it"),
        ({"settings": ("model=x",), "start": "tiny/cold_start"}, "give one of them"),
        ({"start": "tiny/vision_sr1"}, "is one of train grpo"),
        ({"recipe": "nothing"}, "no recipe 'nothing'"),
        ({"settings": ("steps=3",)}, "unknown key 'steps'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    done = Commands()
    with pytest.raises(UsageError, match=said):
        run_loop(options(tmp_path, **changes), done)
    assert not done.run and not (tmp_path / "loop.json").exists()


@pytest.mark.parametrize("what", ["rounds", "start"])
def test_what_is_not_installed_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    pytest.importorskip("deepspeed", reason="the train extra is not installed here")
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    start = tmp_path / "start.toml"
    start.write_text('extends = "tiny/cold_start"\nlora_rank = 4\nmodel = "tiny"\nfreeze = []\n')
    words = ["tiny/vision_sr1", "--start", start] if what == "start" else [start]
    done = here("loop", *words, "--tasks", "demo", "--output_path", tmp_path / "out")
    assert "lora_rank needs peft: " in error_line(done.returncode, 2, done.stderr)
    assert not (tmp_path / "out").exists()


def test_the_table_has_what_each_side_measured() -> None:
    def score(value: float, *, gain: bool) -> dict[str, Any]:
        told = {"value": value, "low": value - 0.1, "high": value + 0.1}
        metrics = {"accuracy": told, "lsr": {"value": None, "low": None, "high": None}}
        return {"n": 9, "metrics": metrics | ({"gain[drop]": told} if gain else {})}

    key = "demo | string_match"
    sheet = before_and_after(
        {"start": {key: score(0.5, gain=True)}, "round-1": {key: score(0.7, gain=False)}}
    )
    assert sheet.headings[-2:] == ("start", "round-1")
    assert sheet.rows[0] == (
        *("demo", "string_match", "accuracy", "9"),
        *("50.0 (40.0 to 60.0)", "70.0 (60.0 to 80.0)"),
    )
    assert [row[-2:] for row in sheet.rows[1:]] == [("–", "–"), ("50.0 (40.0 to 60.0)", "–")]
