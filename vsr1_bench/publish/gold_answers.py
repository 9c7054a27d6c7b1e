"""Restore the gold answers of a published run from the data, if these are the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.data.circular import CIRCULAR, CircularData
from vsr1_bench.data.dataset import DataOptions, TaskData, open_data
from vsr1_bench.data.selection import selected_again
from vsr1_bench.errors import BenchError, StoreError, TaskError
from vsr1_bench.records import Sample
from vsr1_bench.registry import get_task, load_registry
from vsr1_bench.store.journal import Lock, read_journal, write_atomic
from vsr1_bench.store.lines import record_of_sample
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec
from vsr1_bench.task import Source, Task, part_of


def _passed_over(places: range, error: TaskError) -> None:
    """Ignore a row that cannot be mapped: it was not one of the run's samples either."""


@dataclass(frozen=True, slots=True)
class RunData:
    """The rows of a run: all rows of its data set, or those of its part."""

    data: TaskData
    task: Task
    """Whose rows the data are: the run's own, or that of a merged set."""
    name: str
    """The run's own task."""

    def samples(self, wanted: int) -> Iterator[tuple[int, Sample]]:
        """Yield the run's samples with their positions."""
        if self.task.name == self.name:
            yield from self.data.placed_samples(wanted, unusable=_passed_over)
            return
        rows = self.data.placed_samples(unusable=_passed_over)
        found = (s for _, s in rows if part_of(self.task, s) == self.name)
        yield from islice(enumerate(found), wanted)


def matching_data(
    run: RunFolder, options: DataOptions, include_path: Sequence[str] = ()
) -> RunData:
    """Open the rows that a run was made on: its publication of them, at its commit of the hub.

    Raises:
        TaskError: the data are not there.
        StoreError: the rows, or their number, differ.
    """
    spec = run.spec()
    task = _task_of_rows(spec, include_path)
    for name, copy in (task.copies if options.copy is None else {}).items():
        if (copy.source.hub_id, copy.source.split) == (spec.data.id, spec.data.split):
            options = replace(options, copy=name)
            pinned = replace(copy, source=replace(copy.source, revision=spec.data.revision))
            task = replace(task, copies={name: pinned})
            break
    else:
        if isinstance(task.source, Source) and options.copy is None:
            task = replace(task, source=replace(task.source, revision=spec.data.revision))
    data = open_data(task, options)
    info = data.spec
    if info.fingerprint != spec.data.fingerprint:
        raise StoreError(
            f"{run.path}: made on rows of {spec.data.id} ({spec.data.split}) with fingerprint "
            f"{spec.data.fingerprint}; here {info.id} ({info.split}) has {data.n_rows} rows with "
            f"fingerprint {info.fingerprint}: give the data that the run names"
        )
    chosen = selected_again(data, run)
    if spec.variant == CIRCULAR:
        chosen = CircularData(chosen, None, progress=False)
    return RunData(chosen, task, spec.task.name)


def _task_of_rows(spec: RunSpec, include_path: Sequence[str]) -> Task:
    """The task that reads the rows a run was made on: its own, or a merged set with it in it."""
    own = get_task(spec.task.name, include_path)
    for task in load_registry(include_path).tasks.values():
        merged = task.parts is not None and own.name in task.parts[1].values()
        if merged and isinstance(task.source, Source) and task.source.hub_id == spec.data.id:
            return task
    return own


def restore_gold_answers(
    run: RunFolder, options: DataOptions, include_path: Sequence[str] = (), *, progress: bool = True
) -> bool:
    """Restore the omitted fields of a published run's samples; True = some were missing.

    Raises:
        StoreError: the data are missing or differ; says what to give.
    """
    withheld = run.withheld()
    if not withheld:
        return False
    try:
        data = matching_data(run, options, include_path)
    except TaskError as error:
        raise StoreError(
            f"{run.path}: came without {' and '.join(withheld)}, which judging needs, and the data "
            f"are not here ({error}); stored scores can be read: vsr1-bench table {run.path}"
        ) from error
    lock = Lock(run.path / ".lock")
    try:
        samples = _samples(data, run.wanted(), progress)
        for journal in sorted(run.path.glob("samples*.jsonl")):
            lines = [json.dumps(r) for r in _restored(journal, samples, withheld)]
            write_atomic(journal, "".join(f"{line}\n" for line in lines))
        meta = run.meta()
        del meta["withheld"]
        write_atomic(run.path / "run.json", json.dumps(meta, indent=1, sort_keys=True) + "\n")
    finally:
        lock.release()
    return True


def runs_with_gold_answers(
    runs: Sequence[RunFolder],
    options: DataOptions,
    include_path: Sequence[str] = (),
    *,
    progress: bool = True,
) -> tuple[list[RunFolder], list[str]]:
    """Restore the gold answers of many runs; return those that have them, and a line per other.

    Raises:
        StoreError: the only run has no gold answers.
    """
    kept, problems = [], []
    for run in runs:
        try:
            restore_gold_answers(run, options, include_path, progress=progress)
            kept.append(run)
        except BenchError as error:
            if len(runs) == 1:
                raise
            problems.append(str(error))
    return kept, problems


def _samples(data: RunData, wanted: int, progress: bool) -> dict[int, Sample]:
    samples: dict[int, Sample] = {}
    with progress_bar(wanted, "gold answers", "row", shown=progress) as bar:
        for row, sample in data.samples(wanted):
            samples[row] = replace(sample, images=())
            bar.update()
    return samples


def _restored(
    journal: Path, samples: dict[int, Sample], withheld: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(read_journal(journal), start=1):
        if "left_out" in record:  # it has no part in a blind run
            yield record
            continue
        sample = samples.get(record["row"])
        if sample is None or sample.id != record["id"]:
            raise StoreError(
                f"{journal}:{number}: row {record['row']} is sample {record['id']!r}, and in the "
                f"data {sample.id if sample else 'nothing'!r}; another version of the task mapped "
                "it: use the version that run.json names"
            )
        known = record_of_sample(sample, record["row"])
        fields = {name: known[name] for name in withheld}
        if "question" in fields and not record["images"]:  # a run without its images
            fields["question"] = [part for part in known["question"] if isinstance(part, str)]
        yield record | fields
