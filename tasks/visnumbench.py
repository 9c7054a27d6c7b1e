"""VisNumBench: number sense from images (arXiv:2503.14939).

`option` is one string of three to five options, "(a) (40, 50) degrees (b) (80, 90) degrees …". The
gold answer is one of them in full, and the authors compare its letter. `id` repeats between the two
halves.
"""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.errors import TaskError
from vsr1_bench.records import Sample
from vsr1_bench.task import Row, Source, Task, example_image, interleave


def split_options(option: str) -> tuple[str, ...]:
    """Split at the next letter in brackets; other brackets belong to the text."""
    texts, rest = [], option
    for letter in "abcdefghij":
        text, mark, rest = rest.partition(f"({letter})")
        texts.append(text.strip())
        if not mark:
            break
    if texts[0] or len(texts) < 3:
        raise TaskError(f"options not of the form '(a) … (b) …': {option!r}")
    return tuple(texts[1:])


def to_sample(row: Row) -> Sample:
    """Map a row of the hub's columns."""
    choices = split_options(row["option"])
    gold = row["answer"].strip()[1:2].upper()
    if not "A" <= gold < chr(ord("A") + len(choices)):
        raise TaskError(f"answer {row['answer']!r} is none of {len(choices)} options")
    question, images = interleave(row["question"], (row["image"],))
    half = str(row["class"])
    return Sample(
        id=f"{half}-{row['id']}",
        question=question,
        answer=gold,
        answer_type="choice",
        images=images,
        choices=choices,
        groups={
            "half": half,
            "attribute": row["Attributes"],
            "task_class": row["task_class"],
        },
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "class": "synthetic",
        "id": "1_Angle",
        "question": "Which is the angle?",
        "option": "(a) (40, 50) degrees (b) (80, 90) degrees",
        "answer": "(b) (80, 90) degrees",
        "task_class": "range estimation",
        "Attributes": "Angle",
        "image": example_image(),
    }


TASK = Task(
    name="visnumbench",
    title="VisNumBench",
    version="1.1",
    source=Source("GML-FMGroup/VisNumBench", split="train", images=("image",), n=1913),
    to_sample=to_sample,
    answer_type="choice",
    license="MIT",
    description="number sense: angle, length, scale, quantity, depth, area, volume",
    suites=("paper",),
    citation="arXiv:2503.14939",
    example=example,
    copies={"paper": problem_copy("zli12321/visnumbench")},
)
