"""Draw the README's picture of the three experiments, from their stored verdicts.

python scripts/experiments/picture.py        # results/tiny/evidence.png
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import perceived
import reader
import seeing
import skill
from by_start import against
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from stages import RESULTS

from vsr1_bench._util.look import plot_style

PICTURE = RESULTS / "evidence.png"


def main() -> None:
    """Draw all three panels."""
    draw(PICTURE)
    print(PICTURE)


def draw(path: Path) -> None:
    """Panels from left to right: A (skill), B (seeing), C (reader)."""
    with plot_style():
        figure = Figure(figsize=(12, 3.8), layout="constrained")
        panels = figure.subplots(1, 3)
        draw_skill(panels[0], stored(skill.NAME))
        draw_seeing(panels[1], stored(seeing.NAME))
        draw_reader(panels[2], stored(reader.NAME))
        figure.savefig(path, dpi=110)


def stored(name: str) -> Any:
    """The verdicts of an experiment."""
    return json.loads((RESULTS / name / "verdicts.json").read_text("utf-8"))


def lines(axes: Axes, x: Sequence[float], each: np.ndarray, color: str, label: str) -> None:
    """A thick line for the mean of the starts, (starts, points), and a thin one for each."""
    axes.plot(x, each.T, color, lw=0.5, alpha=0.5)
    axes.plot(x, each.mean(axis=0), color, lw=2, label=label)


def draw_skill(axes: Axes, verdicts: Any) -> None:
    """pass@k by k."""
    right = skill.right_counts(verdicts)
    for number, arm in enumerate(("start", *skill.ARMS)):
        each = np.array(
            [
                [100 * skill.pass_at(right[f"{start}/{arm}"], k) for k in skill.KS]
                for start in skill.STARTS
            ]
        )
        lines(axes, skill.KS, each, f"C{number}", arm)
    axes.set_xscale("log", base=2)
    axes.set(title="A: questions that no example showed", xlabel="k", ylabel="pass@k, %",
             xticks=skill.KS, xticklabels=skill.KS, ylim=(0, 100))  # fmt: skip
    axes.legend(fontsize=7)


def draw_seeing(axes: Axes, verdicts: Any) -> None:
    """Cells described right, each arm against its start, with intervals over the starts."""
    values = perceived.means(verdicts["runs"])
    arms = list(reversed(seeing.ARMS))
    for place, arm in enumerate(arms):
        found = against(values, arm, "start", "cells", seeing.STARTS)
        axes.plot([100 * found.low, 100 * found.high], [place, place], "C0", lw=2)
        axes.plot([100 * d for d in found.by_start], [place] * len(seeing.STARTS), "C0.", alpha=0.4)
        axes.plot([100 * found.difference], [place], "C0o")
    axes.axvline(0, color="grey", lw=1)
    axes.set(title="B: cells described right, against the start", xlabel="points",
             yticks=range(len(arms)), yticklabels=arms)  # fmt: skip


def draw_reader(axes: Axes, verdicts: Any) -> None:
    """Accuracy by what the reader knows, where openings say nothing."""
    values = reader.values_of(verdicts["demo_prior"])
    for number, arm in enumerate(("start", *reader.OBJECTIVES)):
        each = np.array(
            [
                [100 * values[f"{start}/{arm}-{knows}"]["accuracy"] for knows in reader.KNOWS]
                for start in reader.STARTS
            ]
        )
        lines(axes, reader.KNOWS, each, f"C{number}", arm)
    axes.set(title="C: if the reader knows the prior", ylabel="accuracy, %", ylim=(0, 100),
             xlabel="readings that teach the prior, %", xticks=reader.KNOWS)  # fmt: skip
    axes.legend(fontsize=7)


if __name__ == "__main__":
    main()
