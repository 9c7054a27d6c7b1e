"""Faults of other tools that no other test is about, and the list of all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from judged import mirrored

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.imports.responses import ImportOptions, import_responses
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.store.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[3]
ROWS = [{"question": f"{n}?", "answer": f"#### {n}"} for n in range(8)]


def run_of(tmp_path: Path, model: str, said: list[str]) -> RunFolder:
    mirrored(tmp_path / "mirror", "openai/gsm8k/main/test", ROWS)
    responses = mirrored(tmp_path, model, [{"response": text} for text in said])
    return import_responses(
        ImportOptions(
            task="gsm8k",
            responses=responses,
            model=model,
            by="row",
            output_path=tmp_path / "runs",
            data=DataOptions(tmp_path / "mirror"),
            progress=False,
        )
    )


def accuracy(run: RunFolder) -> float | None:
    value: float | None = judge_and_score(run, None, progress=False)["metrics"]["accuracy"]["value"]
    return value


def test_a_second_model_does_not_inherit_the_verdicts_of_the_first(tmp_path: Path) -> None:
    right = run_of(tmp_path, "right", [f"\\boxed{{{n}}}" for n in range(8)])
    assert accuracy(right) == 1.0
    wrong = run_of(tmp_path, "wrong", [f"\\boxed{{{n + 1}}}" for n in range(8)])
    assert accuracy(wrong) == 0.0
    # the same name, other answers: another run, not the verdicts of before
    again = run_of(tmp_path, "right", ["\\boxed{99}"] * 8)
    assert again.path != right.path
    assert (accuracy(again), accuracy(right)) == (0.0, 1.0)


def test_a_score_of_zero_is_a_score(tmp_path: Path) -> None:
    run = run_of(tmp_path, "wrong", ["\\boxed{99}"] * 8)
    document = judge_and_score(run, None, progress=False)
    assert document["metrics"]["accuracy"]["value"] == 0.0
    assert document["metrics"]["accuracy"]["n"] == 8


def test_judging_again_keeps_every_verdict(tmp_path: Path) -> None:
    run = run_of(tmp_path, "right", [f"\\boxed{{{n}}}" for n in range(8)])
    accuracy(run)
    (journal,) = (run.path / "judgments").glob("*.jsonl")
    before = journal.read_bytes()
    assert len(before.splitlines()) == 8
    assert {json.loads(line)["verdict"]["outcome"] for line in before.splitlines()} == {"correct"}
    accuracy(run)
    assert journal.read_bytes() == before


FAULTS = (ROOT / "docs/peer-faults.md").read_text("utf-8")


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(tests/[\w/.]+::\w+)`", FAULTS))))
def test_the_guards_that_are_named_exist(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)


def test_every_fault_names_its_guard_or_says_that_it_is_open() -> None:
    rows = [line for line in FAULTS.splitlines() if line.startswith("| ") and "---" not in line]
    faults = [row for row in rows if not row.startswith("| fault")]
    assert len(faults) > 30
    for row in faults:
        assert "::" in row or "| open: " in row or "scripts/bench_generate.py" in row, row
