"""SIGTERM ends a command within seconds, whatever it is waiting for; what it stored is safe."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cli
import pytest

# What libraries do: wait where no Python code runs, or take the exception for one of theirs.
STUCK = """
import ctypes
import os
import pathlib
import time

from vsr1_bench.records import Sample
from vsr1_bench.task import Procedural, Task


def in_a_library():
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def swallowing():
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass


def stuck():
    pathlib.Path(os.environ["STUCK_FILE"]).touch()
    {"library": in_a_library, "swallowed": swallowing}[os.environ["STUCK"]]()


if os.environ["STUCK_AT"] == "start":
    stuck()


def to_sample(row):
    if os.environ["STUCK_AT"] == "run" and row["n"] == 6:
        stuck()
    return Sample(f"q{row['n']}", ("why?",), "4", "number")


TASK = Task(
    name="stuck",
    version=1,
    source=Procedural(lambda n: {"n": n}, 9, "stuck-1"),
    to_sample=to_sample,
    answer_type="number",
    license="Apache-2.0",
    description="hangs",
    judge="string_match",
)
"""


INTERRUPTED = (130, -signal.SIGINT)
"""A shell shows both as 130. Python ends by the signal itself where its exception has gone through
a library's own call of the interpreter (an import of torch, say), though it was caught later."""


def ended(process: subprocess.Popen[str], within: float) -> str:
    """Send SIGTERM; what the command says on standard error."""
    process.send_signal(signal.SIGTERM)
    try:
        _, err = process.communicate(timeout=within)
    finally:
        process.kill()
    assert process.returncode in INTERRUPTED, err
    assert "Traceback" not in err, err
    return err


@pytest.mark.parametrize("at", ["start", "run"])
@pytest.mark.parametrize("how", ["library", "swallowed"])
def test_what_waits_in_a_library_is_ended(
    tmp_path: Path, script: Path, runs: Path, how: str, at: str
) -> None:
    (tmp_path / "stuck").mkdir()
    (tmp_path / "stuck/stuck.py").write_text(STUCK)
    mark = tmp_path / "mark"
    words = ["run", "--model", "m", "--backend", "scripted", "--tasks", "stuck"]
    words += ["--model_args", f"script={script},capacity=1", "--output_path", str(runs)]
    told = {"STUCK": how, "STUCK_AT": at, "STUCK_FILE": str(mark)}
    process = cli.start(*words, "--include_path", tmp_path / "stuck", env={**os.environ, **told})
    deadline = time.monotonic() + 60
    while not mark.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    err = ended(process, within=30)
    assert cli.resume_command(err)[0] == "run"
    if at == "run":
        assert len(cli.finished(runs)) == 6
    else:
        assert not runs.exists()


def test_a_command_that_can_end_by_itself_does(run: list[Any], runs: Path, script: Path) -> None:
    cli.script(script, {**cli.ANSWER, "seconds": 0.2})
    process = cli.start(*run)
    cli.wait_for_lines(runs, 3)
    began = time.monotonic()
    err = ended(process, within=30)
    assert time.monotonic() - began < 4  # before anybody had to end it
    assert "of 60 responses are safe" in err and cli.resume_command(err)


@pytest.mark.skipif(find_spec("vllm") is None, reason="backend vllm is not installed here")
@pytest.mark.parametrize("after", [2.0, 9.0])
def test_an_engine_that_starts_is_ended(runs: Path, after: float) -> None:
    process = cli.start(
        *("run", "--model", "tiny", "--backend", "vllm", "--tasks", "demo", "--limit", 500),
        *("--output_path", runs),
    )
    time.sleep(after)
    assert process.poll() is None
    err = ended(process, within=45)
    assert cli.resume_command(err)[:3] == ["run", "--model", "tiny"]
