"""MathVista testmini (arXiv:2310.02255): mathematics in charts, puzzles, papers and figures.

The gold of a choice is the option's text.
"""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.generation.images import example_image
from vsr1_bench.records import LETTERS, AnswerType, EncodedImage, Sample
from vsr1_bench.task import Row, Source, Task, interleave

KINDS: dict[str, AnswerType] = {"integer": "number", "float": "number"}
BY = "question_type answer_type source task category context grade language".split()


def to_sample(row: Row) -> Sample:
    """Map a row; the unit stands behind the question, as in the authors' prompts."""
    choices, gold = tuple(row["choices"] or ()), row["answer"].strip()
    gold = LETTERS[choices.index(gold)] if gold in choices else gold
    unit = f" (Unit: {row['unit']})" if row["unit"] else ""
    image = row.get("decoded_image") or EncodedImage()
    question, images = interleave(row["question"] + unit, (image,))
    rules = {name: row[name] for name in ("answer_type", "precision")}
    groups = {name: {**row, **row["metadata"]}[name] for name in BY}
    groups |= {f"skill: {skill}": "yes" for skill in row["metadata"]["skills"]}
    return Sample(
        id=row["pid"],
        question=question,
        answer=gold,
        answer_type="choice" if choices else KINDS.get(row["answer_type"], "text"),
        images=images,
        choices=choices or None,
        groups=groups,
        extra=rules,
    )


def example() -> Row:
    """A generated row in the true columns."""
    row = {"pid": "1", "question": "What part?", "image": "images/1.jpg", "answer_type": "float"}
    none = {"question_type": "free_form", "precision": 1.0, "choices": None, "unit": None}
    where = dict.fromkeys(BY[2:], "x") | {"skills": ["statistical reasoning"], "split": "testmini"}
    return row | none | {"answer": "0.8", "decoded_image": example_image(), "metadata": where}


TASK = Task(
    name="mathvista",
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
