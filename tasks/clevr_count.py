"""CLEVR-count: how many objects a rendered scene holds (CLEVR, arXiv:1612.06890)."""

from __future__ import annotations

import re

from vsr1_bench.data.problem_rows import IMAGE_COLUMNS, problem_row
from vsr1_bench.errors import TaskError
from vsr1_bench.records import Sample
from vsr1_bench.task import Row, Source, Task, example_image

HUB_ID = "BUAADreamer/clevr_count_70k"


def to_sample(row: Row) -> Sample:
    """Map a row; the gold answer is a number, in `<answer>` tags in some versions of the set."""
    sample = problem_row(dict(row) | {"answer": re.sub(r"</?answer>", "", str(row["answer"]))})
    if sample.answer_type != "number":
        raise TaskError(f"answer {row['answer']!r} is not a number")
    return sample


def example() -> Row:
    """A generated row in the true columns."""
    problem = "<image>How many different items are there in the image?"
    return {"images": (example_image(),), "problem": problem, "answer": "4"}


TASK = Task(
    name="clevr_count",
    title="CLEVR count",
    version="1.1",
    source=Source(HUB_ID, "test", images=IMAGE_COLUMNS, n=200),
    to_sample=to_sample,
    answer_type="number",
    license="CC-BY-4.0",
    description="counting objects in rendered scenes",
    citation="arXiv:1612.06890",
    example=example,
    train=Source(HUB_ID, "train", images=IMAGE_COLUMNS, n=70_000),
)
