"""`scripts/bench_grpo.py`: ways that take turns, and its tables; the ways here are pretended."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from tree import load_script

bench: Any = load_script("bench_grpo")

CHILD = """
import json, sys, time
told = json.loads(sys.argv[2])
slow = 2 if "trl" in told else 1 if told["objective"] == "decoupled" else 0.5
print("a library talks", flush=True)
for step in range(5):
    if told.get("backend") == "transformers" and step == 1:
        sys.exit("Error: no memory")
    print("\\nREADY", flush=True)
    if not sys.stdin.readline():
        break
    with open(LOG, "a") as log:
        log.write(told.get("objective", "trl") + told.get("backend", "") + "\\n")
    done = {"step": slow, "cpu": slow, "tokens": 7}
    if "trl" not in told:
        done |= {"generate": slow / 4, "update": slow / 2, "flops": 3e9, "mfu": 0.25}
    print("\\nRESULT", json.dumps(done), flush=True)
"""
ARGS: dict[str, Any] = {"steps": 3, "prompts": 4, "samples": 4, "tokens": 80, "no_trl": False}
ARGS |= {"gpu_share": None, "model": "tiny", "dtype": "float32", "deepspeed": "zero0"}
ARGS |= {"peak_tflops": None}


def test_ways_take_turns_and_one_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, child = tmp_path / "log", tmp_path / "child.py"
    child.write_text(CHILD.replace("LOG", repr(str(log))))
    monkeypatch.setattr(bench, "__file__", str(child))
    ways = bench.run_ways(Namespace(**ARGS), tmp_path, in_turn=True)
    turns = log.read_text().split()
    each = ["answer_onlyvllm", "decoupledvllm", "answer_onlytransformers", "trl"]
    assert turns[:4] == each and turns[4:7] == [*each[:2], "trl"] and len(turns) == 13
    told = capsys.readouterr().out
    assert told == "ours, transformers, answer_only did not run here: Error: no memory\n"
    assert [len(way.steps) for way in ways.values()] == [4, 4, 4]
    bench.show(list(ways.values()))
    bench.show_ratios(ways)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" | GFLOP of the update | GFLOP/s | MFU |")
    assert lines[2].startswith("| ours, vllm, answer_only | 0.500 | 0.500 | 0.125 (25%) | ")
    assert lines[2].endswith(" | 7 | 3.0 | 12.0 | 25.0% |")
    assert {line.count("|") for line in lines[:5]} == {lines[0].count("|")}
    assert "| ours, vllm, answer_only | 0.25 | 0.25 | 0.7: held |" in lines
    assert "| ours, vllm, decoupled | 0.50 | 0.50 | 1.0: held |" in lines
