"""Damaged run folders: what shows many runs goes on without them, and says so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli import error_line, here
from scored import spec_of, stored_run, tasks_folder

from vsr1_bench.store.run_folder import RunFolder

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
    assert line.startswith(f"vsr1-bench: skipped: {file}") and "; " in line
    assert "org/b" in done.stdout and "org/c" in done.stdout and "org/a" not in done.stdout


def test_two_damaged_runs_are_two_lines(tmp_path: Path) -> None:
    one, other, _ = runs(tmp_path, "org/a", "org/b", "org/c")
    files = truncated_spec(one), unreadable_score(other)
    done = bench(tmp_path, "table", "--layout", "long", tmp_path / "runs")
    said = [line for line in done.stderr.splitlines() if "skipped: " in line]
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
    assert f"skipped: {damaged.path}" in done.stderr


@pytest.mark.parametrize("harm", HARMS)
def test_a_comparison_goes_on_with_the_others(tmp_path: Path, harm: Harm) -> None:
    one, other, third = runs(tmp_path, "org/a", "org/b", "org/c")
    file = harm(third)
    done = bench(tmp_path, "compare", one.path, other.path, third.path)
    assert error_line(done.returncode, 75, done.stderr).startswith(f"vsr1-bench: skipped: {file}")
    assert "B − A" in done.stdout and "C − A" not in done.stdout
    done = bench(tmp_path, "compare", one.path, third.path)
    assert error_line(done.returncode, 1, done.stderr).startswith(f"vsr1-bench: {file}")


def test_a_task_of_a_folder_is_left_out_of_a_comparison(tmp_path: Path) -> None:
    for model in ("a", "b"):
        for task in ("alpha", "beta"):
            run = stored_run(tmp_path / model, spec_of(f"org/{model}", task), VERDICTS)
    truncated_spec(run)
    done = bench(tmp_path, "compare", tmp_path / "a", tmp_path / "b")
    assert f"skipped: {run.path}" in error_line(done.returncode, 75, done.stderr)
    assert "| alpha" in done.stdout and "Not all have beta" in done.stdout


def test_a_plot_leaves_a_damaged_run_out(tmp_path: Path) -> None:
    damaged, _ = runs(tmp_path, "org/a", "org/b")
    file = truncated_spec(damaged)
    done = bench(tmp_path, "plot", tmp_path / "runs", "-o", tmp_path / "p.svg")
    assert error_line(done.returncode, 75, done.stderr).startswith(f"vsr1-bench: skipped: {file}")
    assert (tmp_path / "p.svg").stat().st_size > 0


def test_two_judges_are_compared_over_what_is_whole(tmp_path: Path) -> None:
    spec = spec_of("org/a", "alpha")
    for judge in ("mathruler", "string_match"):
        stored_run(tmp_path / "runs", spec, VERDICTS, judge=judge)
    damaged = stored_run(tmp_path / "runs", spec_of("org/b", "alpha"), VERDICTS)
    truncated_spec(damaged)
    done = bench(tmp_path, "table", "--delta", "mathruler", tmp_path / "runs")
    assert f"skipped: {damaged.path}" in error_line(done.returncode, 75, done.stderr)
    assert "org/a" in done.stdout


def without_its_tail(run: RunFolder) -> Path:
    """The last samples are gone, on a line's end: nothing in the file itself looks wrong."""
    path = run.path / "samples.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-7]))
    return path


def gone(run: RunFolder) -> Path:
    path = run.path / "samples.jsonl"
    path.unlink()
    return path


def bad_verdict(run: RunFolder) -> Path:
    (path,) = (run.path / "judgments").iterdir()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], '{"key": 3}\n', *lines[3:]]))
    return path


CHANGING = {
    "judge": ("judge", "--judge", "string_match"),
    "judge, dry": ("judge", "--judge", "math", "--dry_run"),
    "score": ("score",),
    "publish": ("publish", "--to", "bundle"),
    "agreement": ("agreement", "--judges", "string_match,mathruler"),
}
ALL = (truncated_spec, bad_line, unreadable_score, without_its_tail, gone, bad_verdict)


@pytest.mark.parametrize("command", CHANGING)
@pytest.mark.parametrize("harm", ALL)
def test_a_command_over_many_runs_goes_on_without_the_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, harm: Harm
) -> None:
    monkeypatch.chdir(tmp_path)
    word, *flags = CHANGING[command]
    found = runs(tmp_path, "org/a", "org/b", "org/c")
    if word == "agreement":
        for model in ("org/a", "org/b", "org/c"):
            stored_run(tmp_path / "runs", spec_of(model, "alpha"), VERDICTS, judge="mathruler")
    file = harm_first(found[1], harm) if word == "agreement" else harm(found[1])
    plugins = () if word == "agreement" else ("--include_path", tasks_folder(tmp_path))
    done = here(word, tmp_path / "runs", *flags, *plugins)
    if word == "judge" and harm is bad_verdict:  # of another judge: nothing to do with it
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 75, done.stderr
    said = [line for line in done.stderr.splitlines() if "skipped: " in line]
    assert len(said) == 1 and str(file) in said[0], done.stderr
    assert "unexpected" not in done.stderr
    if word == "publish":
        assert "2 runs" in done.stderr
    elif word == "agreement":
        assert "of 80" in done.stdout
    else:
        assert "org/a" in done.stdout and "org/c" in done.stdout and "org/b" not in done.stdout


def harm_first(run: RunFolder, harm: Harm) -> Path:
    """Harm the first of the several files of a kind."""
    if harm not in (bad_verdict, unreadable_score):
        return harm(run)
    if harm is bad_verdict:
        path = sorted((run.path / "judgments").iterdir())[0]
        path.write_text('{"key": 3}\n' + path.read_text())
        return path
    path = sorted((run.path / "scores").iterdir())[0]
    path.write_text('{"metrics": 3}')
    return path


def test_a_damaged_blind_twin_does_not_end_the_seeing_runs_score(tmp_path: Path) -> None:
    spec = spec_of("org/a", "alpha")
    seeing = stored_run(tmp_path / "runs", spec, VERDICTS)
    twin = stored_run(tmp_path / "runs", spec_of("org/a", "alpha", variant="drop"), VERDICTS)
    file = bad_line(twin)
    done = bench(tmp_path, "score", tmp_path / "runs")
    assert done.returncode == 75 and f"skipped: {file}" in done.stderr, done.stderr
    assert "no gain over a blind run that cannot be read" in done.stderr
    assert seeing.scores()[0]["metrics"]["accuracy"]["value"] == 0.5
