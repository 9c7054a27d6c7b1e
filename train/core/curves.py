"""Curves of a run, from its metrics.jsonl, as a picture; `vsr1-bench view` shows them with zoom."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from vsr1_bench._util.look import plot_style
from vsr1_bench.report.training import LOGARITHMIC, METRICS, panels_of
from vsr1_bench.store.journal import os_failure, read_journal

PICTURE = "curves.png"
_BESIDE = 3
_DASHES = ("-", (0, (6, 2.5)), (0, (2, 2.5)), (0, (8, 2, 2, 2)), (0, (1, 3)), "-")


def draw_curves(folder: Path) -> Path | None:
    """Draw the curves of an output folder's `metrics.jsonl`.

    Returns:
        The picture; None if no step was made.

    Raises:
        StoreError: the picture cannot be written.
    """
    records = list(read_journal(folder / METRICS))
    if not records:
        return None
    with plot_style():
        figure = curves_figure(records)
        try:
            figure.savefig(folder / PICTURE, dpi=110)
        except OSError as error:
            raise os_failure(folder / PICTURE, error) from error
    return folder / PICTURE


def curves_figure(records: list[dict[str, Any]]) -> Any:
    """Draw one panel per group of metrics, in the current style of matplotlib.

    Args:
        records: Lines of `metrics.jsonl`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = panels_of(sorted({name for record in records for name in record}))
    rows = math.ceil(len(panels) / _BESIDE)
    figure = Figure(figsize=(4.6 * min(_BESIDE, len(panels)), 3 * rows), layout="constrained")
    for place, (title, names) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, min(_BESIDE, len(panels)), place)
        for name, dashes in zip(names, _DASHES * len(names), strict=False):
            points = [(r["step"], r[name]) for r in records if name in r]
            marker = "." if len(points) < 12 else ""
            axes.plot(*zip(*points, strict=True), label=name, ls=dashes, marker=marker)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if title in LOGARITHMIC:
            axes.set_yscale("symlog", linthresh=1e-7)
        # Below the panel, where it covers no curve.
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2, borderaxespad=0)
    return figure
