"""Rules that read numbers, formulas and texts from final words without an explicit final."""

from __future__ import annotations

import re

from vsr1_bench.answers.conclusions import concluded_number
from vsr1_bench.answers.lines import lines_of, sentences_of
from vsr1_bench.answers.numbers import read_number
from vsr1_bench.answers.phrases import read_phrase
from vsr1_bench.answers.reading import AMBIGUOUS, Found, Reading, Said

SHORT = 200
"""Characters of a line that may be an answer by itself."""
_PROSE = 400
"""Characters of a region in which a single number is taken for the answer."""
_PROSE_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}\s+[A-Za-z]{2,}\s+[A-Za-z]{2,}")
_NO_ANSWER = re.compile(
    r"^\W*(?:(?:so|then|now),?\s)?(?:if|suppose|assume|assuming)\b(?![^.]*,)|^\W*Q:"
    r"|\b(?:steps?|fig(?:ure)?|rooms?|pages?|questions?|chapters?|tables?|sections?|problems?|exercises?)"
    r"[\s.]{1,2}\d",
    re.IGNORECASE,
)
_NUMERIC = re.compile(r"[-+−$€£.\d*\\]")


def only_number(said: Said) -> Found | None:
    """The one number of a short response.

    Not: `5 cats and 3 dogs`, `more than 5`, `in step 5`, `if there are 5`.
    """
    if len(said.text.strip()) > _PROSE or len(sentences_of(said.text)) > 1 or "?" in said.text[-9:]:
        return None
    if said.text.lstrip().startswith("A:"):  # `answer_line` found no answer there
        return None
    if _NO_ANSWER.search(said.text):
        return None
    number = read_number(" ".join(said.text.split()))
    return _found(Reading(number), said.text) if number else None


def last_line_number(said: Said) -> Found | None:
    """A last line that is a number and its unit, with no other word before it.

    Not: a last line `in step 5 we add`.
    """
    lines = list(lines_of(said.text))
    if len(lines) < 2 or not _NUMERIC.match(lines[-1][1]) or len(lines[-1][1]) > 40:
        return None
    start, line = lines[-1]
    number = read_number(line)
    return Found(Reading(number), start, start + len(line)) if number else None


def last_sentence_number(said: Said) -> Found | None:
    """The one number that the last sentence with a number concludes: `so it is 4 × 4 = 16 m`.

    Not: `There are 5 cats and 3 dogs`, `it is more than 5`, `5 to 6 miles`.
    """
    if said.kind == "math" and not _PROSE_WORDS.search(said.text):  # a formula by itself
        return None
    found = concluded_number(said.text)
    return Found(Reading(found[0]), found[1], found[2]) if found else None


def several_numbers(said: Said) -> Found | None:
    """Silence: there are numbers, and none of them is named as the answer.

    Not: a response without a digit, which has no answer at all.
    """
    return _found(AMBIGUOUS, said.text) if re.search(r"\d", said.text) else None


def only_line(said: Said) -> Found | None:
    """A response that is one short line.

    Not: the first or last of several lines.
    """
    lines = list(lines_of(said.text))
    if len(lines) != 1 or len(lines[0][1]) > SHORT:
        return None
    return _found(read_phrase(lines[0][1], said.kind, said.choices), said.text)


def _found(reading: Reading, text: str) -> Found:
    """A reading of the whole text."""
    return Found(reading, 0, len(text))
