"""The part of a score about visual dependence: a mean in nats, not a share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from vsr1_bench.scoring.metrics import Value
from vsr1_bench.scoring.statistics import mean_interval
from vsr1_bench.store.dependences import read_dependences
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Task

METRIC = "visual_dependence"
UNIT = (
    f"{METRIC} is in nats per token: how much the model's own responses depend on the image. "
    "Neither more nor less is better, so it is not ranked."
)
"""The remark of tables."""


def add_dependence(document: dict[str, Any], run: RunFolder, task: Task) -> str | None:
    """Add the mean visual dependence of the responses that have one, if any has.

    Responses to prompts without images have none. Neither have failed and empty ones.

    Returns:
        A note on responses that no attempt can score; None if there are none.
    """
    tried = [one for one in read_dependences(run).values() if one.error is None]
    measured = [one for one in tried if one.value is not None]
    note = None
    if left := [one for one in tried if one.value is None]:
        why = left[0].unscorable or "the text holds an image token"  # lines of old have no reason
        note = f"{METRIC} without {len(left)} of {len(tried)} responses, not scorable: {why}"
    if not measured:
        return note
    samples = run.samples()
    sums: dict[str, list[float]] = defaultdict(list)
    for one in measured:
        groups = samples[one.sample_id].groups
        home = groups.get(task.cluster, one.sample_id) if task.cluster else one.sample_id
        sums[home].append(one.value or 0.0)
    totals = np.array([sum(values) for values in sums.values()])  # (C,)
    sizes = np.array([len(values) for values in sums.values()], dtype=np.float64)  # (C,)
    low, high = mean_interval(totals, sizes) or (None, None)
    value = Value(float(totals.sum() / sizes.sum()), low, high, len(measured))
    document["metrics"][METRIC] = {**asdict(value), "unit": "own"}
    return note


def dependence_remarks(documents: Sequence[dict[str, Any]]) -> list[str]:
    """What tables say of visual dependence, if a score has it."""
    notes = {
        f"{document['model']}, {document['task']}: {note}."
        for document in documents
        for note in document.get("notes", ())
        if note.startswith(METRIC)
    }
    unit = [UNIT] if any(METRIC in document["metrics"] for document in documents) else []
    return unit + sorted(notes)
