"""A trainer's output folder in a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli import error_line, here
from reports import data, rollout, view

STEPS, PROMPTS, RESPONSES = 3, 2, 8


def trained(folder: Path, **changes: Any) -> Path:
    """What `train grpo` leaves behind, as far as a report reads it."""
    (folder / "rollouts").mkdir(parents=True)
    recipe = {"model": "tiny", "objective": "summed", "mask_truncated": True}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    metrics: list[dict[str, Any]] = [{"step": 0, "validation/demo": 40.0}]
    metrics += [{"step": s, "reward/total": s / 10, "loss": 1 / s} for s in range(1, STEPS + 1)]
    lines = [
        rollout(step, prompt, index, **changes)
        for step in range(1, STEPS + 1)
        for prompt in range(PROMPTS)
        for index in range(RESPONSES)
    ]
    for rank in (0, 1):
        mine = [line for line in lines if line["sample_id"] == f"s{rank}"]
        write(folder / f"rollouts/rank-{rank}.jsonl", mine)
    write(folder / "metrics.jsonl", metrics)
    return folder


def write(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_curves_and_groups_of_rollouts(tmp_path: Path) -> None:
    folder, _ = view(tmp_path, [], [trained(tmp_path / "run")])
    index = data(folder, "train-0")
    assert index["steps"] == [0, 1, 2, 3] and index["notices"] == []
    assert index["metrics"]["reward/total"] == [None, 0.1, 0.2, 0.3]
    titles = {panel["title"]: panel["metrics"] for panel in index["panels"]}
    assert titles["validation, %"] == ["validation/demo"] and titles["loss"] == ["loss"]
    assert [one["responses"] for one in index["rollouts"]] == [PROMPTS * RESPONSES] * STEPS
    chunk = data(folder, "train-0-chunk-0")
    groups = chunk["steps"][1]["groups"]
    assert [(g["sample_id"], g["rank"], len(g["responses"])) for g in groups] == [
        ("s0", 0, RESPONSES),
        ("s1", 1, RESPONSES),
    ]
    one = groups[1]["responses"][2]
    assert one["components"] == [["accuracy", 1.0], ["format", 1.0], ["description_accuracy", 0.0]]
    assert one["advantage"] == 0.5 and one["reading"] == "\\boxed{2}" and one["excluded"] == ""
    assert groups[0]["reward_mean"] == pytest.approx(0.6)
    summary = data(folder, "overview")["trainings"][0]
    assert (summary["kind"], summary["objective"], summary["steps"]) == ("grpo", "summed", 4)
    assert summary["ends"][0] == ["reward/total", 0.1, 0.3]


def test_what_was_excluded_and_why(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run")
    lines = [
        rollout(1, 0, 0, reward=None, error="engine died"),
        rollout(1, 0, 1, reward=None, reasons={"accuracy": "the judge failed"}),
        rollout(1, 0, 2, finish_reason="length"),
        rollout(1, 0, 3),
        *(rollout(1, 7, index, dropped=True) for index in range(2)),
        # Drawn again in the same step: a group of its own.
        *(rollout(1, 7, index) for index in range(2)),
    ]
    write(folder / "rollouts/rank-0.jsonl", lines)
    (folder / "rollouts/rank-1.jsonl").unlink()
    shown, _ = view(tmp_path, [], [folder])
    (told,) = data(shown, "train-0")["rollouts"]
    assert told["groups"] == 3 and told["responses"] == 8
    excluded = dict(map(tuple, told["excluded"]))
    assert excluded.pop("generation failed") == excluded.pop("the judge failed") == 1
    assert excluded.pop("truncated (mask_truncated)") == 1
    ((reason, count),) = excluded.items()
    assert "filter_groups" in reason and count == 2


def test_advantages_that_nobody_wrote_down_are_not_made_up(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run")
    for path in (folder / "rollouts").iterdir():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            del line["advantage"], line["visual_advantage"]
        write(path, lines)
    shown, _ = view(tmp_path, [], [folder])
    assert any("not recorded" in notice for notice in data(shown, "train-0")["notices"])
    first = data(shown, "train-0-chunk-0")["steps"][0]["groups"][0]["responses"][0]
    assert first["advantage"] is None


def test_view_finds_trainers_folders_and_leaves_a_damaged_one_out(tmp_path: Path) -> None:
    trained(tmp_path / "outputs/good")
    bad = trained(tmp_path / "outputs/bad")
    (bad / "rollouts/rank-0.jsonl").write_text("{\n")
    # Runs that a trainer validates by are its own, not runs of the report.
    (tmp_path / "outputs/good/validation/m/t-1").mkdir(parents=True)
    (tmp_path / "outputs/good/validation/m/t-1/run.json").write_text("{}")
    done = here("view", tmp_path / "outputs", "-o", tmp_path / "out")
    assert "rank-0.jsonl:1" in error_line(done.returncode, 75, done.stderr)
    overview = data(tmp_path / "out", "overview")
    assert [Path(one["folder"]).name for one in overview["trainings"]] == ["good"]
    assert overview["tasks"] == []
    nothing = here("view", tmp_path / "empty", "-o", tmp_path / "out2")
    assert nothing.returncode != 0 and "no run there" in nothing.stderr
