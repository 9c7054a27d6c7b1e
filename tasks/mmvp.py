"""MMVP (arXiv:2401.06209): pairs of images that CLIP takes for one, and a question that tells them.

The authors' repository (MMVP/MMVP) has images and a file `Questions.csv`, which do not load as
rows. lmms-eval's copy does. Its card says that the gold answers of indices 99, 100, 279 and 280,
which the authors have swapped, are right in it: the authors' own numbers use the swapped ones.
"""

from __future__ import annotations

import re

from vsr1_bench.errors import RowError
from vsr1_bench.records import LETTERS, EncodedImage, Sample
from vsr1_bench.task import Metric, Row, Source, Task, example_image, interleave

OPTIONS = re.compile(r"\s*\(a\)(?P<A>.+?)\(b\)(?P<B>.+)", re.IGNORECASE | re.DOTALL)
"""`(a) Long (b) Short`; other brackets belong to the text."""


def to_sample(row: Row) -> Sample:
    """Map a row. `Index` counts from 1, and two rows in succession are a pair."""
    number = int(row["Index"])
    if number < 1:
        raise RowError(f"Index {number}: pairs need an index that counts from 1")
    options = OPTIONS.fullmatch(row["Options"])
    if options is None:
        raise RowError(f"options not of the form '(a) … (b) …': {row['Options']!r}")
    choices = (options["A"].strip(), options["B"].strip())
    gold = str(row["Correct Answer"]).strip().strip("()").upper()
    if gold not in tuple(LETTERS[:2]):
        raise RowError(f"gold answer {row['Correct Answer']!r} is neither (a) nor (b)")
    question, images = interleave(row["Question"].strip(), (row.get("image") or EncodedImage(),))
    return Sample(
        id=str(number),
        question=question,
        answer=gold,
        answer_type="choice",
        images=images,
        choices=choices,
        groups={"pair": str((number + 1) // 2)},
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "Index": 1,
        "Question": "Does the elephant have long or short tusks?",
        "Options": "(a) Long (b) Short",
        "Correct Answer": "(a)",
        "image": example_image(),
    }


PAIR = Metric("pair_accuracy", "all_correct_by", ("pair",))
TASK = Task(
    name="mmvp",
    title="MMVP",
    version=1,
    source=Source("lmms-lab-eval/MMVP", "train", images=("image",), n=300),
    to_sample=to_sample,
    answer_type="choice",
    license="MIT",
    description="one question about two images that CLIP confuses; pair accuracy",
    metrics=(PAIR, Metric("accuracy")),
    suites=("perception",),
    cluster="pair",
    citation="arXiv:2401.06209",
    native_prompt="Answer with the option's letter from the given choices directly.",
    example=example,
)
