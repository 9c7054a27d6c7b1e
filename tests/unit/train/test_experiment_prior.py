"""The experiment's tables say what the verdicts hold: planted differences, and who is left out."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tree import load_script

N = 400


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    return load_script("experiment_prior")


@pytest.fixture
def stored(experiment: ModuleType) -> dict[str, Any]:
    """Every model right on half of the samples; `summed` on a tenth more, whatever the seed."""
    draw = np.random.default_rng(0)
    half = "".join("10"[i % 2] for i in range(N))
    more = "".join("1" if i % 10 == 1 else c for i, c in enumerate(half))
    runs = {}
    for name in ("start", *experiment.names()):
        one = dict.fromkeys(experiment.ENDPOINTS, half)
        one["follows"] = "".join("-10"[i] for i in draw.integers(0, 3, N))
        if name.startswith("summed"):
            one["accuracy"] = more
        runs[name] = one
    curves = {
        name: {curve: [0.1, 0.2] for curve in experiment.CURVES} for name in experiment.names()
    }
    for name in curves:
        if name.startswith("answer_only"):
            del curves[name]["reward/description_accuracy"]
    return {"task": "demo_prior", "runs": runs, "curves": curves}


def test_a_planted_difference_is_found_and_no_other(
    experiment: ModuleType, stored: dict[str, Any]
) -> None:
    runs = experiment.read_flags(stored["runs"])
    found = experiment.family(
        [experiment.contrast(runs, "answer_only", "summed", e) for e in experiment.PRIMARY]
    )
    accuracy, lsr, self_contained = found
    assert accuracy.paired.difference == pytest.approx(0.1)
    assert accuracy.by_seed == pytest.approx((0.1, 0.1, 0.1))
    assert accuracy.paired.low < 0.1 < accuracy.paired.high and accuracy.holm < 1e-6
    assert lsr.paired.difference == self_contained.paired.difference == 0
    assert lsr.holm == 1


def test_samples_that_do_not_count_are_left_out(
    experiment: ModuleType, stored: dict[str, Any]
) -> None:
    runs = experiment.read_flags(stored["runs"])
    names = [f"{o}/{s}" for o in ("answer_only", "decoupled") for s in experiment.SEEDS]
    counted = [i for i in range(N) if all(stored["runs"][n]["follows"][i] != "-" for n in names)]
    found = experiment.contrast(runs, "answer_only", "decoupled", "follows")
    assert found.paired.n == len(counted) < N


def test_the_report_stands_on_the_verdicts_alone(
    experiment: ModuleType, stored: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "verdicts.json").write_text(json.dumps(stored))
    text = experiment.report(tmp_path)
    assert "summed - answer\\_only" in text or "summed - answer_only" in text
    assert "10.0 (" in text and "+10.0 +10.0 +10.0" in text
    assert (tmp_path / "summary.md").read_text() == text
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_the_committed_summary_is_what_its_verdicts_say(
    experiment: ModuleType, tmp_path: Path
) -> None:
    committed = experiment.RESULTS
    (tmp_path / "verdicts.json").write_bytes((committed / "verdicts.json").read_bytes())
    assert experiment.report(tmp_path) == (committed / "summary.md").read_text("utf-8")
