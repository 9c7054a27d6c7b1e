"""OmniSpatial (arXiv:2506.03135), test: dynamics, logic, interaction and perspective in one image.

The authors publish a zip, which does not load as rows; two copies of it do. The default contains
the images, and its gold answer is a number. Copy `paths` names image files (of a local mirror), and
its gold answer is a letter. `id` repeats between sub-tasks.
"""

from __future__ import annotations

from vsr1_bench.errors import TaskError
from vsr1_bench.records import LETTERS, EncodedImage, Sample
from vsr1_bench.task import ROW_NUMBER, Copy, Row, Source, Task, example_image, interleave


def to_sample(row: Row) -> Sample:
    """Map a row of either layout; a row without id is identified by its number."""
    choices = tuple(str(option) for option in row["options"])
    gold = row["gt"].strip() if "gt" in row else LETTERS[int(row["answer"])]
    if gold not in tuple(LETTERS[: len(choices)]):
        raise TaskError(f"gold answer {gold!r} is none of {len(choices)} options")
    image = row.get("image") or row.get("image_path") or EncodedImage()
    question, images = interleave(row["question"], (image,))
    key = row.get("id") or f"{row.get(ROW_NUMBER, 0):05d}"
    return Sample(
        id=f"{row['task_type']}/{row['sub_task_type']}/{key}",
        question=question,
        answer=gold,
        answer_type="choice",
        images=images,
        choices=choices,
        groups={"task_type": row["task_type"], "sub_task_type": row["sub_task_type"]},
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "task_type": "Dynamic_Reasoning",
        "sub_task_type": "Motion_Analysis",
        "question": "Which?",
        "options": ["left", "right"],
        "answer": 1,
        "image": example_image(),
    }


PATHS = Source("pangyyyyy/OmniSpatial", "test", images=("image_path",))
TASK = Task(
    name="omnispatial",
    title="OmniSpatial",
    version="1.1",
    source=Source("nv-njb/OmniSpatial-Test", "test", images=("image",), n=1533),
    to_sample=to_sample,
    answer_type="choice",
    license="CC-BY-NC-4.0",
    description="spatial reasoning, four task types and ten sub-types",
    suites=("spatial",),
    citation="arXiv:2506.03135",
    native_prompt=(
        "Note: You only need to respond with A, B, C, or D without providing any additional "
        "information."
    ),
    example=example,
    copies={"paths": Copy(PATHS, to_sample)},
)
