"""Reading which option an answer names: its letter, its text, or its value."""

from __future__ import annotations

import re

from vsr1_bench.answers.normalize import MAX_ANSWER, normalize_text, tidy
from vsr1_bench.answers.numbers import same_quantity
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, Reading
from vsr1_bench.records import LETTERS

_NOUN = r"(?:the\s+)?(?:(?:correct|final|best|right)\s+)?(?:option|choice|answer|letter)"
LONE = re.compile(
    rf"^(?:{_NOUN}(?:\s+is)?\s?[:\-]?\s+)?[(\[{{]?\s?([A-Za-z])\s?[)\]}}]?\s?[.:,;!)*]{{0,3}}$",
    re.I,
)
_LEADING = re.compile(
    rf"^(?:{_NOUN}(?:\s+is)?\s?:?\s+)?([(\[]?)([A-Za-z])(?![\w'])([)\]]?)([.:,;)]?)\s*(\S.*)$",
    re.I | re.S,
)
# What may follow a letter that stands without punctuation: `B because`, never `A dog`, `I think`.
_REASON = re.compile(r"^(?:because|since|as\s|is\s+(?:the\s+)?(?:correct|right|best|answer)|[-(—])")
_ANOTHER = re.compile(
    r"^(?:(?:and|or|&|/|\+|,|;)\s*)?(?:option\s+)?[(\[]?([A-J])(?![\w'])(?!\s+[a-z])"
)
_ANOTHER_AFTER_AND = re.compile(r"^(?:and|or|&|/|\+|,|;)\s*(?:option\s+)?[(\[]?([A-Ja-j])(?![\w'])")

_STOP = r"(?=\s{0,2}(?:[.,;:!?)*\]\n]|$|\bbecause\b|\bsince\b|\bas\b))"
_CUES = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"(?<!\w)[(\[]([A-J])[)\]]",
        r"(?:\*\*|__|`)[(\[]?([A-J])[)\]]?[.:)]?(?=\*\*|__|`|[ ])(?![ ][a-z])",
        r"^[ \t>#*]{0,6}[(\[]?([A-J])[)\]]?[.:)](?=\s|\*|$)",
        r"\b(?i:option|choice|answer|letter|alternative)s?[ ](?:is[ ])?[(\[]?([A-J])(?![\w'])"
        r"(?![ ](?:bit|lot|little|few|[a-z]+ly)\b)",
        r"\b(?:is|be|it's|It's|select|choose|pick|with)[ ](?:option[ ])?([A-J])(?![\w'])" + _STOP,
        r"\b(?i:therefore|thus|hence|so),?[ ]([A-J])(?![\w'])" + _STOP,
        r"(?<![\w'])([A-J])[ ]is[ ](?:the[ ])?(?:correct|right|best|answer)\b",
    )
)


def read_choice(phrase: str, choices: tuple[str, ...] | None) -> Reading:
    """Read a phrase that stands in an answer's place: a box, `Answer: …`, a line of its own.

    A lone letter within range is that letter, in either case, even where another option's text is
    the same letter; only a small letter written exactly like an option is that option. Then come
    the options' texts, their values, and a letter with more after it.
    """
    plain = tidy(phrase) if len(phrase) <= MAX_ANSWER else ""
    if not plain:
        return NOTHING
    letters = _letters(choices)
    lone = LONE.match(plain)
    # `(c)` among the options (c), (a), (b) is the text: the letters shown with them are capitals.
    verbatim = lone and lone[1].islower() and any(plain == tidy(c) for c in choices or ())
    if lone and not verbatim and lone[1].upper() in letters:
        return Reading(lone[1].upper())
    hits = _options_like(plain, choices or ())
    if hits:
        return Reading(LETTERS[hits[0]]) if len(hits) == 1 else AMBIGUOUS
    if lone:
        return Reading(None, "not_an_option")
    leading = _LEADING.match(plain)
    if leading:
        reading = _read_leading(leading, choices or ())
        if reading != NOTHING:
            return _in_range(reading, letters)
    return read_choice_in_prose(plain, choices)


def read_choice_in_prose(text: str, choices: tuple[str, ...] | None) -> Reading:
    """Read the one letter that a text names as an option (`option B`, `(B)`, `it is B.`).

    Letters without such a cue are not answers: an article, the pronoun, point A of a figure.
    """
    named = {m[1] for cue in _CUES for m in cue.finditer(text)}
    if not named:
        return NOTHING
    return _in_range(Reading(named.pop()), _letters(choices)) if len(named) == 1 else AMBIGUOUS


def _letters(choices: tuple[str, ...] | None) -> str:
    return LETTERS[: len(choices)] if choices else LETTERS


def _in_range(reading: Reading, letters: str) -> Reading:
    if reading.value is None or reading.value in letters:
        return reading
    return Reading(None, "not_an_option")


def _read_leading(found: re.Match[str], choices: tuple[str, ...]) -> Reading:
    """A letter with something after it: `B. 40 degrees`, `(B) because …`, `B 40 degrees`."""
    bracket, written, closing, mark, rest = found.groups()
    letter = written.upper()
    own = LETTERS.find(letter)
    named = _option_at_start(rest, choices)
    marked = bool(closing or mark) and not (bracket and not closing)
    if written.islower() and not (closing or mark in (".", ":", ")")):
        return NOTHING
    if named is not None and (marked or named == own):
        return Reading(letter) if named == own else Reading(None, "conflict")
    pattern = _ANOTHER if mark or closing else _ANOTHER_AFTER_AND
    another = pattern.match(rest)
    if another and another[1].upper() != letter:
        return AMBIGUOUS
    return Reading(letter) if marked or _REASON.match(rest) else NOTHING


def _options_like(plain: str, choices: tuple[str, ...]) -> list[int]:
    """Numbers of the options whose text, else whose value, is `plain`."""
    wanted = normalize_text(plain)
    hits = [i for i, choice in enumerate(choices[:10]) if normalize_text(choice) == wanted]
    return hits or [i for i, choice in enumerate(choices[:10]) if same_quantity(plain, choice)]


def _option_at_start(rest: str, choices: tuple[str, ...]) -> int | None:
    """The option that `rest` is, or whose whole text it begins with (the longest one)."""
    like = _options_like(rest, choices)
    if len(like) == 1:
        return like[0]
    text = normalize_text(rest)
    best: tuple[int, int] | None = None
    for i, choice in enumerate(choices[:10]):
        option = normalize_text(choice)
        after = text[len(option) :]
        if (
            option
            and text.startswith(option)
            and not re.match(r"[\w%°^]|[.,/]\w|\s?[-+*/=]", after)
        ):
            best = max(best or (0, 0), (len(option), i))
    return best[1] if best else None
