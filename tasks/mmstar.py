"""MMStar (arXiv:2403.20330): multiple-choice questions that cannot be answered without the image.

The options are in the question, "Options: A: …, B: …" or a separate list.
"""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.records import Sample
from vsr1_bench.task import Row, Source, Task, example_image, interleave


def to_sample(row: Row) -> Sample:
    """Map a row; if its options are ambiguous, any letter is an answer."""
    from vsr1_bench.answers import read_options

    question, images = interleave(row["question"], (row["image"],))
    choices = read_options(row["question"])
    if choices and not "A" <= row["answer"] < chr(ord("A") + len(choices)):
        choices = None
    return Sample(
        id=str(row["index"]),
        question=question,
        answer=row["answer"],
        answer_type="choice",
        images=images,
        choices=choices,
        choices_in_image=choices is not None,  # they are written in the question already
        groups={"category": row["category"], "l2_category": row["l2_category"]},
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "index": 0,
        "question": "How many red dots are there?\nOptions: A: 3, B: 4, C: 5, D: 6",
        "image": example_image(),
        "answer": "B",
        "category": "math",
        "l2_category": "numeric commonsense and calculation",
        "meta_info": {"source": "generated", "split": "val", "image_path": "images/0.jpg"},
    }


TASK = Task(
    name="mmstar",
    title="MMStar",
    version="1.1",
    source=Source("Lin-Chen/MMStar", "val", images=("image",), n=1500),
    to_sample=to_sample,
    answer_type="choice",
    license="not stated",
    description="vision-indispensable multiple-choice questions of six abilities",
    citation="arXiv:2403.20330",
    example=example,
    copies={"paper": problem_copy("zli12321/mmstar")},
)
