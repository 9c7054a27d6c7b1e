"""Plot stored scores: intervals, shortcuts against accuracy, accuracy by category."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.leaderboard.collect import Scored
from vsr1_bench.leaderboard.reported import ReportedTable
from vsr1_bench.leaderboard.sheet import one_line
from vsr1_bench.leaderboard.wide import Column, Grid, GridCell, GridRow, Wanted, build_grid

FORMATS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which people with colour blindness can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = "oDv^PX*<>ph"
_MOST_BARS = 60


@dataclass(frozen=True)
class _Drawn:
    """What a drawing is made of; see `draw`."""

    scored: Sequence[Scored]
    reported: Sequence[ReportedTable]
    by: str | None
    tasks: tuple[str, ...] | None
    judges: Mapping[str, str]


def draw(
    kind: str,
    scored: Sequence[Scored],
    output: Path,
    *,
    reported: Sequence[ReportedTable] = (),
    by: str | None = None,
    tasks: tuple[str, ...] | None = None,
    judges: Mapping[str, str] | None = None,
) -> None:
    """Draw one of `KINDS` into a file.

    Args:
        kind: Which.
        scored: Measured scores.
        output: A file that ends in one of `FORMATS`.
        reported: Rows to show beside them, where the kind can.
        by: The group name that `categories` goes by.
        tasks: Only these tasks.
        judges: Task -> its own judge (see `Wanted`).

    Raises:
        UsageError: matplotlib is missing, an unknown ending, or nothing to draw.
        StoreError: the file cannot be written.
    """
    if output.suffix.lower() not in FORMATS:
        raise UsageError(f"--output {output}: wanted a file that ends in {', '.join(FORMATS)}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "plots need matplotlib, which is not installed: pip install 'vsr1-bench[plots]'"
        ) from error
    import matplotlib

    # Text in an SVG stays text, and the file is the same each time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vsr1-bench"}):
        figure = Figure(layout="constrained")
        KINDS[kind](figure, _Drawn(scored, reported, by, tasks, judges or {}))
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            dated = {"Date": None} if output.suffix.lower() == ".svg" else None
            figure.savefig(output, dpi=150, metadata=dated)
        except OSError as error:
            raise StoreError(f"{output}: {error.strerror or error}") from error


def _intervals(figure: Any, of: _Drawn) -> None:
    """A panel a task: each row's value with its interval; reported rows hollow, without one."""
    grid = build_grid(of.scored, Wanted(tasks=of.tasks, judges=of.judges), of.reported)
    measured = [c for c in grid.columns if any(c in r.cells for r in _of(grid, "measured"))]
    columns = measured or grid.columns
    if not columns:
        raise UsageError("nothing to draw: no score of these runs and tasks")
    rows = [row for row in grid.rows if any(column in row.cells for column in columns)]
    names = _names(rows)
    figure.set_size_inches(
        1.5 + 0.085 * max(map(len, names)) + 2.6 * len(columns), 1.4 + 0.32 * len(rows)
    )
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for panel, column in zip(panels, columns, strict=True):
        for place, row in enumerate(rows):
            cell = row.cells.get(column)
            if cell is not None and cell.value is not None:
                _point(panel, cell, place, hollow=_hollow(row, cell))
        panel.set_title(_safe(column.title), fontsize=10)
        panel.set_xlabel("%")
        panel.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    shown = [row.cells[c] for row in rows for c in columns if c in row.cells]
    _legend(figure, shown, "Bars: 95 % intervals. ")


def _point(panel: Any, cell: GridCell, place: int, *, hollow: bool) -> None:
    value = cell.value or 0.0
    bars = None
    if cell.low is not None and cell.high is not None:
        bars = [[value - cell.low], [cell.high - value]]
    panel.errorbar(
        value,
        place,
        xerr=bars,
        fmt="o",
        color=COLOURS[0],
        capsize=3,
        mfc="white" if hollow else None,
    )


def _shortcuts(figure: Any, of: _Drawn) -> None:
    """Language shortcut rate against accuracy: one colour per task, one point per row."""
    wanted = Wanted(("task", "lsr"), tasks=of.tasks, judges=of.judges)
    grid = build_grid(of.scored, wanted, of.reported)
    pairs = [
        (accuracy, lsr)
        for accuracy in grid.columns
        for lsr in grid.columns
        if accuracy.headline and lsr.metric == "lsr" and accuracy.task == lsr.task
    ]
    drawn = [
        (row, a, b) for a, b in pairs for row in grid.rows if _known(row, a) and _known(row, b)
    ]
    if not drawn:
        raise UsageError(
            "nothing to draw: no run has a language shortcut rate (lsr); run with --perception "
            "(caption, for a model that writes no descriptions)"
        )
    figure.set_size_inches(9, 5)
    panel = figure.subplots()
    tasks_drawn = list(dict.fromkeys(a.task for _, a, _ in drawn))
    names = dict(zip(map(id, grid.rows), _names(grid.rows), strict=True))
    rows_drawn = list(dict.fromkeys(id(row) for row, _, _ in drawn))
    for row, a, b in drawn:
        x, y = row.cells[a], row.cells[b]
        panel.errorbar(
            x.value, y.value, xerr=_bars(x), yerr=_bars(y), alpha=0.8,
            marker=_MARKERS[rows_drawn.index(id(row)) % len(_MARKERS)],
            color=COLOURS[tasks_drawn.index(a.task) % len(COLOURS)],
            mfc="white" if _hollow(row, x) or _hollow(row, y) else None,
        )  # fmt: skip
    for i, task in enumerate(tasks_drawn):
        panel.plot([], [], "s", color=COLOURS[i % len(COLOURS)], label=_safe(task))
    for i, row_id in enumerate(rows_drawn):
        marker = _MARKERS[i % len(_MARKERS)]
        panel.plot([], [], marker, color="grey", mfc="white", label=names[row_id])
    figure.legend(loc="outside right upper", fontsize=8)
    panel.set_xlabel("accuracy, %")
    panel.set_ylabel("language shortcut rate, % (lower is better)")
    panel.grid(alpha=0.3)
    _legend(figure, [cell for row, a, b in drawn for cell in (row.cells[a], row.cells[b])])


def _known(row: GridRow, column: Column) -> bool:
    return column in row.cells and row.cells[column].value is not None


def _hollow(row: GridRow, cell: GridCell) -> bool:
    return row.kind == "reported" or not cell.ranked


def _legend(figure: Any, cells: Sequence[GridCell], before: str = "") -> None:
    """Say below a drawing what is hollow, and of what part of a benchmark a point speaks."""
    lines = [f"{before}Hollow: reported, or not to be ranked."]
    notes = {f"{c.scored.task}: {c.scored.sliced}" for c in cells if c.scored and c.scored.sliced}
    figure.supxlabel("\n".join([*lines, *map(_safe, sorted(notes))]), fontsize=8)


def _bars(cell: GridCell) -> list[list[float]] | None:
    if cell.value is None or cell.low is None or cell.high is None:
        return None
    return [[cell.value - cell.low], [cell.high - cell.value]]


def _categories(figure: Any, of: _Drawn) -> None:
    """Accuracy by category: one panel per task, one colour per row."""
    by, known = of.by, sorted({name for one in of.scored for name in one.document["by"]})
    if by is None or by not in known:
        raise UsageError(f"categories: give --by GROUP; there is: {', '.join(known) or 'none'}")
    grid = build_grid(of.scored, Wanted(by=by, tasks=of.tasks, judges=of.judges))
    panels = list(dict.fromkeys(row.task for row in grid.rows))
    groups = {
        task: [c for c in grid.columns if any(c in r.cells for r in grid.rows if r.task == task)]
        for task in panels
    }
    most = max(map(len, groups.values()))
    if most > _MOST_BARS:
        raise UsageError(f"--by {by}: {most} groups, too many to draw (at most {_MOST_BARS})")
    figure.set_size_inches(max(6.0, 1.5 + 0.5 * most), 1 + 3.2 * len(panels))
    for panel, task in zip(
        figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True
    ):
        rows = [row for row in grid.rows if row.task == task]
        names = _names(rows)
        width = 0.7 / len(rows)
        for i, (row, name) in enumerate(zip(rows, names, strict=True)):
            shift = (i - (len(rows) - 1) / 2) * width
            for place, column in enumerate(groups[task]):
                cell = row.cells.get(column)
                if cell is not None and cell.value is not None:
                    panel.errorbar(
                        place + shift, cell.value, yerr=_bars(cell), fmt="o", markersize=4,
                        color=COLOURS[i % len(COLOURS)], capsize=2,
                        mfc="white" if _hollow(row, cell) else None,
                    )  # fmt: skip
            panel.plot([], [], "o", color=COLOURS[i % len(COLOURS)], label=name)
        titles = [_safe(column.title) for column in groups[task]]
        panel.set_xticks(range(len(titles)), titles, rotation=45 if most > 6 else 0, ha="center")
        panel.set_title(_safe(f"{task} by {by}"), fontsize=10)
        panel.set_ylabel("accuracy, %")
        panel.grid(axis="y", alpha=0.3)
        panel.legend(fontsize=7)
    _legend(figure, [cell for row in grid.rows for cell in row.cells.values()])


def _of(grid: Grid, kind: str) -> list[GridRow]:
    return [row for row in grid.rows if row.kind == kind]


def _names(rows: Sequence[GridRow]) -> list[str]:
    return [_safe(f"{row.model} ({row.setting})" if row.setting else row.model) for row in rows]


def _safe(text: str) -> str:
    """One short line; a dollar sign would start a formula."""
    return one_line(text)[:80].replace("$", r"\$")


KINDS: dict[str, Callable[[Any, _Drawn], None]] = {
    "intervals": _intervals,
    "lsr": _shortcuts,
    "categories": _categories,
}
