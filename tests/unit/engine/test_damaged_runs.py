"""Damaged run folders: what shows many runs goes on without them, and says so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli import error_line, here
from scored import spec_of, stored_run, tasks_folder

from vsr1_bench.store import RunFolder

VERDICTS = [1.0, 0.0] * 20
Harm = Callable[[RunFolder], Path]


def truncated_spec(run: RunFolder) -> Path:
    path = run.path / "run.json"
    path.write_text(path.read_text()[:100])
    return path


def bad_line(run: RunFolder) -> Path:
    path = run.path / "generations.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], '{"key": \n', *lines[3:]]))
    return path


def unreadable_score(run: RunFolder) -> Path:
    (path,) = (run.path / "scores").iterdir()
    path.write_text('{"metrics": 3}')
    return path


HARMS = (truncated_spec, bad_line, unreadable_score)


def runs(root: Path, *models: str) -> list[RunFolder]:
    """A run of task alpha by each model; the first is best, so that the best is looked for."""
    found = []
    for place, model in enumerate(models):
        verdicts = [1.0] * 40 if place == 0 else VERDICTS
        found.append(stored_run(root / "runs", spec_of(model, "alpha"), verdicts))
    return found


def bench(root: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return here(*words, "--include_path", tasks_folder(root))


@pytest.mark.parametrize("harm", HARMS)
def test_a_table_leaves_a_damaged_run_out(tmp_path: Path, harm: Harm) -> None:
    damaged, *_ = runs(tmp_path, "org/a", "org/b", "org/c")
    file = harm(damaged)
    done = bench(tmp_path, "table", tmp_path / "runs")
    line = error_line(done.returncode, 75, done.stderr)
    assert line.startswith(f"vsr1-bench: left out: {file}") and "; " in line
    assert "org/b" in done.stdout and "org/c" in done.stdout and "org/a" not in done.stdout


def test_two_damaged_runs_are_two_lines(tmp_path: Path) -> None:
    one, other, _ = runs(tmp_path, "org/a", "org/b", "org/c")
    files = truncated_spec(one), unreadable_score(other)
    done = bench(tmp_path, "table", "--layout", "long", tmp_path / "runs")
    said = [line for line in done.stderr.splitlines() if "left out: " in line]
    assert done.returncode == 75 and len(said) == 2
    assert all(str(file) in line for file, line in zip(files, said, strict=True))
    assert "org/c" in done.stdout


@pytest.mark.parametrize("harm", (truncated_spec, unreadable_score))
def test_a_damaged_run_asked_for_by_itself_is_an_error(tmp_path: Path, harm: Harm) -> None:
    one, other, _ = runs(tmp_path, "org/a", "org/b", "org/c")
    file = harm(one)
    harm(other)
    for asked in ((one.path,), (one.path, other.path)):
        done = bench(tmp_path, "table", *asked)
        line = error_line(done.returncode, 1, done.stderr)
        assert line.startswith(f"vsr1-bench: {file}") and done.stdout == ""


def test_what_is_left_may_be_an_error_of_its_own(tmp_path: Path) -> None:
    damaged, _ = runs(tmp_path, "org/a", "org/b")
    truncated_spec(damaged)
    done = bench(tmp_path, "table", tmp_path / "runs", "--columns", "nonsense")
    assert done.returncode == 2 and "--columns nonsense" in done.stderr
    assert f"left out: {damaged.path}" in done.stderr


@pytest.mark.parametrize("harm", HARMS)
def test_a_comparison_goes_on_with_the_others(tmp_path: Path, harm: Harm) -> None:
    one, other, third = runs(tmp_path, "org/a", "org/b", "org/c")
    file = harm(third)
    done = bench(tmp_path, "compare", one.path, other.path, third.path)
    assert error_line(done.returncode, 75, done.stderr).startswith(f"vsr1-bench: left out: {file}")
    assert "B − A" in done.stdout and "C − A" not in done.stdout
    done = bench(tmp_path, "compare", one.path, third.path)
    assert error_line(done.returncode, 1, done.stderr).startswith(f"vsr1-bench: {file}")


def test_a_task_of_a_folder_is_left_out_of_a_comparison(tmp_path: Path) -> None:
    for model in ("a", "b"):
        for task in ("alpha", "beta"):
            run = stored_run(tmp_path / model, spec_of(f"org/{model}", task), VERDICTS)
    truncated_spec(run)
    done = bench(tmp_path, "compare", tmp_path / "a", tmp_path / "b")
    assert f"left out: {run.path}" in error_line(done.returncode, 75, done.stderr)
    assert "| alpha" in done.stdout and "Not all have beta" in done.stdout


def test_a_plot_leaves_a_damaged_run_out(tmp_path: Path) -> None:
    damaged, _ = runs(tmp_path, "org/a", "org/b")
    file = truncated_spec(damaged)
    done = bench(tmp_path, "plot", tmp_path / "runs", "-o", tmp_path / "p.svg")
    assert error_line(done.returncode, 75, done.stderr).startswith(f"vsr1-bench: left out: {file}")
    assert (tmp_path / "p.svg").stat().st_size > 0


def test_two_judges_are_compared_over_what_is_whole(tmp_path: Path) -> None:
    spec = spec_of("org/a", "alpha")
    for judge in ("mathruler", "string_match"):
        stored_run(tmp_path / "runs", spec, VERDICTS, judge=judge)
    damaged = stored_run(tmp_path / "runs", spec_of("org/b", "alpha"), VERDICTS)
    truncated_spec(damaged)
    done = bench(tmp_path, "table", "--delta", "mathruler", tmp_path / "runs")
    assert f"left out: {damaged.path}" in error_line(done.returncode, 75, done.stderr)
    assert "org/a" in done.stdout
