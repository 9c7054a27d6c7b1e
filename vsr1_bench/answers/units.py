"""Units of numbers: one form per unit, magnitudes as factors, and no answer for unknown words.

A unit is understood (`cm`, `square metres`, `km per hour`), or it is a noun (`red apples`). A
magnitude (`million`, `k`, `dozen`) belongs to the value. Words that change a value in a way that is
not known here (`tenths`, `gross`, a month's name) make the number unreadable.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAMES = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "dm": "decimeter decimetre",
    "m": "meter metre", "km": "kilometer kilometre kms", "nm": "nanometer nanometre",
    "µm": "micrometer micrometre micron μm um", "in": "inch inche", "ft": "feet foot",
    "yd": "yard yds", "mi": "mile", "nmi": "", "ly": "lightyear", "Å": "angstrom å",
    "mg": "milligram", "Mg": "megagram", "g": "gram gramme gm", "kg": "kilogram kilo kgs",
    "t": "tonne ton", "lb": "lbs", "oz": "ounce",
    "ml": "milliliter millilitre mL", "cl": "centiliter centilitre cL",
    "dl": "dL deciliter", "L": "liter litre l ltr", "gal": "gallon",
    "ns": "nanosecond", "µs": "microsecond μs us", "ms": "millisecond", "s": "second sec secs",
    "min": "minute mins", "h": "hour hr hrs", "day": "d", "week": "wk", "month": "", "year": "yr",
    "Hz": "hertz hz", "kHz": "kilohertz khz", "MHz": "megahertz mhz", "GHz": "gigahertz ghz",
    "N": "newton", "kN": "kilonewton", "J": "joule", "kJ": "kilojoule kj", "MJ": "megajoule",
    "W": "watt", "kW": "kilowatt kw", "MW": "megawatt", "kWh": "kwh", "eV": "ev", "keV": "kev",
    "MeV": "mev", "cal": "calorie", "kcal": "kilocalorie", "Pa": "pascal pa", "kPa": "kpa",
    "MPa": "mpa", "atm": "atmosphere", "bar": "", "V": "volt", "mV": "millivolt", "kV": "kilovolt",
    "A": "ampere amp", "mA": "milliampere milliamp", "Ω": "ohm Ω ω", "kΩ": "kiloohm",
    "C": "coulomb",
    "F": "farad", "T": "tesla", "Wb": "weber", "H": "henry", "mol": "mole", "K": "kelvin",
    "deg": "degree degrees", "rad": "radian", "sr": "steradian", "dB": "decibel db",
    "px": "pixel", "B": "byte", "KB": "kb kilobyte", "MB": "mb megabyte", "GB": "gb gigabyte",
    "TB": "tb terabyte", "rpm": "", "ppm": "", "bp": "",
    "%": "percent percentage pct", "‰": "permille permil",
    "$": "dollar dollars usd buck", "€": "euro eur", "£": "gbp sterling", "¥": "yen jpy",
    "CNY": "yuan rmb cny", "₹": "rupee inr rs", "₩": "won krw", "¢": "cent",
    "ha": "hectare", "acre": "", "kn": "knot", "am": "a.m", "pm": "p.m",
    "mi/h": "mph", "km/h": "kph kmh kmph", "m/s": "mps", "mi/gal": "mpg",
}  # fmt: skip
_UNITS = {word: unit for unit, words in _NAMES.items() for word in (unit, *words.split())}
_CHINESE = {
    "厘米": "cm", "米": "m", "千米": "km", "公里": "km", "毫米": "mm", "海里": "nmi",
    "平方厘米": "cm^2", "平方米": "m^2", "平方千米": "km^2", "立方厘米": "cm^3", "立方米": "m^3",
    "克": "g", "千克": "kg", "公斤": "kg", "吨": "t", "升": "L", "毫升": "ml", "度": "deg",
    "元": "CNY", "秒": "s", "分钟": "min", "小时": "h", "天": "day", "年": "year",
} | {word: word for word in "个 只 人 岁 块 本 支 棵 次 条 张".split()}  # fmt: skip
_UNITS |= _CHINESE
_SIGNS = frozenset(_UNITS.values()) | {"degC", "degF"}
_COMPOUND = {
    "mi/h": {"mi": 1, "h": -1}, "km/h": {"km": 1, "h": -1}, "m/s": {"m": 1, "s": -1},
    "mi/gal": {"mi": 1, "gal": -1},
}  # fmt: skip
_AFTER_UNITS = frozenset("m s g L N V W J A C F K kg cm mm km mol h min deg Hz Pa T".split())
CURRENCIES = tuple("$€£¥₹₩¢")

_FACTORS = {
    "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "quadrillion": 15,
    "k": 3, "mln": 6, "mn": 6, "mio": 6, "bn": 9, "bln": 9, "tn": 12, "lakh": 5, "lac": 5,
    "crore": 7, "万": 4, "亿": 8, "million(s)": 6, "milliard": 9,
}  # fmt: skip
_GLUED_FACTORS = {"k": 3, "K": 3, "M": 6, "B": 9, "bn": 9, "mn": 6, "tn": 12, "万": 4, "亿": 8}
_MONEY_FACTORS = {"k": 3, "K": 3, "m": 6, "M": 6, "b": 9, "B": 9, "t": 12, "T": 12} | _GLUED_FACTORS

_NOT_UNDERSTOOD = frozenset(
    "half halves third thirds quarter fourths fifths sixths sevenths eighths ninths tenths "
    "hundredths thousandths millionths tenth hundredth thousandth millionth billionth gross "
    "hundreds tens ones score myriad googol "
    "january february march april june july august september october november december jan feb mar "
    "apr jun jul aug sep sept oct nov dec may "
    "mil bc ad bce ce st nd rd th x times fold factorial squared cubed".split()
) - {"quarter", "third"}  # a coin; `third` follows no number
_NUMBER_WORDS = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty".split()
)
# Single letters that are beside digits as variables: `3x`, `5 n`.
_LETTER_UNITS = frozenset("msghLlNVWJACFKTt")
_GLUED_LETTERS = frozenset("msgLNVWJACFK")
_POWER_WORDS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_STOP = frozenset(
    "in on at of for from with by as that which who when where while because since if so than into "
    "is are was were be left more less each every total altogether away apart long wide tall high "
    "deep old only here there now today and or but".split()
)
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_WORD = re.compile(
    r"[A-Za-zµμΩωÅå$€£¥₹₩¢%‰.]+|[\u4e00-\u9fff]+|[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+|\^\s?\{?\s?-?\d\s?\}?|[/·*]|\\cdot(?![a-z])"
)
# A unit follows at once, or in brackets; what comes after a comma is not part of it.
_FOLLOWS = re.compile(r"([\s(]*)([A-Za-zµμΩωÅå$€£¥₹₩¢%‰/\u4e00-\u9fff][^,;:!?()\n\"]{0,200})")
_SENTENCE = re.compile(r"\.(?:\s|$)(?<!sq\. )(?<!cu\. )")


class After(NamedTuple):
    """What follows a number."""

    unit: str
    """In one form; a noun in lower case and singular; empty if there is none."""
    factor: int = 1
    """What the value is multiplied by."""


def read_after(text: str, *, money: bool = False) -> After | None:
    """Read what follows a number; None if it changes the number in a way that is not known.

    Args:
        text: All that follows; white space at its start matters (`5m`, `5 m`).
        money: Whether a currency sign stood before the number (`$5m`).
    """
    found = _FOLLOWS.match(text)
    if found is None:
        return After("")
    glued = not found[1]
    said = _SENTENCE.split(found[2], maxsplit=1)[0].replace("per cent", "percent")
    words = [m[0] for m in _WORD.finditer(said)]
    factor = 1
    while words:
        power = _factor(words[0], glued=glued, money=money)
        if power is None or (len(words[0]) == 1 and words[1:] and words[1][0] in "/^·*⁻²³"):
            break
        factor *= power
        words, glued = words[1:], False
    first = words[0].strip(".") if words else ""
    if not first:
        return After("", factor)
    if len(first) == 1 and first.isalpha() and first.isascii():
        known = first in (_GLUED_LETTERS if glued else _LETTER_UNITS) or (first == "M")
        return After(_measure([first, *words[1:]]) or first, factor) if known else None
    if first.lower() in _NUMBER_WORDS:  # `5 (five)`
        return After("", factor)
    if first.lower() in _NOT_UNDERSTOOD:
        return None
    unit = _measure(words)
    if unit is not None:
        return After(unit, factor)
    if glued or first[0] in "/*·^\\":
        return None
    return After(_noun(words), factor)


def contradict(a: str, b: str) -> bool:
    """Whether two units contradict each other; a missing unit contradicts none but `M`.

    `5 M` may be molar or a million: it is the same only as itself. `degrees` may be of heat
    or of an angle, and `red apples` are `apples`.
    """
    if a == b:
        return False
    if "M" in (a, b):
        return True
    if not a or not b:
        return False
    heat = {"degC", "degF", "deg"}
    if "deg" in (a, b) and {a, b} <= heat:
        return False
    if measured(a) or measured(b):
        return a.partition(" per ")[0] != b.partition(" per ")[0]
    first, second = set(a.split()), set(b.split())
    return not (first <= second or second <= first)


def measured(unit: str) -> bool:
    """Whether a unit is one of measure or money, rather than a noun."""
    return unit.partition(" per ")[0].partition("*")[0].partition("^")[0] in _SIGNS


def _factor(word: str, *, glued: bool, money: bool) -> int | None:
    if glued or (money and len(word) == 1):
        power = (_MONEY_FACTORS if money else _GLUED_FACTORS).get(word)
        if power is not None:
            return int(10**power)
    lower = word.lower().strip(".")
    if lower in ("dozen", "dozens"):
        return 12
    if lower == "k" and word != "k":  # 300 K are kelvins
        return None
    power = _FACTORS.get(lower, _FACTORS.get(lower.removesuffix("s")))
    return int(10**power) if power is not None else None


def _measure(words: list[str]) -> str | None:
    """The unit of measure that the words begin with, as `cm`, `cm^2` or `h^-1*km`."""
    powers: dict[str, int] = {}
    sign, raised, last, joined = 1, 1, "", True
    per = ""
    for word in words:
        if word in ("/", "per"):
            if not last:
                return None
            sign, joined = -1, True
        elif word in ("·", "*", "\\cdot"):
            joined = True
        elif word[0] in "^⁻⁰¹²³⁴⁵⁶⁷⁸⁹":
            digits = re.sub(r"[^\d-]", "", word.translate(_RAISED))
            if not last or not digits.removeprefix("-"):
                return None
            powers[last] += sign * (int(digits[:4]) - 1)
        elif (power := _POWER_WORDS.get(word.lower().strip("."))) is not None:
            if not joined and word.lower() in ("squared", "cubed"):
                powers[last] += sign * (power - 1)
            elif joined:
                raised = power
            else:
                break
        elif last == "deg" and word.lower().strip(".") in ("c", "f", "celsius", "fahrenheit"):
            powers[f"deg{word[0].upper()}"] = powers.pop("deg")
            last = ""
        elif (joined or _unit(word, strict=True)) and (unit := _unit(word)) is not None:
            for part, times in _COMPOUND.get(unit, {unit: 1}).items():
                powers[part] = powers.get(part, 0) + sign * raised * times
            last, raised, joined = unit if unit not in _COMPOUND else "", 1, False
        else:
            if joined and sign < 0:
                per = f" per {_singular(word.lower())}"
            elif joined and raised > 1:
                return "" if _singular(word.lower()) == "unit" else None
            break
    if not powers:
        return None
    return "*".join(u if n == 1 else f"{u}^{n}" for u, n in sorted(powers.items())) + per


def _unit(word: str, *, strict: bool = False) -> str | None:
    """The one form of a unit's name or sign; what is not understood is None.

    Strict is what a sign that follows another unit must be: `N m`, never `5 m in`.
    """
    word = word.strip(".")
    if strict:
        return word if word in _AFTER_UNITS else None
    if word.lower() in ("celsius", "fahrenheit"):
        return "degC" if word[0] in "Cc" else "degF"
    if word in _UNITS:
        return _UNITS[word]
    lower = word.lower()
    if len(lower) == 1 or lower in ("mw", "mn"):
        return None
    for form in (lower, _singular(lower)):
        if form in _UNITS:
            return _UNITS[form]
    return None


def _noun(words: list[str]) -> str:
    """A noun with what comes before it, singular: `red apples` is `red apple`."""
    kept: list[str] = []
    for word in words:
        plain = word.lower().strip(".")
        if plain in _STOP or not plain.isalpha():
            break
        kept.append(_singular(plain))
        if word.endswith(".") or len(kept) == 4:
            break
    if kept[:1] == ["unit"]:
        return ""
    return " ".join(kept)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
