"""The section of an audit about items that are in training data, and scores without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vsr1_bench.audit.blind import judge_of
from vsr1_bench.audit.items import Item
from vsr1_bench.audit.overlap import BOTH, IMAGE, KEPT, KINDS, QUESTION, Overlap
from vsr1_bench.audit.page import Section, Table, examples, percent
from vsr1_bench.audit.sections import Part, shortened
from vsr1_bench.data.blind import NONE
from vsr1_bench.leaderboard.settings import setting_labels
from vsr1_bench.scoring.pairs import outcomes
from vsr1_bench.scoring.statistics import wilson
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Task

MEANINGS = {
    BOTH: "a training row asks the same question of the same picture",
    IMAGE: "a training row shows the same picture, with another question",
    QUESTION: "a training row asks the same question, without the picture",
}


@dataclass(frozen=True, slots=True)
class Split:
    """Scores of a run with and without the items that overlap."""

    model: str
    setting: str
    judge: str
    n: int
    accuracy: float
    without_n: int
    without: float | None
    """None if no item is left."""
    overlap_n: int
    overlap: float | None


def overlap_part(
    task: Task, items: Sequence[Item], overlap: Overlap, runs: Sequence[RunFolder]
) -> Part:
    """Counts, pairs and, with stored runs, scores with and without the overlap."""
    n, any_kind = len(items), overlap.items()
    findings = []
    if any_kind:
        kinds = ", ".join(
            f"{len(found):,} by {kind}" for kind in KINDS if (found := overlap.items(kind))
        )
        findings.append(
            f"{len(any_kind):,} of {n:,} items ({percent(len(any_kind) / max(1, n))}) are in "
            f"{overlap.name}: {kinds}"
        )
    splits = _splits(task, items, overlap, runs) if any_kind else []
    tables = [*([_counts(overlap, n), _pairs(items, overlap)] if any_kind else [])]
    tables += [_scores(splits)] if splits else []
    section = Section(f"Overlap with {overlap.name}", tuple(_texts(overlap)), tuple(tables))
    return Part(tuple(findings), (section,), {"overlap": [_document(items, overlap, splits)]})


def _texts(overlap: Overlap) -> list[str]:
    part = "" if overlap.compared == overlap.rows else f" of {overlap.rows:,}"
    texts = [
        f"Compared with {overlap.compared:,}{part} training rows and their {overlap.images:,} "
        "images: pictures that were encoded again, resized or cropped by up to 5 % a side, and "
        "questions of nearly the same wording."
    ]
    if not overlap.images:
        texts.append(
            "No training row has an image in a column `images` or `image`: only the questions were "
            "compared."
        )
    if overlap.unusable:
        reason, times = overlap.unusable.most_common(1)[0]
        texts.append(
            f"Rows that cannot be used: {overlap.unusable.total():,}; the most frequent reason "
            f"({times:,}): {reason}."
        )
    if overlap.unreadable:
        texts.append(f"Images that cannot be decoded: {overlap.unreadable:,}.")
    if overlap.flat:
        texts.append(f"Not looked for, because they show nothing: {overlap.flat:,} test images.")
    if not overlap.matches:
        texts.append("No item was found.")
    return texts


def _counts(overlap: Overlap, n: int) -> Table:
    rows = [
        (
            f"{kind}: {MEANINGS[kind]}",
            f"{len(overlap.items(kind)):,}",
            percent(len(overlap.items(kind)) / n),
            f"{overlap.pairs[kind]:,}",
        )
        for kind in KINDS
    ]
    found = len(overlap.items())
    rows.append(("any", f"{found:,}", percent(found / n), f"{overlap.pairs.total():,}"))
    return Table(("overlap by", "items", "share", "pairs with training rows"), tuple(rows))


def _pairs(items: Sequence[Item], overlap: Overlap) -> Table:
    """One row per item: its nearest training row of the most serious kind."""
    shown: set[int] = set()
    order = sorted(overlap.matches, key=lambda m: (KINDS.index(m.kind), m.distance, m.item))
    rows = []
    for match in order:
        if match.item in shown:
            continue
        shown.add(match.item)
        where = f"{match.row:,}" + (f" ({match.place})" if match.place else "")
        question = shortened(items[match.item].question)
        distance = f"{match.distance:.3f}"
        rows.append((items[match.item].id, where, match.kind, distance, question))
    return examples(("item", "training row", "same", "distance", "question"), rows)


def _splits(
    task: Task, items: Sequence[Item], overlap: Overlap, runs: Sequence[RunFolder]
) -> list[Split]:
    judged = [
        (run, judge)
        for run in runs
        if run.spec().task.name == task.name
        and run.spec().variant == NONE
        and (judge := judge_of(run, task, None)) is not None
    ]
    labels = setting_labels([run.spec() for run, _ in judged])
    known = {items[number].id for number in overlap.items()}
    audited = {item.id for item in items}
    splits = []
    for (run, judge), label in zip(judged, labels, strict=True):
        verdicts = outcomes(run, judge, None)
        scored = {
            name: float(verdicts.values[at])
            for name, at in verdicts.positions.items()
            if name in audited and not np.isnan(verdicts.values[at])
        }
        inside = [value for name, value in scored.items() if name in known]
        outside = [value for name, value in scored.items() if name not in known]
        if scored:
            everything = _mean([*inside, *outside]) or 0.0
            without, both = _mean(outside), _mean(inside)
            counts = (len(outside), without, len(inside), both)
            model = run.spec().model.id
            splits.append(Split(model, label, judge, len(scored), everything, *counts))
    return sorted(splits, key=lambda split: -split.accuracy)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _scores(splits: Sequence[Split]) -> Table:
    rows = tuple(
        (
            split.model,
            split.setting,
            f"{split.n:,}",
            percent(split.accuracy),
            _with_interval(split.without, split.without_n),
            _with_interval(split.overlap, split.overlap_n),
        )
        for split in splits
    )
    headings = ("accuracy of", "setting", "items", "all", "without the overlap", "on the overlap")
    return Table(headings, rows)


def _with_interval(share: float | None, n: int) -> str:
    interval = wilson(round((share or 0) * n), n)
    if share is None or interval is None:
        return "–"
    low, high = interval
    return f"{percent(share)} ({100 * low:.1f} to {100 * high:.1f}, n = {n:,})"


def _document(items: Sequence[Item], overlap: Overlap, splits: Sequence[Split]) -> dict[str, Any]:
    kept = {
        name: getattr(overlap, name)
        for name in ("name", "rows", "compared", "images", "unreadable", "flat")
    }
    return {
        **kept,
        "unusable": dict(overlap.unusable),
        "items": {
            **{kind: len(overlap.items(kind)) for kind in KINDS},
            "any": len(overlap.items()),
        },
        "pairs": {kind: overlap.pairs[kind] for kind in KINDS},
        "kept_per_item_and_kind": KEPT,
        "matches": [
            {**asdict(match), "item": items[match.item].id, "distance": round(match.distance, 4)}
            for match in overlap.matches
        ],
        "scores": [asdict(split) for split in splits],
    }
