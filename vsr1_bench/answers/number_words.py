"""Numbers written as words, zero to twenty."""

from __future__ import annotations

import re

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
_VALUES = {word: str(value) for value, word in enumerate(NUMBER_WORDS)}
# A word that goes on (`twenty-five`, `two hundred`, `one half`) is another number; `one` is often
# no number: `the left one`, `one of them`, `no one`.
_WORD = re.compile(
    r"(?<![\w-])(?:(?:(?<=\bis )|(?<=\bare )|(?<=\bonly )|(?<=\bexactly ))one"
    r"(?!\s(?:of|another|by|can|that|which|who|is)\b)"
    rf"|{'|'.join(word for word in NUMBER_WORDS if word != 'one')})(?![\w-])"
    r"(?!\s(?:hundred|thousand|million|billion|dozen|half|halves|thirds?|quarters?|fourths?|fifths?|"
    r"sixths?|eighths?|tenths?|point|and\sa\shalf)\b)",
    re.IGNORECASE,
)


def with_digits(text: str) -> str:
    """Write the number words zero to twenty as digits; what is not one of them stays.

    Not: `twenty-five`, `two hundred`, `the left one`.
    """
    if text.strip(" .*").lower() == "one":
        return "1"
    return _WORD.sub(lambda found: _VALUES[found[0].lower()], text)
