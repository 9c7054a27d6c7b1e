"""Measure how long commands take to answer, against their bounds: medians of several starts.

    python scripts/bench_start.py [--rounds 7]

The first start of each command, which fills the file cache, is not counted. Exits with 1 if a
median is over its bound.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESPONSE = {"id": "a", "problem": "1+1?", "answer": "2", "response": "\\boxed{2}"}
GRADE = ["responses.jsonl", "--judge", "math", "--output", "graded.jsonl"]
BOUNDS = {
    "--help": 0.05,
    "ls tasks": 0.13,
    "table": 0.6,
    "grade": 0.65,
    "doctor": 2.0,
}
"""Command → seconds on an idle machine."""


def seconds(words: list[str], where: Path) -> float:
    """Wall time of one start."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "vsr1_bench", *words], cwd=where, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr}")
    return time.perf_counter() - start


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    slow = 0
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        (where / "script.jsonl").write_text(
            '{"id": "*", "response": "<answer>1</answer>"}\n', "utf-8"
        )
        (where / "responses.jsonl").write_text(json.dumps(RESPONSE) + "\n", "utf-8")
        words = ["--model", "m", "--backend", "scripted", "--model_args", "script=script.jsonl"]
        seconds([*words, "--tasks", "demo", "--limit", "3"], where)
        print("| command | median s | bound s |", "|---|---|---|", sep="\n")
        for command, bound in BOUNDS.items():
            typed = [*command.split(), *(GRADE if command == "grade" else [])]
            seconds(typed, where)
            median = statistics.median(seconds(typed, where) for _ in range(options.rounds))
            slow += median > bound
            print(f"| `{command}` | {median:.2f} | {bound:g} |", flush=True)
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
