"""The differences between two runs, by aspect: why two rows have different numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vsr1_bench.errors import UsageError
from vsr1_bench.leaderboard.rendering import markdown
from vsr1_bench.leaderboard.settings import (
    ASPECTS,
    PRECISION,
    Difference,
    differences,
    facts,
    short,
)
from vsr1_bench.leaderboard.sheet import Sheet
from vsr1_bench.scoring.seeing import seeing_runs
from vsr1_bench.store.run_folder import RunFolder, find_runs
from vsr1_bench.store.spec import UNKNOWN


def explain(first: Path, second: Path, judge: str | None = None) -> str:
    """List the `ASPECTS` in which two runs differ; for folders of runs, task by task.

    Raises:
        StoreError: there is no run.
        UsageError: the folders have no task in common, or several runs of one.
    """
    pairs = pair_runs(first, second)
    return "\n\n".join(_explained(name, a, b, judge) for name, a, b in pairs)


def pair_runs(first: Path, second: Path) -> list[tuple[str, RunFolder, RunFolder]]:
    """Runs of the same task, from two folders; single runs pair whatever their tasks.

    Raises:
        StoreError: there is no run.
        UsageError: the folders have no task in common, or several runs of one.
    """
    one, other = find_runs(first), find_runs(second)
    if len(one) == len(other) == 1:
        return [(_task(one[0]), one[0], other[0])]
    a, b = by_task(first, one), by_task(second, other)
    common = [name for name in a if name in b]
    if not common:
        raise UsageError(
            f"{first} has {', '.join(a)}, {second} has {', '.join(b)}: no task in common"
        )
    return [(name, a[name], b[name]) for name in common]


def by_task(path: Path, runs: list[RunFolder]) -> dict[str, RunFolder]:
    """Task -> run; a blind run (`--blind`) only if its task has no other run.

    Raises:
        UsageError: several runs of one task; names them.
    """
    seeing = seeing_runs(runs)
    with_sight = {_task(run) for run in seeing}
    chosen: dict[str, RunFolder] = {}
    for run in runs:
        name = _task(run)
        if name in with_sight and run not in seeing:
            continue
        if name in chosen:
            raise UsageError(
                f"{path} holds several runs of {name}; name one: {chosen[name].path} or {run.path}"
            )
        chosen[name] = run
    return chosen


def _task(run: RunFolder) -> str:
    return run.spec().task.name


def _explained(name: str, first: RunFolder, second: RunFolder, judge: str | None) -> str:
    sides = (facts(first, judge), facts(second, judge))
    differing_fields = differences(*sides)
    differing = {one.aspect for one in differing_fields}
    # Two unknown precisions are not necessarily equal.
    unknown = sides[0][PRECISION] == sides[1][PRECISION] == UNKNOWN
    differing |= {PRECISION} if unknown else set()
    alike = [aspect for aspect in ASPECTS if aspect not in differing]
    lines = [f"{name}: A = {first.path}, B = {second.path}"]
    if differing_fields:
        lines.append(difference_table(differing_fields, "A", "B"))
    else:
        lines.append("Nothing that is written down differs.")
    if unknown:
        lines.append("Precision unknown: both were made before it was recorded.")
    if alike:
        lines.append(f"The same: {', '.join(alike)}.")
    return "\n\n".join(lines)


def difference_table(fields: Sequence[Difference], first: str, second: str) -> str:
    """Differences as a table, under the names of the two sides."""
    rows = ((one.aspect, one.field, short(one.first), short(one.second)) for one in fields)
    return markdown(Sheet(("aspect", "field", first, second), tuple(rows)))
