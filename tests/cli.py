"""Runs the command line in a process of its own, on a task and judges made for tests."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

QUESTIONS = 400
ANSWER = {"id": "*", "response": "\\boxed{4}"}
"""A line of a script: the same answer to every question."""
# Everything that decides a run's answers is in this file: no data set, no model.
PLUGINS = """
import os
import time

from vsr1_bench.judge import RuleJudge
from vsr1_bench.records import Sample, Verdict
from vsr1_bench.task import Procedural, Task


def to_sample(row):
    n = row["n"]
    return Sample(
        id=f"q{n:03d}", question=(f"What is {n} + {n}?",), answer=str(2 * n), answer_type="number"
    )


def exact(item):
    said = item.response.removeprefix("\\\\boxed{").removesuffix("}")
    return Verdict(
        "correct" if said == item.answer else "incorrect",
        extracted=said[:20] or None,
        unparsed=not said,
        label=f"graded by process {os.getpid()}",
    )


def hanging(item):
    while item.response == "hang":
        time.sleep(0.01)
    return exact(item)


ADDING = Task(
    name="adding",
    version=1,
    source=Procedural(lambda n: {"n": n}, 400, "adding-1"),
    to_sample=to_sample,
    answer_type="number",
    license="Apache-2.0",
    description="a number and itself",
    judge="exact",
)
EXACT = RuleJudge("exact", 1, exact, "to the letter, in this process")
BOUNDED = RuleJudge("exact_bounded", 1, exact, "to the letter, in the worker", bounded=True)
HANGING = RuleJudge("hanging", 1, hanging, "hangs at will", bounded=True, seconds=0.5)
"""


def plugins(folder: Path) -> Path:
    """Write task `adding` (400 sums) and judges `exact`, `exact_bounded` and `hanging`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sums.py").write_text(PLUGINS, "utf-8")
    return folder


def script(path: Path, *lines: dict[str, Any], size: int = 1 << 16) -> Path:
    """Write a script for the scripted backend, always of the same size and time.

    Its hash is remembered by size, time and inode, and is part of a run's spec. So a script that
    is written again here stays "the same model", which now answers otherwise: that is how an
    engine fails once and then works.
    """
    text = "".join(json.dumps(line) + "\n" for line in lines)
    assert len(text) <= size
    with path.open("r+" if path.exists() else "w", encoding="ascii") as file:
        file.write(text.ljust(size, "\n"))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vsr1_bench", *map(str, arguments)]


def cli(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, check=False
    )


def loaded(program: str, *modules: str) -> tuple[list[str], list[str]]:
    """Run a program in a process of its own: its lines, and which of these modules it imported."""
    tell = f"\nimport sys\nprint(*[name for name in {modules!r} if name in sys.modules])"
    run = [sys.executable, "-c", program + tell]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    *lines, found = done.stdout.splitlines()
    return lines, found.split()


def here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same in this process: a tenth of the time, where nothing is killed or measured."""
    from vsr1_bench.cli.main import main
    from vsr1_bench.store.environment import typed_as

    words = list(map(str, arguments))
    out, err = io.StringIO(), io.StringIO()
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        # Else the words of pytest would be recorded as the command.
        with redirect_stdout(out), redirect_stderr(err), typed_as(words):
            code = main(words)
    finally:
        signal.signal(signal.SIGTERM, terminated)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def error_line(code: int, wanted_code: int, err: str) -> str:
    """The one line that says what was wrong; a traceback, or a second such line, is a failure."""
    assert code == wanted_code, err
    assert "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.startswith("vsr1-bench: ")]
    assert len(lines) == 1, err
    return lines[0]


def resume_command(err: str) -> list[str]:
    """The arguments of the `resume with: vsr1-bench …` line."""
    import shlex

    (line,) = (line for line in err.splitlines() if line.startswith("resume with: "))
    name, *arguments = shlex.split(line.removeprefix("resume with: "))
    assert name == "vsr1-bench"
    return arguments


def journal_of(runs: Path) -> Path:
    """The one `generations.jsonl` below an output path."""
    (found,) = runs.glob("*/*/generations.jsonl")
    return found


def wait_for_lines(runs: Path, n: int, seconds: float = 30) -> None:
    """Wait until a run has journalled so many responses."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for path in runs.glob("*/*/generations.jsonl"):
            if path.read_bytes().count(b"\n") >= n:
                return
        time.sleep(0.005)
    raise AssertionError(f"no {n} responses in {runs} after {seconds} s")


def records(path: Path) -> list[dict[str, Any]]:
    """Every line of a journal, read without the code under test."""
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def finished(runs: Path) -> list[str]:
    """Sample ids of the finished responses, in the order of the journal; each key once."""
    found = [record for record in records(journal_of(runs)) if record["error"] is None]
    assert len({record["key"] for record in found}) == len(found), "generated twice"
    return [record["sample_id"] for record in found]


def ids(n: int) -> list[str]:
    return [f"q{number:03d}" for number in range(n)]
