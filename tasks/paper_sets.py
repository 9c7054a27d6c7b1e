"""MLLM_test: the merged set of the Vision-SR1 paper (arXiv:2508.19652), groups by `file_name`.

It merges the paper's MMMU-Pro (4 options), CLEVR-count, MM-Vet, MathVerse, MathVista, MATH-Vision
and RealWorldQA. As in the paper, a model judges what the rule does not find correct. Without a
model, MM-Vet's gold answers (`<AND>`, `<OR>`) are almost never matched.
"""

from __future__ import annotations

from dataclasses import replace

from vsr1_bench.data.problem_rows import IMAGE_COLUMNS, problem_row
from vsr1_bench.records import Sample
from vsr1_bench.task import Row, Source, Task, example_image


def to_sample(row: Row) -> Sample:
    """Map a row; ids of the merged sets may repeat, so they are not used."""
    return replace(problem_row(row, own_id=False), groups={"set": row["file_name"]})


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "problem": "<image>How many different items are there in the image?",
        "answer": "4",
        "images": (example_image(),),
        "file_name": "clevr_count_70k",
    }


PARTS = {
    "mmmu-pro": "mmmu_pro_4",
    "clevr_count_70k": "clevr_count",
    "mm-vet": "mmvet",
    "mathverse": "mathverse",
    "mathvista": "mathvista",
    "mathvision": "mathvision",
    "realWorldQA": "realworldqa",
}
TASK = Task(
    name="mllm_test",
    title="MLLM test set",
    version="2.1",
    source=Source("zli12321/MLLM_test", "test", images=IMAGE_COLUMNS),
    to_sample=to_sample,
    answer_type=None,
    judge="cascade:math,gemini",
    judge_fallback="math",
    license="those of the sets it merges",
    description="seven benchmarks merged by the authors of Vision-SR1",
    citation="arXiv:2508.19652",
    example=example,
    parts=("set", PARTS),
)
