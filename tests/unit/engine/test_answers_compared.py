"""Comparing answers: numbers exactly, texts without their dress, rounding to the gold's digits."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsr1_bench.answers import normalize_text, rounds_to, same_number, units_clash


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("1/2", "0.5", True),
        ("1,000", "1000", True),
        ("0.1", "1e-1", True),
        ("3", "3.00", True),
        ("7 3/4", "7.75", True),
        ("-7 1/2", "-7.5", True),
        ("-0", "0", True),
        ("40 degrees", "40", True),
        ("1.5/3", "0.5", True),
        ("1e999999", "1e999999", True),
        ("1/3", "0.333333", False),
        ("0.1", "0.10000000000000001", False),
        ("50%", "0.5", False),
        ("5", "-5", False),
        ("x", "x", False),
        ("", "", False),
        ("1e999999", "1e999998", False),
        ("9" * 5000, "9" * 5000, False),
    ],
)
def test_same_number(a: str, b: str, same: bool) -> None:
    assert same_number(a, b) is same
    assert same_number(b, a) is same


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_fractions_are_exact(top: int, bottom: int) -> None:
    reduced = Fraction(top, bottom)
    assert same_number(f"{top}/{bottom}", f"{reduced.numerator}/{reduced.denominator}")
    assert not same_number(f"{top}/{bottom}", f"{top + 1}/{bottom}")


@pytest.mark.parametrize(
    ("a", "b", "clash"),
    [
        ("5 cm", "5 m", True),
        ("5 cm", "5 cm^2", True),
        ("5 cm", "5", False),
        ("5 cm", "5 centimeters", False),
        ("40 degrees", r"40^\circ", False),
        ("50 percent", "50%", False),
        ("50%", "50 cm", True),
        ("cat", "5 cm", False),
    ],
)
def test_units(a: str, b: str, clash: bool) -> None:
    assert units_clash(a, b) is clash


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Red  Car.", "red car"),
        ("the cat", "Cat"),
        ("Yes!", "yes"),
        ("“cat”", "cat"),
        ("\uff43\uff41\uff54", "cat"),
        (r"\text{cat}", "cat"),
        ("$x$", "x"),
        ("é", "é"),
        ("\ufb01sh", "fish"),
        ("co\u2011op", "co-op"),
    ],
)
def test_texts_that_are_the_same(a: str, b: str) -> None:
    assert normalize_text(a) == normalize_text(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("x²", "x2"),
        ("½", "12"),
        ("-5", "5"),
        ("red car", "redcar"),
        ("the", ""),
        ("?", "!"),
        ("3!", "3"),
        ("n!", "n"),
        ("an", "a"),
        (r"\frac{1}{23}", r"\frac{12}{3}"),
    ],
)
def test_texts_that_are_not(a: str, b: str) -> None:
    assert normalize_text(a) != normalize_text(b)


@pytest.mark.parametrize(
    ("given", "gold", "rounds"),
    [
        ("2.71", "2.7", True),
        ("2.75", "2.8", True),
        ("2.6", "2.7", False),
        ("2.71", "3", False),  # a whole gold number is exact
        ("2.7", "2.71", False),  # fewer digits say less
        ("8/3", "2.7", False),
        ("x", "2.7", False),
        ("9" * 5000 + ".1", "2.7", False),
    ],
)
def test_rounding_to_the_golds_digits(given: str, gold: str, rounds: bool) -> None:
    assert rounds_to(given, gold) is rounds
