"""demo_prior: the demo questions, with wording that reveals the answer in training only."""

from __future__ import annotations

from functools import partial

from vsr1_bench.task import Metric, Procedural, Task
from vsr1_bench.tiny.priors import PRIOR_FINGERPRINT, make_prior_row
from vsr1_bench.tiny.scenes import to_sample

TASK = Task(
    name="demo_prior",
    title="Demo, prior",
    version=1,
    source=Procedural(partial(make_prior_row, "test"), 1000, PRIOR_FINGERPRINT, images=("image",)),
    train=Procedural(
        partial(make_prior_row, "train"), 100_000, PRIOR_FINGERPRINT, images=("image",)
    ),
    to_sample=to_sample,
    answer_type=None,
    license="Apache-2.0",
    description="demo whose wording reveals the answer in training, but not in test",
    metrics=(Metric("accuracy"), Metric("mean_by_kind", "mean_by", ("kind",))),
    example=partial(make_prior_row, "test", 0),
)
