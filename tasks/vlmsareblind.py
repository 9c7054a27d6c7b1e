"""VLMs are Blind, or BlindTest (arXiv:2407.06581): generated images that are easy for people.

Intersections of lines, touching circles, circled letters, rings, nested squares, grids, paths. A
prompt ends with its own instruction, and the set has no ids. Each image has two prompts.
"""

from __future__ import annotations

import hashlib
import re

from vsr1_bench.errors import RowError
from vsr1_bench.records import AnswerType, EncodedImage, Sample
from vsr1_bench.task import ROW_NUMBER, Metric, Row, Source, Task, example_image, interleave

TOUCHING = "touching circles"
GRIDS = "Counting Grid"
"""The authors' two sorts of grids, blank and with words, are one task of their table."""


def to_sample(row: Row) -> Sample:
    """Map a row; the gold answer is yes or no, a number, a pair `rows,columns`, or a letter."""
    name, gold = row["task"].strip(), str(row["groundtruth"]).strip()
    kind: AnswerType = "number" if re.fullmatch(r"\d+", gold) else "text"
    if name.lower() == TOUCHING:
        kind, gold = "yes_no", gold.lower()
        if gold not in ("yes", "no"):
            raise RowError(f"groundtruth {row['groundtruth']!r} of {name} is neither yes nor no")
    if not gold:
        raise RowError("groundtruth is empty")
    image = row.get("image") or EncodedImage()
    question, images = interleave(row["prompt"].strip(), (image,))
    digest = hashlib.sha256(row["prompt"].encode()).hexdigest()[:8]
    return Sample(
        id=f"{row.get(ROW_NUMBER, 0):05d}-{digest}",
        question=question,
        answer=gold,
        answer_type=kind,
        images=images,
        groups={
            "task": GRIDS if name.startswith(GRIDS) else name,
            "kind": name,
            "image": image.sha256()[:16],
        },
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "task": "Counting Grid - Blank Grids",
        "image": example_image(),
        "prompt": (
            "Count the number of rows and columns and answer with numbers in curly brackets. "
            "For example, rows={5} columns={6}"
        ),
        "groundtruth": "3,4",
        "metadata": "{}",
    }


TASK = Task(
    name="vlmsareblind",
    title="VLMs are Blind",
    version=1,
    source=Source("XAI/vlmsareblind", "valid", images=("image",), n=8016),
    to_sample=to_sample,
    answer_type=None,
    judge="vlmsareblind",
    license="MIT",
    description="lines, circles, letters, squares, grids and paths that are easy for people",
    metrics=(Metric("task_mean", "mean_by", ("task",)), Metric("accuracy")),
    suites=("perception",),
    cluster="image",
    citation="arXiv:2407.06581",
    native_prompt="",
    example=example,
)
