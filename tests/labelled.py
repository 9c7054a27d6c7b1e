"""Labelling sheets that people fill in, and runs to draw them from."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scored import spec_of, stored_run, tasks_folder

from vsr1_bench.store.run_folder import RunFolder, find_runs

Row = dict[str, Any]


def sheet_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV sheet."""
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def fill(path: Path, say: Callable[[Row], Row], delimiter: str = ",") -> None:
    """Fill in a sheet as a spreadsheet does."""
    rows = sheet_rows(path)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows({**row, **say(row)} for row in rows)
    path.write_text(out.getvalue(), "utf-8")


def two_runs(tmp_path: Path, unscored: int = 1) -> tuple[list[RunFolder], str]:
    """Models a and b on task alpha: 30 and 20 of 40 right, and some unscored."""
    folder = tasks_folder(tmp_path)
    for model, right in (("a", 30), ("b", 20)):
        verdicts = [1.0] * right + [0.0] * (40 - right) + [None] * unscored
        stored_run(tmp_path / "runs", spec_of(model, "alpha"), verdicts)
    return find_runs(tmp_path / "runs"), str(folder)
