"""Scores in wandb and trackio: what is sent, under which identity, and what is refused."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vsr1_bench._util import trackers
from vsr1_bench.cli.main import main


class Tracker(ModuleType):
    """A tracker with the calls that wandb and trackio share; it prints, as trackio does."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None, origin="here")
        self.begun: list[dict[str, Any]] = []
        self.logged: list[dict[str, float]] = []
        self.ended = 0

    def init(self, **options: Any) -> Any:
        print("* initialized")
        self.begun.append(options)
        return SimpleNamespace(log=self.logged.append)

    def finish(self) -> None:
        self.ended += 1


def evaluate(folder: Path, *more: str, tasks: str = "demo") -> int:
    script = folder / "script.jsonl"
    script.write_text(json.dumps({"id": "*", "response": "\\\\boxed{1}"}) + "\n", "utf-8")
    run = ["--model", "org/m", "--backend", "scripted", "--model_args", f"script={script}"]
    return main([*run, "--tasks", tasks, "--limit", "4", "-o", str(folder / "runs"), *more])


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_scores_are_one_run_that_the_same_command_continues(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker(name)
    monkeypatch.setitem(sys.modules, name, tracker)
    for _ in range(2):
        assert evaluate(tmp_path, "--loggers", name, tasks="demo,demo_prior") == 0
    assert "initialized" not in capsys.readouterr().out
    first, again = tracker.begun
    identity = "id" if name == "wandb" else "name"
    assert first[identity] == again[identity]
    assert first[identity].startswith("org-m-")
    assert first["resume"] == "allow"
    assert first["config"]["tasks"] == ["demo", "demo_prior"]
    record = tracker.logged[0]
    assert record["demo/accuracy/n"] == record["demo/total"] == 4
    assert record["demo/accuracy/low"] <= record["demo/accuracy"] <= record["demo/accuracy/high"]
    assert "demo_prior/accuracy" in record
    assert tracker.ended == 2


def test_a_tracker_that_is_not_here_is_named_before_anything_is_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    assert evaluate(tmp_path, "--loggers", "trackio") == 2
    error = capsys.readouterr().err
    assert "--loggers: trackio is not installed; pip install trackio" in error
    assert not (tmp_path / "runs").exists()


def test_an_unknown_tracker_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path, "--loggers", "mlflow") == 2
    assert "wandb" in capsys.readouterr().err
