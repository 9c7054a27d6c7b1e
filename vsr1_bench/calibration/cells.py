"""The cells of a table, corrected by people's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vsr1_bench.calibration.calibrate import METRICS, calibrate
from vsr1_bench.calibration.sheet import Label
from vsr1_bench.calibration.units import short_name
from vsr1_bench.errors import DamagedRunError, StoreError, UsageError
from vsr1_bench.leaderboard.calibrated import Calibrated
from vsr1_bench.leaderboard.wide import Grid, GridCell

EXPLAINED = (
    "Calibrated numbers estimate what people would say, from all verdicts and some human labels "
    "(PPI++). No best and second best are marked among them; compare --calibrated has differences."
)


def calibrate_grid(grid: Grid, labels: Sequence[Label], include_path: Sequence[str] = ()) -> None:
    """Correct accuracy, `lsr` and `self_contained` of the runs that have labels.

    In a column with a corrected number, each other measured number gets a note that says why it is
    the judge's own, and is not ranked. Columns without one stay as they are, and a remark names
    them.

    Args:
        grid: The table; cells are replaced.
        labels: Rows of sheets.
        include_path: Folders of plug-ins.

    Raises:
        UsageError: no number of the table can be corrected; says why.
        DamagedRunError: a run cannot be read.
    """
    labelled = _Labelled(labels, include_path)
    reasons, plain, corrected = [], [], False
    for column in grid.columns:
        measured = [row for row in grid.rows if row.kind == "measured" and column in row.cells]
        cells = {id(row): labelled.cell(row.cells[column], column.metric) for row in measured}
        if any(cell.calibrated for cell in cells.values()):
            corrected = True
            for row in measured:
                row.cells[column] = cells[id(row)]
        elif measured:
            plain.append(column.title)
            reasons += [note for cell in cells.values() for note in cell.notes[-1:]]
    if not corrected:
        why = next((note for note in reasons if note.startswith(_NOT)), "")
        raise UsageError(
            "--calibrated: no number of this table can be corrected"
            + (why.removeprefix(_NOT) and f" ({why.removeprefix(_NOT)})")
            + "; name the runs that the sheet was drawn from"
        )
    grid.remarks.append(EXPLAINED)
    if plain:
        grid.remarks.append(f"Not calibrated: {', '.join(plain)}.")


_NOT = "not calibrated: "


class _Labelled:
    """Labels, and what `calibrate` makes of them, per run and judge."""

    def __init__(self, labels: Sequence[Label], include_path: Sequence[str]) -> None:
        self._labels = labels
        self._runs = {label.run for label in labels}
        self._include_path = include_path
        self._known: dict[tuple[str, str], dict[str, Any] | str] = {}

    def cell(self, cell: GridCell, metric: str) -> GridCell:
        """The corrected cell, or the same one with a note that says why it is not."""
        found = self._part(cell, metric)
        if isinstance(found, str):
            return replace(cell, notes=(*cell.notes, f"{_NOT}{found}"), ranked=False)
        value = found["ppi"]
        return replace(
            cell,
            value=100 * value["value"],
            low=None if value["low"] is None else 100 * value["low"],
            high=None if value["high"] is None else 100 * value["high"],
            calibrated=Calibrated(value["n"], cell.value, cell.low, cell.high),
        )

    def _part(self, cell: GridCell, metric: str) -> dict[str, Any] | str:
        """What `calibrate` says of a cell's metric; a text says why it says nothing."""
        if metric not in METRICS:
            return "labels do not correct this metric"
        if cell.scored is None or len(cell.scored.runs) != 1:
            return "a number of several tasks"
        document = self._document(cell)
        if isinstance(document, str):
            return document
        part = document["metrics"].get(metric)
        if part is None:
            return f"the sheet has no labels for {metric}"
        seen = cell.scored.document.get("perception")
        if cell.reader and seen and seen["reader"]["digest"] != document["reader_digest"]:
            return "the labels are of another reader's answers"
        stored = cell.scored.document["metrics"][metric]
        if part["n"] != stored["n"]:
            return f"the labels stand for {part['n']:,} of {stored['n']:,} responses"
        if abs(part["judge"]["value"] - stored["value"]) > 1e-9:
            return "its score is older than its verdicts (vsr1-bench score)"
        if part["ppi"]["value"] is None:
            return "some kind of verdict has no label yet"
        return dict(part)

    def _document(self, cell: GridCell) -> dict[str, Any] | str:
        """What `calibrate` says of a cell's run and judge."""
        assert cell.scored is not None
        run, judge = cell.scored.runs[0], cell.scored.judge
        if short_name(run) not in self._runs:
            return "no human labels"
        key = str(run.path), judge
        if key not in self._known:
            try:
                self._known[key] = calibrate([run], judge, self._labels, self._include_path)[0]
            except DamagedRunError:
                raise
            except StoreError as error:  # e.g. its verdicts have changed since the draw
                text = str(error).removeprefix(f"{run.path}: ")
                self._known[key] = text.partition(" (sample ")[0].partition(";")[0]
        return self._known[key]
