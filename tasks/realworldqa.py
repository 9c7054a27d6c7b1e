"""RealWorldQA: questions about photos taken from cars and elsewhere, by xAI.

A question contains its options and ends with an instruction. The gold answer is a letter, a word or
a number. `--prompt native` adds nothing to the question.
"""

from __future__ import annotations

import hashlib

from vsr1_bench.data.problem_rows import problem_copy, problem_sample
from vsr1_bench.records import Sample
from vsr1_bench.task import ROW_NUMBER, Copy, Row, Source, Task, example_image


def to_sample(row: Row) -> Sample:
    """Map a row; the set has no ids, and the same question is asked about many images."""
    digest = hashlib.sha256(row["question"].encode()).hexdigest()[:8]
    sample_id = f"{row.get(ROW_NUMBER, 0):05d}-{digest}"
    return problem_sample(sample_id, row["question"], row["answer"], (row["image"],))


def example() -> Row:
    """A generated row in the true columns."""
    ending = "Please answer directly with only the letter of the correct option and nothing else."
    question = f"Which way does the car turn?\n\nA. Left\nB. Right\n{ending}"
    return {"question": question, "answer": "B", "image": example_image()}


LMMS_EVAL = Source("lmms-lab-encoder/RealWorldQA", "test", images=("image",), n=765)
TASK = Task(
    name="realworldqa",
    title="RealWorldQA",
    version="1.1",
    source=Source("xai-org/RealworldQA", "test", images=("image",), n=765),
    to_sample=to_sample,
    answer_type=None,
    license="CC-BY-ND-4.0",
    description="spatial understanding of everyday photos",
    suites=("paper", "spatial"),
    native_prompt="",
    example=example,
    copies={
        "lmms_eval": Copy(LMMS_EVAL, to_sample),
        "paper": problem_copy("zli12321/realWorldQA"),
    },
)
