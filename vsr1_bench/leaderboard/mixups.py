"""Detect published responses that seem to be another run's, from their published scores.

The authors of Vision-SR1 confirm misplaced paths in their raw outputs (zli12321/Vision-SR1, issue
10: the MMMU files of the model and of its ablation stood in each other's place). So the score of
each (run, set) is compared with every reported row of that set. A row fits another run's file
*clearly better* than its own where one of two things holds:

- **far**: with errors of `sigma` points, the score is `RATIO` times as likely under the other row
  as under its own, and within two `sigma` of the other. `sigma` is the binomial error of the row's
  number on the set, at least `NOISE` points.
- **exchanged**: two runs print each other's number to the decimal that was printed, and the two
  rows are at least `APART` points apart.

`scripts/simulate_mixups.py` prints how often either is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.leaderboard.collect import Scored, collect
from vsr1_bench.leaderboard.reported import (
    ReportedRow,
    ReportedTable,
    load_reported,
    results_folder,
)
from vsr1_bench.store.judge_names import read_name
from vsr1_bench.store.run_folder import RunFolder

PUBLISHED = ("published", "legacy_vsr1")
"""Judges that score as the reported rows were scored, the first of which counts."""
ISSUE = "zli12321/Vision-SR1, issue 10"
"""Where exchanged files were first reported and confirmed."""
RATIO = 1000.0
NOISE = 1.0
"""Points by which a repeated run may differ, regardless of the size of the set."""
APART = 0.4
"""Points between two rows whose exchange is distinguishable from chance."""
PRINTED = 0.05
"""Half a unit of the printed decimal."""
LEAST = 100
"""With fewer answers than this, a score is too coarse for either rule."""
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class SetScore:
    """The published scorer's score of one run on one set."""

    run: str
    """Name of the run among the raw outputs."""
    task: str
    value: float
    """Percent."""
    n: int
    revision: str | None = None
    """Commit of the raw outputs; only files of one commit can have been exchanged."""


@dataclass(frozen=True, slots=True)
class MixUp:
    """A score that clearly fits another row better, or two scores that fit each other's rows."""

    task: str
    runs: tuple[str, ...]
    """One run, or two that appear to have been exchanged."""
    text: str
    """One line for a reader."""


@dataclass(frozen=True, slots=True)
class _Suspect:
    score: SetScore
    own: float
    fits: ReportedRow
    there: float
    """The value of that row."""


def check_runs(
    runs: Sequence[RunFolder], include_path: Sequence[str] = (), results: Path | None = None
) -> tuple[list[MixUp], str | None]:
    """Compare stored runs of the raw outputs with the reported rows.

    Args:
        runs: Stored runs, of anything.
        include_path: Folders of plug-ins.
        results: Folder of reported tables; None = the one that is found.

    Returns:
        The suspected mix-ups, and why nothing could be compared (None = it was compared).

    Raises:
        DamagedRunError: a run cannot be read.
    """
    try:
        tables = load_reported(results or results_folder())
    except (StoreError, UsageError) as error:
        return [], str(error)
    return find_mixups(set_scores(collect(runs, include_path), tables), tables), None


def set_scores(scored: Iterable[Scored], tables: Sequence[ReportedTable]) -> list[SetScore]:
    """The scores that a published scorer gave to runs and sets of a reported table."""
    metrics = {(c.task, c.metric) for table in tables if table.headline for c in table.columns}
    known = {name for table in tables for row in table.rows for name in row.runs}
    found: dict[tuple[str, str | None, str], SetScore] = {}
    judged = [(read_name(one.judge).kind, one) for one in scored]
    for judge in PUBLISHED:
        for one in (one for kind, one in judged if kind == judge):
            model = one.spec.model
            for name, value in one.document["metrics"].items():
                wanted = model.id in known and (one.task, name) in metrics
                if wanted and value["value"] is not None:
                    share, n = 100 * float(value["value"]), int(value["n"])
                    score = SetScore(model.id, one.task, share, n, model.revision)
                    found.setdefault((model.id, model.revision, one.task), score)
    return list(found.values())


def find_mixups(scores: Sequence[SetScore], tables: Sequence[ReportedTable]) -> list[MixUp]:
    """Find scores that fit another reported row clearly better than their own.

    Runs without a row of their own and scores that fit no row are not considered.

    Args:
        scores: By the published scorer.
        tables: Reported tables; rows that name `runs` have raw outputs.

    Returns:
        In the order of the columns and of the runs.
    """
    found: list[MixUp] = []
    for table in (table for table in tables if table.headline):
        for place, column in enumerate(table.columns):
            rows = [(row, v) for row in table.rows if (v := row.values[place]) is not None]
            here = [one for one in scores if one.task == column.task and one.n >= LEAST]
            suspects = _exchanged(here, rows)
            met = {id(one.score) for pair in suspects for one in pair}
            far = [(one,) for s in here if id(s) not in met and (one := _far(s, rows)) is not None]
            found += _told(column.name, [*suspects, *_paired(far)])
    return found


Rows = Sequence[tuple[ReportedRow, float]]
"""The reported rows of a set, each with its value."""


def _own(score: SetScore, rows: Rows) -> tuple[ReportedRow, float] | None:
    return next(((row, value) for row, value in rows if score.run in row.runs), None)


def sigma(percent: float, n: int) -> float:
    """Error of a share of n answers in points, at least `NOISE`."""
    share = min(max(percent / 100, 1 / n), 1 - 1 / n)
    return max(NOISE, 100 * math.sqrt(share * (1 - share) / n))


def _far(score: SetScore, rows: Rows) -> _Suspect | None:
    own = _own(score, rows)
    if own is None:
        return None
    row, there = min(rows, key=lambda pair: abs(score.value - pair[1]))
    error = sigma(own[1], score.n)
    gain = (score.value - own[1]) ** 2 - (score.value - there) ** 2
    clear = gain > 2 * error**2 * math.log(RATIO) and abs(score.value - there) <= 2 * error
    return _Suspect(score, own[1], row, there) if clear else None


def _exchanged(scores: Sequence[SetScore], rows: Rows) -> list[tuple[_Suspect, ...]]:
    """Pairs of runs that print each other's number."""
    found: list[tuple[_Suspect, ...]] = []
    for place, first in enumerate(scores):
        for second in scores[place + 1 :]:
            a, b = _own(first, rows), _own(second, rows)
            if a is None or b is None or first.run == second.run:
                continue
            apart = abs(a[1] - b[1]) >= APART - TINY
            crossed = _prints(first, b[1]) and _prints(second, a[1])
            if first.revision == second.revision and apart and crossed:
                found.append((_Suspect(first, a[1], *b), _Suspect(second, b[1], *a)))
    return found


def _prints(score: SetScore, value: float) -> bool:
    return abs(score.value - value) <= PRINTED + TINY


def _paired(single: Sequence[tuple[_Suspect, ...]]) -> list[tuple[_Suspect, ...]]:
    """Pair runs of which each fits the other's row."""
    rest = [one for (one,) in single]
    found: list[tuple[_Suspect, ...]] = []
    while rest:
        first = rest.pop(0)
        others = [one for one in rest if _crossed(first, one) and _crossed(one, first)]
        other = min(others, key=lambda one: abs(first.score.value - one.own), default=None)
        if other is not None:
            rest.remove(other)
        found.append((first,) if other is None else (first, other))
    return found


def _crossed(one: _Suspect, other: _Suspect) -> bool:
    """Whether a score fits the row of another run of its commit."""
    error = sigma(other.own, one.score.n)
    same = one.score.revision == other.score.revision
    return same and abs(one.score.value - other.own) <= 2 * error


def _told(column: str, suspects: Sequence[tuple[_Suspect, ...]]) -> list[MixUp]:
    mixups = []
    for group in suspects:
        first = group[0]
        start = (
            f"{first.score.run} scores {first.score.value:.1f} on {column}, its reported row has "
            f"{first.own:.1f}"
        )
        if len(group) == 1:
            text = (
                f"{start}; the row of {_name(first.fits)} ({first.there:.1f}) fits clearly better: "
                "the published file may be another run's"
            )
        else:
            second = group[1]
            text = (
                f"{start}; {second.score.run} scores {second.score.value:.1f}, its row has "
                f"{second.own:.1f}: the two published files seem to have been exchanged"
            )
        runs = tuple(one.score.run for one in group)
        mixups.append(MixUp(first.score.task, runs, text))
    return mixups


def _name(row: ReportedRow) -> str:
    return f"{row.model} {row.setting}".strip()
