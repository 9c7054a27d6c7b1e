"""MathVerse without the figures (arXiv:2403.14624): the problems in words alone."""

from __future__ import annotations

from vsr1_bench.task import Copy, Row, Source, Task
from vsr1_bench.tasks.mathverse import example, to_sample

LMMS = Source("CaraJ/MathVerse-lmmseval", "text_only", "testmini_text_only", n=788)


def text_example() -> Row:
    """A generated row in the true columns; column `image` is an empty string."""
    return {**example(), "problem_version": "Text Only", "image": ""}


TASK = Task(
    name="mathverse_text_only",
    title="MathVerse (text only)",
    version="1.1",
    source=Source("AI4Math/MathVerse", "testmini_text_only", "testmini_text_only", n=788),
    to_sample=to_sample,
    answer_type=None,
    judge="math",
    license="MIT",
    description="the problems of MathVerse in words, without figures",
    suites=("text",),
    citation="arXiv:2403.14624",
    example=text_example,
    copies={"lmms_eval": Copy(LMMS, to_sample)},
)
