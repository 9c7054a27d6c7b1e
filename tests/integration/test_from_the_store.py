"""What a command takes from the store, it says; a start that fails leaves nothing there."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import cli
import pytest

from vsr1_bench.store.provenance import makers
from vsr1_bench.store.run_folder import RunFolder, find_runs


def said(err: str) -> str:
    (line,) = (line for line in err.splitlines() if line.startswith("from the store: "))
    return line


def test_reused_responses_are_counted_and_their_makers_named(run: list[Any], runs: Path) -> None:
    first = [*run, "--limit", 20]
    done = cli.here(*first)
    assert done.returncode == 0 and "from the store" not in done.stderr
    (folder,) = find_runs(runs)
    assert [maker.made for maker in makers(folder)] == [20]

    done = cli.here(*first)
    assert "adding: 20 of 20 responses, made by: " in said(done.stderr)
    assert [maker.made for maker in makers(folder)] == [20]  # one that made nothing is no maker

    done = cli.here(*run, "--limit", 50)
    assert "adding: 20 of 50 responses" in said(done.stderr)
    done = cli.here(*run)
    assert "adding: 50 of 60 responses" in said(done.stderr)
    assert [maker.made for maker in makers(folder)] == [20, 30, 10]
    commands = [one["command"] for one in folder.meta()["commands"]]
    assert len(commands) == 3 and folder.meta()["commands"][0]["versions"]


def test_the_makers_are_named_as_they_were_typed(run: list[Any], runs: Path) -> None:
    assert cli.cli(*run).returncode == 0
    done = cli.cli(*run, "--verbosity", "ERROR")
    typed = shlex.join(["vsr1-bench", *map(str, run)])
    assert f"60 of 60 responses, made by: {typed} (" in said(done.stderr)


def test_a_run_of_an_older_version_names_its_last_command(run: list[Any], runs: Path) -> None:
    assert cli.here(*run).returncode == 0
    (folder,) = find_runs(runs)
    meta = folder.meta()
    del meta["commands"]
    del meta["spec"]["model"]["precision"], meta["spec"]["engine"]
    meta["command"] = "vsr1-bench run --model old"
    (folder.path / "run.json").write_text(json.dumps(meta))
    done = cli.here(*run)
    assert "60 of 60 responses, made by: vsr1-bench run --model old (" in said(done.stderr)
    assert "made by: vsr1-bench run --model old (" in said(cli.here(*run).stderr)
    assert len(cli.finished(runs)) == 60


BROKEN = {"id": "q1", "response": "both", "error": "no"}
"""A line that no script may have: the backend does not start."""


@pytest.mark.parametrize("flags", [[], ["--perception"], ["--shard", "1/3"], ["--blind", "drop"]])
def test_a_start_that_fails_leaves_no_folder(
    run: list[Any], runs: Path, script: Path, flags: list[str]
) -> None:
    cli.script(script, BROKEN)
    done = cli.here(*run, *flags)
    assert done.returncode == 1 and "wanted an object" in done.stderr
    assert not list(runs.rglob("*"))
    cli.script(script, cli.ANSWER)
    assert cli.here(*run, *flags).returncode in (0, 75)
    assert find_runs(runs)


def test_a_start_that_fails_takes_nothing_away(run: list[Any], runs: Path, script: Path) -> None:
    assert cli.here(*run, "--limit", 5).returncode == 0
    cli.script(script, BROKEN)
    assert cli.here(*run).returncode == 1
    assert len(cli.finished(runs)) == 5
    # Nor from another shard that is under way.
    assert cli.here(*run, "--shard", "1/2").returncode == 1
    (folder,) = find_runs(runs)
    assert len(folder.generations()) == 5 and folder.spec().task.name == "adding"
    assert not list(folder.path.glob("*1-of-2*"))


def test_one_that_was_interrupted_keeps_what_it_has(
    run: list[Any], runs: Path, script: Path
) -> None:
    cli.script(script, {"id": "q007", "die": "burned"}, cli.ANSWER)
    assert cli.here(*run, "--model_args", f"script={script},capacity=1").returncode == 75
    assert cli.finished(runs) == cli.ids(7)
    (folder,) = find_runs(runs)
    assert isinstance(folder, RunFolder) and [maker.made for maker in makers(folder)] == [7]
