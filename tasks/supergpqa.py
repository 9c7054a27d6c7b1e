"""SuperGPQA (arXiv:2502.14739): graduate-level knowledge of 285 disciplines, text only."""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.records import Sample
from vsr1_bench.task import Copy, Row, Source, Task


def to_sample(row: Row) -> Sample:
    """Map a row; `answer` is the text of the option, `answer_letter` its letter."""
    return Sample(
        id=row["uuid"],
        question=(row["question"],),
        answer=row["answer_letter"],
        answer_type="choice",
        choices=tuple(row["options"]),
        groups={name: row[name] for name in ("discipline", "field", "subfield", "difficulty")},
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "uuid": "0" * 32,
        "question": "What is 3 squared?",
        "options": [str(n) for n in range(10)],
        "answer": "9",
        "answer_letter": "J",
        "discipline": "Science",
        "field": "Mathematics",
        "subfield": "Number Theory",
        "difficulty": "easy",
        "is_calculation": True,
    }


LMMS_EVAL = Source("lmms-lab-encoder/SuperGPQA", "test", n=26_529)
TASK = Task(
    name="supergpqa",
    title="SuperGPQA",
    version="1.1",
    source=Source("m-a-p/SuperGPQA", "train", n=26_529),  # its only split; no training rows
    to_sample=to_sample,
    answer_type="choice",
    license="MIT",
    description="graduate-level knowledge of 285 disciplines, four to ten options, text only",
    suites=("text",),
    citation="arXiv:2502.14739",
    example=example,
    copies={
        "lmms_eval": Copy(LMMS_EVAL, to_sample),
        "paper": problem_copy("zli12321/SuperGPQA"),
    },
)
