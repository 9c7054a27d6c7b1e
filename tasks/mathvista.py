"""MathVista testmini (arXiv:2310.02255): mathematics in charts, puzzles, papers and figures.

The gold answer of a choice is the text of the option.
"""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.records import LETTERS, AnswerType, EncodedImage, Sample
from vsr1_bench.task import Row, Source, Task, example_image, interleave

KINDS: dict[str, AnswerType] = {"integer": "number", "float": "number"}
METADATA = ("source", "task", "category", "context", "grade", "language")
BREAKDOWNS = ("question_type", "answer_type", *METADATA)


def to_sample(row: Row) -> Sample:
    """Map a row; the unit follows the question, as in the authors' prompts."""
    choices = tuple(row["choices"] or ())
    gold = row["answer"].strip()
    if gold in choices:
        gold = LETTERS[choices.index(gold)]
    unit = f" (Unit: {row['unit']})" if row["unit"] else ""
    image = row.get("decoded_image") or EncodedImage()
    question, images = interleave(row["question"] + unit, (image,))
    cells = {**row, **row["metadata"]}
    groups = {name: cells[name] for name in BREAKDOWNS}
    groups |= {f"skill: {skill}": "yes" for skill in cells["skills"]}
    return Sample(
        id=row["pid"],
        question=question,
        answer=gold,
        answer_type="choice" if choices else KINDS.get(row["answer_type"], "text"),
        images=images,
        choices=choices or None,
        groups=groups,
        extra={"answer_type": row["answer_type"], "precision": row["precision"]},
    )


def example() -> Row:
    """A generated row in the true columns."""
    metadata = dict.fromkeys(METADATA, "x")
    return {
        "pid": "1",
        "question": "What part?",
        "image": "images/1.jpg",
        "decoded_image": example_image(),
        "question_type": "free_form",
        "answer_type": "float",
        "precision": 1.0,
        "choices": None,
        "unit": None,
        "answer": "0.8",
        "metadata": {**metadata, "skills": ["statistical reasoning"], "split": "testmini"},
    }


TASK = Task(
    name="mathvista",
    title="MathVista",
    version="1.1",
    source=Source("AI4Math/MathVista", "testmini", images=("decoded_image",), n=1000),
    to_sample=to_sample,
    answer_type=None,
    judge="mathvista",
    license="CC-BY-SA-4.0",
    description="mathematics in charts, puzzles, papers and figures, testmini",
    suites=("multimodal_math",),
    citation="arXiv:2310.02255",
    example=example,
    copies={"paper": problem_copy("zli12321/mathvista")},
)
