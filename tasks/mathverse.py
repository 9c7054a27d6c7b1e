"""MathVerse (arXiv:2403.14624): 788 problems, each in five versions from text to picture.

Options are in the question, a gold of several letters is not a single choice. Vision Only shows its
question in the image alone; `question_for_eval`, where there is one, tells its options.
"""

from __future__ import annotations

import re

from vsr1_bench.answers import read_answer, read_options
from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.generation.images import example_image
from vsr1_bench.records import AnswerType, EncodedImage, Sample
from vsr1_bench.task import Copy, Row, Source, Task, interleave

IN_IMAGE = "Answer the question shown in the image."
LMMS = Source("CaraJ/MathVerse-lmmseval", "testmini", "testmini", images=("image",), n=3940)


def to_sample(row: Row) -> Sample:
    """Map a row of either publication, of the five versions or of Text Only."""
    version, gold = row["problem_version"].replace("_", " "), row["answer"].strip()
    several, hidden = re.fullmatch(r"[A-J](\W+[A-J])+", gold), version == "Vision Only"
    choice = row["question_type"] == "multi-choice" and not several
    told = (row.get("question_for_eval") or "") if hidden else row["question"]
    options = read_options(told) if choice else None
    letter = choice and read_answer(gold, "choice", options)
    shown = None if version == "Text Only" else (row.get("image") or EncodedImage(),)
    question, images = interleave(IN_IMAGE if hidden else row["question"], shown)
    groups = {**row["metadata"], "version": version, "problem": row["problem_index"]}
    bare = re.sub(r"^[A-Za-z. ]{3,}(\$?)=(.*)\1$", r"\2", gold.replace("\n", ", "))  # `Area $=2$`
    kind: AnswerType = "choice" if choice else "math"
    written = options, None, True  # in the question, or in the image: not to be written again
    return Sample(row["sample_index"], question, letter or bare, kind, images, *written, groups)


def example() -> Row:
    """A generated row in the true columns."""
    row = {"sample_index": "1", "problem_index": "1", "problem_version": "Text Lite", "answer": "B"}
    row |= {"question": "Find x.\nChoices:\nA:1\nB:2", "question_type": "multi-choice"}
    where = {"split": "testmini", "source": "x", "subject": "Plane Geometry", "subfield": "Length"}
    return row | {"image": example_image(), "metadata": where, "query_wo": "", "query_cot": ""}


TASK = Task(
    name="mathverse",
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
    copies={"lmms_eval": Copy(LMMS, to_sample), "paper": problem_copy("zli12321/mathverse")},
)
