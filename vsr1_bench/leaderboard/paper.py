"""The wide table as a paper prints it: short names, no sources, no members beside their group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vsr1_bench.leaderboard.names import Names, default_names, renamed
from vsr1_bench.leaderboard.sheet import Cell, Footnotes, Sheet
from vsr1_bench.leaderboard.wide import Column, Grid, GridRow, Wanted
from vsr1_bench.leaderboard.writing import entry, ranking_remarks

UNIT = "Numbers are percentages."


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """What a table for a paper shows beyond its numbers."""

    caption: str = ""
    label: str = ""
    source: bool = False
    """Whether it has a column with the source of each row."""
    members: bool = False
    """Whether tasks are shown beside the group that they belong to."""
    names: Names = field(default_factory=Names)
    titles: Mapping[str, str] = field(default_factory=dict)
    """Task or group -> its title."""
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Group -> its tasks."""


def paper_sheet(grid: Grid, wanted: Wanted, options: PaperOptions, *, intervals: bool) -> Sheet:
    """Lay a grid out for a paper; reported rows follow the measured ones, by publication."""
    if not options.members and not wanted.row_per_task:
        grid = without_members(grid, options.groups)
    grid = renamed(grid, wanted, options.names, default_names(grid, options.titles))
    notes = Footnotes()
    with_task = wanted.row_per_task and len({row.task for row in grid.rows}) > 1
    with_setting = len({row.setting or "–" for row in grid.rows}) > 1
    rows: list[tuple[Cell, ...]] = []
    sections: dict[int, str] = {}
    published = list(dict.fromkeys(["", *(row.publication for row in grid.rows)]))
    for row in sorted(grid.rows, key=lambda row: published.index(row.publication)):
        if len(published) > 1 and row.publication not in sections.values():
            sections[len(rows)] = row.publication
        lead = [row.model, *([row.setting or "–"] if with_setting else [])]
        lead += [row.task] if with_task else []
        cells = [entry(row.cells.get(column), notes) for column in grid.columns]
        cells += [entry(row.averages.get(name), notes) for name in grid.averages]
        rows.append((*lead, *cells, *([row.source] if options.source else [])))
    headings = (
        "Model",
        *(["Setting"] if with_setting else []),
        *(["Task"] if with_task else []),
        *(column.title for column in grid.columns),
        *(name[:1].upper() + name[1:] for name in grid.averages),
        *(["Source"] if options.source else []),
    )
    remarks = [_unit(grid), *grid.remarks, *ranking_remarks(grid)]
    return Sheet(
        headings,
        tuple(rows),
        tuple(notes.texts),
        tuple(remarks),
        intervals,
        caption=options.caption,
        label=options.label,
        sections={at: f"Reported by {p}" if p else "Measured" for at, p in sections.items()},
    )


def without_members(grid: Grid, groups: Mapping[str, Sequence[str]]) -> Grid:
    """The table without the columns of tasks whose group has a column.

    A column with a reported number stays: a publication has chosen it.
    """
    shown = {column.task for column in grid.columns}
    members = {task for name, tasks in groups.items() if name in shown for task in tasks}

    def stays(column: Column) -> bool:
        reported = any(row.kind == "reported" and column in row.cells for row in grid.rows)
        return column.task not in members or reported

    columns = [column for column in grid.columns if stays(column)]
    if len(columns) == len(grid.columns):
        return grid
    rows = [
        replace(
            row, cells={column: cell for column, cell in row.cells.items() if column in columns}
        )
        for row in grid.rows
    ]
    return replace(grid, columns=columns, rows=[row for row in rows if row.cells or row.averages])


def _unit(grid: Grid) -> str:
    own = [c.title for c in grid.columns if any(_own(row, c) for row in grid.rows)]
    return f"{UNIT[:-1]}, except {', '.join(own)}." if own else UNIT


def _own(row: GridRow, column: Column) -> bool:
    cell = row.cells.get(column)
    return cell is not None and cell.digits != 1
