"""Compare formulas: first by form, then part by part with math-verify.

What math-verify is not careful with never reaches it: signs that it would skip, words that it would
multiply, units, bases, a right side for its equation, six absolute decimals.
"""

import logging
import re
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any

from vsr1_bench.answers import (
    Quantity,
    boxed,
    compare_quantities,
    contradict,
    is_date,
    read_quantity,
    same_text,
    tidy,
)
from vsr1_bench.answers.forms import Form, read_form
from vsr1_bench.answers.notation import read_base, to_latex, understood, written
from vsr1_bench.answers.numbers import names_value
from vsr1_bench.answers.units import measured, read_after
from vsr1_bench.judge import ensure_warm

TOLERANCE = 1e-6
"""Relative, and only where one side is a decimal and the other is not."""
_EXACT = 1e-20
_MOST_PARTS = 24
_LETTERS_ONLY = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z\s,.'-]+")
_UNIT = re.compile(
    r"(?P<core>.*[^\s\\])\s*(?:\\text\s?\{(?P<words>[^{}]*)\}(?P<power>(?:\^\{?-?\d\}?)?)"
    r"|(?P<sign>\^\{\\circ\}|\\%|%)|(?<=[\d})\s])(?P<bare>[A-Za-z]+(?:/[a-z]+)?(?:\^\{?\d\}?)?))",
    re.DOTALL,
)
_OPTION = re.compile(r"\(?([A-Z])\)?\.?")
_POINT = re.compile(r"^[A-Z]'?\s?(?=\([^()]*,[^()]*\)$)")  # `A(1, 2)`
_REALS = ("\\mathbb{R}", "(-\\infty,\\infty)")
_TURNED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq", "\\lt": ">", "\\gt": "<"}
_UNITS = re.compile(r"\s*(?:square |cubic |sq\. )?units?\.?\s*(?:\^.*)?")
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z]|\\(?!sqrt|pi|frac|cdot|times|left|right)[a-z]+")


def same_formula(given: str, gold: str) -> bool:
    """Whether two formulas are equal; the worker bounds math-verify's time, not itself."""
    if any(_LETTERS_ONLY.fullmatch(tidy(text)) for text in (given, gold)):
        return same_text(given, gold)
    letters = _OPTION.fullmatch(tidy(given)), _OPTION.fullmatch(tidy(gold))
    if letters[0] and letters[1]:  # `(A)` is A
        return letters[0][1] == letters[1][1]
    given, gold = (boxed(text) or text if "\\boxed" in text else text for text in (given, gold))
    if is_date(given) or is_date(gold):  # 2021-05-03 is not 2013
        return same_text(given, gold)
    known = _quantities(given, gold)
    if known is not None:
        return known
    return _same(to_latex(given), to_latex(gold))


def _same(given: str, gold: str, depth: int = 0) -> bool:
    if not given or not gold or depth > 6:
        return False
    if any(_LETTERS_ONLY.fullmatch(tidy(text)) for text in (given, gold)):
        return same_text(given, gold)
    given, gold = (_REALS[1] if text == _REALS[0] else text for text in (given, gold))
    if written(given) == written(gold):
        return True
    known = _quantities(given, gold) if depth else None
    if known is not None:
        return known
    bases = read_base(given), read_base(gold)
    if any(bases):
        return bases[0] == bases[1]
    if bool(_POINT.match(given)) != bool(_POINT.match(gold)):
        given, gold = _POINT.sub("", given), _POINT.sub("", gold)
    a, b = read_form(given), read_form(gold)
    if not (a.sides or b.sides) and (_union(a) or _union(b)):
        return _same(_union(a) or a.whole, _union(b) or b.whole, depth + 1)
    pair = _point(a, b) or _point(b, a)
    if pair is not None:
        return all(_same(x, y, depth + 1) for x, y in zip(*pair, strict=True))
    if a.sides or b.sides:
        return _same_relation(a, b, depth)
    parts = _parts(a), _parts(b)
    if len(parts[0]) > 1 or len(parts[1]) > 1 or a.brackets[0] or b.brackets[0]:
        return _same_parts(a, b, parts[0], parts[1], depth)
    return _same_value(given, gold)


def _is_share(percent: Quantity, share: Quantity) -> bool:
    """Whether one is a percentage (25 %) and the other the same share as a decimal (0.25)."""
    if percent.unit != "%" or share.unit or "/" in percent.number + share.number:
        return False
    return Decimal(percent.number) == 100 * Decimal(share.number)


def _quantities(given: str, gold: str) -> bool | None:
    """Numbers with units are compared here, exactly; None if one of them is not a number."""
    known = compare_quantities(given, gold)
    if known is not False:
        return known
    a, b = read_quantity(given, lead_in=False), read_quantity(gold, lead_in=False)
    assert a is not None and b is not None
    if _is_share(a, b) or _is_share(b, a):
        return True
    if contradict(a.unit, b.unit) or ("/" in a.number) == ("/" in b.number):
        return False
    if a.name and b.name and a.name != b.name:
        return False
    fraction, decimal = (a.number, b.number) if "/" in a.number else (b.number, a.number)
    whole, _, ratio = fraction.lstrip("-").rpartition(" ")
    top, bottom = map(float, ratio.split("/"))
    value = (-1 if fraction.startswith("-") else 1) * (float(whole or 0) + top / bottom)
    return abs(value - float(decimal)) <= 1.01 * TOLERANCE * abs(value)


def _same_relation(a: Form, b: Form, depth: int) -> bool:
    """An equation is equal to an equation; to a bare value only where it names that value."""
    if a.sides and b.sides:
        if a.name and b.name and written(a.name) == written(b.name):
            return _same(a.sides[-1], b.sides[-1], depth + 1)
        return _verified(a.text, b.text)
    relation, other = (a, b) if a.sides else (b, a)
    value = relation.sides[-1] if relation.name or _holds(relation) else _interval(relation)
    if value is not None:
        pair = (value, other.whole)
        return _same(*(pair if a.sides else pair[::-1]), depth + 1)
    if not other.parts and not relation.equation:
        return False
    if relation.equation or not other.brackets[0]:
        return _assignments(a, b, depth)
    return b is relation and _verified(other.whole, relation.text)  # 1 < x < 2 is (1, 2)


def _holds(form: Form) -> bool:
    """Whether a chain of equations holds by arithmetic: `3 + 4 = 7` concludes 7."""
    if set(form.relations) != {"="}:
        return False
    sides = [_without_unit(side)[0] for side in form.sides]
    return not any(map(_LETTER.search, sides)) and all(_verified(x, y) for x, y in pairwise(sides))


def _interval(form: Form) -> str | None:
    r"""The interval that a symbol is bounded to, of `x \geq 2` or `1 < x \leq 3`."""
    signs, sides = form.relations, form.sides
    if not set(signs) <= set(_TURNED):
        return None
    if len(sides) == 2 and names_value(sides[1]) and not _LETTER.search(sides[0]):
        sides, signs = sides[::-1], (_TURNED[signs[0]],)
    if len(sides) == 2 and names_value(sides[0]) and not _LETTER.search(sides[1]):
        below = signs[0] in ("<", "\\lt", "\\leq")
        closed = signs[0] in ("\\leq", "\\geq")
        if below:
            return f"(-\\infty,{sides[1]}{']' if closed else ')'}"
        return f"{'[' if closed else '('}{sides[1]},\\infty)"
    if len(sides) != 3 or not names_value(sides[1]):
        return None
    if signs[0] in (">", "\\gt", "\\geq"):
        sides, signs = sides[::-1], (_TURNED[signs[1]], _TURNED[signs[0]])
    if not {*signs} <= {"<", "\\lt", "\\leq"} or _LETTER.search(sides[0] + sides[2]):
        return None
    opening, closing = ("[" if signs[0] == "\\leq" else "("), ("]" if signs[1] == "\\leq" else ")")
    return f"{opening}{sides[0]},{sides[2]}{closing}"


def _union(form: Form) -> str | None:
    """The intervals of `x < 2 or x > 3`, joined."""
    parts = [read_form(part) for part in form.parts if not form.brackets[0]]
    intervals = [_interval(part) for part in parts if part.sides]
    if not parts or len(intervals) < len(parts) or None in intervals:
        return None
    if len({side for part in parts for side in part.sides if names_value(side)}) != 1:
        return None
    return "\\cup".join(map(str, intervals))


def _assignments(a: Form, b: Form, depth: int) -> bool:
    return (
        len(_parts(a)) > 1 and len(_parts(b)) > 1 and _same_parts(a, b, _parts(a), _parts(b), depth)
    )


def _point(a: Form, b: Form) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The coordinates of `x = 3, y = 4` (or `(x, y) = (3, 4)`) and of the pair `(3, 4)`."""
    names, values = _named_values(a)
    if not names:
        return None
    others, also = _named_values(b)
    if others:
        if set(names) != set(others) or not (a.sides or b.sides):
            return None
        given, gold = dict(zip(names, values, strict=True)), dict(zip(others, also, strict=True))
        return tuple(given[name] for name in names), tuple(gold[name] for name in names)
    in_order = names == tuple(sorted(names)) and b.brackets == ("(", ")")
    return (values, b.parts) if in_order and len(b.parts) == len(values) else None


def _named_values(form: Form) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a tuple and their values: of `x = 3, y = 4`, of `(x, y) = (3, 4)`."""
    if form.relations == ("=",):
        left, right = map(read_form, form.sides)
        same = left.brackets == right.brackets == ("(", ")") and len(left.parts) == len(right.parts)
        names, values = (left.parts, right.parts) if same else ((), ())
    else:
        parts = [read_form(part) for part in form.parts if not form.brackets[0]]
        given = parts and all(part.relations == ("=",) and part.name for part in parts)
        names = tuple(part.sides[0] for part in parts) if given else ()
        values = tuple(part.sides[1] for part in parts) if given else ()
    plain = all(re.fullmatch(r"[A-Za-z]", name) for name in names)
    return (names, values) if plain and len(set(names)) == len(names) > 1 else ((), ())


def _parts(form: Form) -> tuple[str, ...]:
    r"""The values of a list; those of `x = 1, 2` and `x = 1, x = 2` without their name."""
    parts = form.parts
    if not parts and "\\pm" in form.text and not form.sides:
        text = form.text
        return (
            text.replace("\\pm", "+").replace("\\mp", "-"),
            text.replace("\\pm", "-").replace("\\mp", "+"),
        )
    if form.brackets[0] or len(parts) < 2:
        return parts or (form.text,)
    forms = [read_form(part) for part in parts]
    names = [read.name if read.equation else None for read in forms]
    if (
        names[0]
        and all(name in (names[0], None) for name in names)
        and (all(names) or not any(read.sides for read in forms[1:]))
    ):
        return tuple(read.sides[-1] if read.sides else read.text for read in forms)
    return parts


def _same_parts(
    a: Form, b: Form, given: tuple[str, ...], gold: tuple[str, ...], depth: int
) -> bool:
    """Lists and sets in any order, tuples and intervals in theirs, between the same brackets."""
    free = {("", ""), ("\\{", "\\}")}
    if len(given) != len(gold) or len(gold) > _MOST_PARTS:
        return False
    if a.brackets not in free or b.brackets not in free:
        return a.brackets == b.brackets and all(
            _same(x, y, depth + 1) for x, y in zip(given, gold, strict=True)
        )
    left = list(given)
    for part in gold:
        at = next((i for i, one in enumerate(left) if _same(one, part, depth + 1)), None)
        if at is None:
            return False
        del left[at]
    return True


def _same_value(given: str, gold: str) -> bool:
    (a, unit), (b, other) = _without_unit(given), _without_unit(gold)
    if contradict(unit, other):
        return False
    return written(a) == written(b) or _verified(a, b)


def _without_unit(latex: str) -> tuple[str, str]:
    """A formula and the unit behind it; letters beside letters are factors, not units."""
    found = _UNIT.fullmatch(latex.strip())
    if found is None:
        return latex, ""
    core = found["core"].strip()
    if found["sign"]:
        return core, "deg" if "circ" in found["sign"] else "%"
    words = found["bare"] or found["words"] + (found["power"] or "")
    if found["bare"] and (_LETTER.search(core) or (len(words) == 1 and words != "m")):
        return latex, ""
    if words == "m" and found["bare"] and not re.search(r"\\(?:sqrt|pi)", core):
        return latex, ""
    after = read_after(f" {words.strip()}")
    if after is None or after.factor != 1:
        return latex, ""
    if after.unit and (measured(after.unit) or not found["bare"]):
        return core, after.unit
    return (core, "") if _UNITS.fullmatch(words) else (latex, "")


def _verified(given: str, gold: str) -> bool:
    """Whether math-verify finds two formulas equal that it reads whole."""
    if not (understood(given) and understood(gold)):
        return False
    ensure_warm()
    a, b = _parsed(given), _parsed(gold)
    return a is not None and b is not None and _equal(a, b)


@lru_cache(maxsize=4096)
def _parsed(latex: str) -> Any:
    from latex2sympy2_extended import latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from math_verify.grader import should_treat_as_complex

    try:
        return latex2sympy(
            latex,
            is_real=not should_treat_as_complex(latex),
            normalization_config=None,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
    except Exception:  # a foreign parser: whatever it raises, this is not a formula
        return None


def _equal(a: Any, b: Any) -> bool:
    from math_verify import verify
    from sympy import Eq, Expr, MatrixBase

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that no timeout is set
    if isinstance(a, MatrixBase) and isinstance(b, MatrixBase):
        return a.shape == b.shape and all(map(_equal, a, b))
    if isinstance(a, Expr) and isinstance(b, Expr):
        if not a.free_symbols and not b.free_symbols:
            return _near(a, b)
        return bool(verify(b, a, timeout_seconds=None)) and _agree(a, b)
    if not verify(_exact(b), _exact(a), timeout_seconds=None):
        return False
    return not (isinstance(a, Eq) and isinstance(b, Eq)) or _solutions(a, b)


def _near(a: Any, b: Any) -> bool:
    """Numbers: exact ones to 20 digits, a decimal beside another number to six, relatively."""
    from sympy import Float

    decimals = a.has(Float), b.has(Float)
    a, b = a.doit(), b.doit()
    if a.is_Rational and b.is_Rational and not any(decimals):
        return bool(a == b)
    x, y = a.evalf(30), b.evalf(30)
    if not (x.is_number and y.is_number) or not (x.is_finite and y.is_finite):
        return bool(a == b)
    most = TOLERANCE if decimals[0] or decimals[1] else _EXACT
    size = max(abs(complex(x)), abs(complex(y)))
    if size in (0.0, float("inf")):
        size = max(abs(x), abs(y))
    return bool(abs(x - y) <= most * size)


def _agree(a: Any, b: Any) -> bool:
    """Whether two expressions have one value at a place: terms that are small do not vanish."""
    from sympy import Rational

    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    place = {s: Rational(137 + 61 * i, 100 + 13 * i) for i, s in enumerate(symbols)}
    try:
        x, y = a.subs(place).doit(), b.subs(place).doit()
        return _near(x, y) if x.is_number and y.is_number else True
    except Exception:  # no value there: undefined functions, integrals
        return True


def _exact(expr: Any) -> Any:
    """Decimals as fractions: math-verify rounds decimals to six places."""
    from sympy import Float, Rational

    try:
        return expr.replace(lambda e: isinstance(e, Float), lambda e: Rational(str(e)))
    except Exception:
        return expr


def _solutions(a: Any, b: Any) -> bool:
    """Equations that hold nowhere are not equal for that: `x^2 = -1` is not `x^2 = -2`."""
    from sympy import simplify, solve

    if not a.free_symbols or a.free_symbols != b.free_symbols:
        return bool(a == b)
    ratio = simplify((a.lhs - a.rhs) / (b.lhs - b.rhs))
    if ratio.is_number and ratio.is_finite and not ratio.is_zero:
        return True
    return bool(solve(a, *a.free_symbols)) and bool(solve(b, *b.free_symbols))
