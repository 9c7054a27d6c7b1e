"""Corrected numbers as ppi-python and hand-worked tables have them; sheets out and labels in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli import error_line, here
from labelled import Row, fill, sheet_rows, two_runs
from picture_runs import both, plugins, run_and_score
from scipy import stats
from scored import stored_run
from tree import load_script

from vsr1_bench.calibration.calibrate import calibrate
from vsr1_bench.calibration.estimate import (
    Units,
    best_tuning,
    judge_errors,
    pooled,
    prediction_powered,
    rogan_gladen,
)
from vsr1_bench.calibration.sheet import read_sheet, shares, write_sheet
from vsr1_bench.errors import UsageError
from vsr1_bench.store.run_folder import find_runs

# Printed by ppi-python 0.2.3, which is no dependency because it brings numba and gdown:
#   ppi_mean_pointestimate(y[m], f[m], f[~m], lam=LAM)
#   ppi_mean_ci(y[m], f[m], f[~m], alpha=0.05, lam=LAM)
# on the data of `simple_random_sample`.
PPI_PYTHON = {
    None: (0.48865975, 0.4072401, 0.57007939),
    0.0: (0.5, 0.39670083, 0.60329917),
    0.5: (0.49019608, 0.40823009, 0.57216207),
    1.0: (0.48039216, 0.38757562, 0.57320869),
}


def simple_random_sample() -> Units:
    rng = np.random.default_rng(7)
    n, labels = 600, 90
    y = (rng.random(n) < 0.55).astype(float)
    f = np.where(y == 1, rng.random(n) < 0.9, rng.random(n) < 0.3).astype(float)
    known = np.full(n, np.nan)
    taken = rng.permutation(n)[:labels]
    known[taken] = y[taken]
    return Units(f, known, np.zeros(n, dtype=np.intp), np.arange(n))


@pytest.mark.parametrize("lam", PPI_PYTHON)
def test_against_ppi_python(lam: float | None) -> None:
    units = simple_random_sample()
    # Their mean of predictions is over the units without a label.
    found = prediction_powered(units, None if lam is None else lam * 600 / 510)
    value, low, high = PPI_PYTHON[lam]
    # The best lambda is estimated from slightly different units.
    assert found.value == pytest.approx(value, abs=1e-3 if lam is None else 1e-8)
    # Ours has Student's t, pseudo-labels and Wilson's form: a little wider at 90 labels.
    assert found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(high - low, rel=0.04)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)


def test_the_best_lambda_is_the_regression_coefficient() -> None:
    units = simple_random_sample()
    y, f = units.labels[units.labelled], units.values[units.labelled]
    assert best_tuning(units) == pytest.approx(stats.linregress(f, y).slope)
    wide = [prediction_powered(units, lam) for lam in (0.0, best_tuning(units), 1.0)]
    widths = [(v.high or 0) - (v.low or 0) for v in wide]
    assert widths[1] < min(widths[0], widths[2])


def by_verdict(yes: tuple[int, int, int], no: tuple[int, int, int]) -> Units:
    """Per verdict: responses, labels, of these right."""
    values, labels, strata = [], [], []
    for stratum, (n, drawn, right) in enumerate((yes, no)):
        values += [1.0 - stratum] * n
        labels += [1.0] * right + [0.0] * (drawn - right) + [np.nan] * (n - drawn)
        strata += [stratum] * n
    return Units(np.array(values), np.array(labels), np.array(strata), np.arange(len(values)))


@pytest.mark.parametrize(("slope", "lam"), [(0.25, 1.0), (1.0, 1.0), (-1.0, 0.0)])
def test_lambda_is_kept_between_0_and_1(slope: float, lam: float) -> None:
    """Grades that vary less than the labels, as much, and the other way round."""
    labels = np.array([0.0, 1.0] * 20 + [np.nan] * 60)
    values = 0.5 + slope * (np.array([0.0, 1.0] * 50) - 0.5)
    units = Units(values, labels, np.zeros(100, dtype=np.intp), np.arange(100))
    assert best_tuning(units) == pytest.approx(lam)


def test_a_draw_by_verdict_by_hand() -> None:
    units = by_verdict((600, 60, 48), (400, 40, 4))
    wanted = 0.6 * 48 / 60 + 0.4 * 4 / 40  # 0.52
    errors = judge_errors(units)
    assert errors.sensitivity.value == pytest.approx(0.48 / 0.52)
    assert errors.specificity.value == pytest.approx(0.36 / 0.48)
    assert errors.sensitivity.n == 52 and errors.specificity.n == 48
    for found in (prediction_powered(units), rogan_gladen(units)):
        assert found.value == pytest.approx(wanted) and found.n == 100
    # lambda cancels: the judge's values are constant within a stratum.
    assert prediction_powered(units, 0.3) == prediction_powered(units, 0.9)
    # Variance of two phases, with one pseudo-label of each kind per stratum.
    within = sum(w**2 * p * (1 - p) / n for w, p, n in ((0.6, 49 / 62, 62), (0.4, 5 / 42, 42)))
    between = (0.6 * (0.8 - wanted) ** 2 + 0.4 * (0.1 - wanted) ** 2) / 1000
    half = stats.t.ppf(0.975, 99) * (within + between) ** 0.5
    found = prediction_powered(units)
    assert (found.high or 0) - (found.low or 0) == pytest.approx(2 * half, rel=0.02)


def test_rogan_gladen_takes_its_errors_from_other_runs() -> None:
    other = by_verdict((600, 60, 48), (400, 40, 4))
    hit, miss = 0.48 / 0.52, 0.75
    mine = Units(
        np.array([1.0] * 70 + [0.0] * 30), np.full(100, np.nan), np.zeros(100, int), np.arange(100)
    )
    assert rogan_gladen(mine).value is None and prediction_powered(mine).value is None
    found = rogan_gladen(mine, other)
    assert found.value == pytest.approx((0.7 + miss - 1) / (hit + miss - 1))
    known = rogan_gladen(other)
    assert (found.high or 0) - (found.low or 0) > (known.high or 0) - (known.low or 0)
    # A judge that guesses, and one that might.
    for guesser in (by_verdict((600, 60, 30), (400, 40, 20)), by_verdict((60, 6, 4), (40, 4, 1))):
        assert rogan_gladen(guesser).value is None
        assert prediction_powered(guesser).value is not None


def test_labels_on_everything_leave_only_the_choice_of_samples() -> None:
    units = by_verdict((60, 60, 48), (40, 40, 4))
    found = prediction_powered(units)
    wilson = stats.binomtest(52, 100).proportion_ci(method="wilson")
    assert found.value == pytest.approx(0.52)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=0.003)


def test_equal_labels_are_not_certainty() -> None:
    units = by_verdict((500, 50, 50), (500, 50, 0))
    found = prediction_powered(units)
    # 3 / 50 in each half (rule of three) is what 50 equal labels cannot exclude.
    assert found.value == 0.5 and 0.03 < (found.high or 0) - 0.5 < 0.06
    sensitivity = judge_errors(units).sensitivity
    assert sensitivity.value == 1 and sensitivity.low is not None and sensitivity.low < 0.95


def test_clusters_widen_the_interval() -> None:
    units = by_verdict((600, 60, 48), (400, 40, 4))
    # Ten labels that are equal and in one cluster are worth about one.
    whole = Units(units.values, units.labels, units.strata, units.clusters // 10)
    alone, together = (prediction_powered(one) for one in (units, whole))
    assert alone.value == together.value
    assert (together.high or 0) - (together.low or 0) > (alone.high or 0) - (alone.low or 0)


@pytest.mark.parametrize(
    "case", [0, 6, 8, 12, 14], ids=["plain", "foreign", "clusters", "lsr", "pooled"]
)
def test_coverage(case: int) -> None:
    """A small run of scripts/simulate_calibration.py; docs/statistics.md has the large one."""
    judging = load_script("simulate_calibration").JUDGINGS[case]
    rng, sets, hits = np.random.default_rng(case), 60, np.zeros(2)
    for _ in range(sets):
        units, *others = judging.draw(rng)
        pool = pooled([units, *others])
        for at, found in enumerate((prediction_powered(units), rogan_gladen(units, pool))):
            hits[at] += (found.low or 0) <= judging.value <= (found.high or 0)
    assert (hits >= stats.binom.ppf(0.001, sets, 0.95)).all()


def test_shares_of_a_draw() -> None:
    assert shares([900, 100], 100) == [75, 25]
    assert shares([990, 5], 100) == [93, 5]
    assert shares([5000], 200) == [200]


def test_a_sheet_is_drawn_filled_in_and_read(tmp_path: Path) -> None:
    _, folder = two_runs(tmp_path)
    sheet = tmp_path / "sheet.csv"
    words = ("calibrate", tmp_path / "runs", "--judge", "string_match", "--labels", sheet)
    words += ("--draw", "20", "--include_path", folder)
    done = here(*words)
    assert done.returncode == 0 and "43 responses of 2 runs to label" in done.stdout, done.stderr
    assert f"vsr1-bench view {tmp_path / 'runs'} --include_path {folder} --labels" in done.stdout
    rows = sheet_rows(sheet)
    assert {row["drawn_by"] for row in rows} == {"string_match"}
    # People are not told the model or the verdict.
    assert not {"model", "verdict"} & rows[0].keys()
    assert {row["population"] for row in rows} == {"10", "20", "30"}
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(80, abs=1e-3)
    failed = here(*words)
    assert "no row has a label yet" in error_line(failed.returncode, 2, failed.stderr)
    # To people, the last two of the right ones are wrong, and so is q3.
    right = {"30": 28, "10": 28, "20": 18}  # by the size of the stratum, which tells the run
    fill(sheet, lambda row: {"label": said_of(int(row["id"][1:]), right[row["population"]])})
    done = here(*words, "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    for document, count in ((first, 30), (second, 20)):
        accuracy = document["metrics"]["accuracy"]
        assert accuracy["judge"]["value"] == pytest.approx(count / 40) and accuracy["n"] == 40
        assert accuracy["ppi"]["value"] == pytest.approx(accuracy["rogan_gladen"]["value"])
        assert accuracy["ppi"]["low"] < accuracy["ppi"]["value"] < accuracy["ppi"]["high"]
        assert accuracy["rogan_gladen_pooled"]["value"] is not None
        assert document["metrics"].keys() == {"accuracy"}
    assert (first["model"], second["model"]) == ("a", "b")
    assert first["metrics"]["accuracy"]["ppi"]["value"] < 0.75
    done = here(*words)
    assert "PPI++" in done.stdout and "Rogan-Gladen, pooled" in done.stdout


def said_of(n: int, right: int) -> str:
    return "1" if n < right and n != 3 else "0"


def test_another_judge_is_calibrated_by_the_same_sheet(tmp_path: Path) -> None:
    runs, folder = two_runs(tmp_path)
    sheet = tmp_path / "sheet.csv"
    words = ("calibrate", runs[0].path, "--labels", sheet, "--include_path", folder)
    assert here(*words, "--judge", "string_match").returncode == 0
    fill(sheet, lambda row: {"label": "Correct" if int(row["id"][1:]) % 2 else "wrong"}, ";")
    spec = runs[0].spec()
    verdicts = [float(i % 2) for i in range(40)] + [None]
    stored_run(tmp_path / "runs", spec, verdicts, judge="math")
    done = here(*words, "--judge", "math", "--json")
    assert done.returncode == 0, done.stderr
    [document] = json.loads(done.stdout)
    accuracy = document["metrics"]["accuracy"]
    assert (document["judge"], document["drawn_by"]) == ("math", "string_match")
    assert accuracy["sensitivity"]["value"] == accuracy["specificity"]["value"] == 1
    assert accuracy["ppi"]["value"] == pytest.approx(0.5)
    stored_run(tmp_path / "runs", spec, [1.0] * 39 + [0.0, None])
    done = here(*words, "--judge", "math")
    assert "verdicts of string_match have changed" in error_line(done.returncode, 1, done.stderr)


def test_lsr_and_self_containment(tmp_path: Path) -> None:
    lines = [line for n in range(40) for line in both(n, sufficient=n % 4 != 0, right=n % 5 != 0)]
    run_and_score(tmp_path, lines, 40)
    sheet = tmp_path / "sheet.csv"
    words = ("calibrate", tmp_path / "runs", "--judge", "string_match", "--labels", sheet)
    words += ("--include_path", plugins(tmp_path))
    assert here(*words).returncode == 0
    # Everything is in the sheet, and people agree but for one answer and one reading.
    fill(sheet, lambda row: labels_of(int(row["id"][1:])))
    [document] = calibrate(find_runs(tmp_path / "runs"), "string_match", read_sheet(sheet),
                           [str(plugins(tmp_path))])  # fmt: skip
    found = document["metrics"]
    assert found["accuracy"]["judge"]["value"] == pytest.approx(32 / 40)
    assert found["accuracy"]["ppi"]["value"] == pytest.approx(31 / 40)
    assert found["lsr"]["judge"]["value"] == pytest.approx(8 / 40)
    assert found["lsr"]["ppi"]["value"] == pytest.approx(7 / 40)  # p4's answer is wrong
    assert found["self_contained"]["ppi"]["value"] == pytest.approx(31 / 40)
    assert found["lsr"]["labels"] == 40


def labels_of(n: int) -> Row:
    right = n % 5 != 0 and n != 4
    return {
        "label": "correct" if right else "incorrect",
        "reading_label": "correct" if n % 4 != 0 or n == 0 else "incorrect",
    }


GOOD = {"run": "r", "id": "a", "index": 0, "population": 9, "drawn_by": "j", "label": "correct"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{**GOOD, "label": "maybe"}], "`label` is 'maybe'; wanted correct or incorrect"),
        ([{**GOOD, "index": "x"}], "must be whole numbers"),
        ([{"id": "a"}], "no column 'run'"),
        ([GOOD, {**GOOD, "label": "wrong"}], "two labels"),
    ],
)
def test_wrong_rows(tmp_path: Path, rows: list[Row], said: str) -> None:
    path = tmp_path / "sheet.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match=said):
        read_sheet(path)


def test_cells_are_no_formulas_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    hostile = '=HYPERLINK("http://x")'
    row = {**GOOD, "id": hostile, "response": "@SUM(1)\n" + "x" * 40_000, "label": ""}
    write_sheet(path, [row])
    text = path.read_text("utf-8-sig")
    assert "'=HYPERLINK" in text and "'@SUM" in text and "10,008 characters left out" in text
    [label] = read_sheet(path)
    assert label.place == (hostile, 0) and label.answer is None
    with pytest.raises(UsageError, match="exists"):
        write_sheet(path, [row])
    with pytest.raises(UsageError, match="cannot be read"):
        read_sheet(tmp_path)
