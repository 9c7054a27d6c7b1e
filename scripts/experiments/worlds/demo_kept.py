"""demo_kept: the test scenes of demo_prior; openings reveal the answer as they do in training."""

from __future__ import annotations

from typing import Any

from vsr1_bench.task import Metric, Procedural, Task
from vsr1_bench.tiny.priors import ANSWERS, OPENINGS, suggested
from vsr1_bench.tiny.scenes import make_row, to_sample


def make_kept_row(number: int) -> dict[str, Any]:
    """Make test row `number`: `scenes.make_row`'s, with an opening before the question."""
    row = make_row("test", number)
    hint = suggested("train", number, row["kind"], row["answer"])
    opening = OPENINGS[ANSWERS[row["kind"]].index(hint)]
    return {**row, "question": f"{opening} {row['question']}"}


TASK = Task(
    name="demo_kept",
    title="Demo, prior kept",
    version=1,
    source=Procedural(make_kept_row, 1000, "demo_kept-1", ("image",)),
    to_sample=to_sample,
    answer_type=None,
    license="Apache-2.0",
    description="demo whose wording reveals the answer in the test too",
    metrics=(Metric("accuracy"), Metric("mean_by_kind", "mean_by", ("kind",))),
    example=lambda: make_kept_row(0),
)
