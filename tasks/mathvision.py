"""MATH-Vision: competition problems with figures (arXiv:2402.14804).

The gold answer is the letter of an option or a value; the other form is accepted, too. Some rows
have several `<imageN>` marks and one image.
"""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.records import LETTERS, Sample
from vsr1_bench.task import Copy, Row, Source, Task, example_image, interleave


def to_sample(row: Row) -> Sample:
    """Map a row of the hub's columns."""
    question, images = interleave(row["question"], (row["decoded_image"],))
    choices = tuple(row["options"]) or None
    return Sample(
        id=str(row["id"]),
        question=question,
        images=images,
        answer=row["answer"],
        answer_type="choice" if choices and len(choices) <= len(LETTERS) else "math",
        choices=choices,
        groups={"subject": row["subject"], "level": str(row["level"])},
        extra={"rounded": True},
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "id": "1",
        "question": "How many?\n<image1>",
        "options": [],
        "answer": "3.5",
        "image": "images/1.jpg",
        "decoded_image": example_image(),
        "solution": None,
        "level": 1,
        "subject": "counting",
    }


def _task(name: str, split: str, n: int, suites: tuple[str, ...], **copies: Copy) -> Task:
    return Task(
        name=name,
        title="MATH-Vision" if split == "test" else f"MATH-Vision ({split})",
        version="1.1",
        source=Source("MathLLMs/MathVision", split=split, images=("decoded_image",), n=n),
        to_sample=to_sample,
        answer_type=None,
        judge="math",
        license="MIT",
        description=f"competition mathematics with figures, {split}",
        suites=suites,
        citation="arXiv:2402.14804",
        example=example,
        copies=copies,
    )


PAPER = problem_copy("zli12321/mathvision", extra={"rounded": True})
TEST = _task("mathvision", "test", 3040, ("paper", "multimodal_math"), paper=PAPER)
TESTMINI = _task("mathvision_testmini", "testmini", 304, ())
