"""Run one local image task with one model by both command lines, and compare the numbers.

A task of demo scenes is written as any of lmms-eval's is, and asked by

    vsr1-bench --model tiny --tasks lmms_eval/bench_scenes
    python -m lmms_eval --model vsr1 --model_args model=tiny --tasks bench_scenes

The embedded model answers both times; the numbers and the responses are compared.

    make lmms-both-ways
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

from bench_lmms_eval import NAME, write_task
from tabulate import tabulate

TOKENS = 160


def run(*words: str) -> None:
    """Run a command of this interpreter, and show it.

    Raises:
        SystemExit: it failed.
    """
    print("$ python -m", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal."""
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def main() -> None:
    """Run both, compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--backend", default="transformers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        Path("tasks").mkdir()
        write_task(Path(home, "tasks"), options.n, TOKENS, side=112)
        include = ("--include_path", "tasks")
        model = ("--model", "tiny", "--backend", options.backend)
        run("vsr1_bench", *model, "--tasks", f"lmms_eval/{NAME}", *include, "-o", "ours")
        args = f"model=tiny,backend={options.backend},journal=theirs.jsonl"
        run(
            *("lmms_eval", "--model", "vsr1", "--model_args", args, "--tasks", NAME, *include),
            *("--output_path", "theirs"),
        )
        (score,) = Path("ours").glob("*/*/scores/*.json")
        (journal,) = Path("ours").glob("*/*/generations.jsonl")
        (results,) = Path("theirs").rglob("*_results.json")
        ours = json.loads(score.read_text())["metrics"]["right"]["value"]
        theirs = json.loads(results.read_text())["results"][NAME]["right,none"]
        texts = [
            sorted(one["text"] for one in records(path))
            for path in (journal, Path(home, "theirs.jsonl"))
        ]
    same = sum(one == other for one, other in zip(*texts, strict=True))
    rows = [
        [f"--tasks lmms_eval/{NAME}", repr(ours)],
        ["lmms_eval --model vsr1", repr(theirs)],
    ]
    print("\n" + tabulate(rows, ["way", "right"], tablefmt="pipe", disable_numparse=True))
    print(f"\n{same} of {options.n} responses are the same to the letter")
    if ours != theirs or same < options.n:
        raise SystemExit("the two ways differ")


if __name__ == "__main__":
    main()
