"""Mark the best and second best of a column, if a paired test supports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.leaderboard.wide import Column, Grid, GridCell
from vsr1_bench.registry import load_registry
from vsr1_bench.scoring.paired import ALPHA, holm, paired_test
from vsr1_bench.scoring.pairs import Outcomes, align, changed_samples, outcomes
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Task

# Metrics that are a mean over samples, which is what the test compares.
_MEANS = ("accuracy", "graded_mean")


def mark_best(grid: Grid, include_path: Sequence[str] = (), *, progress: bool = True) -> None:
    """Set `best` and `second` on ranked cells.

    The best is marked if it beats every other ranked cell of its column on the samples that both
    answered. The second is marked if it beats all cells after it. P values are adjusted by Holm
    over all comparisons of the column. Only headline columns with a mean over samples are marked.

    Args:
        grid: The table; cells are replaced.
        include_path: Folders of plug-ins.
        progress: Show a bar.
    """
    tasks = load_registry(include_path).tasks
    contests = []
    for column in grid.columns:
        task = tasks.get(column.task)
        rivals = [
            (row, cell) for row in grid.rows if (cell := row.cells.get(column)) and cell.ranked
        ]
        # The test takes verdicts for the truth, which calibrated numbers do not.
        corrected = any(cell.calibrated for _, cell in rivals)
        if task is not None and len(rivals) > 1 and _is_mean(task, column) and not corrected:
            contests.append((column, task, rivals))
    total = sum(len(rivals) for _, _, rivals in contests)
    with progress_bar(total, "compare", "run", shown=progress) as bar:
        for column, task, rivals in contests:
            rivals.sort(key=lambda pair: -(pair[1].value or 0.0))
            known = []
            for _, cell in rivals:
                known.append(_outcomes(cell, task))
                bar.update()
            for place, mark in _marks(known):
                row, cell = rivals[place]
                row.cells[column] = replace(cell, mark=mark)
    if any(cell.mark for row in grid.rows for cell in row.cells.values()):
        grid.remarks.append(
            "Best and second best are marked where a paired test on the same samples says so "
            "(p below 0.05 after Holm, over the comparisons of the column)."
        )


def _is_mean(task: Task, column: Column) -> bool:
    first = task.metrics[0]
    return column.metric == first.name and first.kind in _MEANS and not first.only


Rival = tuple[RunFolder, Outcomes]


def _outcomes(cell: GridCell, task: Task) -> Rival:
    assert cell.scored is not None
    run = cell.scored.runs[0]
    return run, outcomes(run, cell.scored.judge, task.cluster)


def _marks(ranking: Sequence[Rival]) -> list[tuple[int, str]]:
    """Places (from 0) and marks, of runs from the best down."""
    contests = [(leader, other) for leader in (0, 1) for other in range(leader + 1, len(ranking))]
    p_values = [_beaten(ranking[other], ranking[leader]) for leader, other in contests]
    adjusted = dict(zip(contests, holm(p_values), strict=True))

    def leads(place: int) -> bool:
        after = range(place + 1, len(ranking))
        return bool(after) and all(adjusted[place, other] < ALPHA for other in after)

    if not leads(0):
        return []
    return [(0, "best"), *([(1, "second")] if leads(1) else [])]


def _beaten(worse: Rival, better: Rival) -> float:
    """P value of a difference; 1 if it is not in favour of the better run."""
    ids, a, b, clusters = align(worse[1], better[1], changed_samples(worse[0], better[0]))
    if not ids:
        return 1.0
    return paired_test(a, b, clusters)[0] if (b - a).mean() > 0 else 1.0
