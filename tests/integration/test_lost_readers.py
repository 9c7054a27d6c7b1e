"""Standard output and error whose reader has gone: the work and the exit code stay the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cli
import pytest

FAILING = """
import sys
from vsr1_bench.cli.main import main
import vsr1_bench.cli.table as table

def execute(options):
    raise BrokenPipeError(32, "Broken pipe")  # of a socket or a worker, not of our output

table.execute = execute
sys.exit(main())
"""


def lost(words: list[Any], *, out: bool = False, err: bool = False) -> subprocess.Popen[bytes]:
    """Start a command whose readers close their ends at once."""
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "-m", "vsr1_bench", *map(str, words)],
        stdout=writing if out else subprocess.DEVNULL,
        stderr=writing if err else subprocess.DEVNULL,
    )
    os.close(writing)
    return process


@pytest.mark.parametrize(
    "which", [{"err": True}, {"out": True}, {"out": True, "err": True}], ids=["err", "out", "both"]
)
def test_a_run_goes_on_without_its_readers(
    run: list[Any], runs: Path, script: Path, which: dict[str, bool]
) -> None:
    cli.script(script, {**cli.ANSWER, "seconds": 0.05})
    assert lost(run, **which).wait(timeout=60) == 0
    assert cli.finished(runs) == cli.ids(60)


def test_a_reader_that_leaves_while_it_runs(run: list[Any], runs: Path, script: Path) -> None:
    """As `vsr1-bench … 2>&1 | head -1`: what came before was read, the rest is dropped."""
    cli.script(script, {**cli.ANSWER, "seconds": 0.05})
    process = cli.start(*run, "--verbosity", "debug")
    assert process.stderr is not None and process.stderr.readline()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert cli.finished(runs) == cli.ids(60)


def test_what_fails_fails_unheard(run: list[Any], script: Path) -> None:
    cli.script(script, cli.ANSWER, {"id": "q030", "die": "burned down"})
    assert lost(run, out=True, err=True).wait(timeout=60) == 75
    assert lost(["tabel"], err=True).wait(timeout=60) == 2


def test_another_broken_pipe_is_no_success() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING, "table", "runs"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "BrokenPipeError" in done.stderr


def test_no_reader_from_the_start(run: list[Any], runs: Path, script: Path) -> None:
    """`>&- 2>&-`: the descriptors are closed."""
    cli.script(script, cli.ANSWER)
    words = [sys.executable, "-m", "vsr1_bench", *map(str, run)]
    assert subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *words]).returncode == 0
    assert cli.finished(runs) == cli.ids(60)


def test_a_log_on_a_full_disk(run: list[Any], runs: Path, script: Path) -> None:
    cli.script(script, cli.ANSWER)
    words = [sys.executable, "-m", "vsr1_bench", *map(str, run)]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(words, stdout=subprocess.DEVNULL, stderr=full).returncode == 0
        assert cli.finished(runs) == cli.ids(60)
        # What was asked for did not get into its file: no success, as before.
        done = subprocess.run(
            [*words[:3], "ls", "tasks"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1 and "No space left" in done.stderr


def test_lone_surrogates_are_printed_as_escapes() -> None:
    said = "from vsr1_bench.cli.streams import keep_printing\nkeep_printing()\nprint('a\\ud800b')"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a\\ud800b\n")


def test_files_of_the_working_folder_are_not_executed(tmp_path: Path) -> None:
    """A child of `loop`, `train --nproc` or `serve` is started with -P."""
    (tmp_path / "datasets.py").write_text("open('executed', 'w').close()")
    child = "from vsr1_bench._util.processes import run_command; raise SystemExit(run_command({}))"
    for words in (["validate", "gsm8k"], ["doctor"]):
        subprocess.run([sys.executable, "-P", "-c", child.format(words)], cwd=tmp_path, check=False)
    assert not (tmp_path / "executed").exists()
