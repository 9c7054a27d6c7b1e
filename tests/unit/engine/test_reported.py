"""Reported rows: what the paper printed, each with its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scored import spec_of, stored_run, tasks_folder
from tree import ROOT

from vsr1_bench.cli.main import main
from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.leaderboard.reported import load_reported, load_table
from vsr1_bench.registry import load_registry

PAPER = ROOT / "results" / "paper"


def rows(name: str) -> dict[tuple[str, str], tuple[tuple[float | None, ...], float | None]]:
    found = load_table(PAPER / f"vision_sr1_{name}.json")
    assert found is not None
    return {(row.model, row.setting): (row.values, row.average) for row in found.rows}


def test_values_of_the_paper() -> None:
    accuracy, lsr = rows("accuracy"), rows("lsr")
    assert len(accuracy) == 14 and len(lsr) == 4
    assert accuracy["Vision-SR1 7B", ""] == ((40.7, 52.2, 69.2, 43.5, 54.5, 36.2, 68.9), 52.2)
    assert accuracy["Vision-SR1 3B", "without self-reward"][1] == 47.6
    assert accuracy["Qwen2.5-VL-7B", "before training"][0][3] == 21.4
    assert lsr["Vision-SR1 7B", ""] == ((8.0, 6.5, 13.4, 4.2, 11.5, 10.7, 6.8), 9.8)
    assert rows("text")["Vision-SR1 3B", ""][0] == (48.1, 23.2, 83.2, 68.6)
    assert rows("extra")["Vision-SR1 MiMo-VL-7B", ""][0] == (59.3, 28.0, 42.7)


def test_every_row_has_a_source_and_every_column_a_task() -> None:
    registry = load_registry()
    known = registry.tasks.keys() | registry.groups.keys()
    tables = load_reported(PAPER)
    assert len(tables) == 4
    for table in tables:
        assert all(row.source.startswith("arXiv:2508.19652v2, table") for row in table.rows)
        assert [column.task for column in table.columns if column.task not in known] == []


def test_printed_averages_stay_and_ours_stand_beside(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--results", str(PAPER), "--columns", "lsr", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first = found["rows"][0]
    assert (first["model"], first["kind"]) == ("Vision-SR1 3B", "reported")
    assert first["averages"]["paper average lsr ↓"]["value"] == 9.4
    assert first["averages"]["plain mean of 7 lsr ↓"]["value"] == pytest.approx(8.386, abs=0.001)
    assert first["source"] == "arXiv:2508.19652v2, table 4 (judge Gemini-2.5-flash)"
    assert all(not cell["ranked"] for row in found["rows"] for cell in row["cells"].values())


def write(folder: Path, **changes: Any) -> Path:
    document = {
        "schema": 1,
        "title": "Elsewhere",
        "unit": "percent",
        "columns": [{"name": "A", "task": "alpha", "metric": "accuracy"},
                    {"name": "B", "task": "beta", "metric": "accuracy"}],
        "average": {"name": "their average", "weights": [3, 1]},
        "rows": [{"model": "m", "source": "a paper, table 1", "values": [80, 40], "average": 70}],
        **changes,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "t.json").write_text(json.dumps(document))
    return folder


def test_measured_rows_get_the_publications_average(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    stored_run(runs, spec_of("ours", "alpha"), [1.0] * 60 + [0.0] * 40)
    stored_run(runs, spec_of("ours", "beta"), [1.0] * 20 + [0.0] * 80)
    words = ["table", str(runs), "--results", str(write(tmp_path / "r")), "--format", "json"]
    assert main([*words, "--include_path", str(tasks_folder(tmp_path))]) == 0
    measured, reported = json.loads(capsys.readouterr().out)["rows"]
    assert measured["averages"]["their average"]["value"] == pytest.approx(50)
    assert measured["averages"]["plain mean of 2"]["value"] == pytest.approx(40)
    assert reported["averages"]["their average"]["value"] == 70
    assert reported["source"] == "a paper, table 1" and measured["kind"] == "measured"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": [{"model": "m", "source": "s", "values": [1]}]}, "1 values for 2 columns"),
        ({"rows": [{"model": "m", "values": [1, 2]}]}, "source"),
        ({"rows": [{"model": "m", "source": "s", "values": [1, 200]}]}, "100"),
        ({"average": None}, "does not name one"),
        ({"average": {"name": "a", "weights": [1]}}, "1 weights for 2 columns"),
        ({"unit": "share"}, "percent"),
        ({"colour": "red"}, "colour"),
        ({"schema": 2}, "schema"),
    ],
)
def test_a_faulty_file_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    folder = write(tmp_path / "r", **changes)
    with pytest.raises(StoreError, match=said) as caught:
        load_reported(folder)
    assert str(caught.value).startswith(f"{folder / 't.json'}: ")
    assert "\n" not in str(caught.value)


def test_results_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "r")
    (folder / "summary.json").write_text(json.dumps({"schema": 1, "loop": {}, "scores": {}}))
    assert [table.title for table in load_reported(folder)] == ["Elsewhere"]
    (folder / "t.json").unlink()
    with pytest.raises(UsageError, match="no reported tables"):
        load_reported(folder)


def test_no_reported_tables(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no reported tables"):
        load_reported(tmp_path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(StoreError, match="not a table of reported results"):
        load_reported(tmp_path)


def test_another_metric_is_another_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was reported must not stand in one column with something else that was measured."""
    runs = tmp_path / "runs"
    stored_run(runs, spec_of("ours", "alpha"), [1.0, 0.0])
    columns = [{"name": "A", "task": "alpha", "metric": "official"},
               {"name": "B", "task": "beta", "metric": "accuracy"}]  # fmt: skip
    folder = write(tmp_path / "r", columns=columns)
    words = ["table", str(runs), "--results", str(folder), "--format", "json"]
    assert main([*words, "--include_path", str(tasks_folder(tmp_path))]) == 0
    measured, reported = json.loads(capsys.readouterr().out)["rows"]
    assert set(measured["cells"]) == {"alpha"}
    assert set(reported["cells"]) == {"alpha official", "beta"}


def test_two_publications_of_one_model_stand_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where no runs/ lies, as `make demo` leaves one in a checkout
    (tmp_path / "r").mkdir()
    for place, value in (("first", 60), ("second", 70)):
        rows = [{"model": "m", "setting": "", "source": f"paper {place}, table 1",
                 "values": [value, value], "average": value + 1}]  # fmt: skip
        write(tmp_path / "r" / place, rows=rows)
    words = ["table", "--results", str(tmp_path / "r"), "--format", "json"]
    assert main([*words, "--include_path", str(tasks_folder(tmp_path))]) == 0
    found = json.loads(capsys.readouterr().out)["rows"]
    values = {row["source"]: row["cells"]["alpha"]["value"] for row in found}
    assert values == {"paper first, table 1": 60, "paper second, table 1": 70}
    means = {row["source"]: row["averages"]["their average"]["value"] for row in found}
    assert means == {"paper first, table 1": 61, "paper second, table 1": 71}
