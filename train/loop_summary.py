"""The summary of a loop: numbers before and after, paired comparisons, flips, curves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from vsr1_bench.compare.compare import compare_runs, document, tasks_left_out
from vsr1_bench.compare.text import comparison_texts
from vsr1_bench.leaderboard.rendering import markdown
from vsr1_bench.leaderboard.sheet import Sheet
from vsr1_bench.scoring.seeing import seeing_runs
from vsr1_bench.store.journal import read_journal, write_atomic
from vsr1_bench.store.run_folder import find_runs

SEEING = ("lsr", "self_contained", "saw_but_wrong", "no_description")
FLIPS = 10
TOLD = ("reward/total", "reward/accuracy", "reward/description_accuracy", "loss", "entropy")
WINDOW = 5
"""Steps at either end of a training whose mean is printed."""


def write_summary(folder: Path, labels: list[str], identity: dict[str, Any]) -> Path:
    """Sum a finished loop up in summary.md and summary.json.

    Args:
        folder: The loop's.
        labels: `start`, `round-1`, …: names of the evaluations under `runs/`.
        identity: What the loop is.

    Raises:
        StoreError, UsageError: an evaluation is not there, or does not pair with the others.
    """
    paths = [folder / "runs" / label for label in labels]
    scores = {label: _scores(path) for label, path in zip(labels, paths, strict=True)}
    found = compare_runs(paths, include_path=identity["include_path"], progress=False)
    trainings = {label: told for label in labels if (told := _training(folder / label))}
    values = {
        "schema": 1,
        "loop": identity,
        "rounds": len(labels) - 1,
        "scores": scores,
        "comparisons": [document(one) for one in found],
        "trainings": trainings,
    }
    for label in trainings:
        curves = folder / label / "curves.png"
        if curves.is_file():
            shutil.copyfile(curves, folder / f"{label}.png")
    write_atomic(folder / "summary.json", json.dumps(values, indent=1) + "\n")
    parts = [
        f"# Loop: {identity['recipe']}",
        "Evaluated before and after, on the same samples and by the same judges. Shares in %, "
        "with 95 % intervals.",
        markdown(before_and_after(scores)),
        "## Paired",
        *comparison_texts(found, paths, tasks_left_out(paths), FLIPS),
    ]
    if trainings:
        parts += ["## Training", markdown(_trainings(trainings))]
        parts += [
            f"![Curves of {label}]({label}.png)"
            for label in trainings
            if (folder / f"{label}.png").is_file()
        ]
    write_atomic(folder / "summary.md", "\n\n".join(parts) + "\n")
    return folder / "summary.md"


def _scores(path: Path) -> dict[str, dict[str, Any]]:
    """Task and judge -> the score document, without its categories."""
    kept = ("model", "task", "judge", "n", "metrics", "rates")
    return {
        f"{one['task']} | {one['judge']}": {name: one[name] for name in kept}
        for run in seeing_runs(find_runs(path))
        for one in run.scores()
    }


def before_and_after(scores: dict[str, dict[str, dict[str, Any]]]) -> Sheet:
    """A row for each task and number, a column for each evaluation."""
    labels = list(scores)
    rows = []
    for key, first in scores[labels[0]].items():
        names = list(first["metrics"])
        told = [names[0], *(n for n in names if n in SEEING or n.startswith(("blind_", "gain")))]
        for name in told:
            cells = [scores[label].get(key, {}).get("metrics", {}).get(name) for label in labels]
            rows.append((*key.split(" | "), name, str(first["n"]), *map(_cell, cells)))
    return Sheet(("task", "judge", "number", "n", *labels), tuple(rows))


def _cell(value: dict[str, Any] | None) -> str:
    if value is None or value["value"] is None:
        return "–"
    text = f"{100 * value['value']:.1f}"
    if value["low"] is None or value["high"] is None:
        return text
    return f"{text} ({100 * value['low']:.1f} to {100 * value['high']:.1f})"


def _training(folder: Path) -> dict[str, Any] | None:
    """Steps, seconds and the ends of the curves; None if nothing was trained."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return None
    records = [one for one in read_journal(path) if one["step"] > 0]
    if not records:
        return None
    ends = {
        name: [sum(part) / len(part) for part in (known[:WINDOW], known[-WINDOW:])]
        for name in TOLD
        if (known := [one[name] for one in records if name in one])
    }
    seconds = sum(one.get("seconds/step", 0.0) for one in records)
    return {"steps": records[-1]["step"], "seconds": round(seconds, 1), "ends": ends}


def _trainings(trainings: dict[str, Any]) -> Sheet:
    rows = [
        (label, str(told["steps"]), f"{told['seconds']:.0f}", name, f"{a:.3f}", f"{b:.3f}")
        for label, told in trainings.items()
        for name, (a, b) in told["ends"].items()
    ]
    headings = ("training", "steps", "seconds", "number")
    return Sheet((*headings, f"first {WINDOW} steps", f"last {WINDOW} steps"), tuple(rows))
