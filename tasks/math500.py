"""MATH-500: competition mathematics (arXiv:2305.20050), judged by math-verify."""

from __future__ import annotations

from vsr1_bench.records import Sample
from vsr1_bench.task import Row, Source, Task


def to_sample(row: Row) -> Sample:
    """Map a row; the gold answer is LaTeX."""
    return Sample(
        id=row["unique_id"],
        question=(row["problem"],),
        answer=row["answer"],
        answer_type="math",
        groups={"subject": row["subject"], "level": str(row["level"])},
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "problem": "Simplify $\\frac{6}{8}$.",
        "solution": "$\\boxed{\\frac{3}{4}}$",
        "answer": "\\frac{3}{4}",
        "subject": "Prealgebra",
        "level": 1,
        "unique_id": "test/prealgebra/0.json",
    }


TASK = Task(
    name="math500",
    title="MATH-500",
    version="1.1",
    source=Source("HuggingFaceH4/MATH-500", split="test", n=500),
    to_sample=to_sample,
    answer_type="math",
    judge="math",
    license="MIT",
    description="competition mathematics, text only",
    suites=("text",),
    citation="arXiv:2305.20050",
    example=example,
)
