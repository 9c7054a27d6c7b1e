"""Validations of steps that a resumed training makes again do not stand in for the new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from vsr1_bench.train.rl.validation import FOLDER, forget_validations


def test_runs_of_later_steps_are_forgotten(tmp_path: Path) -> None:
    for step in (0, 5, 10):
        (tmp_path / FOLDER / f"step-{step:06d}" / "demo-00000000").mkdir(parents=True)
    forget_validations(tmp_path, 5)
    assert sorted(p.name for p in (tmp_path / FOLDER).iterdir()) == ["step-000000", "step-000005"]
    forget_validations(tmp_path / "nowhere", 0)
