"""The responses of a stored run, with their cells: what a judge said of answer and description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from vsr1_bench.errors import StoreError
from vsr1_bench.perception.reader import ReaderSpec
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.join import join_readings, join_responses
from vsr1_bench.scoring.metrics import Response, home
from vsr1_bench.scoring.seeing import readers_of
from vsr1_bench.scoring.shortcuts import Seen
from vsr1_bench.store.judge_names import name_in_run
from vsr1_bench.store.run_folder import RunFolder

Place = tuple[str, int]
"""Sample id, and which of its responses."""
Row = TypeVar("Row", Response, Seen)
UNDESCRIBED = "undescribed"


@dataclass(frozen=True, slots=True)
class Judged:
    """A run as one judge sees it."""

    run: RunFolder
    name: str
    """Short name in sheets. It does not tell the model, because people label without it."""
    model: str
    task: str
    judge: str
    reader: ReaderSpec | None
    cluster: str | None
    """Group key whose members depend on each other."""
    responses: dict[Place, Response]
    readings: dict[Place, Seen]
    """Empty if no reader is asked for."""

    def cell(self, place: Place) -> str | None:
        """The stratum of a response; None if it has no verdict, so that it cannot be drawn."""
        response, seen = self.responses.get(place), self.readings.get(place)
        if response is None or response.correct is None:
            return None
        answer = "correct" if response.correct == 1 else "incorrect"
        if seen is None or seen.described is None:
            return answer
        if not seen.described:
            return f"{answer}, {UNDESCRIBED}"
        if seen.sufficient is None:
            return f"{answer}, unread"
        return f"{answer}, {'sufficient' if seen.sufficient else 'insufficient'}"

    def home(self, place: Place) -> str:
        """The cluster of a response."""
        return home(self.responses[place], self.cluster)


def short_name(run: RunFolder) -> str:
    """A run's name in a sheet: its spec's hash, shortened."""
    return run.spec().digest()[:12]


def judged(
    run: RunFolder, judge: str, include_path: Sequence[str] = (), reader: str | None = None
) -> Judged:
    """Read a run with the verdicts of a judge.

    Args:
        run: A stored run.
        judge: A stored judge's name.
        include_path: Folders of plug-ins, needed for your own tasks.
        reader: Digest of the reader whose readings count; None = the latest.

    Raises:
        StoreError: the judge has not judged the run, or there is no such reader.
    """
    verdicts = run.judged()
    path = verdicts.get(name_in_run(judge, verdicts))
    if path is None:
        raise StoreError(
            f"{run.path}: not judged by {judge!r}; run: vsr1-bench judge {run.path} --judge {judge}"
        )
    readers = [found for found in readers_of(run) if reader in (None, found.digest())]
    if reader and not readers:
        raise StoreError(f"{run.path}: has no readings by the reader of the sheet ({reader[:12]})")
    spec = run.spec()
    seen = join_readings(run, path, readers[0]) if readers else []
    return Judged(
        run=run,
        name=short_name(run),
        model=spec.model.id,
        task=spec.task.name,
        judge=judge,
        reader=readers[0] if readers else None,
        cluster=get_task(spec.task.name, include_path).cluster,
        responses=_placed(join_responses(run, path)),
        readings=_placed(seen),
    )


def _placed(rows: Sequence[Row]) -> dict[Place, Row]:
    """Number the responses of each sample in the order of the data, which is that of `index`."""
    counts: Counter[str] = Counter()
    placed = {}
    for row in rows:
        placed[row.sample_id, counts[row.sample_id]] = row
        counts[row.sample_id] += 1
    return placed
