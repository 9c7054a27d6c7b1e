"""GSM8K: grade-school word problems (arXiv:2110.14168); the gold answer follows `####`."""

from __future__ import annotations

import hashlib

from vsr1_bench.errors import TaskError
from vsr1_bench.records import Sample
from vsr1_bench.task import Row, Source, Task


def to_sample(row: Row) -> Sample:
    """Map a row; the data set has no ids, so the hash of the question is used."""
    _, marks, gold = row["answer"].rpartition("####")
    if not marks:
        raise TaskError("no #### before the answer")
    return Sample(
        id=hashlib.sha256(row["question"].encode()).hexdigest()[:12],
        question=(row["question"],),
        answer=gold.strip().replace(",", "").replace("$", ""),
        answer_type="number",
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {"question": "2 crates of 600 nails: how many?", "answer": "600*2=1200\n#### 1,200"}


TASK = Task(
    name="gsm8k",
    title="GSM8K",
    version="1.1",
    source=Source("openai/gsm8k", config="main", split="test", n=1319),
    to_sample=to_sample,
    answer_type="number",
    license="MIT",
    description="grade-school math word problems, text only",
    suites=("text",),
    citation="arXiv:2110.14168",
    example=example,
    train=Source("openai/gsm8k", config="main", split="train", n=7473),
)
