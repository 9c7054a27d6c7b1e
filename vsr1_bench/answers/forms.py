r"""The form of a formula: a list, a set, a tuple or interval, a relation, or one expression.

Forms are compared before values: `x = 2, y = 5` holds two equations, `(1, 2)` is not a set, and a
number is equal to an equation only where its left side is one symbol or name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vsr1_bench.answers.numbers import names_value

_OPENING = {"(": ")", "[": "]", "\\{": "\\}", "\\langle": "\\rangle"}
_CLOSING = frozenset(_OPENING.values())
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_RELATIONS = frozenset(
    ("=", "<", ">", "\\leq", "\\geq", "\\neq", "\\approx", "\\lt", "\\gt", "\\in", "\\equiv")
)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_OR = re.compile(r"\s(?:and|or)\s")


@dataclass(frozen=True, slots=True)
class Form:
    """A formula taken apart at its outermost signs."""

    text: str
    """Without outer brackets and spaces."""
    brackets: tuple[str, str] = ("", "")
    """Around all of it, where it is a set, a tuple or an interval."""
    parts: tuple[str, ...] = ()
    """Of a list, a set, a tuple: two or more."""
    sides: tuple[str, ...] = ()
    """Of a chain of relations: two or more."""
    relations: tuple[str, ...] = ()
    """The signs between the sides."""

    @property
    def whole(self) -> str:
        """With its brackets."""
        return self.brackets[0] + self.text + self.brackets[1]

    @property
    def equation(self) -> bool:
        """Whether it is a relation by equality only (`≈` and `∈` count)."""
        return bool(self.sides) and set(self.relations) <= {"=", "\\approx", "\\in"}

    @property
    def name(self) -> str | None:
        """The symbol or name that an equation gives a value to; None if it does not."""
        return names_value(self.sides[0]) if self.equation else None


def read_form(latex: str) -> Form:
    """Take a formula apart.

    Args:
        latex: As `notation.to_latex` writes it.
    """
    text = latex.strip().rstrip(".;,").strip()
    if text[:1] == "{" and all(depth for _, _, depth in _tokens(text)[1:-1]):
        text = text.removeprefix("{").removesuffix("}").strip()
    parts = _split(_OR.sub(" , ", text), (",", ";"), thousands=True)
    if len(parts) > 1:
        return Form(text, parts=parts)
    brackets = _around(text)
    if brackets:
        inner = text[len(brackets[0]) : -len(brackets[1])].strip()
        comma = ", " in inner
        parts = _split(_OR.sub(" , ", inner), (",", ";"), thousands=comma)
        if len(parts) > 1 or brackets[0] == "\\{":
            return Form(inner, brackets, parts)
    sides, signs = _relation(text)
    return Form(text, sides=sides, relations=signs) if signs else Form(text)


def _tokens(text: str) -> list[tuple[int, str, int]]:
    """Each token with its place and the depth of the brackets that it is in."""
    tokens, depth, bars = [], 0, 0
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in _CLOSING or token == "}" or token == "\\end":
            depth = max(0, depth - 1)
        tokens.append((found.start(), token, depth))
        if token in _OPENING or token == "{" or token == "\\begin":
            depth += 1
        bars += token == "|"
    return tokens


def _split(text: str, marks: tuple[str, ...], *, thousands: bool) -> tuple[str, ...]:
    """The parts between commas outside all brackets; a comma within a number is none."""
    kept: set[int] = set()
    if thousands:
        for found in _THOUSANDS.finditer(text):
            kept.update(range(found.start(), found.end()))
    cuts = [
        at for at, token, depth in _tokens(text) if token in marks and not depth and at not in kept
    ]
    starts, ends = [0, *(at + 1 for at in cuts)], [*cuts, len(text)]
    return tuple(
        part for start, end in zip(starts, ends, strict=True) if (part := text[start:end].strip())
    )


def _around(text: str) -> tuple[str, str] | None:
    """The brackets that open with the text and close with it; half-open ones count."""
    tokens = _tokens(text)
    if len(tokens) < 2 or tokens[0][1] not in _OPENING or tokens[-1][1] not in _CLOSING:
        return None
    if any(not depth for _, token, depth in tokens[1:-1] if token.strip()) or tokens[-1][2]:
        return None
    return tokens[0][1], tokens[-1][1]


def _relation(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    cuts = [(at, token) for at, token, depth in _tokens(text) if token in _RELATIONS and not depth]
    merged: list[tuple[int, int, str]] = []
    for at, token in cuts:  # `<=` is one sign
        if merged and merged[-1][1] == at and merged[-1][2] in ("<", ">") and token == "=":
            merged[-1] = (merged[-1][0], at + 1, "\\leq" if merged[-1][2] == "<" else "\\geq")
        else:
            merged.append((at, at + len(token), token))
    starts, ends = [0, *(end for _, end, _ in merged)], [*(at for at, _, _ in merged), len(text)]
    sides = [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    signs = [sign for _, _, sign in merged]
    if signs and not sides[0] and signs[0] in ("=", "\\approx"):  # `≈ 3.14`
        sides, signs = sides[1:], signs[1:]
    return (tuple(sides), tuple(signs)) if signs and all(sides) else ((), ())
