"""MathVerse (arXiv:2403.14624): 788 problems, each in five versions from text to picture.

The options are in the question. A gold answer of several letters is not a single choice. Version
Vision Only has its question only in the image; `question_for_eval`, if present, has its options.
"""

from __future__ import annotations

import re

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.records import AnswerType, EncodedImage, Sample
from vsr1_bench.task import Copy, Row, Source, Task, example_image, interleave

IN_IMAGE = "Answer the question shown in the image."
SEVERAL_LETTERS = re.compile(r"[A-J](\W+[A-J])+")
NAMED_VALUE = re.compile(r"^[A-Za-z. ]{3,}(\$?)=(.*)\1$")
"""`Area $=2$`: only the value is the gold answer."""
LMMS_EVAL = Source("CaraJ/MathVerse-lmmseval", "testmini", "testmini", images=("image",), n=3940)


def to_sample(row: Row) -> Sample:
    """Map a row of either publication, of the five versions or of Text Only."""
    version = row["problem_version"].replace("_", " ")
    text = with_options = row["question"]
    if version == "Vision Only":
        text = IN_IMAGE
        with_options = row.get("question_for_eval") or ""
    image = None if version == "Text Only" else (row.get("image") or EncodedImage(),)
    question, images = interleave(text, image)

    answer = row["answer"].strip()
    gold = NAMED_VALUE.sub(r"\2", answer.replace("\n", ", "))
    answer_type: AnswerType = "math"
    options = None
    if row["question_type"] == "multi-choice" and not SEVERAL_LETTERS.fullmatch(answer):
        from vsr1_bench.answers import read_answer, read_options

        answer_type = "choice"
        options = read_options(with_options)
        gold = read_answer(answer, "choice", options) or gold
    return Sample(
        id=row["sample_index"],
        question=question,
        answer=gold,
        answer_type=answer_type,
        images=images,
        choices=options,
        choices_in_image=True,  # or in the question: do not write them again
        groups={**row["metadata"], "version": version, "problem": row["problem_index"]},
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "sample_index": "1",
        "problem_index": "1",
        "problem_version": "Text Lite",
        "question": "Find x.\nChoices:\nA:1\nB:2",
        "question_type": "multi-choice",
        "answer": "B",
        "image": example_image(),
        "metadata": {
            "split": "testmini",
            "source": "x",
            "subject": "Plane Geometry",
            "subfield": "Length",
        },
        "query_wo": "",
        "query_cot": "",
    }


TASK = Task(
    name="mathverse",
    title="MathVerse",
    version="1.1",
    source=Source("AI4Math/MathVerse", "testmini", "testmini", images=("image",), n=3940),
    to_sample=to_sample,
    answer_type=None,
    judge="math",
    license="MIT",
    description="problems with figures, each in five versions",
    suites=("paper", "multimodal_math"),
    cluster="problem",
    citation="arXiv:2403.14624",
    example=example,
    copies={
        "lmms_eval": Copy(LMMS_EVAL, to_sample),
        "paper": problem_copy("zli12321/mathverse"),
    },
)
