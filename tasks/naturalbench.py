"""NaturalBench (arXiv:2410.14669): two questions about two images, each answered both ways.

A row is a group of four questions. A question has different answers for the two images, so that
answers given without looking fail every group.
"""

from __future__ import annotations

import re

from vsr1_bench.errors import RowError
from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.task import Metric, Row, Source, Task, example_image, interleave

IMAGES = ("Image_0", "Image_1")
GOLDS = {"yes_no": ("yes", "no"), "multiple_choice": ("a", "b")}
OPTIONS = re.compile(r"\bOptions?:\s*A:(?P<A>[^;\n]+)[;\n]\s*B:(?P<B>[^;\n]+);?\s*$")
"""`Option: A:standing; B:sitting;` at a question's end; in any other form only letters count."""


def to_samples(row: Row) -> tuple[Sample, ...]:
    """Map a row to its four samples: each question about each image."""
    kind, group = str(row["Question_Type"]).strip(), str(row["Index"])
    if kind not in GOLDS:
        raise RowError(f"Question_Type {kind!r} is none of {', '.join(GOLDS)}")
    samples = []
    for q, i in ((0, 0), (0, 1), (1, 0), (1, 1)):
        text, gold = str(row[f"Question_{q}"]).strip(), str(row[f"Image_{i}_Question_{q}"]).strip()
        if gold.lower() not in GOLDS[kind]:
            raise RowError(f"Image_{i}_Question_{q} is {gold!r}, none of {', '.join(GOLDS[kind])}")
        question, images = interleave(text, (row.get(f"Image_{i}") or EncodedImage(),))
        options = OPTIONS.search(text) if kind == "multiple_choice" else None
        sample = Sample(
            id=f"{group}-q{q}-i{i}",
            question=question,
            answer=gold.lower() if kind == "yes_no" else gold.upper(),
            answer_type="yes_no" if kind == "yes_no" else "choice",
            images=images,
            choices=(options["A"].strip(), options["B"].strip()) if options else None,
            choices_in_image=options is not None,  # they are written in the question already
            groups={
                "group": group,
                "question": f"{group}/q{q}",
                "image": f"{group}/i{i}",
                "question_type": kind,
                "source": str(row.get("Source")),
            },
        )
        samples.append(sample)
    return tuple(samples)


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "Index": 0,
        "Image_0": example_image(),
        "Image_1": example_image(64),
        "Question_0": "Where is the dog? Option: A:on the left; B:on the right;",
        "Image_0_Question_0": "A",
        "Image_1_Question_0": "B",
        "Question_1": "What does the dog do? Option: A:It runs; B:It sleeps;",
        "Image_0_Question_1": "B",
        "Image_1_Question_1": "A",
        "Question_Type": "multiple_choice",
        "Source": "Flickr30K",
    }


GACC = Metric("gAcc", "all_correct_by", ("group",))
QACC = Metric("qAcc", "all_correct_by", ("question",))
IACC = Metric("iAcc", "all_correct_by", ("image",))
TASK = Task(
    name="naturalbench",
    title="NaturalBench",
    version=1,
    source=Source("BaiqiL/NaturalBench", "train", images=IMAGES, n=1900),
    to_sample=to_samples,
    answer_type=None,
    license="Apache-2.0",
    description="two questions about two images, each with both answers; group accuracy",
    metrics=(GACC, QACC, IACC, Metric("accuracy")),
    suites=("perception",),
    cluster="group",
    citation="arXiv:2410.14669",
    example=example,
    per_row=4,
)
