"""Read a phrase where an answer is expected: a box, `Answer: …`, a separate line."""

from __future__ import annotations

import re

from vsr1_bench.answers.choice import read_choice
from vsr1_bench.answers.normalize import MAX_ANSWER, fold, tidy
from vsr1_bench.answers.number_words import with_digits
from vsr1_bench.answers.numbers import read_number
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, Reading
from vsr1_bench.answers.yes_no import read_yes_no
from vsr1_bench.records import AnswerType

# An answer that is not a number is one all the same: what comes after it is not the answer.
NO_VALUE = re.compile(
    r"(?:is\s|are\s)?(undefined|not\sdefined|indeterminate|infinite|impossible(?:\sto\s\w+)?|"
    r"(?:cannot|can't|can\snot)\sbe\s(?:determined|found|computed|calculated|known|answered)|"
    r"(?:does\snot|doesn't)\sexist|not\s(?:determined|determinable|possible(?:\sto\s\w+)?))\b",
    re.IGNORECASE,
)
_EDGES = " \t*_`\"'"


def read_phrase(phrase: str, answer_type: AnswerType, choices: tuple[str, ...] | None) -> Reading:
    """Read a phrase in the place of an answer."""
    if len(phrase) > MAX_ANSWER:
        return NOTHING
    if answer_type == "choice":
        return read_choice(phrase, choices)
    if answer_type == "yes_no":
        return read_yes_no(phrase)
    if answer_type == "number":
        if (none := NO_VALUE.match(tidy(phrase))) is not None:
            return Reading(none[1])
        number = read_number(phrase) or read_number(with_digits(phrase))
        if number is None:
            return AMBIGUOUS if re.search(r"\d", fold(phrase)) else NOTHING
        return Reading(number)
    value = _clean_math(phrase) if answer_type == "math" else tidy(phrase).rstrip(" .")
    return Reading(value) if value else NOTHING


def _clean_math(phrase: str) -> str:
    """Take off what surrounds a formula, and leave the formula as it is."""
    value = phrase.strip(_EDGES).rstrip(" .").strip(_EDGES)
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        inner = value[len(opening) : -len(closing)]
        if value.startswith(opening) and value.endswith(closing) and opening not in inner:
            return inner.strip()
    return value
