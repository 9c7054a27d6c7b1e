"""The loggers beside metrics.jsonl: what they were told can be read back."""

from __future__ import annotations

import json
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from tests.training import small_recipe
from vsr1_bench._util import trackers
from vsr1_bench.errors import UsageError
from vsr1_bench.train.core.metrics import open_loggers
from vsr1_bench.train.core.ranks import Ranks

TOLD = [{"step": n, "loss": 1.0 / n, "reward/total": 0.1 * n} for n in (1, 2, 3)]


def log(folder: Path, logger: str, told: list[dict[str, float]], *, at: int = 0) -> None:
    """Log some steps of a run that stands at a step."""
    with ExitStack() as stack:
        recipe = small_recipe(folder, loggers=(logger,))
        loggers = open_loggers(recipe, folder, Ranks(0, 1), at, stack)
        for record in told:
            for each in loggers:
                each(record)


def test_tensorboard_has_each_step_once_though_a_run_was_killed(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed here",
    )
    lost = [{**record, "loss": 9.0} for record in TOLD[:2]]
    log(tmp_path, "tensorboard", lost)
    log(tmp_path, "tensorboard", TOLD[1:], at=1)
    board = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, round(e.value, 4)) for e in board.Scalars("loss")] == [
        *((1, 9.0), (2, 0.5), (3, 0.3333))
    ]
    assert [round(e.value, 4) for e in board.Scalars("reward/total")] == [0.1, 0.2, 0.3]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 9), (2, 0.5), (3, 1 / 3)]


def test_wandb_has_each_step_and_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline; the run's own file holds texts as they are, and wandb offers no reader of it."""
    pytest.importorskip("wandb", reason="wandb is not installed here: it is too big for dev")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log(tmp_path, "wandb", TOLD)
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    stored = file.read_bytes()
    wanted = [f"{value!r}" for record in TOLD for value in record.values() if value % 1]
    for text in ("reward/total", "component_weights", *wanted):
        assert text.encode() in stored, text
    log(tmp_path, "wandb", TOLD[2:], at=2)  # resumed: the same run goes on
    (name,) = {one.name.split("-")[-1] for one in (tmp_path / "wandb").glob("offline-run-*")}
    assert name == (tmp_path / "wandb-run").read_text()
    log(tmp_path, "wandb", TOLD)  # begun anew: another one
    assert name != (tmp_path / "wandb-run").read_text()


@pytest.mark.parametrize("found", [None, ModuleSpec("wandb", None)])
def test_a_logger_that_is_not_here_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """Also where the folder of earlier runs, `wandb`, could be taken for the package."""
    monkeypatch.setattr(trackers, "find_spec", lambda name: found)
    with pytest.raises(UsageError, match=r"loggers: wandb is not installed; pip install") as error:
        log(tmp_path, "wandb", TOLD)
    assert "\n" not in str(error.value)
