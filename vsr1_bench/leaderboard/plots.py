"""Plot stored scores: intervals, shortcuts against accuracy, accuracy by category."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench._util.installing import install_command
from vsr1_bench._util.look import COLOURS, SERIES, axis_range, plot_style
from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.leaderboard.collect import Scored
from vsr1_bench.leaderboard.reported import ReportedTable
from vsr1_bench.leaderboard.settings import arrow
from vsr1_bench.leaderboard.sheet import one_line
from vsr1_bench.leaderboard.wide import Column, Grid, GridCell, GridRow, Wanted, build_grid

FORMATS = (".png", ".svg", ".pdf")
_MARKERS = "oDv^PX*"
_MOST_BARS = 60
_MOST_BESIDE = 4
_BLUE, _WHITE, _MUTED = COLOURS["blue"][0], COLOURS["bg"][0], COLOURS["muted"][0]


@dataclass(frozen=True)
class Drawn:
    """What a drawing is made of; see `draw`."""

    scored: Sequence[Scored]
    reported: Sequence[ReportedTable] = ()
    by: str | None = None
    tasks: tuple[str, ...] | None = None
    judges: Mapping[str, str] | None = None

    def grid(self, *columns: str, by: str | None = None) -> Grid:
        """The numbers as rows and columns; with `by` measured ones only."""
        wanted = Wanted(columns or ("task",), by, self.tasks, self.judges or {})
        return build_grid(self.scored, wanted, () if by else self.reported)


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
        with plot_style():
            figure = draw_figure(kind, Drawn(scored, reported, by, tasks, judges))
            output.parent.mkdir(parents=True, exist_ok=True)
            dated = {"Date": None} if output.suffix.lower() == ".svg" else None
            figure.savefig(output, dpi=150, metadata=dated)
    except ImportError as error:
        raise UsageError(
            f"plots need matplotlib, which is not installed: {install_command('plots')}"
        ) from error
    except OSError as error:
        raise StoreError(f"{output}: {error.strerror or error}") from error


def draw_figure(kind: str, of: Drawn) -> Any:
    """Draw a figure of matplotlib in the current style."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    apart = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.06)
    figure = Figure(layout=apart)
    KINDS[kind](figure, of)
    return figure


def _intervals(figure: Any, of: Drawn) -> None:
    """One panel per task: each row's value with its interval, and the value as text."""
    grid = of.grid()
    columns = [c for c in grid.columns if any(_known(r, c) for r in grid.rows)]
    measured = [c for c in columns if any(_known(r, c) for r in grid.rows if r.kind == "measured")]
    columns = measured or columns
    if not columns:
        raise UsageError("nothing to draw: no score of these runs and tasks")
    beside = _beside(len(columns))
    lines = [columns[i : i + beside] for i in range(0, len(columns), beside)]
    rows = [[r for r in grid.rows if any(_known(r, c) for c in line)] for line in lines]
    names = [_names(found) for found in rows]
    wide, high = max(map(len, lines)), [0.9 + 0.27 * len(found) for found in rows]
    figure.set_size_inches(
        0.9 + 0.075 * max(len(name) for line in names for name in line) + 2.4 * wide,
        0.5 + sum(high),
    )
    places = figure.add_gridspec(len(lines), wide, height_ratios=high)
    for i, line in enumerate(lines):
        for j, column in enumerate(line):
            panel = figure.add_subplot(places[i, j])
            _interval_panel(panel, column, rows[i])
            panel.set_yticks(range(len(rows[i])), names[i] if j == 0 else [""] * len(rows[i]))
    shown = [r.cells[c] for found in rows for r in found for c in columns if _known(r, c)]
    note = _note(shown, _rows_hollow(grid.rows, columns))
    figure.supxlabel(note, fontsize=8, color=_MUTED, x=0.01, ha="left")


def _interval_panel(panel: Any, column: Column, rows: Sequence[GridRow]) -> None:
    cells = {place: row.cells[column] for place, row in enumerate(rows) if _known(row, column)}
    for place, cell in cells.items():
        hollow = _hollow(rows[place], cell)
        panel.errorbar(
            cell.value,
            place,
            xerr=_bars(cell),
            fmt="o",
            color=_BLUE,
            markersize=5.5,
            mfc=_WHITE if hollow else None,
            clip_on=False,
        )
        text = f"{cell.value:.{cell.digits}f}"
        panel.text(
            1.04,
            place,
            text,
            transform=panel.get_yaxis_transform(),
            va="center_baseline",
            fontsize=8.5,
        )
    panel.set_title(_safe(column.title))
    panel.set_xlabel(" · ".join(filter(None, (_unit(cells.values()), _counted(cells.values())))))
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0, labelcolor=COLOURS["text"][0])
    panel.grid(visible=False, axis="y")
    panel.spines["left"].set_visible(False)
    _scale(panel, "x", cells.values(), 20)


def _counted(cells: Iterable[GridCell]) -> str:
    """How many samples a panel's values rest on."""
    sizes = sorted({cell.n for cell in cells if cell.n is not None})
    if not sizes:
        return ""
    return f"n = {sizes[0]:,}" + (f" to {sizes[-1]:,}" if len(sizes) > 1 else "")


def _unit(cells: Iterable[GridCell]) -> str:
    return "%" if all(cell.digits == 1 for cell in cells) else ""


def _scale(panel: Any, axis: str, cells: Iterable[GridCell], least: float) -> None:
    """Choose the range of an axis by what is drawn on it."""
    from matplotlib.ticker import MaxNLocator

    found = list(cells)
    ends = [end for cell in found for end in (cell.value, cell.low, cell.high)]
    first, last = axis_range(ends, least=least if _unit(found) else 0)
    panel.set(**{f"{axis}lim": (first, last)})
    getattr(panel, f"{axis}axis").set_major_locator(
        MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3)
    )


def _shortcuts(figure: Any, of: Drawn) -> None:
    """Language shortcut rate against accuracy: one panel per task, one number per row."""
    from matplotlib.lines import Line2D

    grid = of.grid("task", "lsr")
    pairs = [
        (accuracy, lsr)
        for accuracy in grid.columns
        for lsr in grid.columns
        if accuracy.headline and lsr.metric == "lsr" and accuracy.task == lsr.task
    ]
    drawn = {
        (a, b): found
        for a, b in pairs
        if (found := [row for row in grid.rows if _known(row, a) and _known(row, b)])
    }
    if not drawn:
        raise UsageError(
            "nothing to draw: no run has a language shortcut rate (lsr); run with --perception "
            "(caption, for a model that writes no descriptions)"
        )
    ids = {id(row) for found in drawn.values() for row in found}
    rows = [row for row in grid.rows if id(row) in ids]
    numbers = {id(row): number for number, row in enumerate(rows, 1)}
    wide = _beside(len(drawn))
    high = math.ceil(len(drawn) / wide)
    names = [f"{number}  {name}" for number, name in enumerate(_names(rows), 1)]
    width = max(5.5, 2.6 * wide)
    beside = max(1, min(len(names), int(width / (0.4 + 0.075 * max(map(len, names))))))
    figure.set_size_inches(width, 0.6 + 2.5 * high + 0.18 * math.ceil(len(names) / beside))
    for place, ((a, b), found) in enumerate(drawn.items(), 1):
        panel = figure.add_subplot(high, wide, place)
        for row in found:
            _numbered(panel, row.cells[a], row.cells[b], numbers[id(row)], row)
        panel.set_title(_safe(a.task))
        panel.set_xlabel(_safe(f"{a.metric.replace('_', ' ')}, {_unit(r.cells[a] for r in found)}"))
        _scale(panel, "x", [row.cells[a] for row in found], 5)
        _scale(panel, "y", [row.cells[b] for row in found], 5)
    figure.supylabel(f"language shortcut rate, %{arrow('lsr')}", fontsize=8.5, color=_MUTED)
    note = _note(
        [row.cells[c] for pair, found in drawn.items() for row in found for c in pair],
        any(_rows_hollow(found, pair) for pair, found in drawn.items()),
        *(["Each panel has its own scales."] if len(drawn) > 1 else []),
    )
    handles = [Line2D([], [], ls="") for _ in names]
    _key(figure, handles, names, beside, note, handlelength=0)


def _numbered(panel: Any, x: GridCell, y: GridCell, number: int, row: GridRow) -> None:
    """A point with the number of its row in it, and its intervals."""
    hollow = _hollow(row, x) or _hollow(row, y)
    above = 3 + 2 * number  # of two points in one place, all of the later one is seen
    panel.errorbar(
        x.value,
        y.value,
        xerr=_bars(x),
        yerr=_bars(y),
        fmt="none",
        ecolor=_BLUE,
        elinewidth=1,
        zorder=2,
        clip_on=False,
    )
    panel.plot(
        x.value,
        y.value,
        "o",
        color=_BLUE,
        markersize=11,
        mfc=_WHITE if hollow else None,
        zorder=above,
        clip_on=False,
    )
    panel.annotate(
        str(number),
        (x.value, y.value),
        ha="center",
        va="center_baseline",
        fontsize=7,
        fontweight="bold",
        color=_BLUE if hollow else _WHITE,
        zorder=above + 1,
    )


def _key(
    figure: Any, handles: Any, names: Sequence[str], beside: int, note: str, **look: Any
) -> None:
    """List the names below a drawing, after a note on all of it."""
    legend = figure.legend(
        handles, names, loc="outside lower left", ncols=beside, alignment="left", **look
    )
    legend.set_title(note, prop={"size": 8})
    legend.get_title().set_color(_MUTED)


def _known(row: GridRow, column: Column) -> bool:
    return column in row.cells and row.cells[column].value is not None


def _hollow(row: GridRow, cell: GridCell) -> bool:
    return row.kind == "reported" or not cell.ranked


def _rows_hollow(rows: Sequence[GridRow], columns: Iterable[Column]) -> bool:
    return any(_hollow(row, row.cells[c]) for c in columns for row in rows if _known(row, c))


def _note(cells: Sequence[GridCell], hollow: bool, *more: str) -> str:
    """Say what bars and hollow points are, and of what part of a benchmark a point speaks."""
    bars = ["Bars: 95 % intervals."] if any(_bars(cell) for cell in cells) else []
    line = " ".join([*bars, *(["Hollow: reported, or not ranked."] if hollow else []), *more])
    notes = {f"{c.scored.task}: {c.scored.sliced}" for c in cells if c.scored and c.scored.sliced}
    return "\n".join(filter(None, [line, *map(_safe, sorted(notes))]))


def _bars(cell: GridCell) -> list[list[float]] | None:
    if cell.value is None or cell.low is None or cell.high is None:
        return None
    return [[cell.value - cell.low], [cell.high - cell.value]]


def _beside(panels: int) -> int:
    """How many panels a line has, so that all lines are about equally full."""
    return math.ceil(panels / math.ceil(panels / _MOST_BESIDE))


def _categories(figure: Any, of: Drawn) -> None:
    """Accuracy by category: one panel per task, one colour and shape per row."""
    by, known = of.by, sorted({name for one in of.scored for name in one.document["by"]})
    if by is None or by not in known:
        raise UsageError(f"categories: give --by GROUP; there is: {', '.join(known) or 'none'}")
    grid = of.grid(by=by)
    groups = {
        task: found
        for task in dict.fromkeys(row.task for row in grid.rows)
        if (found := [c for c in grid.columns if any(_known(r, c) for r in _of(grid, task))])
    }
    if not groups:
        raise UsageError(f"nothing to draw: no score of these runs by {by}")
    most = max(map(len, groups.values()))
    if most > _MOST_BARS:
        raise UsageError(f"--by {by}: {most} groups, too many to draw (at most {_MOST_BARS})")
    rows = {task: _of(grid, task) for task in groups}
    names = list(dict.fromkeys(name for found in rows.values() for name in _names(found)))
    high = [0.8 + len(groups[t]) * max(0.28, 0.05 + 0.13 * len(rows[t])) for t in groups]
    beside = max(1, min(len(names), int(7 / (0.6 + 0.075 * max(map(len, names))))))
    figure.set_size_inches(7, 0.5 + sum(high) + 0.18 * math.ceil(len(names) / beside))
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=high)[:, 0]
    for panel, (task, columns) in zip(panels, groups.items(), strict=True):
        _category_panel(panel, rows[task], columns, names)
        panel.set_title(_safe(f"{task} by {by}"))
    handles = [_series(i) for i in range(len(names))]
    shown = [c for found in rows.values() for row in found for c in row.cells.values()]
    hollow = any(_rows_hollow(rows[task], columns) for task, columns in groups.items())
    _key(figure, handles, names, beside, _note(shown, hollow))


def _of(grid: Grid, task: str) -> list[GridRow]:
    return [row for row in grid.rows if row.task == task]


def _series(number: int, **changes: Any) -> Any:
    from matplotlib.lines import Line2D

    marker, colour = _MARKERS[number % len(_MARKERS)], SERIES[number % len(SERIES)]
    return Line2D([], [], ls="", marker=marker, color=colour, markersize=5, **changes)


def _category_panel(
    panel: Any, rows: Sequence[GridRow], columns: Sequence[Column], names: Sequence[str]
) -> None:
    apart = 0.7 / len(rows)
    cells = []
    for i, (row, name) in enumerate(zip(rows, _names(rows), strict=True)):
        look = _series(names.index(name))
        for place, column in enumerate(columns):
            if not _known(row, column):
                continue
            cell = row.cells[column]
            cells.append(cell)
            panel.errorbar(
                cell.value,
                place + (i - (len(rows) - 1) / 2) * apart,
                xerr=_bars(cell),
                fmt=look.get_marker(),
                color=look.get_color(),
                elinewidth=1.2,
                markersize=5,
                mfc=_WHITE if _hollow(row, cell) else None,
                clip_on=False,
            )
    panel.set_yticks(range(len(columns)), [_safe(column.title) for column in columns])
    panel.set_ylim(len(columns) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0, labelcolor=COLOURS["text"][0])
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("accuracy, %")
    _scale(panel, "x", cells, 20)


def _names(rows: Sequence[GridRow]) -> list[str]:
    return [_safe(f"{row.model} ({row.setting})" if row.setting else row.model) for row in rows]


def _safe(text: str) -> str:
    """One short line; a dollar sign would start a formula."""
    return one_line(text)[:80].replace("$", r"\$")


KINDS: dict[str, Callable[[Any, Drawn], None]] = {
    "intervals": _intervals,
    "lsr": _shortcuts,
    "categories": _categories,
}
