"""What a sentence concludes: `So the perimeter is 4 × 4 = 16 meters.` concludes 16 meters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vsr1_bench.answers.lines import claim, sentences_of
from vsr1_bench.answers.mentions import denied, supposed
from vsr1_bench.answers.number_words import with_digits
from vsr1_bench.answers.numbers import NUMBER, read_number, same_number
from vsr1_bench.answers.statements import COUNTED, before_reasons

_LONG = 400
"""Characters of a region that must end like a sentence, or it may have been cut off."""
_ENDS = re.compile(r"[.!)\]}$%°*\"'>](?:\s|$)|\d\s*$")
_ITEM = re.compile(r"^(?:\(?\d{1,2}[.)]|[-•*])\s")
_STATES = r"\b(?:is|are|was|were|equals?|becomes?|remains?|totals?|be)\b(?:\s(?:equal\s)?to\b)?"
_SAYS = re.compile(rf"{_STATES}|[=≈]|\\approx\b", re.IGNORECASE)
_SAYS_IN_WORDS = re.compile(_STATES, re.IGNORECASE)
_SHOWS = re.compile(
    r"\b(?:has|have|had|gets?|gives?|shows?|reads?|contains?|measures?|costs?|weighs?|leaves?|makes?|"
    r"needs?|takes?|earns?|spends?|of)\b",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"[\s:*_$(\"']*(?:(?:about|approximately|roughly|around|only|exactly|just|therefore|thus|also|"
    r"now|equal to|a total of|total of|in total|the number|the value|still|simply)\b"
    r"[\s:*_$(\"']*){0,3}",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"\?\W*$|^\W*(?:(?:so|then|now),?\s)?(?:if|suppose|assume|assuming|let)\b(?![^.]*,)",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"^\W*(?:so|therefore|thus|hence|finally|altogether|in\s(?:total|all|the\send)|(?:this|that)\smeans|"
    r"leaving|giving|making)\b",
    re.IGNORECASE,
)
_PLACED = re.compile(
    r"\b(?:in|on|at|by|from|since|until|for|with|of|after|before|during|around|age|aged)\W{0,3}$",
    re.IGNORECASE,
)
_SO = re.compile(
    r"[,;]\s(?:and\s)?(?=(?:so|thus|therefore|hence|leaving|giving|making|which\s(?:leaves|gives|makes))\b)"
)
_ANNOTATION = re.compile(r"<<[^<>\n]{0,80}>>")
_UNKNOWN = re.compile(
    r"(?:\d[a-z]{1,2}|(?<![a-z])[a-z]{2}|(?<![a-z])[a-wyz]\s?[-+]\s?\d+|\d\s?[-+]\s?[a-z])[\s$)]{0,3}=[^=]*$|\dx[\s$)]{0,3}=[^=]*$"
    r"|(?<![a-z\d])x\s?[-+]\s?\d+[\s$)]{0,3}=[^=]*$",
    re.IGNORECASE,
)
"""The last equation says what `2x` or `x + 1` is, which is not an answer."""
_NOT_ONE = re.compile(
    r"\b(?:not|n't|never|no|neither|nor|least|most|than|over|under|between|up to|up|almost|nearly|"
    r"first|step|figure|fig|equation|eq|question|question|part|number|the)\W{0,3}$|n't\W{0,3}$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"^[^.;:]{0,30}?,\s(?:not|or|maybe|perhaps)\b|^[^.;:]{0,60}?\s(?:and|or)\s(?:one|an?)\b|^[^.;:]{0,40}?\s(?:and|or|to|by|x|×|plus|minus|times|-)\s[^.;:]{0,12}?\d|^\s?[-/:^]\s?\d"
    r"|^\s?(?:or|and|to)\b|^(?:st|nd|rd|th)\b|^\s?%?\s(?:more|less|fewer|greater|times)\b"
)
_CONDITION = re.compile(r"\b(?:where|if|when|given|for|with|at)\s[^,.;=]{0,30}=", re.IGNORECASE)
_NAMED = re.compile(
    r"\W{0,3}\sis\sthe\s(?:most\s\w+|best|correct|right|answer|final)\b", re.IGNORECASE
)
# `x = 2, y = 5` and `3 × 4 = 12 apples and 2 × 5 = 10 pears` conclude two things.
_EQUATIONS = re.compile(
    r"=[^=]*\band\b(?![^=]*\bso\b)[^=]*=|=[^=]*[,;]\s*(?:and\s)?\$?\w{1,2}\$?\s?=", re.IGNORECASE
)
_EXPLAINS = re.compile(r"(?:this|these|that|because|it)\b", re.IGNORECASE)
_CUT = re.compile(
    r",\s(?!\d{3}\b)|[;:]\s|\s\((?!\d)|\s(?:after|because|since|which|that|who|in|on|of|for|from|with|"
    r"when|where|if|as|per|left|remaining|than|have|has|are|is|at|by|so|and)\b"
)


def concluded_number(text: str) -> tuple[str, int, int] | None:
    """The one number that the last sentence with a number concludes, and where it is.

    Sentences without a number, and items of a list, may follow it.
    """
    if len(text) > _LONG and not _ENDS.search(text.rstrip()[-2:]):
        return None
    for start, sentence in reversed(list(sentences_of(text))[-8:]):
        said = _ANNOTATION.sub("", sentence)
        said = with_digits(said) if len(said) <= _LONG else said
        if _ITEM.match(said) or not re.search(r"\d", said):
            continue
        *_, tail = _SO.split(said)
        number = number_of(said) or next(
            (n for part in (tail, claim(said)) if part != said and (n := number_of(part))), None
        )
        if number:
            return number, start, start + len(sentence)
        break
    return _opening_number(text)


def _opening_number(text: str) -> tuple[str, int, int] | None:
    """The number that the first sentence of a short response states, before its explanation."""
    sentences = list(sentences_of(text))
    if len(text) > _LONG or len(sentences) < 2 or any("=" in s for _, s in sentences):
        return None
    start, sentence = sentences[0]
    if claim(sentence) == sentence and not _EXPLAINS.match(sentences[1][1]):
        return None
    said = with_digits(claim(sentence))
    stated = any(_follows(_SAYS, said, m.start()) for m in NUMBER.finditer(said))
    number = number_of(said) if stated else None
    return (number, start, start + len(sentence)) if number else None


def number_of(sentence: str) -> str | None:
    """The number that a sentence concludes, None if it is not one."""
    if len(sentence) > _LONG or _HEDGED.search(sentence):
        return None
    counted = None if re.search(r"\band\b[^.]*\d", sentence) else COUNTED.match(sentence)
    if counted and (number := read_number(counted[1])):
        return number
    numbers = list(NUMBER.finditer(sentence))
    given = _CONDITION.search(sentence) is not None  # `when x = 2` states nothing
    chain = -1 if given else sentence.rfind("=")
    if chain >= 0 and numbers and numbers[-1].start() > chain:
        if _EQUATIONS.search(sentence) or _UNKNOWN.search(sentence):
            return None
        return _stated(_SAYS, sentence, numbers[-1])
    verbs = _SAYS_IN_WORDS if given else _SAYS
    said = [n for m in numbers if (n := _stated(verbs, sentence, m))]
    if said and all(same_number(n, said[0]) for n in said):
        return said[0]
    one = len({m.group() for m in numbers}) == 1 and not re.search(r"\d", NUMBER.sub("", sentence))
    if said or not one:
        return None
    opens = not sentence[: numbers[0].start()].strip(" *_$(\"'")
    before = sentence[: numbers[0].start()]
    concludes = _CONCLUDES.match(sentence) and not _PLACED.search(before)
    if opens or concludes or _NAMED.match(sentence, numbers[0].end()):
        return _value(sentence, numbers[0])
    return _stated(_SHOWS, sentence, numbers[0])


def _stated(verbs: re.Pattern[str], sentence: str, found: re.Match[str]) -> str | None:
    return _value(sentence, found) if _follows(verbs, sentence, found.start()) else None


def stated_values(sentence: str) -> Iterator[str]:
    """What comes after each verb that states something, to the end or to the reasons."""
    for verb in _SAYS.finditer(sentence):
        before = sentence[max(0, verb.end() - 120) : verb.end()]
        if denied(before) or supposed(before) or _UNKNOWN.search(before):
            continue
        rest = sentence[verb.end() :].strip()
        yield rest
        if (head := before_reasons(rest, "number")) is not None:
            yield head
        if (comma := re.search(r",\s", rest)) is not None:
            yield rest[: comma.start()]
    if (shown := re.search(r"\b(?:shows?|reads?|has|gives?|gets?)\s", sentence)) is not None:
        yield sentence[shown.end() :].strip()


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
