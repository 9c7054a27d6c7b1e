"""Calibrate: stored runs and a filled-in sheet in, corrected numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vsr1_bench.calibration.estimate import (
    Units,
    judge_errors,
    naive,
    pooled,
    prediction_powered,
    rogan_gladen,
)
from vsr1_bench.calibration.sheet import Label
from vsr1_bench.calibration.units import UNDESCRIBED, Judged, Place, judged, short_name
from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.scoring.metrics import Value
from vsr1_bench.scoring.shortcuts import Seen
from vsr1_bench.store.run_folder import RunFolder

METRICS = ("accuracy", "lsr", "self_contained")
Labels = Mapping[Place, Label]
NOTHING = asdict(Value(None))


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """A run with its labels, and the strata that they were drawn from."""

    seen: Judged
    """As the judge sees it who is calibrated."""
    drawing: Judged
    """As the judge saw it whose verdicts were the strata."""
    labels: Labels


def calibrate(
    runs: Sequence[RunFolder], judge: str, labels: Sequence[Label], include_path: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Correct the numbers of runs by labels.

    Args:
        runs: Stored runs.
        judge: The judge to calibrate; the sheet may have been drawn by another one's verdicts.
        labels: Rows of the sheet.
        include_path: Folders of plug-ins, needed for your own tasks.

    Returns:
        A document per run: for each metric the judge's own value (`judge`), `ppi`, `rogan_gladen`,
        `rogan_gladen_pooled` (errors from all runs of the task together), and the judge's
        `sensitivity` and `specificity`.

    Raises:
        StoreError: a run was not judged by the judge, or its verdicts have changed since the draw.
        UsageError: no label belongs to these runs.
    """
    found = [labelled_run(run, judge, labels, include_path) for run in runs]
    if not any(one.labels for one in found):
        raise UsageError(
            "no row of the sheet belongs to these runs; name the runs it was drawn from"
        )
    documents = []
    for task in dict.fromkeys(one.seen.task for one in found):
        members = [one for one in found if one.seen.task == task]
        documents += _documents(members)
    return documents


def labelled_run(
    run: RunFolder, judge: str, rows: Sequence[Label], include_path: Sequence[str] = ()
) -> LabelledRun:
    """A run as a judge sees it, with those rows of sheets that belong to it.

    Raises:
        StoreError: the run was not judged by the judge, or its verdicts have changed since the
            draw.
        UsageError: its rows are of two draws.
    """
    name = short_name(run)
    labels = {label.place: label for label in rows if label.run == name}
    ways = {(label.drawn_by, label.reader) for label in labels.values()}
    if len(ways) > 1:
        raise UsageError(f"{run.path}: the sheet has rows of two draws; use a sheet for each")
    drawn_by, reader = next(iter(ways), (judge, None))
    seen = judged(run, judge, include_path, reader)
    same = drawn_by == seen.judge
    drawing = seen if same else judged(run, drawn_by, include_path, reader)
    cells = {place: drawing.cell(place) for place in drawing.responses}
    sizes = Counter(cells.values())
    for place, label in labels.items():
        if sizes[cells.get(place)] != label.population or cells.get(place) is None:
            raise StoreError(
                f"{run.path}: the verdicts of {drawn_by} have changed since the sheet was drawn "
                f"(sample {place[0]!r}); draw a new sheet: --labels with another file name"
            )
    return LabelledRun(seen, drawing, labels)


def _documents(members: Sequence[LabelledRun]) -> list[dict[str, Any]]:
    """The documents of one task's runs."""
    homes: dict[str, int] = {}  # the same question is one cluster in all runs
    parts = {name: [units_of(one, name, homes) for one in members] for name in METRICS}
    documents = []
    for at, one in enumerate(members):
        metrics = {}
        for name in METRICS:
            own = parts[name][at]
            if not len(own.values):
                continue
            metrics[name] = _metric(own, pooled(parts[name]) if len(members) > 1 else None)
        seen = one.seen
        documents.append(
            {
                "schema": 1,
                "run": str(seen.run.path),
                "model": seen.model,
                "task": seen.task,
                "judge": seen.judge,
                "drawn_by": one.drawing.judge,
                "reader": seen.reader.label if seen.reader else None,
                "reader_digest": seen.reader.digest() if seen.reader else None,
                "rows": len(one.labels),
                "unclear": sum(label.unsure for label in one.labels.values()),
                "metrics": metrics,
            }
        )
    return documents


def _metric(units: Units, pool: Units | None) -> dict[str, Any]:
    binary = bool(np.isin(units.values, (0, 1)).all())
    errors = judge_errors(units) if binary else None
    shared = rogan_gladen(units, pool) if binary and pool is not None else Value(None)
    return {
        "n": len(units.values),
        "labels": int(units.labelled.sum()),
        "judge": asdict(naive(units)),
        "ppi": asdict(prediction_powered(units)),
        "rogan_gladen": asdict(rogan_gladen(units)) if binary else NOTHING,
        "rogan_gladen_pooled": asdict(shared),
        "sensitivity": asdict(errors.sensitivity) if errors else NOTHING,
        "specificity": asdict(errors.specificity) if errors else NOTHING,
    }


def units_of(
    one: LabelledRun, metric: str, homes: dict[str, int], only: Collection[str] | None = None
) -> Units:
    """The responses that a metric is over, among those that could be drawn.

    Args:
        one: A run with labels.
        metric: One of `METRICS`.
        homes: Name of a cluster -> its number; grows by those of this run.
        only: Ids of the samples that count; None = all.
    """
    value, label = _MEANS[metric]
    values, said, strata, clusters = [], [], [], []
    cells: dict[str, int] = {}
    for place, response in one.seen.responses.items():
        cell, seen = one.drawing.cell(place), one.seen.readings.get(place)
        if cell is None or response.correct is None:
            continue
        if only is not None and place[0] not in only:
            continue
        known = response.correct if metric == "accuracy" else value(seen)
        if known is None:
            continue
        undescribed = metric == "lsr" and seen is not None and not seen.described
        # Without a description there is no shortcut, whatever people say of the answer.
        given = 0.0 if undescribed else label(one.labels.get(place))
        cell = UNDESCRIBED if undescribed else cell
        values.append(float(known))
        said.append(np.nan if given is None else given)
        strata.append(cells.setdefault(cell, len(cells)))
        clusters.append(homes.setdefault(one.seen.home(place), len(homes)))
    return Units(_floats(values), _floats(said), _places(strata), _places(clusters))


def _floats(values: Iterable[float]) -> Any:
    return np.array(list(values), dtype=np.float64)


def _places(values: Iterable[int]) -> Any:
    return np.array(list(values), dtype=np.intp)


def _shortcut(seen: Seen | None) -> bool | None:
    return seen.shortcut if seen is not None and seen.counted else None


def _sufficient(seen: Seen | None) -> bool | None:
    return seen.sufficient if seen is not None and seen.counted and seen.described else None


def _answer_label(label: Label | None) -> float | None:
    return None if label is None else label.answer


def _reading_label(label: Label | None) -> float | None:
    return None if label is None else label.reading


def _shortcut_label(label: Label | None) -> float | None:
    if label is None or label.answer is None or label.reading is None:
        return None
    return float(label.answer == 1 and label.reading == 0)


_MEANS: dict[
    str,
    tuple[Callable[[Seen | None], bool | None], Callable[[Label | None], float | None]],
] = {
    "accuracy": (_sufficient, _answer_label),
    "lsr": (_shortcut, _shortcut_label),
    "self_contained": (_sufficient, _reading_label),
}
"""Metric -> its value for the judge (accuracy: the verdict itself), and for people."""
