"""Averages of rows: those of publications, and plain means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

from vsr1_bench.leaderboard.calibrated import Calibrated
from vsr1_bench.leaderboard.reported import ReportedAverage, ReportedTable
from vsr1_bench.leaderboard.settings import arrow
from vsr1_bench.leaderboard.wide import Column, Grid, GridCell, GridRow, Wanted, publication


def add_averages(
    grid: Grid,
    wanted: Wanted,
    reported: Sequence[ReportedTable] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Add columns of averages to rows that have all the values they need.

    Args:
        grid: The table; changed in place.
        wanted: What its columns are.
        reported: The publications whose columns it has.
        groups: Group name -> its tasks, which must not be counted in addition to it.
    """
    if wanted.row_per_task:
        return
    taken: set[frozenset[Column]] = set()
    for table in reported:
        columns = [_column(grid, table, i) for i in range(len(table.columns))]
        present = [column for column in columns if column is not None]
        if table.average is None or len(present) < len(columns):
            continue
        taken.add(frozenset(present))
        weights = table.average.weights or (1.0,) * len(present)
        suffix = _kind(present[0])
        printed = {(r.model, r.setting, publication(r.source)): r.average for r in table.rows}
        for row in grid.rows:
            if row.kind == "reported":
                value = printed.get((row.model, row.setting, row.publication))
                found = None if value is None else GridCell(value)
            else:
                found = mean_cell(row, present, weights)
            _put(grid, row, table.average.name + suffix, found)
            name = f"plain mean of {len(present)}{suffix}"
            _put(grid, row, name, mean_cell(row, present))
        grid.remarks.append(_explained(table, table.average))
    inside = {task for name in _tasks(grid) for task in (groups or {}).get(name, ())}
    # Headline numbers together, whatever their names; other metrics each by itself.
    for kind in dict.fromkeys(_kind(column) for column in grid.columns):
        measured = [
            column
            for column in grid.columns
            if _kind(column) == kind
            and column.task not in inside
            and any(column in row.cells for row in grid.rows if row.kind == "measured")
        ]
        if len(measured) > 1 and frozenset(measured) not in taken:
            name = f"plain mean of {len(measured)}{kind}"
            if name in grid.averages:
                name += " measured"
            for row in grid.rows:
                _put(grid, row, name, mean_cell(row, measured))
            listed = ", ".join(column.title for column in measured)
            grid.remarks.append(f"{name}: each of {listed} counts the same.")


def _kind(column: Column) -> str:
    return "" if column.headline else f" {column.metric}{arrow(column.metric)}"


def mean_cell(
    row: GridRow, columns: Sequence[Column], weights: Sequence[float] = ()
) -> GridCell | None:
    """Weighted mean of cells; None if one of them is missing.

    The interval combines those of the cells, assuming independence (MOVER: Zou and Donner 2008).
    """
    cells = [row.cells.get(column) for column in columns]
    known = [cell for cell in cells if cell is not None and cell.value is not None]
    if not known or len(known) < len(cells):
        return None
    shares = [w / sum(weights) for w in weights] if weights else [1 / len(known)] * len(known)
    values = [cell.value or 0.0 for cell in known]
    mean = sum(share * value for share, value in zip(shares, values, strict=True))
    low = high = None
    if all(cell.low is not None and cell.high is not None for cell in known):
        low = mean - sqrt(
            sum(
                (s * (v - (c.low or 0.0))) ** 2
                for s, v, c in zip(shares, values, known, strict=True)
            )
        )
        high = mean + sqrt(
            sum(
                (s * ((c.high or 0.0) - v)) ** 2
                for s, v, c in zip(shares, values, known, strict=True)
            )
        )
    notes = tuple(dict.fromkeys(note for cell in known for note in cell.notes))
    return GridCell(mean, low, high, notes=notes, calibrated=_calibrated(known, shares))


def _calibrated(cells: Sequence[GridCell], shares: Sequence[float]) -> Calibrated | None:
    """What corrected a mean: the labels of its cells together."""
    parts = [cell.calibrated for cell in cells if cell.calibrated]
    if not parts:
        return None
    alone = [cell.calibrated.judge_value if cell.calibrated else cell.value for cell in cells]
    mean = sum(share * (value or 0.0) for share, value in zip(shares, alone, strict=True))
    return Calibrated(sum(part.labels for part in parts), mean)


def _explained(table: ReportedTable, average: ReportedAverage) -> str:
    how = "each column counts the same" if average.weights is None else "weighted as published"
    return (
        f"{average.name}: of {table.title}; as printed in reported rows, computed in measured ones "
        f"({how}). The plain mean is computed from the row."
    )


def _column(grid: Grid, table: ReportedTable, place: int) -> Column | None:
    """The grid's column for a publication's column."""
    wanted = table.columns[place]
    for column in grid.columns:
        if (column.task, column.metric) == (wanted.task, wanted.metric):
            return column
    return None


def _put(grid: Grid, row: GridRow, name: str, cell: GridCell | None) -> None:
    if cell is None:
        return
    row.averages[name] = cell
    if name not in grid.averages:
        grid.averages.append(name)


def _tasks(grid: Grid) -> list[str]:
    return [column.task for column in grid.columns]
