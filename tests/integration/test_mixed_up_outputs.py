"""Raw outputs that stand in another run's place, as the authors' own once did, are noticed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from cli import command
from hub import Hub
from rawoutputs import write_one_set
from tree import ROOT

from vsr1_bench.leaderboard.mixups import SetScore, find_mixups
from vsr1_bench.leaderboard.reported import ReportedTable, load_table

MODEL, ABLATION, TRAINED = "7B-Vision-SR1", "7B-Vision-SR1-ablation", "7B-Vision-R1"
PRINTED = {MODEL: 43.5, TRAINED: 43.0, "3B-baseline": 15.5, "3B-Vision-R1": 36.5, "7B-SFT": 30.0}
"""VisNumBench as the paper prints it, to half a point; the last run has no row of its own."""


def say(hub: Hub, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = hub.environment(folder / "home") | {"HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        command(*arguments),
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )


def swapped(*pairs: tuple[str, str]) -> dict[str, float]:
    found = dict(PRINTED)
    for first, second in pairs:
        found |= {first: PRINTED[second], second: PRINTED[first]}
    return found


@pytest.mark.parametrize("pairs", [(), ((MODEL, TRAINED), ("3B-baseline", "3B-Vision-R1"))])
def test_two_files_in_each_others_place(tmp_path: Path, pairs: tuple[tuple[str, str], ...]) -> None:
    """An exchange of rows that are close, as the one that was seen, and one of rows far apart."""
    values = swapped(*pairs)
    write_one_set(tmp_path / "served", values)
    with Hub(tmp_path / "served") as hub:
        done = say(hub, tmp_path, "download", "vision-sr1", "--to", tmp_path / "runs")
        assert done.returncode == 0, done.stderr
        warnings = [line for line in done.stderr.splitlines() if "warning: " in line]
        assert len(warnings) == len(pairs), done.stderr
        for line, (first, second) in zip(warnings, pairs, strict=True):
            for run in (first, second):
                assert f"{run} scores {values[run]:.1f}" in line, line
            assert "to have been exchanged" in line and "issue 10" in line
        judged = say(hub, tmp_path, "judge", tmp_path / "runs", "--judge", "string_match")
        assert judged.returncode == 0, judged.stderr
        asked = ("table", tmp_path / "runs", "--delta", "published")
        done = say(hub, tmp_path, *asked)
        marks = dict(re.findall(r"^\| (\S+) +\| visnumbench \((\d)\)", done.stdout, re.MULTILINE))
        assert set(marks) == {run for pair in pairs for run in pair}, done.stdout
        for first, second in pairs:
            (footnote,) = re.findall(rf"^\({marks[first]}\) (.*)", done.stdout, re.MULTILINE)
            assert marks[first] == marks[second] and first in footnote and second in footnote
        assert done.stderr.count("warning: ") == len(pairs)
        cells = json.loads(say(hub, tmp_path, *asked, "--format", "json").stdout)
        marked = {cell["model"] for cell in cells if cell["mix_up"]}
        assert marked == {run for pair in pairs for run in pair}


def test_without_reported_rows_it_says_that_nothing_was_compared(tmp_path: Path) -> None:
    write_one_set(tmp_path / "served", {MODEL: 43.5}, 120)
    (tmp_path / "results").mkdir()
    with Hub(tmp_path / "served") as hub:
        done = subprocess.run(
            command("download", "vision-sr1", "--to", tmp_path / "runs"),
            env=hub.environment(tmp_path / "home") | {"HF_HUB_DISABLE_XET": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr
    assert "not checked for mixed-up files: --results results: no reported tables" in done.stderr


@pytest.fixture(scope="module")
def table() -> ReportedTable:
    found = load_table(ROOT / "results/paper/vision_sr1_accuracy.json")
    assert found is not None
    return found


def scores(table: ReportedTable, task: str, n: int) -> dict[str, SetScore]:
    """Every run in its place."""
    place = [column.task for column in table.columns].index(task)
    return {
        name: SetScore(name, task, float(row.values[place] or 0), n)
        for row in table.rows
        for name in row.runs[:1]
    }


def test_a_file_of_a_run_that_is_not_there_is_told_by_its_row(table: ReportedTable) -> None:
    known = scores(table, "visnumbench", 1913)
    wrong = known | {MODEL: SetScore(MODEL, "visnumbench", 35.9, 1913)}
    (found,) = find_mixups(list(wrong.values()), [table])
    assert found.runs == (MODEL,) and found.task == "visnumbench"
    assert "the row of Vision-SR1 7B without self-reward (35.7) fits clearly better" in found.text


@pytest.mark.parametrize(
    ("value", "n", "why"),
    [
        (41.2, 1913, "another run of the same model"),
        (60.0, 1913, "fits no row"),
        (35.7, 60, "too few answers"),
    ],
)
def test_what_is_no_mix_up(table: ReportedTable, value: float, n: int, why: str) -> None:
    known = scores(table, "visnumbench", n) | {MODEL: SetScore(MODEL, "visnumbench", value, n)}
    assert find_mixups(list(known.values()), [table]) == [], why


def test_files_of_two_commits_were_not_exchanged(table: ReportedTable) -> None:
    a = SetScore(MODEL, "mmmu", 51.8, 900, "one")
    b = SetScore(ABLATION, "mmmu", 52.2, 900, "two")
    assert find_mixups([a, b], [table]) == []
    assert len(find_mixups([a, SetScore(ABLATION, "mmmu", 52.2, 900, "one")], [table])) == 1


def test_every_run_with_a_row_is_a_run_of_the_repository(table: ReportedTable) -> None:
    from vsr1_bench.imports.vision_sr1 import RUNS

    named = {name for row in table.rows for name in row.runs}
    assert set(RUNS) - named == {"3B-SFT", "7B-SFT"}, "no reported row"
    assert len([row for row in table.rows if row.runs]) == 11
