"""The wide table: rows, columns, averages, marks, and what is not ranked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scored import spec_of, stored_run, tasks_folder

from vsr1_bench import load_runs
from vsr1_bench.cli.main import main
from vsr1_bench.leaderboard.averages import mean_cell
from vsr1_bench.leaderboard.marking import _beaten
from vsr1_bench.leaderboard.settings import LOWER_IS_BETTER, arrow, lower_is_better
from vsr1_bench.leaderboard.wide import Column, GridCell, GridRow
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.coverage import slice_note
from vsr1_bench.scoring.pairs import outcomes
from vsr1_bench.store.run_folder import RunFolder, find_runs
from vsr1_bench.store.spec import PrecisionSpec, RunSpec
from vsr1_bench.task import Source

GOOD = [1.0] * 90 + [0.0] * 10
FAIR = [1.0] * 60 + [0.0] * 40
POOR = [1.0] * 30 + [0.0] * 70


def table(root: Path, *flags: object, capsys: pytest.CaptureFixture[str]) -> Any:
    words = ["table", str(root / "runs"), "--include_path", str(tasks_folder(root))]
    assert main([*words, "--verbosity", "ERROR", *map(str, flags)]) == 0
    out = capsys.readouterr().out
    return json.loads(out) if "json" in flags else out


def test_rows_are_models_and_settings_and_columns_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    stored_run(runs, spec_of("m", "alpha"), GOOD)
    stored_run(runs, spec_of("m", "beta"), FAIR)
    stored_run(runs, spec_of("m", "alpha", "direct"), POOR)
    stored_run(runs, spec_of("m", "alpha", seed=1), POOR)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    assert [c["task"] for c in found["columns"]] == ["alpha", "beta", "pair"]
    rows = {row["setting"]: row for row in found["rows"]}
    assert set(rows) == {"cot, seed=0", "direct, seed=0", "cot, seed=1"}
    first = rows["cot, seed=0"]
    assert first["cells"]["alpha"]["value"] == 90 and first["cells"]["alpha"]["n"] == 100
    assert first["cells"]["pair both"]["value"] == 75
    assert first["kind"] == "measured" and first["source"].endswith("0.1.0, string_match")
    assert "beta" not in rows["cot, seed=1"]["cells"]


def test_a_group_does_not_count_beside_its_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for task, verdicts in (("alpha", GOOD), ("beta", FAIR), ("figures", POOR)):
        stored_run(runs, spec_of("m", task), verdicts)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    # 75 for the pair and 30, not 90, 60, 75 and 30
    assert found["rows"][0]["averages"]["plain mean of 2"]["value"] == pytest.approx(52.5)


def test_best_and_second_only_where_the_test_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for name, verdicts in (("good", GOOD), ("fair", FAIR), ("poor", POOR)):
        stored_run(runs, spec_of(name, "alpha"), verdicts)
    stored_run(runs, spec_of("good", "beta"), [1.0] * 52 + [0.0] * 48)
    stored_run(runs, spec_of("fair", "beta"), [1.0] * 50 + [0.0] * 50)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    marks = {row["model"]: row["cells"]["alpha"]["mark"] for row in found["rows"]}
    assert marks == {"good": "best", "fair": "second", "poor": None}
    assert all(r["cells"]["beta"]["mark"] is None for r in found["rows"] if "beta" in r["cells"])
    text = table(tmp_path, capsys=capsys)
    assert "**90.0**" in text and "*60.0*" in text and "after Holm" in text


def test_clusters_are_no_further_evidence_for_a_mark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    groups = [{"figure": f"f{i // 25}"} for i in range(100)]
    stored_run(runs, spec_of("good", "figures"), [1.0] * 100, groups=groups)
    stored_run(runs, spec_of("poor", "figures"), [0.0] * 50 + [1.0] * 50, groups=groups)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    # 50 samples won and none lost, but they are two figures only
    assert [row["cells"]["figures"]["mark"] for row in found["rows"]] == [None, None]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"limit": 100}, "partial: the first 100 samples"),
        ({"footnote": "judged by x, the rule that stands in for y"}, "the rule that stands in"),
    ],
)
def test_what_is_not_ranked_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], note: str
) -> None:
    runs = tmp_path / "runs"
    stored_run(runs, spec_of("good", "alpha"), GOOD, **changes)
    stored_run(runs, spec_of("poor", "alpha"), POOR)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    cell = found["rows"][0]["cells"]["alpha"]
    assert not cell["ranked"] and cell["mark"] is None and note in cell["notes"][0]
    text = table(tmp_path, capsys=capsys)
    assert ("90.0 ¹" in text and f"¹ {note}" in text) or note in text


def test_a_limit_above_the_number_of_rows_left_nothing_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored_run(tmp_path / "runs", spec_of("m", "alpha"), GOOD, limit=1000)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    assert found["rows"][0]["cells"]["alpha"]["ranked"]


def test_underscored_and_otherwise_judged_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    stored_run(runs, spec_of("a", "alpha"), [None, None, *GOOD[2:]])
    stored_run(runs, spec_of("b", "alpha"), GOOD)
    stored_run(runs, spec_of("c", "alpha"), GOOD, judge="labels")
    stored_run(runs, spec_of("b", "alpha"), POOR, judge="labels")
    found = table(tmp_path, "--format", "json", capsys=capsys)
    rows = {(row["model"], row["setting"]): row for row in found["rows"]}
    assert set(rows) == {("a", "cot"), ("b", "cot"), ("c", "cot"), ("b", "cot, judge=labels")}
    cells = {model: row["cells"]["alpha"] for (model, _), row in sorted(rows.items(), reverse=True)}
    assert cells["a"]["notes"] == ["fewer than 99 % of the responses were scored"]
    # two rows have been judged by each: the task's own judge goes first
    assert cells["b"]["judge"] == "string_match" and cells["b"]["value"] == 90
    assert cells["c"]["notes"] == ["judged by labels, the column's other cells by string_match"]
    other = rows["b", "cot, judge=labels"]["cells"]["alpha"]
    assert other["value"] == 30 and not other["ranked"]


def test_columns_are_metrics_or_categories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    groups = [{"figure": f"f{i % 20}", "kind": "ab"[i % 2]} for i in range(100)]
    stored_run(runs, spec_of("m", "figures"), GOOD, groups=groups)
    stored_run(runs, spec_of("m", "alpha"), [None, *GOOD[1:]])
    metric = table(tmp_path, "--columns", "metric", "--format", "json", capsys=capsys)
    assert [c["metric"] for c in metric["columns"]] == ["accuracy", "accuracy_strict"]
    assert [row["task"] for row in metric["rows"]] == ["alpha", "figures"]
    by = table(tmp_path, "--by", "kind", "--format", "json", capsys=capsys)
    assert {c["name"] for c in by["columns"]} == {"a", "b"} and len(by["rows"]) == 1
    named = table(tmp_path, "--columns", "task,accuracy_strict", "--format", "json", capsys=capsys)
    names = [c["name"] for c in named["columns"]]
    assert names[:2] == ["alpha", "alpha accuracy_strict"]
    words = ["table", str(runs), "--include_path", str(tasks_folder(tmp_path))]
    assert main([*words, "--columns", "lrs"]) == 2
    assert "available: accuracy, accuracy_strict" in capsys.readouterr().err


def test_tasks_choose_columns_and_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for task in ("alpha", "beta", "figures"):
        stored_run(runs, spec_of("m", task), GOOD)
    found = table(tmp_path, "--tasks", "figures,alpha", "--format", "json", capsys=capsys)
    assert [c["name"] for c in found["columns"]] == ["figures", "alpha"]
    pair = table(tmp_path, "--tasks", "alpha,beta", "--format", "json", capsys=capsys)
    assert [c["name"] for c in pair["columns"]] == ["alpha", "beta", "pair both"]


def test_the_long_layout_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_run(tmp_path / "runs", spec_of("m", "alpha"), GOOD)
    text = table(tmp_path, "--layout", "long", capsys=capsys)
    assert "scored/total" in text and "82.6 to 94.5" in text
    csv = table(tmp_path, "--layout", "long", "--format", "csv", capsys=capsys)
    assert csv.splitlines()[0].startswith("model,task,version,judge,metric,value")
    assert "m,alpha,1,string_match,accuracy,90.0" in csv
    documents = table(tmp_path, "--layout", "long", "--format", "json", capsys=capsys)
    assert documents[0]["metrics"]["accuracy"]["value"] == 0.9


def test_intervals_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_run(tmp_path / "runs", spec_of("m", "alpha"), GOOD)
    assert "82.6 to 94.5" not in table(tmp_path, capsys=capsys)
    assert "90.0 [82.6 to 94.5]" in table(tmp_path, "--intervals", capsys=capsys)
    csv = table(tmp_path, "--intervals", "--format", "csv", capsys=capsys)
    assert csv.splitlines()[0] == "model,setting,alpha,alpha low,alpha high,source,marks,notes"


def test_an_average_carries_its_cells_notes_and_interval() -> None:
    columns = [Column("a", "accuracy", "a"), Column("b", "accuracy", "b")]
    row = GridRow("measured", "m", "")
    row.cells = {
        columns[0]: GridCell(40.0, 34.0, 46.0, notes=("x",)),
        columns[1]: GridCell(60.0, 52.0, 68.0),
    }
    found = mean_cell(row, columns)
    assert found is not None and found.value == 50 and found.notes == ("x",)
    assert (found.low, found.high) == pytest.approx((45.0, 55.0))  # half of sqrt(6² + 8²)
    weighted = mean_cell(row, columns, (3.0, 1.0))
    assert weighted is not None and weighted.value == 45
    assert mean_cell(row, [*columns, Column("c", "accuracy", "c")]) is None


def test_which_way_is_up() -> None:
    assert {"lsr", "leakage"} <= LOWER_IS_BETTER
    assert lower_is_better("lsr[drop]") and not lower_is_better("accuracy")
    assert arrow("lsr") == " ↓" and arrow("self_contained") == ""


def test_another_version_of_the_judge_is_another_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    stored_run(runs, spec_of("a", "alpha"), GOOD)
    stored_run(runs, spec_of("b", "alpha"), POOR)
    stored_run(runs, spec_of("c", "alpha"), GOOD, identity="1" * 8)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    cells = {row["model"]: row["cells"]["alpha"] for row in found["rows"]}
    assert "another version or model of string_match" in cells["c"]["notes"][0]
    assert cells["a"]["ranked"] and cells["a"]["mark"] == "best"


def _of_data(name: str, **changes: Any) -> Any:
    spec = spec_of("m", "alpha")
    return spec.model_copy(update={"data": spec.data.model_copy(update={"id": name, **changes})})


def test_runs_of_other_data_never_take_each_others_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for place, name in enumerate("abc"):
        verdicts = [1.0] * (2 + place) + [0.0] * (8 - place)
        stored_run(runs, _of_data(name, fingerprint=name * 64), verdicts)
    stored_run(runs, spec_of("m", "beta"), GOOD)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    cells = {
        row["setting"]: {name: cell["value"] for name, cell in row["cells"].items()}
        for row in found["rows"]
    }
    assert cells == {
        "cot": {"beta": 90},
        "cot, data.id=a": {"alpha": 20},
        "cot, data.id=b": {"alpha": 30},
        "cot, data.id=c": {"alpha": 40},
    }


def test_a_run_made_again_stands_in_a_row_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = stored_run(tmp_path / "runs" / "first", spec_of("m", "alpha"), GOOD)
    again = stored_run(tmp_path / "runs" / "again", spec_of("m", "alpha"), FAIR)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    values = {row["setting"]: row["cells"]["alpha"]["value"] for row in found["rows"]}
    assert values == {f"cot, run={one.path}": 90, f"cot, run={again.path}": 60}


def test_a_sample_that_asks_something_else_is_no_evidence_for_a_mark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored_run(tmp_path / "runs", _of_data("a"), GOOD)
    other = stored_run(tmp_path / "runs", _of_data("b"), POOR)
    path = other.path / "samples.jsonl"
    path.write_text(path.read_text().replace("question ", "quite another question "))
    found = table(tmp_path, "--format", "json", capsys=capsys)
    assert [row["cells"]["alpha"]["mark"] for row in found["rows"]] == [None, None]


def test_another_version_of_the_task_is_not_ranked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    stored_run(runs, spec_of("a", "alpha"), GOOD)
    stored_run(runs, spec_of("b", "alpha"), FAIR)
    stored = stored_run(runs, spec_of("old", "alpha"), POOR)
    (score,) = stored.scores()
    stored.write_scores("string_match", {**score, "version": 0})  # as an older vsr1-bench left it
    found = table(tmp_path, "--format", "json", capsys=capsys)
    cells = {row["model"]: row["cells"]["alpha"] for row in found["rows"]}
    assert cells["a"]["mark"] == "best" and not cells["old"]["ranked"]
    assert cells["old"]["notes"] == ["version 0 of the task, the column's other cells have 1"]


@pytest.mark.parametrize(
    "changes", [{"metrics": {}}, {"rates": {}}, {"version": None}, {"metrics": {"accuracy": 0.5}}]
)
def test_a_damaged_score_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    run = stored_run(tmp_path / "runs", spec_of("m", "alpha"), GOOD)
    (path,) = (run.path / "scores").glob("*.json")
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))
    include = str(tasks_folder(tmp_path))
    for layout in ("wide", "long"):
        words = ["table", str(run.path), "--layout", layout, "--include_path", include]
        assert main(words) == 1
        said = capsys.readouterr().err
        assert f"{path}: not a score file" in said and "delete it, then run: vsr1-bench" in said
    path.unlink()
    assert main(["score", str(run.path), "--include_path", include]) == 0  # as it says
    assert main(["table", str(run.path), "--include_path", include]) == 0


def test_scores_without_their_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stored_run(tmp_path / "runs", spec_of("m", "alpha"), GOOD)
    stored_run(tmp_path / "runs", spec_of("n", "alpha"), POOR)
    for path in (run.path / "judgments").iterdir():
        path.unlink()
    words = ["--include_path", str(tasks_folder(tmp_path)), "--verbosity", "ERROR"]
    assert main(["table", str(tmp_path / "runs"), *words]) == 75
    said = f"skipped: {run.path}: a score by 'string_match', but no verdicts"
    assert said in capsys.readouterr().err


def test_the_headline_is_the_tasks_first_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the first by the alphabet, which `accuracy_strict` would be."""
    run = stored_run(tmp_path / "runs", spec_of("m", "graded"), [0.5, 1.0, None])
    assert next(iter(run.scores()[0]["metrics"])) == "mean_grade"
    found = table(tmp_path, "--format", "json", capsys=capsys)
    assert [column["metric"] for column in found["columns"]] == ["mean_grade"]


def test_grades_are_marked_by_the_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_run(tmp_path / "runs", spec_of("m", "graded"), [0.9, 0.8, 0.7] * 20)
    stored_run(tmp_path / "runs", spec_of("n", "graded"), [0.2, 0.1, 0.3] * 20)
    rows = table(tmp_path, "--format", "json", capsys=capsys)["rows"]
    assert [row["cells"]["graded mean_grade"]["mark"] for row in rows] == ["best", None]


def test_a_blind_run_is_no_rival(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_run(tmp_path / "runs", spec_of("m", "alpha"), GOOD)
    stored_run(tmp_path / "runs", spec_of("m", "alpha", variant="drop"), POOR)
    rows = table(tmp_path, "--format", "json", capsys=capsys)["rows"]
    assert [(row["cells"]["alpha"]["ranked"], row["cells"]["alpha"]["mark"]) for row in rows] == [
        (True, None),
        (False, None),
    ]


def test_a_judge_that_has_judged_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "runs", spec_of("m", "alpha"), GOOD, judge="openai[org/M]")
    assert main(["table", str(run.path), "--judge", "gemini"]) == 1
    said = "no scores by 'gemini'; judged by: openai[org/M]"
    assert said in capsys.readouterr().err
    assert main(["table", str(run.path), "--judge", "openai"]) == 0


def test_a_groups_notes_are_of_its_members_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for name in ("alpha", "beta"):
        stored_run(runs, spec_of("m", name), GOOD)
    # In the same row: another task that was limited, and the folder of a start that failed.
    stored_run(runs, spec_of("m", "figures"), POOR[:5], limit=5)
    RunFolder.of(runs, spec_of("m", "graded")).write_meta(spec_of("m", "graded"), 3, {"limit": 3})
    found = table(tmp_path, "--format", "json", capsys=capsys)
    (row,) = found["rows"]
    assert row["cells"]["pair both"]["ranked"] and row["cells"]["pair both"]["notes"] == []
    assert row["cells"]["figures"]["notes"] == ["partial: the first 5 samples"]
    # A member's own limit is the group's, too.
    for name in ("alpha", "beta"):
        stored_run(runs, spec_of("other", name), GOOD[:5], limit=5)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    cells = {row["model"]: row["cells"]["pair both"] for row in found["rows"]}
    assert cells["other"]["notes"] == ["partial: the first 5 samples"]
    assert cells["m"]["ranked"] and not cells["other"]["ranked"]


def test_precisions_stand_in_rows_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, spec = tmp_path / "runs", spec_of("m", "alpha")
    stored_run(runs, spec, GOOD)
    for dtype in ("float32", "bfloat16"):
        precision = PrecisionSpec(dtype=dtype, quantization=None, kv_cache_dtype=dtype)
        model = spec.model.model_copy(update={"precision": precision})
        stored_run(runs, spec.model_copy(update={"model": model}), GOOD)
    found = table(tmp_path, "--format", "json", capsys=capsys)
    assert sorted(row["setting"] for row in found["rows"]) == [
        "cot, precision=bfloat16", "cot, precision=float32", "cot, precision=unknown",
    ]  # fmt: skip
    assert not any("precision unknown" in remark for remark in found["remarks"])
    # Of weights that were loaded here nobody has noted how: that is said whatever else is there.
    (old,) = [run for run in find_runs(runs) if run.spec() == spec]
    old.write_meta(spec, 100, {"backend": "vllm", "limit": None})
    found = table(tmp_path, "--format", "json", capsys=capsys)
    assert "m: precision unknown: the run was made before it was recorded." in found["remarks"]


def benchmark(name: str, *, part: bool = True) -> tuple[RunSpec, int, str]:
    """A spec on a benchmark of the hub, how many rows to have, and the note for a part of them."""
    task = get_task(name)
    assert isinstance(task.source, Source) and task.source.n
    spec = spec_of("m", name)
    data = spec.data.model_copy(update={"id": task.source.hub_id if part else "somebody/else"})
    version = spec.task.model_copy(update={"version": task.spec_version})
    spec = spec.model_copy(update={"data": data, "task": version})
    return spec, task.source.n, f"4 of the {task.source.n:,} rows that its authors state"


@pytest.mark.parametrize("name", ["mmstar", "realworldqa"])
def test_a_part_of_a_benchmark_says_so_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    runs = tmp_path / "runs"
    spec, _, note = benchmark(name)
    run = stored_run(runs, spec, [1.0, 0.0, 1.0, 1.0])
    cell = table(tmp_path, "--format", "json", capsys=capsys)["rows"][0]["cells"][name]
    assert cell["notes"] == [note] and not cell["ranked"]
    for fmt in ("markdown", "csv", "latex", "html"):
        for layout in ("wide", "long"):
            assert main(["table", str(runs), "--format", fmt, "--layout", layout]) == 0
            assert note in capsys.readouterr().out, (fmt, layout)
    assert main(["score", str(run.path)]) == 0
    assert note in capsys.readouterr().out
    assert main(["score", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["notes"] == [note]
    assert main(["plot", str(runs), "--output", str(tmp_path / "p.svg")]) == 0
    assert note in (tmp_path / "p.svg").read_text("utf-8")
    assert load_runs(runs).headline["footnote"].tolist() == [note]


def test_all_of_a_benchmark_or_what_nobody_states_has_no_such_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, stated, note = benchmark("mmstar")
    run = RunFolder.of(tmp_path, spec)
    for samples, limit, wanted in ((stated, None, None), (4, None, note), (4, 4, None)):
        run.write_meta(spec, samples, {"limit": limit})
        assert slice_note(run, get_task("mmstar")) == wanted
    other = benchmark("mmstar", part=False)[0]
    elsewhere = RunFolder.of(tmp_path, other)
    elsewhere.write_meta(other, 4, {})
    assert slice_note(elsewhere, get_task("mmstar")) is None
    assert slice_note(run, None) is None


def test_a_significant_difference_the_other_way_is_no_lead(tmp_path: Path) -> None:
    """The leader of a column can be behind on the samples that both runs have."""
    stored = [
        stored_run(tmp_path, spec_of(name, "alpha"), v) for name, v in (("a", GOOD), ("b", POOR))
    ]
    good, poor = [(run, outcomes(run, "string_match", None)) for run in stored]
    assert _beaten(poor, good) < 1e-6
    assert _beaten(good, poor) == 1
