"""What a sentence concludes: `So the perimeter is 4 × 4 = 16 meters.` concludes 16 meters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vsr1_bench.answers.lines import sentences_of
from vsr1_bench.answers.number_words import with_digits
from vsr1_bench.answers.numbers import NUMBER, read_number, same_number
from vsr1_bench.answers.statements import COUNTED, before_reasons

_LONG = 400
"""Characters of a region that must end like a sentence, or it may have been cut off."""
_ENDS = re.compile(r"[.!)\]}$%°*\"'>](?:\s|$)|\d\s*$")
_ITEM = re.compile(r"^(?:\(?\d{1,2}[.)]|[-•*])\s")
_SAYS = re.compile(
    r"\b(?:is|are|was|were|equals?|becomes?|remains?|totals?|be)\b(?:\s(?:equal\s)?to\b)?|[=≈]|\\approx\b",
    re.IGNORECASE,
)
_SHOWS = re.compile(
    r"\b(?:has|have|had|gets?|gives?|shows?|reads?|contains?|measures?|costs?|weighs?|leaves?|makes?|"
    r"needs?|takes?|earns?|spends?|of)\b",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"[\s:*_$(\"']*(?:(?:about|approximately|roughly|around|only|exactly|just|therefore|thus|also|now|"
    r"equal to|a total of|total of|in total|the number|the value|still|simply)\b[\s:*_$(\"']*){0,3}",
    re.IGNORECASE,
)
_HEDGED = re.compile(r"\?\W*$|^\W*(?:if|suppose|assume|assuming|let)\b(?![^.]*,)", re.IGNORECASE)
_NOT_ONE = re.compile(
    r"\b(?:not|n't|never|no|neither|nor|least|most|than|over|under|between|up to|up|almost|nearly|"
    r"first|step|figure|fig|equation|eq|question|question|part|number|the)\W{0,3}$|n't\W{0,3}$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"^[^.;:]{0,60}?\s(?:and|or)\s(?:one|an?)\b|^[^.;:]{0,40}?\s(?:and|or|to|by|x|×|plus|minus|times|-)\s[^.;:]{0,12}?\d|^\s?[-/:^]\s?\d"
    r"|^\s?(?:or|and|to)\b|^(?:st|nd|rd|th)\b|^\s?%?\s(?:more|less|fewer|greater|times)\b"
)
_CONDITION = re.compile(r"\b(?:where|if|when|given|for|with|at)\s[^,.;=]{0,30}=", re.IGNORECASE)
_NAMED = re.compile(
    r"\W{0,3}\sis\sthe\s(?:most\s\w+|best|correct|right|answer|final)\b", re.IGNORECASE
)
_CUT = re.compile(
    r",\s(?!\d{3}\b)|[;:]\s|\s\((?!\d)|\s(?:after|because|since|which|that|who|in|on|of|for|from|with|"
    r"when|where|if|as|per|left|remaining|than|have|has|are|is|at|by|so|and)\b"
)


def concluded_number(text: str) -> tuple[str, int, int] | None:
    """The one number that the last sentence with a number concludes, and where it stands.

    Sentences behind it that hold no number may follow, and items of a list.
    """
    if len(text) > _LONG and not _ENDS.search(text.rstrip()[-2:]):
        return None
    for start, sentence in reversed(list(sentences_of(text))[-8:]):
        said = with_digits(sentence)
        if _ITEM.match(said) or not re.search(r"\d", said):
            continue
        number = number_of(said)
        return (number, start, start + len(sentence)) if number else None
    return None


def number_of(sentence: str) -> str | None:
    """The number that a sentence concludes, None where it is not one."""
    if len(sentence) > _LONG or _HEDGED.search(sentence):
        return None
    if (counted := COUNTED.match(sentence)) and not re.search(r"\band\b[^.]*\d", sentence):
        return read_number(counted[1])
    numbers = list(NUMBER.finditer(sentence))
    values = {m.group() for m in numbers}
    said = [
        n for m in numbers if _follows(_SAYS, sentence, m.start()) and (n := _value(sentence, m))
    ]
    chain = -1 if _CONDITION.search(sentence) else sentence.rfind("=")
    if chain >= 0 and numbers and numbers[-1].start() > chain:
        last = _value(sentence, numbers[-1])
        return last if last and _follows(_SAYS, sentence, numbers[-1].start()) else None
    if said and all(same_number(n, said[0]) for n in said):
        return said[0]
    if said or len(values) != 1 or re.search(r"\d", NUMBER.sub("", sentence)):
        return None
    found = numbers[0]
    opens = not sentence[: found.start()].strip(" *_$(\"'") and not sentence.lower().startswith(
        "one"
    )
    named = _NAMED.match(sentence, found.end())
    if opens or named or _follows(_SHOWS, sentence, found.start()):
        return _value(sentence, found)
    return None


def stated_values(sentence: str) -> Iterator[str]:
    """What stands behind each verb that states something, to the end or to the reasons."""
    for verb in _SAYS.finditer(sentence):
        rest = sentence[verb.end() :].strip()
        yield rest
        if (head := before_reasons(rest, "number")) is not None:
            yield head
        if (comma := re.search(r",\s", rest)) is not None:
            yield rest[: comma.start()]
    if (verb := re.search(r"\b(?:shows?|reads?|has|gives?|gets?)\s", sentence)) is not None:
        yield sentence[verb.end() :].strip()


def _follows(verbs: re.Pattern[str], sentence: str, at: int) -> bool:
    """Whether a place follows a verb at once, or with words like `about` between."""
    before = sentence[max(0, at - 60) : at]
    for verb in verbs.finditer(before):
        filler = _FILLER.match(before, verb.end())
        if filler is not None and filler.end() == len(before):
            return True
    return False


def _value(sentence: str, found: re.Match[str]) -> str | None:
    before, after = sentence[max(0, found.start() - 40) : found.start()], sentence[found.end() :]
    if _NOT_ONE.search(before) or _GOES_ON.search(after):
        return None
    cut = _CUT.search(after)
    phrase = found.group() + (after[: cut.start()] if cut else after)
    return read_number(phrase.strip("'\".* "))
