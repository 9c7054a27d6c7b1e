"""MMSI-Bench (arXiv:2505.23764): spatial questions over several images.

The images come first; the options are in the question.
"""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.records import LETTERS, Sample
from vsr1_bench.task import Row, Source, Task, example_image, interleave


def to_sample(row: Row) -> Sample:
    """Map a row; if its options are ambiguous, any letter is an answer."""
    from vsr1_bench.answers import read_options

    question, images = interleave(row["question"].strip(), tuple(row["images"]))
    gold = row["answer"].strip()
    choices = read_options(row["question"])
    if choices and gold not in tuple(LETTERS[: len(choices)]):
        choices = None
    return Sample(
        id=str(row["id"]),
        question=question,
        answer=gold,
        answer_type="choice",
        images=images,
        choices=choices,
        choices_in_image=choices is not None,  # they are written in the question already
        groups={name: str(row[name]) for name in ("question_type", "difficulty") if name in row},
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "id": 1,
        "question_type": "Motion (Cam.)",
        "question": "Which way does the camera turn?\nOptions: A: left, B: right, C: up, D: down",
        "images": (example_image(), example_image()),
        "answer": "B",
        "thought": "It turns.",
    }


TASK = Task(
    name="mmsi_bench",
    title="MMSI-Bench",
    version="1.1",
    source=Source("RunsenXu/MMSI-Bench", "test", images=("images",), n=1000),
    to_sample=to_sample,
    answer_type="choice",
    license="CC-BY-NC-4.0",
    description="spatial questions over several images, eleven question types",
    suites=("spatial",),
    citation="arXiv:2505.23764",
    native_prompt=(
        "Answer with the option's letter from the given choices directly. "
        "Enclose the option's letter within ``."
    ),
    example=example,
    copies={"paper": problem_copy("zli12321/MMSI")},
)
