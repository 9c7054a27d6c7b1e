"""How much of a benchmark a run covers, given the row count that its authors state."""

from __future__ import annotations

from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec
from vsr1_bench.task import ExternalTask, Source, Task


def limited(run: RunFolder) -> int | None:
    """The `--limit` that has left samples out; None if none has.

    Raises:
        StoreError: run.json cannot be read.
    """
    meta = run.meta()
    limit = meta.get("limit")
    # A limit above the number of rows has left none out.
    return int(limit) if limit is not None and int(meta["samples"]) >= int(limit) else None


def slice_note(run: RunFolder, task: Task | None) -> str | None:
    """Say that a run was made on a part of its benchmark's rows; None if it was not.

    Rows that are made have all that there are; what a user brings has no authors to ask.

    Raises:
        StoreError: run.json cannot be read.
    """
    if task is None or limited(run) is not None:
        return None
    stated, here = _stated(task, run.spec()), run.wanted() // task.per_row
    if stated is None or here >= stated:
        return None
    return f"{here:,} of the {stated:,} rows that its authors state"


def _stated(task: Task, spec: RunSpec) -> int | None:
    """Rows of the very publication that a run was made on; None if nobody states them."""
    sources = (task.source, *(copy.source for copy in task.copies.values()))
    for source in sources:
        if isinstance(source, Source) and source.hub_id == spec.data.id:
            return source.n
        if isinstance(source, ExternalTask) and source is task.source:
            return source.n
    return None
