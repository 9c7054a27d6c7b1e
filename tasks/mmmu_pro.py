"""MMMU-Pro (arXiv:2409.02813): standard with 4 and with 10 options, and vision (question in image).

`options` is a Python list written as a string, and options can contain images. The official overall
number is the mean of standard (10 options) and vision; the Vision-SR1 paper pools all three.
"""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy, read_list
from vsr1_bench.records import Sample
from vsr1_bench.task import (
    Copy,
    Group,
    GroupMean,
    Row,
    Source,
    Task,
    example_image,
    interleave_all,
    numbered_images,
)

COLUMNS = tuple(f"image_{n}" for n in range(1, 8))
VISION_QUESTION = "Answer the following multiple-choice question in the image."


def to_sample(row: Row) -> Sample:
    """Map a row; the vision set has one image and no question."""
    options = read_list(row["options"])
    vision = "image" in row
    images = (row["image"],) if vision else numbered_images(row, COLUMNS)
    marked = (row.get("question", VISION_QUESTION), *options)
    (question, *choice_parts), shown = interleave_all(marked, images)
    return Sample(
        id=row["id"],
        question=question,
        answer=row["answer"],
        answer_type="choice",
        images=shown,
        choices=options,
        choice_parts=tuple(choice_parts),
        choices_in_image=vision,
        groups={
            "subject": row["subject"],
            "difficulty": row.get("topic_difficulty") or "unknown",
        },
    )


def example() -> Row:
    """A generated row in the true columns of the standard sets."""
    row = dict.fromkeys(COLUMNS) | {name: example_image() for name in COLUMNS[:2]}
    return row | {
        "id": "test_Art_1",
        "question": "Which is like <image 1>?",
        "options": "['<image 2>', 'None, or both']",
        "answer": "B",
        "subject": "Art",
        "img_type": "['Plots']",
    }


def _task(name: str, config: str, what: str, **copies: Copy) -> Task:
    return Task(
        name=name,
        title=f"MMMU-Pro ({what})",
        version=2,
        source=Source("MMMU/MMMU_Pro", "test", config, images=("image", *COLUMNS), n=1730),
        to_sample=to_sample,
        answer_type="choice",
        license="Apache-2.0",
        description=f"college-level questions over many subjects, {what}",
        suites=("paper",),
        citation="arXiv:2409.02813",
        example=example,
        copies=copies,
    )


FOUR = _task("mmmu_pro_4", "standard (4 options)", "4 options")
TEN = _task(
    "mmmu_pro_10",
    "standard (10 options)",
    "10 options",
    paper=problem_copy("zli12321/mmmu_pro_10options"),
)
VISION = _task(
    "mmmu_pro_vision",
    "vision",
    "question inside the image",
    paper=problem_copy("zli12321/mmmu-pro-vision"),
)
ALL = (FOUR.name, TEN.name, VISION.name)
OFFICIAL = GroupMean("official_overall", ALL[1:], False, "mean of 10 options and vision")
PAPER = GroupMean("paper_weighted", ALL, True, "all three, pooled (Vision-SR1 paper)")
GROUP = Group("mmmu_pro", ALL, means=(OFFICIAL, PAPER), title="MMMU-Pro")
