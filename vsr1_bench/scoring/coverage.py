"""How much of a benchmark a run covers, given the row count that its authors state."""

from __future__ import annotations

from vsr1_bench.data.circular import CIRCULAR
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec
from vsr1_bench.task import ExternalTask, Source, Task


def limited(run: RunFolder) -> int | None:
    """The `--limit` that excluded samples; None if nothing was excluded.

    Raises:
        StoreError: run.json cannot be read.
    """
    meta = run.meta()
    limit = meta.get("limit")
    # A limit above the number of rows excludes nothing.
    return int(limit) if limit is not None and int(meta["samples"]) >= int(limit) else None


def selection_note(run: RunFolder) -> str | None:
    """What a run asks other than the first samples, in words; None if it asks those or all.

    Raises:
        StoreError: run.json cannot be read.
    """
    selection = run.spec().selection
    if selection is None:
        return None
    if selection.sample_seed is None:
        return f"{run.wanted():,} samples chosen by their ids"
    strata = run.meta().get("selection", {}).get("stratified_by")
    how = f", stratified by {', '.join(map(str, strata))}" if strata else ""
    return f"{run.wanted():,} samples drawn with seed {selection.sample_seed}{how}"


def slice_note(run: RunFolder, task: Task | None) -> str | None:
    """A note that a run covers only a part of its benchmark's rows; None if it covers all.

    Generated rows are always complete, and for a user's own rows no official count exists.

    Raises:
        StoreError: run.json cannot be read.
    """
    spec = run.spec()
    if task is None or limited(run) is not None or spec.selection is not None:
        return None
    stated, here = _stated(task, spec), run.wanted() // task.per_row
    if stated is None or here >= stated or spec.variant == CIRCULAR:  # it counts orders
        return None
    return f"{here:,} of the {stated:,} rows that its authors state"


def _stated(task: Task, spec: RunSpec) -> int | None:
    """Official row count of the data set that a run used; None if none is stated."""
    sources = (task.source, *(copy.source for copy in task.copies.values()))
    for source in sources:
        if isinstance(source, Source) and source.hub_id == spec.data.id:
            return source.n
        if isinstance(source, ExternalTask) and source is task.source:
            return source.n
    return None
