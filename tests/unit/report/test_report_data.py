"""What a report holds: the numbers of `table` and `compare`, and every sample's details."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import picture_runs
import pytest
from cli import error_line, here
from reports import data, samples, view
from scored import spec_of, stored_run, tasks_folder

from vsr1_bench.compare.compare import compare_runs
from vsr1_bench.pipeline.run import generate
from vsr1_bench.records import Request, Sampling
from vsr1_bench.report.folder import ReportFolder
from vsr1_bench.store.run_folder import RunFolder

N = 12


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A report of a run with second pass and blind run, and the scores of that run."""
    root = tmp_path_factory.mktemp("seen")
    lines = [
        line
        for n in range(N)
        for line in picture_runs.both(n, sufficient=n % 2 == 0, right=n % 3 != 0)
    ]
    runs = generate(picture_runs.options(root, lines, N, blind=("drop",)))
    scores = picture_runs.score(runs, root)
    folder, _ = view(root, [run.folder for run in runs], plugins=[str(picture_runs.plugins(root))])
    return folder, scores["none"]


def test_the_cells_are_those_of_the_score(seen: tuple[Path, dict[str, Any]]) -> None:
    folder, score = seen
    index = data(folder, "task-0")
    cells = Counter(index["runs"][0]["cell"])
    table = score["perception"]["table"]
    assert cells == {
        "a": table["sufficient"]["correct"],
        "b": table["sufficient"]["incorrect"],
        "s": table["insufficient"]["correct"],
        "d": table["insufficient"]["incorrect"],
    }
    assert min(cells.values()) > 0  # each is told apart
    shown = data(folder, "overview")["tasks"][0]["runs"][0]["judges"][0]["score"]
    assert shown["perception"]["table"] == table
    assert dict(shown["metrics"]) == score["metrics"]
    assert "lsr" in shown["lower_is_better"] and "accuracy" not in shown["lower_is_better"]


def test_a_blind_run_says_what_was_right_without_the_image(
    seen: tuple[Path, dict[str, Any]],
) -> None:
    folder, score = seen
    index, task = data(folder, "task-0"), data(folder, "overview")["tasks"][0]
    assert [run["variant"] for run in task["runs"]] == ["none", "drop"]
    settings = [row["setting"] for row in data(folder, "overview")["table"]["rows"]]
    assert len(settings) == 2 and ["drop" in one for one in settings] == [False, True]
    assert task["runs"][1]["blind_of"] == 0 and task["runs"][0]["blind_runs"] == [1]
    right = [bool(flags & 16) for flags in index["runs"][0]["flags"]]
    assert right == [letter == "c" for letter in index["runs"][1]["verdict"]]
    assert sum(right) / N == score["metrics"]["blind_accuracy[drop]"]["value"]
    gain = task["runs"][0]["judges"][0]["score"]["blind"]["drop"]["gain"]
    assert gain == score["metrics"]["gain[drop]"]


def test_a_sample_has_image_passes_spans_and_seed(seen: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = seen
    one = samples(folder)[4]
    run = one["runs"][0]
    (response,) = run["responses"]
    (image,) = one["images"]
    assert (folder / image["src"]).read_bytes().startswith(b"\x89PNG")
    assert (image["width"], image["height"]) == (40, 30)
    assert one["question"] == ["In ", 0, " count 4."] and one["answer"] == "4"
    (judgment,) = response["judgments"]
    start, end = judgment["span"]
    assert response["text"][start:end] == judgment["extracted"] == "4"
    channels = {piece["channel"]: piece["span"] for piece in response["pieces"]}
    start, end = channels["description"]
    (reading,) = response["readings"]
    assert response["text"][start:end] == reading["description"] == "a scene 4"
    assert reading["judgments"][0]["outcome"] == "correct"
    pieces = {piece["channel"]: piece["span"] for piece in reading["pieces"]}
    texts = {channel: reading["text"][slice(*span)] for channel, span in pieces.items()}
    assert texts == {"thinking": "r", "said": "\\boxed{4}"}
    expected = Request("", (), Sampling(seed=0), sample_id="p4").seed
    assert response["seed"] == expected


def test_numbers_are_those_of_table_and_compare(tmp_path: Path) -> None:
    first = [1.0] * 30 + [0.0] * 9 + [None]
    second = [1.0] * 12 + [0.0] * 28
    plugins = str(tasks_folder(tmp_path))
    runs = [
        stored_run(tmp_path / "runs", spec_of(model, "alpha"), verdicts)
        for model, verdicts in (("org/a", first), ("org/b", second))
    ]
    folder, _ = view(tmp_path, runs, plugins=[plugins])
    done = here("table", tmp_path / "runs", "--format", "json", "--include_path", plugins)
    expected = json.loads(done.stdout)
    shown = data(folder, "overview")["table"]
    assert [one["model"] for one in shown["rows"]] == [one["model"] for one in expected["rows"]]
    for row, other in zip(shown["rows"], expected["rows"], strict=True):
        (cell,) = row["cells"]
        (theirs,) = other["cells"].values()
        names = ("value", "low", "high", "n", "judge", "ranked", "notes")
        assert {n: cell[n] for n in names} == {n: theirs[n] for n in names}
        assert (cell["mark"] or None) == theirs["mark"]
    # 39 of 40 are scored, which is too few to be ranked, so nobody is best.
    assert "fewer than 99 %" in shown["rows"][0]["cells"][0]["notes"][0]
    columns = data(folder, "task-0")["runs"]
    assert Counter(columns[0]["verdict"]) == {"c": 30, "i": 9, "u": 1}
    (pair,) = data(folder, "overview")["tasks"][0]["pairs"]
    (found,) = compare_runs([run.path for run in runs], None, [plugins], progress=False)
    assert (pair["wins"], pair["losses"]) == (found.paired.wins, found.paired.losses) == (0, 18)
    assert pair["difference"] == found.paired.difference and pair["holm"] == found.holm
    assert pair["left_out"] == {"no verdict in the first": 1}


def test_the_best_is_marked_where_the_paired_test_says_so(tmp_path: Path) -> None:
    plugins = str(tasks_folder(tmp_path))
    runs = [
        stored_run(tmp_path / "runs", spec_of(model, "alpha"), [1.0] * right + [0.0] * (40 - right))
        for model, right in (("org/a", 38), ("org/b", 12))
    ]
    folder, _ = view(tmp_path, runs, plugins=[plugins])
    marks = [row["cells"][0]["mark"] for row in data(folder, "overview")["table"]["rows"]]
    assert marks == ["best", ""]


def test_several_responses_grades_and_missing_ones(tmp_path: Path) -> None:
    plugins = str(tasks_folder(tmp_path))
    graded = stored_run(tmp_path / "runs", spec_of("org/a", "graded"), [0.3, 1.0, 0.0, None])
    several = stored_run(
        tmp_path / "runs", spec_of("org/a", "alpha", n=2), [1.0, 0.0, 1.0, 1.0, 0.0, None]
    )
    short = RunFolder(several.path)
    made = short.path / "generations.jsonl"
    made.write_text("".join(made.read_text().splitlines(keepends=True)[:5]))
    folder, _ = view(tmp_path, [graded, several], plugins=[plugins])
    alpha, grades = data(folder, "task-0"), data(folder, "task-1")
    assert alpha["runs"][0]["verdict"] == "ciccim"
    assert grades["runs"][0]["verdict"] == "gciu"
    assert grades["runs"][0]["score"] == [0.3, 1.0, 0.0, None]
    assert [len(one["runs"][0]["responses"]) for one in samples(folder)] == [2, 2, 1]


def test_two_judges_that_disagree_are_flagged(tmp_path: Path) -> None:
    plugins = str(tasks_folder(tmp_path))
    spec = spec_of("org/a", "alpha")
    run = stored_run(tmp_path / "runs", spec, [1.0, 1.0, 0.0])
    stored_run(tmp_path / "runs", spec, [1.0, 0.0, None], judge="other")
    folder, _ = view(tmp_path, [run], plugins=[plugins])
    assert [f & 8 for f in data(folder, "task-0")["runs"][0]["flags"]] == [0, 8, 0]
    judges = data(folder, "overview")["tasks"][0]["runs"][0]["judges"]
    assert [judge["name"] for judge in judges] == ["string_match", "other"]
    assert [j["outcome"] for j in samples(folder)[1]["runs"][0]["responses"][0]["judgments"]] == [
        "correct",
        "incorrect",
    ]


def test_a_damaged_run_is_named_and_left_out(tmp_path: Path) -> None:
    plugins = str(tasks_folder(tmp_path))
    whole, damaged = (
        stored_run(tmp_path / "runs", spec_of(model, "alpha"), [1.0] * 5)
        for model in ("org/a", "org/b")
    )
    journal = damaged.path / "generations.jsonl"
    journal.write_text("{\n" + journal.read_text())
    out = tmp_path / "out"
    done = here("view", tmp_path / "runs", "-o", out, "--include_path", plugins)
    line = error_line(done.returncode, 75, done.stderr)
    assert line.startswith(f"vsr1-bench: skipped: {journal}:1")
    overview = data(out, "overview")
    assert [run["folder"] for run in overview["tasks"][0]["runs"]] == [str(whole.path)]
    assert any(str(journal) in notice for notice in overview["notices"])
    assert done.stdout == f"report: {out / 'index.html'}\n"


def test_a_folder_that_is_no_report_is_refused_and_kept(tmp_path: Path) -> None:
    plugins = str(tasks_folder(tmp_path))
    run = stored_run(tmp_path / "runs", spec_of("org/a", "alpha"), [1.0])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    done = here("view", run.path, "-o", tmp_path / "out", "--include_path", plugins)
    assert "no report" in error_line(done.returncode, 2, done.stderr)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_an_earlier_report_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    plugins = [str(tasks_folder(tmp_path))]
    run = stored_run(tmp_path / "runs", spec_of("org/a", "alpha"), [1.0] * 5)
    folder, _ = view(tmp_path, [run], plugins=plugins)
    (folder / "data" / "task-9.js").write_text("of a larger report")
    view(tmp_path, [run], plugins=plugins)
    assert not (folder / "data" / "task-9.js").exists()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(KeyboardInterrupt), ReportFolder(folder) as half:
        half.write("index.html", b"half")
        raise KeyboardInterrupt
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_samples_of_a_large_task_are_in_chunks_that_hold_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["vsr1_bench.report.task_page"], "CHUNK_SAMPLES", 7)
    run = stored_run(tmp_path / "runs", spec_of("org/a", "alpha"), [1.0] * 40)
    folder, report = view(tmp_path, [run], plugins=[str(tasks_folder(tmp_path))])
    assert data(folder, "task-0")["chunks"] == [0, 7, 14, 21, 28, 35]
    assert [one["id"] for one in samples(folder)] == [f"q{n}" for n in range(40)]
    assert report.samples == 40
    assert len(data(folder, "task-0-grams")["bits"]) == 6
