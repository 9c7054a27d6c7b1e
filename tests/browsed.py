"""A report of two runs with pictures, hostile outputs and a training, for the browser's tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli
import picture_runs
from reports import HOSTILE, rollout, written_run
from scored import spec_of

from vsr1_bench.store.run_folder import RunFolder

N = 24
LONG = "x" * 10_000_000 + " so \\boxed{A}"


@dataclass(frozen=True)
class Made:
    """A report, and what it was made of."""

    folder: Path
    runs: list[RunFolder]
    include: list[str]


def lines_of(shift: int) -> list[dict[str, Any]]:
    """A script: all fields of the square, a truncated, a failed and an unreadable answer."""
    lines = []
    for n in range(N):
        lines += picture_runs.both(n, sufficient=(n + shift) % 2 == 0, right=(n + shift) % 3 != 0)
    changes = {
        20: {"finish_reason": "length"},
        21: {"response": "I cannot tell.", "finish_reason": "stop"},
        22: {"error": "the engine had a bad day"},
    }
    for line in lines:
        change = changes.get(int(line["id"][1:]))
        if change and line.get("stage") is None:
            if "error" in change:
                del line["response"]
            line |= change
    return lines


def seen_runs(root: Path) -> list[RunFolder]:
    """Two models on a task with pictures, one with a blind run, judged by two judges."""
    paths = ("--include_path", picture_runs.plugins(root), "--include_path", root / "judges")
    for shift, model in enumerate(("org/first", "org/second")):
        script = cli.script(root / f"{shift}.jsonl", *lines_of(shift))
        done = cli.here(
            *("run", "--model", model, "--tasks", "pictures", "--limit", N, *paths),
            *("--backend", "scripted", "--model_args", f"script={script}", "--perception"),
            *("--output_path", root / "runs", *(("--blind", "drop") if shift == 0 else ())),
        )
        assert done.returncode == 75, done.stderr  # one request failed
    # This one reads only a bare answer, and so disagrees about every right one.
    done = cli.here("judge", root / "runs", "--judge", "exact", *paths)
    assert done.returncode == 75, done.stderr
    return [RunFolder(path.parent) for path in sorted((root / "runs").glob("*/*/run.json"))]


def rollout_of(step: int, prompt: int, index: int) -> dict[str, Any]:
    """A rollout; prompt 2 is dropped, and the judge fails on one response of prompt 1."""
    changes: dict[str, Any] = {"dropped": prompt == 2, "question": f"how many in {prompt}?"}
    if prompt == 1 and index == 3:
        changes["components"] = {"accuracy": None, "format": 1.0, "description_accuracy": 0.0}
        changes |= {"reward": None, "advantage": None}
        changes["reasons"] = {"accuracy": "the judge gave no verdict"}
    return rollout(step, prompt, index, **changes)


def training(folder: Path) -> Path:
    """What `train grpo` leaves behind, as far as a report reads it."""
    (folder / "rollouts").mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({"model": "tiny", "objective": "summed"}))
    metrics: list[dict[str, float]] = [{"step": 0, "validation/demo": 40.0}]
    metrics += [{"step": s, "reward/total": s / 10, "loss": 1 / s} for s in (1, 2, 3)]
    journals = {
        "metrics.jsonl": metrics,
        "rollouts/rank-0.jsonl": [
            rollout_of(step, prompt, index)
            for step in (1, 2, 3)
            for prompt in range(3)
            for index in range(8)
        ],
    }
    for name, records in journals.items():
        (folder / name).write_text("".join(json.dumps(one) + "\n" for one in records))
    return folder


def made_report(root: Path) -> Made:
    """Make the runs and their report below a folder."""
    cli.plugins(root / "judges")
    runs = seen_runs(root)
    texts = {f"../{name}</script>#?%": text for name, text in HOSTILE.items()}
    texts |= {"long": LONG, "deep": ">" * 3000 + "[" * 3000 + "$" + "{" * 500 + "$"}
    include = [str(picture_runs.plugins(root)), str(root / "judges")]
    written_run(root / "hostile", spec_of("<b>org</b>", "mixed"), texts, include[0])
    done = cli.here(
        *("view", root / "runs", root / "hostile", training(root / "trained")),
        *("-o", root / "report", *(flag for one in include for flag in ("--include_path", one))),
    )
    assert done.returncode == 0, done.stderr
    return Made(root / "report", runs, include)
