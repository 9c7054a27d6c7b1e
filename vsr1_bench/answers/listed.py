"""The options that are listed inside a question."""

from __future__ import annotations

import re

from vsr1_bench.records import LETTERS

# A mark is at the start of a line, else after white space; never two styles in one question.
_AT_LINE = tuple(
    re.compile(rf"^[ \t]*{style}", re.MULTILINE)
    for letters in ("([A-Z])", "([a-z])")
    for style in (rf"\({letters}\)", rf"{letters}[.)]", rf"{letters}[ ]?:")
)
_IN_LINE = tuple(
    re.compile(rf"(?<!\S){style}")
    for letters in ("([A-Z])", "([a-z])")
    for style in (rf"\({letters}\)", rf"{letters}[.)](?=\s)", rf"{letters}:(?=\s)")
)
_NO_TEXT = re.compile(r"[ \t]*[,;/&.]?[ \t]*(?:(?:and|or)[ \t]*)?(?:[,;.]?\s*)")


def read_options(problem: str) -> tuple[str, ...] | None:
    """The options that a question holds, if they are unambiguous.

    Marks of one style (`(A)`; `A.` or `A)`; `A:`; small letters alike) that run from A without a
    gap or a repeat, each at the start of a line, else after white space. Two styles that both fit,
    or a letter twice (`point (A) … (A) 5 (B) 6`), are a doubt: None.
    """
    for patterns in (_AT_LINE, _IN_LINE):
        found = {options for mark in patterns if (options := _split(problem, mark))}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _split(problem: str, mark: re.Pattern[str]) -> tuple[str, ...] | None:
    marks = list(mark.finditer(problem))
    if not marks:
        return None
    # `Choose from (A), (B) or (C). (A) 5 …`: letters with no text but a comma or a word.
    ends = [*(m.start() for m in marks[1:]), len(problem)]
    parted = [
        bool(_NO_TEXT.fullmatch(problem, m.end(), end)) for m, end in zip(marks, ends, strict=True)
    ]
    if not all(parted):
        marks = marks[parted.index(False) :]
    # A letter beyond J marks an option where all up to J do; else it is a variable, a Roman V.
    usual = [m for m in marks if m[1].upper() <= "J"]
    marks = marks if len(usual) == 10 else usual
    if len(marks) < 2 or "".join(m[1] for m in marks).upper() != LETTERS[: len(marks)]:
        return None
    ends = [*(m.start() for m in marks[1:]), len(problem)]
    texts = [problem[m.end() : end].strip() for m, end in zip(marks, ends, strict=True)]
    if not any("\n" in text for text in texts[:-1]):
        texts[-1] = texts[-1].partition("\n")[0]  # what follows the options is an instruction
    texts = [text.rstrip(" ,;") for text in texts]
    return tuple(texts) if all(texts) else None


def options_of_question(
    choices: tuple[str, ...] | None, question: str, gold: str
) -> tuple[str, ...] | None:
    """The texts of the options, where the choices are bare letters and the question has the texts.

    Args:
        choices: The options as they were given; None = not known.
        question: The question's text.
        gold: The gold letter; options without it are not the question's.

    Returns:
        The question's options, else `choices`.
    """
    if choices and any(
        choice.strip() != letter for choice, letter in zip(choices, LETTERS, strict=False)
    ):
        return choices
    found = read_options(question) if question else None
    return found if found and gold in LETTERS[: len(found)] else choices
