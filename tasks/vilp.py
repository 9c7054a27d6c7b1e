"""ViLP (arXiv:2501.00569): one question about three images; only the first has the likely answer.

`vilp` is ViLP-F, which states a fact before the question; `vilp_p` is ViLP-P, which does not.
"""

from __future__ import annotations

import hashlib
from functools import partial

from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.task import ROW_NUMBER, Metric, Row, Source, Task, example_image, interleave

IMAGES = ("image1", "image2", "image3")
SCORE = Metric("score", only=(("image", ("2", "3")),))
PRIOR = Metric("prior", only=(("image", ("1",)),))


def to_samples(row: Row, with_fact: bool = True) -> tuple[Sample, ...]:
    """Map a row to its three samples; the id is made of the row's number and question."""
    digest = hashlib.sha256(row["question"].encode()).hexdigest()[:8]
    key = f"{row.get(ROW_NUMBER, 0):05d}-{digest}"
    text = row["question"] if with_fact else row["question"].rstrip().rpartition(". ")[2]
    samples = []
    for n in ("1", "2", "3"):
        question, images = interleave(text, (row.get(f"image{n}") or EncodedImage(),))
        sample = Sample(
            id=f"{key}-{n}",
            question=question,
            answer=row[f"answer{n}"].strip(),
            answer_type="text",
            images=images,
            groups={"image": n, "question": key},
        )
        samples.append(sample)
    return tuple(samples)


def example() -> Row:
    """A generated row in the true columns."""
    row = {name: example_image() for name in IMAGES}
    return row | {
        "question": "A dog has four legs. How many legs are there?",
        "answer1": "4",
        "answer2": "6",
        "answer3": "Eight",
    }


def _task(name: str, with_fact: bool, what: str) -> Task:
    return Task(
        name=name,
        title="ViLP-F" if with_fact else "ViLP-P",
        version="1.1",
        source=Source("ViLP/ViLP", "train", images=IMAGES, n=300),
        to_sample=partial(to_samples, with_fact=with_fact),
        answer_type="text",
        judge="vilp",
        license="not stated",
        description=f"one word about unusual images, {what}",
        metrics=(SCORE, PRIOR),
        suites=("hallucination",),
        cluster="question",
        citation="arXiv:2501.00569",
        native_prompt="Please answer with one word.",
        example=example,
        per_row=3,
    )


WITH_FACT = _task("vilp", True, "with a stated fact (ViLP-F)")
WITHOUT = _task("vilp_p", False, "with no stated fact (ViLP-P)")
