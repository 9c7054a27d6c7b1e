"""Custom: rows of your own with the columns problem, answer and images (`--dataset`)."""

from __future__ import annotations

from vsr1_bench.data.problem_rows import IMAGE_COLUMNS, problem_row
from vsr1_bench.task import Row, Task, UserDataset, example_image


def example() -> Row:
    """A generated row in the layout's columns."""
    problem = "<image>How many red dots are there?\nA. 3\nB. 4"
    return {"problem": problem, "answer": "B", "images": (example_image(),)}


TASK = Task(
    name="custom",
    version=2,
    source=UserDataset(images=IMAGE_COLUMNS),
    to_sample=problem_row,
    answer_type=None,
    judge="math",
    license="the data set's own",
    description="your rows: --dataset PATH_OR_HUB_ID [--split NAME]; problem, answer, images",
    example=example,
)
