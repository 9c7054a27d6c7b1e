"""`compare --calibrated`: the difference of two runs, corrected by the labels of both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import error_line, here
from labelled import fill, two_runs
from scipy import stats
from scored import spec_of, stored_run
from tree import load_script

from vsr1_bench.calibration.calibrate import calibrate
from vsr1_bench.calibration.difference import difference
from vsr1_bench.calibration.estimate import Units, prediction_powered
from vsr1_bench.calibration.sheet import read_sheet
from vsr1_bench.store.run_folder import find_runs


def units(seed: int, n: int = 400, drawn: int = 40) -> Units:
    """A judge right in 85 % of cases, and labels of each verdict."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.6).astype(float)
    values = np.where(rng.random(n) < 0.85, truth, 1 - truth)
    labels = np.full(n, np.nan)
    for verdict in (0, 1):
        taken = rng.permutation(np.flatnonzero(values == verdict))[:drawn]
        labels[taken] = truth[taken]
    return Units(values, labels, values.astype(np.intp), np.arange(n))


def width(found: Any) -> float:
    return float(found.high - found.low)


def test_runs_on_other_questions_are_independent() -> None:
    one, other = units(1), units(2)
    other = replace(other, clusters=other.clusters + len(one.clusters))
    found = difference(one, other)
    alone = [prediction_powered(part) for part in (one, other)]
    assert found.difference == pytest.approx((alone[1].value or 0) - (alone[0].value or 0))
    assert (found.first, found.second) == pytest.approx((alone[0].value, alone[1].value))
    assert width(found) == pytest.approx(np.hypot(width(alone[0]), width(alone[1])), rel=0.03)
    # The test and the interval say the same.
    error = width(found) / 2 / stats.t.ppf(0.975, 159)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(found.difference) / error, 159))
    assert found.labels == 160 and found.n == 400


def test_a_run_differs_from_itself_only_by_its_pseudo_labels() -> None:
    one = units(1)
    found, apart = difference(one, one), difference(one, units(3))
    assert found.difference == 0 and found.p_value == pytest.approx(1)
    assert width(found) < 0.5 * width(apart)


@pytest.mark.parametrize("case", [0, 1, 3], ids=["equal", "unlike judges", "clusters"])
def test_coverage(case: int) -> None:
    """A small run of scripts/simulate_calibration.py; docs/statistics.md has the large one."""
    pair = load_script("simulate_calibration").PAIRS[case]
    rng, sets, hits = np.random.default_rng(case), 80, 0
    for _ in range(sets):
        found = difference(*pair.draw(rng))
        hits += (found.low or 0) <= pair.value <= (found.high or 0)
    assert hits >= stats.binom.ppf(0.001, sets, 0.95)


def labelled(tmp_path: Path, *models: str) -> tuple[list[Any], list[Any], Path]:
    """Two runs and a sheet; the judge's difference is -25 points, people find none."""
    runs, folder = two_runs(tmp_path, unscored=0)
    sheet, paths = tmp_path / "sheet.csv", [run.path for run in runs]
    drawn = [run.path for run in runs if not models or run.spec().model.id in models]
    done = here("calibrate", *drawn, "--judge", "string_match", "--labels", sheet,
                "--draw", "400", "--include_path", folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    fill(sheet, lambda row: {"label": "right" if int(row["id"][1:]) < 25 else "wrong"})
    return ["compare", *paths, "--include_path", folder], paths, sheet


def test_people_find_no_difference_where_the_judge_does(tmp_path: Path) -> None:
    words, _, sheet = labelled(tmp_path)
    done = here(*words, "--calibrated", sheet, "--json")
    assert done.returncode == 0, done.stderr
    [one] = json.loads(done.stdout)["comparisons"]
    assert one["paired"]["difference"] == pytest.approx(-0.25)
    corrected = one["calibrated"]
    documents = calibrate(find_runs(tmp_path / "runs"), "string_match", read_sheet(sheet),
                          [words[-1]])  # fmt: skip
    wanted = [document["metrics"]["accuracy"]["ppi"]["value"] for document in documents]
    assert [corrected["first"], corrected["second"]] == pytest.approx(wanted)
    assert corrected["low"] < corrected["difference"] < corrected["high"]
    assert corrected["n"] == 40 and corrected["p_value"] > 0.05
    text = here(*words, "--calibrated", sheet).stdout
    table = text[text.index("Calibrated by human labels") :]
    assert "B − A" in table
    assert f"{100 * corrected['first']:.1f}" in table and f"{corrected['labels']}" in table
    assert "calibrated" not in json.loads(here(*words, "--json").stdout)["comparisons"][0]


def test_only_samples_that_both_answered_count(tmp_path: Path) -> None:
    words, _, sheet = labelled(tmp_path)
    spec = spec_of("c", "alpha")
    stored_run(tmp_path / "runs", spec, [1.0] * 20 + [0.0] * 10 + [None] * 10)
    third = next(run for run in find_runs(tmp_path / "runs") if run.spec().model.id == "c")
    more = tmp_path / "more.csv"
    assert here("calibrate", third.path, "--judge", "string_match", "--labels", more,
                "--include_path", words[-1]).returncode == 0  # fmt: skip
    fill(more, lambda row: {"label": "right" if int(row["id"][1:]) < 20 else "wrong"})
    done = here("compare", words[1], third.path, "--include_path", words[-1],
                "--calibrated", sheet, "--calibrated", more, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    [one] = json.loads(done.stdout)["comparisons"]
    corrected = one["calibrated"]
    assert one["paired"]["n"] == corrected["n"] == 30
    # All are labelled: of the 30, people find 25 of the first right, and 20 of the other.
    assert corrected["first"] == pytest.approx(25 / 30)
    assert corrected["second"] == pytest.approx(20 / 30)


def test_a_run_without_labels_has_no_corrected_difference(tmp_path: Path) -> None:
    words, paths, sheet = labelled(tmp_path, "a")
    done = here(*words, "--calibrated", sheet)
    text = error_line(done.returncode, 2, done.stderr)
    assert "no difference can be corrected" in text and "has no labels" in text
    stored_run(tmp_path / "runs", spec_of("c", "alpha"), [1.0, 0.0] * 20)
    third = next(run for run in find_runs(tmp_path / "runs") if run.spec().model.id == "c")
    more = tmp_path / "more.csv"
    assert here("calibrate", third.path, "--judge", "string_match", "--labels", more,
                "--include_path", words[-1]).returncode == 0  # fmt: skip
    fill(more, lambda row: {"label": "right" if int(row["id"][1:]) % 3 else "wrong"})
    done = here("compare", *paths, third.path, *words[3:], "--calibrated", sheet,
                "--calibrated", more)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Not calibrated: alpha, ") == 2
    assert "C − A" in done.stdout[done.stdout.index("Calibrated by") :]
