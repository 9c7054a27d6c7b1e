"""The loop on the embedded model: killed, run again, and summed up from real runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("deepspeed")

from training import settings

RUN_ARGS = "--backend transformers --gen_kwargs max_tokens=80"


def command(folder: Path, *more: str) -> list[str]:
    told = settings(max_steps=1)
    loop = ["loop", "tiny/vision_sr1", *told, "--tasks", "demo", "--limit", "6"]
    where = ["--output_path", str(folder), "--run_args", RUN_ARGS]
    return [sys.executable, "-m", "vsr1_bench", *loop, *where, *more]


BROKEN = '''
"""Demo scenes of one's own, the second image cut off."""
from vsr1_bench.task import Procedural, Task
from vsr1_bench.tiny.scenes import make_row, to_sample

def row(n):
    made = make_row("test", n)
    return {**made, "image": made["image"][:40]} if n in BROKEN else made

TASK = Task("broken", 1, Procedural(row, 4, "broken", ("image",)), to_sample, None, "-", "-")
'''

WHILE = {
    "evaluating": "runs/start/**/generations.jsonl",
    "training": "round-1/recipe.json",
    "saving": "round-1/checkpoints/*",
}
"""What it does when the first file of this name is there."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop that was killed at three places, one after another."""
    folder = tmp_path_factory.mktemp("loop") / "loop"
    for mark in WHILE.values():
        process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL)
        while not any(folder.glob(mark)) and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, f"it ended before {mark}"
        process.send_signal(signal.SIGKILL)  # its child must not live on and hold the locks
        process.wait()
    return folder


def test_killed_wherever_it_stood_the_same_command_finishes(killed: Path) -> None:
    folder = killed
    assert not (folder / "models/round-1").exists()
    done = subprocess.run(
        command(folder), capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("# Loop: tiny/vision\\_sr1") or "# Loop" in done.stdout
    told = json.loads((folder / "summary.json").read_text())
    assert told["trainings"]["round-1"]["steps"] == 1
    (compared,) = told["comparisons"]
    assert compared["paired"]["n"] == 6 and compared["task"] == "demo"
    for label in ("start", "round-1"):
        (score,) = told["scores"][label].values()
        assert {"accuracy", "lsr", "self_contained", "gain[drop]"} <= set(score["metrics"])
    first = (folder / "runs/start").rglob("generations.jsonl")
    assert sum(len(path.read_text().splitlines()) for path in first) == 12  # none twice
    text = (folder / "summary.md").read_text()
    assert "| demo" in text and "gain[drop]" in text.replace("\\", "") and "round-1.png" in text
    assert (folder / "round-1.png").is_file()


def test_a_sample_that_never_gets_an_answer_does_not_stop_it(tmp_path: Path) -> None:
    """In a task of one's own; the summary is of the others."""
    (tmp_path / "plugins").mkdir()
    plugin = tmp_path / "plugins/broken.py"
    plugin.write_text(BROKEN.replace("in BROKEN", "in (0, 1, 2, 3)"))
    own = ["--include_path", str(tmp_path / "plugins"), "--perception", "none", "--blind", "none"]
    folder = tmp_path / "loop"
    words = command(folder, *own)
    words[words.index("demo")] = "broken"
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 75, done.stderr[-2000:]
    assert "loop stopped at evaluate start" in done.stderr  # nothing could be compared
    plugin.write_text(BROKEN.replace("in BROKEN", "in (1,)"))
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 75, done.stderr[-2000:]
    assert "incomplete: evaluate start, evaluate round-1; " in done.stderr
    told = json.loads((folder / "summary.json").read_text())
    (compared,) = told["comparisons"]
    assert compared["paired"]["n"] == 3 and compared["task"] == "broken"
