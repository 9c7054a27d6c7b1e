"""A run of sums on the scripted backend, which needs neither a model nor a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cli
import pytest

from vsr1_bench.generation import batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return cli.plugins(tmp_path / "plugins")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return cli.script(tmp_path / "script.jsonl", cli.ANSWER)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(folder: Path, script: Path, runs: Path) -> list[Any]:
    """A run of 60 sums that generates only; a later flag replaces an earlier one."""
    flags = ["--tasks", "adding", "--include_path", folder, "--output_path", runs, "--limit", 60]
    model = ["--model", "m", "--backend", "scripted", "--model_args", f"script={script}"]
    return ["run", *model, *flags, "--predict_only"]


@pytest.fixture
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is not listed is not waited for."""
    monkeypatch.setattr(batch, "SETTLING_SECONDS", 0.0)
