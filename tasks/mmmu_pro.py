"""MMMU-Pro (arXiv:2409.02813): standard with 4 and with 10 options, and vision (question in image).

`options` is a Python list written as a string; options hold images too. The official overall number
is the mean of standard (10 options) and vision; the Vision-SR1 paper's pools all three.
"""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy, read_list
from vsr1_bench.records import Sample
from vsr1_bench.task import Copy, Group, GroupMean, Row, Source, Task, example_image, interleave_all
from vsr1_bench.task import numbered_images as numbered

COLUMNS = tuple(f"image_{n}" for n in range(1, 8))
VISION_QUESTION = "Answer the following multiple-choice question in the image."


def to_sample(row: Row) -> Sample:
    """Map a row; the vision set has one image and no question."""
    options = read_list(row["options"])
    images = (row["image"],) if "image" in row else numbered(row, COLUMNS)
    marked = (row.get("question", VISION_QUESTION), *options)
    (question, *choice_parts), shown = interleave_all(marked, images)
    groups = {"subject": row["subject"], "difficulty": row.get("topic_difficulty") or "unknown"}
    choices = options, tuple(choice_parts), "image" in row
    return Sample(row["id"], question, row["answer"], "choice", shown, *choices, groups)


def example() -> Row:
    """A generated row in the true columns of the standard sets."""
    row = {"id": "test_Art_1", "question": "Which is like <image 1>?", "subject": "Art"}
    options = {"options": "['<image 2>', 'None, or both']", "answer": "B", "img_type": "['Plots']"}
    return row | options | dict.fromkeys(COLUMNS) | {c: example_image() for c in COLUMNS[:2]}


def _task(name: str, config: str, what: str, **copies: Copy) -> Task:
    return Task(
        name=name,
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
P10, PV = problem_copy("zli12321/mmmu_pro_10options"), problem_copy("zli12321/mmmu-pro-vision")
TEN = _task("mmmu_pro_10", "standard (10 options)", "10 options", paper=P10)
VISION = _task("mmmu_pro_vision", "vision", "question inside the image", paper=PV)
ALL = (FOUR.name, TEN.name, VISION.name)
OFFICIAL = GroupMean("official_overall", ALL[1:], False, "mean of 10 options and vision")
PAPER = GroupMean("paper_weighted", ALL, True, "all three, pooled (Vision-SR1 paper)")
GROUP = Group("mmmu_pro", ALL, (OFFICIAL, PAPER))
