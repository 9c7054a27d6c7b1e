"""Read and compare numbers exactly; an unclear number is not an answer.

A text is a number only if everything around the number is understood: `3π`, `2x`, `5!`, `3-5`,
`more than 5` and `5 or 6` are not the numbers that they contain.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from vsr1_bench.answers.normalize import MAX_ANSWER, normalize_text, tidy
from vsr1_bench.answers.notation import VULGAR, repeating, written
from vsr1_bench.answers.units import CURRENCIES, contradict, read_after

# Thousands with commas, the Indian way, with points beside a decimal comma, or with spaces.
_DECIMAL = (
    r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?"
    r"|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}|\d{1,3}(?:[ ]\d{3})+(?:\.\d+)?"
    r"|\d+(?:\.\d+)?|\.\d+)"
)
_POWER = r"(?:[eE][-+]?\d+|\s?(?:[×x*]|\\times|\\cdot)\s?10\s?\^\s?\{?\s?(?P<power>[-+]?\d+)\s?\}?)"
NUMBER = re.compile(
    rf"(?<![\w.,/^\\+\-])(?P<sign>[-+]?)(?:(?P<mixed>\d+\s\d+/\d+)"
    rf"|(?P<ratio>{_DECIMAL}\s?/\s?{_DECIMAL})|(?P<plain>{_DECIMAL})(?P<scale>{_POWER})?)"
    r"(?!\d|[.,:]\d|\s?[-+/^*]\s?\d)",
    re.ASCII,
)
_DOLLAR = re.compile(r"\\\$|(?:\bUSD?)\s?\$|(?<![$\\])\$(?=\s?[-+]?[\d.])(?![^$]*\$)")
_CURRENCY = re.compile(r"[€£¥₹₩]|\b(?:USD|EUR|GBP|RMB|CNY|INR|Rs\.?)(?=\s?[-+]?[\d.])")
_SIGN_OF = {"USD": "$", "EUR": "€", "GBP": "£", "RMB": "CNY", "CNY": "CNY", "INR": "₹"}
_DEGREES = re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\circ\b|\\degree\b|\\textdegree\b|[°º˚℃℉]")
_UNIT_POWER = re.compile(r"(?<=[A-Za-z)])\s?\^\s?\{?\s?([-+]?\d)\s?\}?(?!\d)")
_RAISE = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LOWER = str.maketrans("⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹", "-+0123456789")
_POWER_OF_TEN = re.compile(r"(?<=10)[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_FRACTION = re.compile(r"\\frac\s?\{\s?([-+]?[\d.]+)\s?\}\s?\{\s?([\d.]+)\s?\}")
_SHORT_FRACTION = re.compile(r"\\frac\s?\{?(\d)\}?\s?\{?(\d)\}?(?!\d)")
_LOOSE_SIGN = re.compile(r"^([-+])\s+(?=[\d.])")
_NEGATIVE = re.compile(r"(?<![\d)}] )\b(?:negative|minus)\s(?=[\d.])", re.IGNORECASE)
_BECAUSE = re.compile(r"\b(?:because|since)\b", re.IGNORECASE)
_CONDITION = re.compile(r"\b(?:where|when|if|with|for|given|as|so|but|not|or|and)\b", re.IGNORECASE)
_EQUALS = re.compile(r"=|≈|\\approx\b|\\simeq\b")
# A second number restates the first after a bracket or an equals sign, never after a comma.
_APART = re.compile(r"[,;]|\band\b|&|\bor\b|\||:")

# Around a number these say that the answer is something else than the number.
_SIGNS = (
    r"[<>≤≥≠±√∛πτ∞\\^*+=|!{}\u223c\u0305…⁻⁰¹²³⁴⁵⁶⁷⁸⁹]|\.\.\.|\b(?:pi|sqrt|root|log|ln|sin|cos|tan"
    r"|exp|mod)\b"
)
_NOT_BEFORE = re.compile(
    _SIGNS + r"|n't\b|-\s?$"
    r"|\b(?:than|least|most|between|under|over|minus|not|no|never|nor|neither|or|up to|square"
    r"|January|February|March|April|May|June|July|August|September|October|November|December)\b",
    re.IGNORECASE,
)
_NOT_AFTER = re.compile(
    r"[<>≤≥≠±√∛πτ∞\\^*+=|!{}\u223c\u0305…]|\.\.\.|^[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]"
    r"|\b(?:pi|sqrt|root|log|ln|sin|cos|tan|exp|mod)\b"
    r"|\b(?:or|and|to|than|plus|minus|over|base|factorial)\b",
    re.IGNORECASE,
)
_MONEY_IS_OF = re.compile(r"([$€£¥₹₩])\s*$")


class Quantity(NamedTuple):
    """A number and what it counts."""

    number: str
    """As written, without commas and plus signs; scientific notation as `1.5e3`; magnitudes are
    multiplied out."""
    unit: str
    """In one form (`units.read_after`), empty if there is none."""
    name: str = ""
    """What stood before an equals sign: `x` of `x = 5`."""


def read_quantity(text: str, *, lead_in: bool = True) -> Quantity | None:
    """Read a text that is one number, perhaps with a unit.

    Args:
        text: An answer as it was given.
        lead_in: Allow words before the number (`there are 5 apples`), and a calculation before its
            result (`4 × 4 = 16 m`).

    Returns:
        None if the text is not a single number, or if something in it is not understood.
    """
    if len(text) > MAX_ANSWER or not _DIGIT.search(text):
        return None
    return _read(text, lead_in)


@lru_cache(maxsize=4096)
def _read(text: str, lead_in: bool) -> Quantity | None:
    if _GOES_ON.search(text):
        return None
    plain = tidy(_CURRENCY.sub(_currency, _DOLLAR.sub(_MARK, _thousands(text)))).rstrip(" .,;:")
    plain = repeating(plain.replace(_MARK, "$"))
    plain = _NEGATIVE.sub("-", plain)
    plain = _POWER_OF_TEN.sub(lambda m: f"^{m[0].translate(_LOWER)}", _vulgar(plain))
    plain = _UNIT_POWER.sub(lambda m: m[1].lstrip("+").translate(_RAISE), plain)
    plain = _DEGREES.sub(_degrees, plain).strip()
    reason = _BECAUSE.search(plain)
    if reason and re.search(r"\d", plain[: reason.start()]):
        plain = plain[: reason.start()].rstrip(" .,;:")
    *sides, plain = _EQUALS.split(plain)
    name = _named(sides, lead_in=lead_in) if sides else ""
    if name is None:
        return None
    plain = re.sub(r"(?<=\d)\s?(?=\\frac)", " ", plain)
    plain = _SHORT_FRACTION.sub(r"\1/\2", _FRACTION.sub(r"\1/\2", plain))
    plain = _LOOSE_SIGN.sub(r"\1", _unbracketed(plain.strip()))
    found = list(NUMBER.finditer(plain))
    if not found or _DIGIT.search(NUMBER.sub("", plain)):
        return None
    first, last = found[0], found[-1]
    before, after = plain[: first.start()], plain[last.end() :]
    for one, other in pairwise(found):
        between = plain[one.end() : other.start()]
        # `5 apples, yes 5` restates; `5, 5` and `2√2` do not.
        apart = re.search(_SIGNS, between) or re.search(
            rf"(?:{_APART.pattern})\s*$" if lead_in else rf"{_APART.pattern}|^[^(]*$", between
        )
        if apart or not _equal(_written(first), _written(other)):
            return None
    return _quantity(first, before, after, lead_in, name)


def _quantity(
    found: re.Match[str], before: str, after: str, lead_in: bool, name: str
) -> Quantity | None:
    """The number between what comes before and after it, if all of that is understood."""
    money = _MONEY_IS_OF.search(before)
    if money:
        before = before[: money.start()]
    number = _written(found)
    if money and before.rstrip().endswith("-") and not number.startswith("-"):
        before, number = before.rstrip()[:-1], f"-{number}"  # `-$5`
    if (before.strip() and not lead_in) or _NOT_BEFORE.search(before) or _NOT_AFTER.search(after):
        return None
    counted = read_after(after, money=bool(money))
    if counted is None or (re.fullmatch(r"\d{3}0", number) and re.match(r"'?s\b", after)):
        return None  # `the 1990s`
    unit = counted.unit
    if money:
        if unit[:1] in CURRENCIES and unit[:1] != money[1]:
            return None  # `$5 €`
        unit = money[1]
    if "/" in number and _fraction(number) is None:
        return None
    if counted.factor != 1:
        value = _fraction(number)
        if value is None:
            return None
        number = _plain(value * counted.factor)
    return Quantity(number, unit, name)


def is_bare_quantity(text: str) -> bool:
    """Whether a gold answer is one number, perhaps with a unit: no equation, no tuple, no date."""
    if is_date(text) or re.search(r"=|≈|\\\\(?:approx|simeq)", text):
        return False
    return read_quantity(text, lead_in=False) is not None


def is_date(text: str) -> bool:
    """Whether a text is a date or a time of day written in digits."""
    return bool(_DATE.fullmatch(tidy(text)))


_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}([-/.])\d{1,2}\1(?:\d{4}|\d{2})|\d{4}[-/](?:0[1-9]|1[0-2])"
    r"|\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\.?)?|\d{3}0'?s|\d{4}\s?-\s?\d{4}",
    re.IGNORECASE,
)


def is_no_gold(text: str) -> bool:
    """Whether a gold answer is none: nothing, or what a table writes for a missing value."""
    return text.strip().lower() in ("", "nan", "null", "<na>")


def read_number(text: str) -> str | None:
    """Read a text that is one number; see `read_quantity`."""
    quantity = read_quantity(text)
    return quantity.number if quantity else None


def same_number(a: str, b: str) -> bool:
    """Whether two texts are the same number, compared exactly; False where either is none."""
    first, second = read_quantity(a), read_quantity(b)
    return (
        first is not None
        and second is not None
        and _equal(first.number, second.number)
        and not contradict(first.unit, second.unit)
    )


def same_quantity(a: str, b: str) -> bool:
    """Whether two texts are one bare number each, the same, of units that do not contradict.

    `x = 5` is 5, and so it is `x = 5`; it is not `y = 5`.
    """
    return compare_quantities(a, b) is True


def compare_quantities(a: str, b: str) -> bool | None:
    """Whether two texts are the same number of the same unit; None if either is none."""
    first, second = read_quantity(a, lead_in=False), read_quantity(b, lead_in=False)
    if first is None or second is None:
        return None
    if contradict(first.unit, second.unit) or (
        first.name and second.name and first.name != second.name
    ):
        return False
    return _equal(first.number, second.number)


def rounds_to(given: str, gold: str) -> bool:
    """Whether a decimal with more digits is the gold decimal, once rounded to the gold's digits.

    Only for decimals: 2.71 rounds to 2.7, and 2.71 does not round to 3.
    """
    first, second = read_quantity(given, lead_in=False), read_quantity(gold, lead_in=False)
    if first is None or second is None or "." not in second.number:
        return False
    try:
        digits = Decimal(second.number)
        return Decimal(first.number).quantize(digits, ROUND_HALF_UP) == digits
    except InvalidOperation:  # a fraction, or far more digits than a decimal holds
        return False


def names_value(side: str) -> str | None:
    r"""The symbol or name that a left side is (`x`, `AB`, `f(3)`, `(x, y)`); None otherwise."""
    plain = tidy(side)
    if _TUPLE_OF_NAMES.fullmatch(plain) or _SYMBOL.fullmatch(plain):
        return "".join(plain.split())
    return _named([plain], lead_in=False)


def same_text(a: str, b: str) -> bool:
    """Whether two short texts are the same words, or the same quantity."""
    return normalize_text(a) == normalize_text(b) or same_quantity(a, b)


def same_value(a: str, b: str) -> bool:
    r"""Whether two texts are the same words, the same quantity, or a formula that is written alike.

    For options: `4\pi` is `$4 \pi$`, `8:5` is `$8: 5$`; `x + y` is not `y + x`, which only a
    library can tell.
    """
    if same_text(a, b):
        return True
    first = written(a)
    return bool(first) and first == written(b)


def units_clash(a: str, b: str) -> bool:
    """Whether two quantities carry different units; a missing unit clashes with none."""
    first, second = read_quantity(a), read_quantity(b)
    return first is not None and second is not None and contradict(first.unit, second.unit)


_DIGIT = re.compile(r"[\d½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒]")
_GOES_ON = re.compile(r"\.\d+\s?(?:\.\.\.|…|\\l?dots)")  # `0.333…`
_MARK = "\ue000"
"""Stands for a dollar sign while the signs that only open a formula are taken off."""


def _currency(found: re.Match[str]) -> str:
    return _SIGN_OF.get(found[0], "₹" if found[0].startswith("Rs") else found[0])


def _degrees(found: re.Match[str]) -> str:
    return {"℃": " °C", "℉": " °F"}.get(found[0], " degrees ")


def _unbracketed(text: str) -> str:
    return text[1:-1].strip() if re.fullmatch(r"\([^(),]*\)", text) else text


_FUNCTION = r"(?:sin|cos|tan|cot|sec|csc|log|ln|lg|exp|sqrt|arc(?:sin|cos|tan)|lim|max|min)"
_NAME = (
    r"(?:m?\s?(?:\\angle|∠|\\triangle|△)\s?)?\|?"
    rf"(?!\\?{_FUNCTION}\b)(?:\\(?:overline|vec|bar|hat)\s?\{{[A-Za-z]+\}}|\\?[A-Za-zα-ωΑ-Ω]+)"
    r"(?:_(?:\w|\{[^{}]{1,24}\})|['\u2032])*\|?"
    r"(?:\s?\(\s?-?[\w.]+\s?(?:,\s?-?[\w.]+\s?)?\))?"
)
_PRODUCT = re.compile(r"[a-z]{2}")  # `xy` is a product, `AB` a line
_SYMBOL = re.compile(rf"(?!{_PRODUCT.pattern}\Z){_NAME}")
_TUPLE_OF_NAMES = re.compile(rf"\((?:\s?{_NAME}\s?,)+\s?{_NAME}\s?\)")
_WORDS = re.compile(r"(?:[A-Za-z']+\s)*[A-Za-z]{2,}")
_PROSE_NAME = re.compile(rf"(?:[A-Za-z']+\s+)*{_NAME}")
_LIMIT = re.compile(
    r"(?:as|because|since|but|not|which|that|where|when|if|with|for|given|unless|except)\b",
    re.IGNORECASE,
)
_CALCULATION = re.compile(
    r"(?:[\s\d.,+\-*/×÷·⋅()$€£%²³^]|\\(?:times|cdot|div)\b|x(?=\s?[\d$])|(?<![A-Za-z])(?:[A-Z][a-z]+|[a-z]{2,}|a)(?![A-Za-z]))*"
)


def _named(sides: list[str], *, lead_in: bool) -> str | None:
    """What an equation names: its left side is one symbol or name; None if it is none.

    With a lead-in the left side may be a calculation instead: digits, signs and words, no symbol.
    """
    first = sides[0].strip(" :")
    if not first:
        return ""  # `≈ 5`
    if any(_APART.search(side) for side in sides[1:]):
        return None  # `x = 1, y = 2` is not 2
    if _PRODUCT.fullmatch(first):
        return None
    if _SYMBOL.fullmatch(first):
        return "".join(first.split())
    if not lead_in:
        named = _WORDS.fullmatch(first) and not re.search(rf"\b{_FUNCTION}\b", first)
        return first.lower() if named and not _CONDITION.search(first) else None
    *_, clause = re.split(r"[,;:]\s", first)
    digit = _DIGIT.search(clause)
    if _LIMIT.match(clause) or (digit and _CONDITION.search(clause, digit.end())):
        return None  # `12 where x = 3` is not 3
    return "" if _PROSE_NAME.fullmatch(clause) or _CALCULATION.fullmatch(clause) else None


def _thousands(text: str) -> str:
    """Join groups of digits that LaTeX's thin space or an apostrophe separates."""
    pattern = r"(?<![\d.,\\])\d{1,3}(?:(?:\\[,;: ]|~|['’])\d{3})+(?!\d)"
    return re.sub(pattern, lambda m: re.sub(r"\D", "", m[0]), text)


def _vulgar(text: str) -> str:
    return (
        re.sub(f"\\s?[{''.join(VULGAR)}]", lambda m: f" {VULGAR[m[0].strip()]}", text)
        if not text.isascii()
        else text
    )


def _plain(value: Fraction) -> str:
    """A fraction as `read_quantity` writes numbers."""
    if value.denominator == 1:
        return str(value.numerator)
    digits = Decimal(value.numerator) / Decimal(value.denominator)
    if Fraction(digits) == value:
        return format(digits, "f")
    return f"{value.numerator}/{value.denominator}"


def _written(found: re.Match[str]) -> str:
    sign = "-" if found["sign"] == "-" else ""
    if found["mixed"]:
        return sign + " ".join(found["mixed"].split())
    if found["ratio"]:
        return sign + "".join(found["ratio"].split()).replace(",", "")
    scale = found["scale"] or ""
    if found["power"]:
        scale = f"e{int(found['power'][:9])}"
    digits = found["plain"].replace(" ", "")
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", digits):
        digits = digits.replace(".", "").replace(",", ".")
    return sign + digits.replace(",", "") + scale


def _equal(a: str, b: str) -> bool:
    if a == b:
        return True
    first, second = _fraction(a), _fraction(b)
    return first is not None and first == second


def _fraction(number: str) -> Fraction | None:
    """The exact value; None if it is not finite or too large to hold."""
    sign = -1 if number.startswith("-") else 1
    whole, _, rest = number.lstrip("+-").rpartition(" ")
    top, _, bottom = rest.partition("/")
    parts = [_simple(part) for part in (whole or "0", top, bottom or "1")]
    if any(part is None for part in parts) or not parts[2]:
        return None
    added, above, below = (part or Fraction(0) for part in parts)
    return sign * (added + above / below)


def _simple(number: str) -> Fraction | None:
    digits, _, exponent = number.lower().partition("e")
    # Beyond this neither a benchmark's answer nor an int-to-string limit is in sight.
    if len(digits) > 400 or len(exponent) > 4 or abs(int(exponent or 0)) > 400:
        return None
    return Fraction(number)
