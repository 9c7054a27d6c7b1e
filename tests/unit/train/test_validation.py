"""Validations of steps that a resumed training makes again do not stand in for the new ones."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from vsr1_bench.audit.overlap import training_side
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.registry import get_task
from vsr1_bench.train.recipe import load_recipe
from vsr1_bench.train.rl.validation import FOLDER, forget_validations, note_overlap


def test_runs_of_later_steps_are_forgotten(tmp_path: Path) -> None:
    for step in (0, 5, 10):
        (tmp_path / FOLDER / f"step-{step:06d}" / "demo-00000000").mkdir(parents=True)
    forget_validations(tmp_path, 5)
    assert sorted(p.name for p in (tmp_path / FOLDER).iterdir()) == ["step-000000", "step-000005"]
    forget_validations(tmp_path / "nowhere", 0)


def test_validation_samples_in_the_training_data_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = ["eval_every=1", "eval_limit=8", "overlap_seconds=0.01"]
    recipe = load_recipe("tiny/vision_sr1", settings)
    demo = get_task("demo")
    apart = open_data(training_side(demo, ""), DataOptions())
    with caplog.at_level(logging.INFO, logger="vsr1_bench.train"):
        note_overlap(recipe, apart)
        (line,) = caplog.messages
        assert "0 of 8 validation samples of demo are in the training data" in line
        assert "(256 of 100000 rows compared)" in line
        caplog.clear()
        note_overlap(
            recipe, open_data(replace(demo, source=replace(demo.source, n=12)), DataOptions())
        )
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "8 of 8 validation samples of demo" in record.getMessage()
        assert "by image and question: 8 (12 of 12 rows" in record.getMessage()
        caplog.clear()
        note_overlap(load_recipe("tiny/vision_sr1", [*settings[:2], "overlap_seconds=0"]), apart)
        note_overlap(load_recipe("tiny/vision_sr1"), apart)  # validates nothing
        assert not caplog.messages
        away = load_recipe(
            "tiny/vision_sr1", [*settings, 'eval_tasks="mathvision"', "offline=true"]
        )
        note_overlap(away, apart)
        assert "overlap of mathvision with the training data: not checked" in caplog.messages[0]
