"""demo: procedural scenes for the embedded model; no data to download, train and test apart."""

from __future__ import annotations

from functools import partial

from vsr1_bench.task import Metric, Procedural, Task
from vsr1_bench.tiny.scenes import FINGERPRINT, make_row, to_sample

TASK = Task(
    name="demo",
    title="Demo",
    version=1,
    source=Procedural(partial(make_row, "test"), 1000, FINGERPRINT, images=("image",)),
    train=Procedural(partial(make_row, "train"), 100_000, FINGERPRINT, images=("image",)),
    to_sample=to_sample,
    answer_type=None,
    license="Apache-2.0",
    description="count, compare, locate, odd one out on generated 4 x 4 grids of coloured dots",
    metrics=(Metric("accuracy"), Metric("mean_by_kind", "mean_by", ("kind",))),
    suites=("demo",),
    example=partial(make_row, "test", 0),
)
