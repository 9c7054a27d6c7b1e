"""`table --calibrated`: which numbers are corrected by labels, how they are marked, and why not."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli import error_line, here
from labelled import fill, sheet_rows, two_runs
from picture_runs import both, plugins, run_and_score
from scored import spec_of, stored_run

from vsr1_bench.calibration.calibrate import calibrate
from vsr1_bench.calibration.sheet import Label, _together, read_sheet
from vsr1_bench.store.run_folder import find_runs


def labelled(tmp_path: Path, *names: str) -> tuple[list[Any], Path]:
    """Two runs with a third that has no labels; people find every fifth right answer wrong."""
    runs, folder = two_runs(tmp_path, unscored=0)
    sheet = tmp_path / "sheet.csv"
    drawn = [run.path for run in runs if not names or run.spec().model.id in names]
    done = here("calibrate", *drawn, "--judge", "string_match", "--labels", sheet,
                "--draw", "24", "--include_path", folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    fill(sheet, lambda row: {"label": "right" if 0 < int(row["id"][1:]) % 5 < 4 else "wrong"})
    words = ["table", tmp_path / "runs", "--include_path", folder, "--calibrated", sheet]
    return words, sheet


def rows_of(words: list[Any]) -> dict[str, dict[str, Any]]:
    done = here(*words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return {row["model"]: row["cells"]["alpha"] for row in json.loads(done.stdout)["rows"]}


def test_the_table_has_what_calibrate_has(tmp_path: Path) -> None:
    words, sheet = labelled(tmp_path)
    plain = rows_of(words[:-2])
    cells = rows_of(words)
    runs = find_runs(tmp_path / "runs")
    for document in calibrate(runs, "string_match", read_sheet(sheet), [str(words[3])]):
        cell, part = cells[document["model"]], document["metrics"]["accuracy"]
        for name in ("value", "low", "high"):
            assert cell[name] == pytest.approx(100 * part["ppi"][name])
        assert cell["calibrated"] == {
            "labels": part["labels"],
            "judge_value": plain[document["model"]]["value"],
            "judge_low": plain[document["model"]]["low"],
            "judge_high": plain[document["model"]]["high"],
        }
        assert cell["value"] != plain[document["model"]]["value"]
        assert cell["ranked"] and cell["notes"] == []
    assert all("calibrated" not in cell for cell in plain.values())


@pytest.mark.parametrize("fmt", ["markdown", "csv", "html", "latex"])
def test_every_format_marks_them_and_says_by_how_many_labels(tmp_path: Path, fmt: str) -> None:
    words, sheet = labelled(tmp_path, "a")
    counts = len(sheet_rows(sheet))
    done = here(*words, "--format", fmt, "--intervals")
    assert done.returncode == 0, done.stderr
    text = done.stdout
    cell = rows_of(words)["a"]
    shown = f"{cell['value']:.1f}"
    assert f"calibrated by {counts} human labels" in text
    assert "not calibrated: no human labels" in text
    assert f"{cell['low']:.1f}" in text and f"{cell['high']:.1f}" in text
    if fmt == "csv":
        first, second = csv.DictReader(io.StringIO(text))
        assert first["alpha"] == shown and "calibrated by" in first["notes"]
        assert second["alpha"] == "50.0" and "not calibrated" in second["notes"]
        return
    mark = {"markdown": f"{shown} [", "html": shown, "latex": shown}[fmt]
    note = {"markdown": "¹", "html": "<sup>1</sup>", "latex": r"\textsuperscript{1}"}[fmt]
    line = next(line for line in text.splitlines() if mark in line and note in line)
    assert note in line
    assert "PPI++" in text and "a note other than that of calibration are not ranked" in text


def test_a_run_without_labels_keeps_its_number_and_is_not_ranked(tmp_path: Path) -> None:
    words, _ = labelled(tmp_path, "b")
    cells = rows_of(words)
    assert cells["a"]["value"] == pytest.approx(75) and not cells["a"]["ranked"]
    assert cells["a"]["notes"] == ["not calibrated: no human labels"]
    assert cells["b"]["calibrated"]["labels"] > 0


def test_columns_that_labels_do_not_correct_are_named(tmp_path: Path) -> None:
    words, _ = labelled(tmp_path)
    stored_run(tmp_path / "runs", spec_of("a", "beta"), [1.0] * 6 + [0.0] * 2)
    done = here(*words)
    assert done.returncode == 0, done.stderr
    # The group's number is one of several runs.
    assert "Not calibrated: beta, pair both." in done.stdout
    # Reported numbers are no measured ones that labels could have corrected.
    for more in (("--tasks", "beta"), ("--tasks", "beta,mmmu_pro", "--results")):
        done = here(*words, *more)
        assert "no number of this table can be corrected (no human labels)" in error_line(
            done.returncode, 2, done.stderr
        )
    stored_run(tmp_path / "runs", spec_of("a", "figures"), [1.0] * 6 + [0.0] * 2)
    words += ["--tasks", "alpha,figures", "--format", "json"]
    rows = {row["model"]: row for row in json.loads(here(*words).stdout)["rows"]}
    [mean] = rows["a"]["averages"].values()
    both_cells = [rows["a"]["cells"][name]["value"] for name in ("alpha", "figures")]
    assert mean["value"] == pytest.approx(sum(both_cells) / 2)
    assert mean["calibrated"]["judge_value"] == pytest.approx((75 + 75) / 2)


def test_changed_verdicts_are_not_corrected(tmp_path: Path) -> None:
    words, _ = labelled(tmp_path)
    stored_run(tmp_path / "runs", spec_of("a", "alpha"), [1.0] * 31 + [0.0] * 9)
    cells = rows_of(words)
    assert cells["a"]["value"] == pytest.approx(77.5)
    why = "the verdicts of string_match have changed since the sheet was drawn"
    assert cells["a"]["notes"] == [f"not calibrated: {why}"]
    assert "calibrated" in cells["b"]


def test_labels_that_stand_for_fewer_responses_correct_nothing(tmp_path: Path) -> None:
    """Drawn by a judge that has no verdict on two responses."""
    words, _ = labelled(tmp_path)
    spec = find_runs(tmp_path / "runs")[0].spec()
    stored_run(tmp_path / "runs", spec, [1.0, 0.0] * 19 + [None] * 2, judge="math")
    sheet = tmp_path / "other.csv"
    done = here("calibrate", find_runs(tmp_path / "runs")[0].path, "--judge", "math",
                "--labels", sheet, "--include_path", words[3])  # fmt: skip
    assert done.returncode == 0, done.stderr
    fill(sheet, lambda row: {"label": "right"})
    done = here(*words[:-1], sheet, "--judge", "string_match")
    text = error_line(done.returncode, 2, done.stderr)
    assert "(the labels stand for 38 of 40 responses)" in text


def test_lsr_and_self_containment_are_corrected_too(tmp_path: Path) -> None:
    lines = [line for n in range(40) for line in both(n, sufficient=n % 4 != 0, right=n % 5 != 0)]
    run_and_score(tmp_path, lines, 40)
    folder, sheet = plugins(tmp_path), tmp_path / "sheet.csv"
    words = (tmp_path / "runs", "--include_path", folder)
    assert here("calibrate", *words, "--judge", "string_match", "--labels", sheet).returncode == 0
    fill(
        sheet,
        lambda row: {
            "label": "right" if int(row["id"][1:]) % 5 and row["id"] != "p4" else "wrong",
            "reading_label": "right" if int(row["id"][1:]) % 4 or row["id"] == "p0" else "wrong",
        },
    )
    wide = ("--columns", "task,lsr,self_contained,leakage", "--format", "json")
    done = here("table", *words, "--calibrated", sheet, *wide)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    [row] = document["rows"]
    values = [cell["value"] for cell in row["cells"].values()]
    assert values[:3] == pytest.approx([77.5, 17.5, 77.5])
    assert any("Not calibrated: pictures leakage" in remark for remark in document["remarks"])
    # One row per task, one column per metric.
    done = here("table", *words, "--calibrated", sheet, "--columns", "metric")
    assert done.returncode == 0, done.stderr
    assert "calibrated by 40 human labels" in done.stdout and "saw_but_wrong" in done.stdout


def test_labels_are_of_one_reader(tmp_path: Path) -> None:
    """The sheet has the answers of the run's own reading; later its captions are read, too."""
    lines = [line for n in range(20) for line in both(n, sufficient=n % 4 != 0, right=n % 5 != 0)]
    lines.append({"id": "*", "stage": "caption", "response": "a scene"})
    kwargs = {"temperature": 1.0}
    folder, sheet = plugins(tmp_path), tmp_path / "sheet.csv"
    for kind in ("self", "caption"):
        run_and_score(tmp_path, lines, 20, perception=kind, gen_kwargs=kwargs)
        own = sheet if kind == "self" else tmp_path / "captions.csv"
        done = here("calibrate", tmp_path / "runs", "--include_path", folder,
                    "--judge", "string_match", "--labels", own)  # fmt: skip
        assert done.returncode == 0, done.stderr
        fill(own, lambda row: {"label": "right", "reading_label": "wrong"})
    words = ("table", tmp_path / "runs", "--include_path", folder, "--columns", "task,lsr")
    done = here(*words, "--calibrated", sheet, "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert "Not calibrated: pictures lsr ↓." in document["remarks"]
    done = here(*words, "--calibrated", own, "--format", "json")
    [row] = json.loads(done.stdout)["rows"]
    assert all(cell["calibrated"] for cell in row["cells"].values())


def test_sheets_of_several_people_go_together(tmp_path: Path) -> None:
    words, sheet = labelled(tmp_path)
    whole = rows_of(words)
    rows = sheet_rows(sheet)
    parts = []
    for name, mine in (("first", 0), ("second", 1)):
        part = tmp_path / f"{name}.csv"
        part.write_bytes(sheet.read_bytes())
        said = {(row["run"], row["id"]): row["label"] for row in rows[mine::2]}
        fill(part, lambda row, said=said: {"label": said.get((row["run"], row["id"]), "")})
        parts += ["--calibrated", part]
    assert rows_of([*words[:-2], *parts]) == whole
    fill(part, lambda row: {"label": "unclear"})
    done = here(*words[:-2], *parts)
    assert "has two labels" in error_line(done.returncode, 2, done.stderr)


def test_one_labels_the_answers_and_another_the_readings() -> None:
    of = partial(Label, "run", ("1", 0), 5, "judge", "reader")
    assert _together(of(1.0, None), of(None, 0.0)) == of(1.0, 0.0)
    assert (
        _together(of(None, None), of(0.0, 1.0))
        == of(0.0, 1.0)
        == _together(of(0.0, None), of(0.0, 1.0))
    )
    assert _together(of(1.0, None), of(0.0, None)) is None
    assert _together(of(1.0, None), of(None, None, unsure=True)) is None


@pytest.mark.parametrize(
    "flags", [("--by", "kind"), ("--delta",), ("--clean",), ("--layout", "long")], ids=str
)
def test_what_labels_do_not_go_with(tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = here("table", tmp_path, "--calibrated", tmp_path / "sheet.csv", *flags)
    assert flags[0] in error_line(done.returncode, 2, done.stderr)


def test_a_sheet_that_nobody_has_filled_in(tmp_path: Path) -> None:
    words, sheet = labelled(tmp_path)
    fill(sheet, lambda row: {"label": ""})
    done = here(*words)
    assert "some kind of verdict has no label yet" in error_line(done.returncode, 2, done.stderr)
    done = here(*words[:-1], tmp_path / "none.csv")
    assert "none.csv" in error_line(done.returncode, 2, done.stderr)
