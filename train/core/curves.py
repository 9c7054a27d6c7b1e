"""Curves of a run, from its metrics.jsonl: a PNG and a self-contained HTML page."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

from vsr1_bench.report.training import LOGARITHMIC, panels_of
from vsr1_bench.store.journal import os_failure, read_journal, write_atomic


def draw_curves(folder: Path) -> list[Path]:
    """Draw the curves of an output folder's `metrics.jsonl`.

    Returns:
        The files written: curves.png and curves.html; none if no step was made.

    Raises:
        StoreError: the folder cannot be written.
    """
    records = list(read_journal(folder / "metrics.jsonl"))
    if not records:
        return []
    picture = _plot(records)
    png, page = folder / "curves.png", folder / "curves.html"
    try:
        png.write_bytes(picture)
    except OSError as error:
        raise os_failure(png, error) from error
    write_atomic(page, _page(picture, records))
    return [png, page]


def _plot(records: list[dict[str, Any]]) -> bytes:
    from matplotlib.figure import Figure

    names = sorted({name for record in records for name in record})
    panels = panels_of(names)
    rows = math.ceil(len(panels) / 3)
    figure = Figure(figsize=(15, 3 * rows), layout="constrained")
    for place, (title, names) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, 3, place)
        for name in names:
            points = [(r["step"], r[name]) for r in records if name in r]
            axes.plot(
                *zip(*points, strict=True), label=name, marker="." if len(points) < 40 else ""
            )
        axes.set_title(title)
        axes.set_xlabel("step")
        if title in LOGARITHMIC:
            axes.set_yscale("symlog", linthresh=1e-7)
        axes.legend(fontsize="x-small")
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _page(picture: bytes, records: list[dict[str, Any]]) -> str:
    import pandas as pd

    frame = pd.DataFrame(records).set_index("step").sort_index(axis="columns")
    ends = pd.DataFrame({"first": frame.iloc[0], "last": frame.iloc[-1]})
    table = ends.to_html(float_format="{:.5g}".format, na_rep="", border=0)  # escapes names
    encoded = base64.b64encode(picture).decode("ascii")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Training curves</title>'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\"><style>body{font:15px system-ui;margin:2rem}"
        "img{max-width:100%}td,th{padding:.15rem .8rem;text-align:right}</style>"
        f"<h1>Training curves</h1><p>{len(records)} records, last step {records[-1]['step']}.</p>"
        f'<img alt="Curves of the metrics over steps" src="data:image/png;base64,{encoded}">'
        f"<h2>Numbers</h2>{table}</html>\n"
    )
