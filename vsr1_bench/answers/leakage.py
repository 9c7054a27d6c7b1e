"""Detect whether a description states the final answer as such.

A description naturally has words of the answer: the scene has a red dot, and the answer is red.
Leakage is the answer given as an answer: in a box, in `<answer>` tags, after a marker
(`the answer is …`, `Final answer: …`, `####`), or a letter named as the right option. It must be
the answer that the response ends with, or the gold one; a description that says "the answer depends
on the dots" states none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from vsr1_bench.answers.extract import extract
from vsr1_bench.answers.numbers import same_text
from vsr1_bench.records import AnswerType

_EXPLICIT = ("boxed", "answer_tag", "statement")
_OPTION = re.compile(
    r"(?:\b(?:option|choice|answer)[ ])?(?<![\w'])[(\[]?([A-Z])[)\]]?[ ]"
    r"(?:is|would[ ]be|must[ ]be)[ ](?:the[ ])?(?:correct|right|best)\b"
    r"|\b(?:choose|select|pick)[ ](?:(?:the[ ])?(?:option|choice|answer|letter)[ ])?"
    r"[(\[]?([A-Z])(?![\w'])",
)


def states_answer(
    description: str,
    answer_type: AnswerType,
    choices: Sequence[str] | None,
    finals: Iterable[str | None],
) -> bool:
    """Whether a description states one of the final answers as an answer.

    Args:
        description: What the blind reader is given.
        answer_type: What kind of answer the question wants.
        choices: The options' texts, first = A.
        finals: The final answer of the response as it was read, and the gold answer; None = none.
    """
    found = extract(description, answer_type, choices)
    stated = {found.value} if found.how in _EXPLICIT else set()
    if answer_type == "choice":
        stated |= {m[1] or m[2] for m in _OPTION.finditer(description)}
    wanted = [final for final in finals if final]
    return any(said and same_text(said, final) for said in stated for final in wanted)
