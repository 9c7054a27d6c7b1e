"""The summary of a loop: scores before and after, paired comparisons, flips and curves."""

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

from .core.curves import PICTURE

SEEING = ("lsr", "self_contained", "saw_but_wrong", "no_description")
FLIPS = 10
STATS = ("reward/total", "reward/accuracy", "reward/description_accuracy", "loss", "entropy")
WINDOW = 5
"""Number of first and last steps of a training whose means are printed."""


def write_summary(folder: Path, labels: list[str], identity: dict[str, Any]) -> Path:
    """Write summary.md and summary.json of a finished loop.

    Args:
        folder: The folder of the loop.
        labels: `start`, `round-1`, …: names of the evaluations in `runs/`.
        identity: The loop's settings.

    Raises:
        StoreError, UsageError: an evaluation is missing, or has other samples than the others.
    """
    paths = [folder / "runs" / label for label in labels]
    scores = {label: _scores(path) for label, path in zip(labels, paths, strict=True)}
    comparisons = compare_runs(paths, include_path=identity["include_path"], progress=False)
    trainings = {label: stats for label in labels if (stats := _training(folder / label))}
    values = {
        "schema": 1,
        "loop": identity,
        "rounds": len(labels) - 1,
        "scores": scores,
        "comparisons": [document(one) for one in comparisons],
        "trainings": trainings,
    }
    for label in trainings:
        curves = folder / label / PICTURE
        if curves.is_file():
            shutil.copyfile(curves, folder / f"{label}.png")
    write_atomic(folder / "summary.json", json.dumps(values, indent=1) + "\n")
    parts = [
        f"# Loop: {identity['recipe']}",
        "Evaluated before and after, on the same samples and by the same judges. Shares in %, "
        "with 95 % intervals.",
        markdown(before_and_after(scores)),
        "## Paired",
        *comparison_texts(comparisons, paths, tasks_left_out(paths), FLIPS),
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
    """Score documents without their categories, by task and judge."""
    kept = ("model", "task", "judge", "n", "metrics", "rates")
    return {
        f"{one['task']} | {one['judge']}": {name: one[name] for name in kept}
        for run in seeing_runs(find_runs(path))
        for one in run.scores()
    }


def before_and_after(scores: dict[str, dict[str, dict[str, Any]]]) -> Sheet:
    """One row per task and metric, one column per evaluation."""
    labels = list(scores)
    rows = []
    for key, first in scores[labels[0]].items():
        names = list(first["metrics"])
        extra = (n for n in names if n in SEEING or n.startswith(("blind_", "gain")))
        for name in (names[0], *extra):
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
    """Steps, seconds, and first and last values of the curves; None without steps."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return None
    records = [one for one in read_journal(path) if one["step"] > 0]
    if not records:
        return None
    ends = {
        name: [sum(part) / len(part) for part in (known[:WINDOW], known[-WINDOW:])]
        for name in STATS
        if (known := [one[name] for one in records if name in one])
    }
    seconds = sum(one.get("seconds/step", 0.0) for one in records)
    return {"steps": records[-1]["step"], "seconds": round(seconds, 1), "ends": ends}


def _trainings(trainings: dict[str, Any]) -> Sheet:
    rows = [
        (label, str(stats["steps"]), f"{stats['seconds']:.0f}", name, f"{a:.3f}", f"{b:.3f}")
        for label, stats in trainings.items()
        for name, (a, b) in stats["ends"].items()
    ]
    headings = ("training", "steps", "seconds", "number")
    return Sheet((*headings, f"first {WINDOW} steps", f"last {WINDOW} steps"), tuple(rows))
