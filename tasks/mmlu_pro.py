"""MMLU-Pro (arXiv:2406.01574): professional knowledge, text only, up to ten options."""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.records import Sample
from vsr1_bench.task import Row, Source, Task


def to_sample(row: Row) -> Sample:
    """Map a row; some versions of the set pad the options with `N/A`."""
    options = list(row["options"])
    while options and options[-1] == "N/A":
        options.pop()
    return Sample(
        id=str(row["question_id"]),
        question=(row["question"],),
        answer=row["answer"],
        answer_type="choice",
        choices=tuple(options),
        groups={"category": row["category"]},
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "question_id": 1,
        "question": "What is 3 squared?",
        "options": [str(n) for n in range(10)],
        "answer": "J",
        "answer_index": 9,
        "cot_content": "",
        "category": "math",
        "src": "generated",
    }


TASK = Task(
    name="mmlu_pro",
    title="MMLU-Pro",
    version="1.1",
    source=Source("TIGER-Lab/MMLU-Pro", "test", n=12_032),
    to_sample=to_sample,
    answer_type="choice",
    license="MIT",
    description="professional knowledge in 14 categories, up to ten options, text only",
    suites=("text",),
    citation="arXiv:2406.01574",
    example=example,
    copies={"paper": problem_copy("zli12321/mmlu_pro")},
)
