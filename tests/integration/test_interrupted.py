"""Runs that are interrupted, killed by their engine or disturbed by a second one go on.

Every test runs `python -m vsr1_bench` in a process of its own.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import cli
import pytest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_run_is_resumed(
    run: list[Any], runs: Path, script: Path, number: signal.Signals
) -> None:
    cli.script(script, {**cli.ANSWER, "seconds": 0.1})
    process = cli.start(*run)
    cli.wait_for_lines(runs, 5)

    second = cli.cli(*run)
    line = cli.error_line(second.returncode, 1, second.stderr)
    assert f"is being written by process {process.pid}; wait for it" in line
    assert process.poll() is None, "the second run ended the first"

    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    line = cli.error_line(process.returncode, 130, err)
    kept = cli.finished(runs)
    assert 5 <= len(kept) < 60
    assert line == f"vsr1-bench: interrupted; {len(kept)} of 60 responses are safe"
    assert cli.resume_command(err) == [str(part) for part in run]

    cli.script(script, cli.ANSWER)
    done = cli.cli(*cli.resume_command(err))
    assert done.returncode == 0, done.stderr
    assert cli.finished(runs) == cli.ids(60)


def test_a_background_job_can_be_terminated(run: list[Any], runs: Path, script: Path) -> None:
    """A shell without job control (any batch script) starts `command &` with SIGINT ignored."""
    cli.script(script, {**cli.ANSWER, "seconds": 0.05})
    process = cli.start(*run, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    try:
        cli.wait_for_lines(runs, 2)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert "responses are safe" in cli.error_line(process.returncode, 130, err)


def test_the_death_of_the_engine_is_survived(run: list[Any], runs: Path, script: Path) -> None:
    cli.script(script, cli.ANSWER, {"id": "q030", "die": "burned down"})
    done = cli.cli(*run)
    line = cli.error_line(done.returncode, 75, done.stderr)
    assert "the scripted engine died: burned down; 30 of 60 responses are safe" in line
    assert cli.resume_command(done.stderr) == [str(part) for part in run]
    assert cli.finished(runs) == cli.ids(30)

    cli.script(
        script, cli.ANSWER, {"id": "q031", "error": "no luck"}, {"id": "q050", "die": "again"}
    )
    done = cli.cli(*run)
    line = cli.error_line(done.returncode, 75, done.stderr)
    assert "again; 49 of 60 responses are safe" in line

    # It dies at the first that is missing, before it has looked at the rest of the data.
    cli.script(script, cli.ANSWER, {"id": "q031", "die": "once more"})
    done = cli.cli(*run, "--model_args", f"script={script},capacity=1")
    assert "; 49 of 60" in cli.error_line(done.returncode, 75, done.stderr)

    cli.script(script, cli.ANSWER)
    done = cli.cli(*run)
    assert done.returncode == 0, done.stderr
    assert sorted(cli.finished(runs)) == cli.ids(60)


def test_failed_requests_are_tried_again_and_only_those(
    run: list[Any], runs: Path, script: Path
) -> None:
    failures = [{"id": name, "error": "no luck"} for name in ("q003", "q007")]
    cli.script(script, cli.ANSWER, *failures)
    done = cli.cli(*run)
    line = cli.error_line(done.returncode, 75, done.stderr)
    assert "adding: 2 of 60 failed: no luck; the same command tries them again" in line
    assert len(cli.finished(runs)) == 58

    cli.script(script, cli.ANSWER)
    done = cli.cli(*run)
    assert done.returncode == 0, done.stderr
    assert sorted(cli.finished(runs)) == cli.ids(60)
    records = cli.records(cli.journal_of(runs))
    assert [record["sample_id"] for record in records[60:]] == ["q003", "q007"]


def test_a_run_that_is_complete_loads_no_engine(run: list[Any], runs: Path, script: Path) -> None:
    assert cli.cli(*run).returncode == 0
    before = cli.journal_of(runs).read_bytes()
    cli.script(script, {"id": "*", "die": "it was loaded"})
    done = cli.cli(*run)
    assert done.returncode == 0, done.stderr
    assert cli.journal_of(runs).read_bytes() == before


def test_a_higher_limit_continues_the_run(run: list[Any], runs: Path) -> None:
    assert cli.cli(*run, "--limit", 5).returncode == 0
    assert cli.finished(runs) == cli.ids(5)
    assert cli.cli(*run).returncode == 0
    assert cli.finished(runs) == cli.ids(60)


def test_a_damaged_journal_is_named_with_its_line(run: list[Any], runs: Path) -> None:
    assert cli.cli(*run, "--limit", 5).returncode == 0
    path = cli.journal_of(runs)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], lines[2][:20] + "\n", *lines[3:]]))
    done = cli.cli(*run)
    line = cli.error_line(done.returncode, 1, done.stderr)
    assert f"{path}:3: not a record of this journal" in line
