"""What the experiments read from stored runs: real ones, of the embedded model, but few rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli import here
from tree import ROOT, load_script

from vsr1_bench.api import load_runs

pytest.importorskip("torch")

ROWS = 6
WORLDS = ROOT / "scripts" / "experiments" / "worlds"


def evaluate(folder: Path, tasks: str, *more: object) -> None:
    done = here(
        *("run", "--model", "tiny", "--backend", "transformers", "--tasks", tasks),
        *("--include_path", WORLDS, "--limit", ROWS, "--output_path", folder, *more),
    )
    assert done.returncode == 0, done.stderr


def test_the_endpoints_of_a_knowing_reader(tmp_path: Path) -> None:
    reader = load_script("experiments/reader")
    more = ("--perception", "--blind", "drop", "--visual_dependence")
    evaluate(tmp_path, ",".join(reader.TASKS), *more)
    stored = load_runs(tmp_path).samples
    for task in reader.TASKS:
        flags = reader.flags_of(tmp_path, task)
        assert set(flags) == set(reader.ENDPOINTS)
        assert {len(text) for name, text in flags.items() if name != "dependence"} == {ROWS}
        assert float(flags["dependence"]) > 0.01
        for endpoint, variant in (("accuracy", "none"), ("blind", "drop")):
            rows = stored[(stored["task"] == task) & (stored["variant"] == variant)]
            assert flags[endpoint] == "".join(str(int(right)) for right in rows["correct"])
        assert flags["cells"].count("q") >= 4  # the embedded model describes most scenes right
        assert set(flags["leaks"]) == {"0"}
        values = reader.values_of({"1/summed-0": flags})["1/summed-0"]
        assert values["accuracy"] == flags["accuracy"].count("1") / ROWS
        assert values["dependence"] == float(flags["dependence"])


def test_the_answers_to_tallies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skill = load_script("experiments/skill")
    monkeypatch.setattr(skill, "LIMIT", ROWS - 1)
    monkeypatch.setattr(skill, "SAMPLES", 2)
    monkeypatch.setattr(skill, "STARTS", (1,))
    monkeypatch.setattr(skill, "ARMS", ("rl",))
    for name in skill.names():
        evaluate(tmp_path / "runs" / name, f"{skill.TASK},{skill.EASY}", "--num_samples", 2)
    for name in ("rl", "draws"):
        journal = tmp_path / "training" / "1" / name / "metrics.jsonl"
        journal.parent.mkdir(parents=True)
        journal.write_text('{"step": 1, "tokens": 5}\n{"step": 2, "tokens": 6}\n')
    found = skill.collect(tmp_path)
    assert found["tokens"] == {"1/rl": 11, "1/draws": 11}
    samples = load_runs(tmp_path / "runs" / "1" / "rl").samples
    asked = samples[(samples["task"] == skill.TASK) & (samples["row"] < ROWS - 1)]
    assert sum(skill.right_counts(found)["1/rl"]) == asked["correct"].sum()
    easy = samples[(samples["task"] == skill.EASY) & (samples["row"] < ROWS - 1)]
    assert len(easy) == 2 * (ROWS - 1)
    assert found["shares"]["1/rl"]["easy"] == easy["correct"].mean()
    monkeypatch.setattr(skill, "SAMPLES", 3)
    with pytest.raises(SystemExit, match=r"1/start: some answers are missing; repeat the run"):
        skill.collect(tmp_path)
