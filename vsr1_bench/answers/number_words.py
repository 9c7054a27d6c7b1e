"""Numbers written as words."""

from __future__ import annotations

import re

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
_VALUES = {word: str(value) for value, word in enumerate(NUMBER_WORDS)}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = {"thousand": 1000, "million": 10**6, "billion": 10**9}
_ONES = rf"(?:{'|'.join(sorted(NUMBER_WORDS[1:20], key=len, reverse=True))})"
_BELOW_100 = (
    rf"(?:(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(NUMBER_WORDS[1:10])})(?![\w-]))?|{_ONES})"
)
_HUNDREDS = rf"(?:(?:an?|{_ONES})\shundred(?:\s(?:and\s)?{_BELOW_100})?)"
_BELOW_1000 = rf"(?:{_HUNDREDS}|{_BELOW_100})"
_SCALE = rf"\s(?:{'|'.join(_SCALES)}),?"
# What one word does not say: `thirty-five`, `two hundred and six`, `a thousand`.
_LONG = re.compile(
    rf"(?<![\w-])(?=[aefnost])(?:(?:an?|{_BELOW_1000}){_SCALE}"
    rf"(?:\s(?:and\s)?{_BELOW_1000}(?:{_SCALE})?){{0,3}}|{_BELOW_1000})(?![\w-])"
    r"(?!\s(?:half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|eighths?|tenths?|point)\b)",
    re.IGNORECASE,
)
_DOZEN = re.compile(r"\b(half\s)?an?\sdozen\b", re.IGNORECASE)
# A word that goes on (`twenty-five`, `two hundred`, `one half`) is another number; `one` is often
# no number: `the left one`, `one of them`, `no one`.
_WORD = re.compile(
    r"(?<![\w-])(?:(?:(?<=\bis )|(?<=\bare )|(?<=\bonly )|(?<=\bexactly ))one"
    r"(?!\s(?:of|another|by|can|that|which|who|is)\b)"
    rf"|{'|'.join(word for word in NUMBER_WORDS if word != 'one')})(?![\w-])"
    r"(?!\s(?:hundred|thousand|million|billion|half|halves|thirds?|quarters?|fourths?|fifths?|"
    r"sixths?|eighths?|tenths?|point|and\sa\shalf)\b)",
    re.IGNORECASE,
)


def with_digits(text: str) -> str:
    """Write number words as digits: `seven`, `thirty-five`, `two hundred and six`, `a dozen`.

    Not: `two-thirds`, `the left one`.
    """
    text = _DOZEN.sub(lambda found: "6" if found[1] else "1 dozen", text)
    text = _LONG.sub(_digits, text)
    if text.strip(" .*").lower() == "one":
        return "1"
    return _WORD.sub(lambda found: _VALUES[found[0].lower()], text)


def _digits(found: re.Match[str]) -> str:
    words = re.findall(r"[a-z]+", found[0].lower())
    if len(words) == 1 and words[0] in NUMBER_WORDS[:-1]:
        return found[0]
    total = part = 0
    for word in words:
        if word in _SCALES:
            total, part = total + max(part, 1) * _SCALES[word], 0
        elif word == "hundred":
            part = max(part, 1) * 100
        elif word in _TENS:
            part += 10 * (_TENS.index(word) + 2)
        elif word in NUMBER_WORDS:
            part += NUMBER_WORDS.index(word)
    return str(total + part)
