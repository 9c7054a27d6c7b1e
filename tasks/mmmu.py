"""MMMU validation (arXiv:2311.16502): college-level questions, multiple-choice and open.

`options` and an open question's answer (alternatives) may be Python lists written as strings.
"""

from __future__ import annotations

from dataclasses import replace

from vsr1_bench.data.problem_rows import IMAGE_COLUMNS, open_question, problem_row, read_list
from vsr1_bench.records import Sample
from vsr1_bench.task import Copy, Row, Source, Task, example_image, interleave_all, numbered_images

COLUMNS = tuple(f"image_{n}" for n in range(1, 8))
SUBJECTS = """Accounting Agriculture Architecture_and_Engineering Art Art_Theory
Basic_Medical_Science Biology Chemistry Clinical_Medicine Computer_Science Design
Diagnostics_and_Laboratory_Medicine Economics Electronics Energy_and_Power Finance Geography History
Literature Manage Marketing Materials Math Mechanical_Engineering Music Pharmacy Physics Psychology
Public_Health Sociology""".split()  # the configurations


def to_sample(row: Row) -> Sample:
    """Map a row; the paper's copy has the whole question with its options in `problem`."""
    if "problem" in row:
        sample = problem_row(row)
    else:
        options = read_list(row["options"])
        images = numbered_images(row, COLUMNS)
        (question, *choice_parts), shown = interleave_all((row["question"], *options), images)
        sample = Sample(
            id=row["id"],
            question=question,
            answer=row["answer"],
            answer_type="choice",
            images=shown,
            choices=options,
            choice_parts=tuple(choice_parts),
        )
    subject = row["id"].split("_", 1)[1].rpartition("_")[0]
    sample = replace(sample, groups={"subject": subject})
    if row["question_type"] == "multiple-choice":
        return sample
    return open_question(sample, row["answer"])


def example() -> Row:
    """A generated row in the true columns."""
    row = dict.fromkeys(COLUMNS) | {name: example_image() for name in COLUMNS[:2]}
    return row | {
        "id": "validation_Art_1",
        "question": "Which is like <image 1>?",
        "options": "['<image 2>', 'Neither']",
        "question_type": "multiple-choice",
        "answer": "B",
    }


LMMS_EVAL = Source("lmms-lab-encoder/MMMU", "validation", images=COLUMNS, n=900)
PAPER = Source("zli12321/MMMU", "test", images=IMAGE_COLUMNS, n=895)
TASK = Task(
    name="mmmu",
    title="MMMU",
    version="1.1",
    source=Source("MMMU/MMMU", "validation", tuple(SUBJECTS), images=COLUMNS, n=900),
    to_sample=to_sample,
    answer_type=None,
    judge="mmmu",
    license="Apache-2.0",
    description="college-level questions of 30 subjects, validation split",
    suites=("paper",),
    citation="arXiv:2311.16502",
    example=example,
    copies={"lmms_eval": Copy(LMMS_EVAL, to_sample), "paper": Copy(PAPER, to_sample)},
)
