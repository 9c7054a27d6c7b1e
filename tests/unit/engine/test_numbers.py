"""Numbers: what is one, of what unit, and what a gold answer must be to be one."""

from __future__ import annotations

import pytest

from vsr1_bench.answers import (
    is_bare_quantity,
    is_date,
    is_no_gold,
    read_number,
    read_quantity,
    same_quantity,
    same_value,
)
from vsr1_bench.data.problem_rows import read_kind


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("7 million", "7000000", ""),
        ("3.2M", "3200000", ""),
        ("$4.5 billion", "4500000000", "$"),
        ("$8k", "8000", "$"),
        ("6 dozen eggs", "72", "egg"),
        ("4 hundred thousand", "400000", ""),
        ("3 lakh", "300000", ""),
        ("12万", "120000", ""),
        ("4.5×10³", "4.5e3", ""),
        ("¾", "3/4", ""),
        ("2⅓", "2 1/3", ""),
        (r"0.\overline{6}", "2/3", ""),
        ("0.8\u03053\u0305", "83/99", ""),
        ("2.345.678", "2345678", ""),
        ("2.345,67", "2345.67", ""),
        ("45 678", "45678", ""),
        ("45\u202f678 km", "45678", "km"),
        ("12,34,567", "1234567", ""),
        ("8 sq. ft", "8", "ft^2"),
        ("9 m s^{-2}", "9", "m*s^-2"),
        ("9 m/s²", "9", "m*s^-2"),
        ("60 miles per hour", "60", "h^-1*mi"),
        ("21 ℃", "21", "degC"),
        ("4 square units", "4", ""),
        ("3 (three)", "3", ""),
        ("-£6", "-6", "£"),
        ("k = 8", "8", ""),
        ("|PQ| = 8 cm", "8", "cm"),
    ],
)
def test_a_number_and_its_unit(text: str, number: str, unit: str) -> None:
    found = read_quantity(text, lead_in=False)
    assert found is not None
    assert (found.number, found.unit) == (number, unit)


@pytest.mark.parametrize(
    "text",
    [
        "4x", "4n", "x + 2 = 6", "3x = 6", "x^2 = 9", "a = 2, b = 3", "2, 2", "(4, 4)", "10⁴", "6²",
        "4√2", "√2", "8 tenths", "3 gross", "3rd", "7 March", "March 7", "1980s", "2/4/2019",
        "2019-04-02", "18:45", "300 BC", "0.666…", "0.666...", "5±1", "3 of 7", "6 or 7", "$5 €",
        "log x = 3", "12,34",
    ],
)  # fmt: skip
def test_silence_where_a_sign_or_a_word_is_not_understood(text: str) -> None:
    assert read_quantity(text, lead_in=False) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("So the area is 5 × 7 = 35 square meters.", "35"),
        ("In total, they sold 40 + 25 = 65 tickets.", "65"),
        ("9 x $0.50 = $4.50", "4.50"),
        ("Total = 8 + 6 = 14 pens", "14"),
        ("the value of r is r = 4", "4"),
    ],
)
def test_the_result_of_a_calculation_is_what_is_said(text: str, number: str) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["So 3n = 21", "The curve is x^2 = 25", "u + v = 9", "14, where t = 2", "14 if t = 2",
     "t = 3, so w = 8", "2πr = 14", "not 6, as 3 + 4 = 7"],
)  # fmt: skip
def test_an_equation_in_words_is_not_its_right_side(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("w = 6", "6", True), ("w = 6", "w=6", True), ("w = 6", "h = 6", False),
        ("$6", "6", True), ("$6", "6 dollars", True), ("$6", "€6", False), ("6 cents", "$6", False),
        ("6", "6 thousand", False), ("6 thousand", "6,000", True), ("6 M", "6", False),
        ("6 M", "6 M", True), ("6 red pens", "6 pens", True), ("6 pens", "6 cups", False),
        ("6 kg", "6 pens", False), ("6°", "6°C", True), ("6°C", "6°F", False),
        ("6 km/h", "6 kilometers per hour", True), ("6 cm²", "6 square centimeters", True),
        ("6 cm²", "6 cm³", False), ("6%", "6 percent", True), ("6%", "0.06", False),
        ("1.5e-9", "1.6e-9", False), ("½", "0.5", True), ("6 Mg", "6 mg", False),
    ],
)  # fmt: skip
def test_same_quantity(a: str, b: str, same: bool) -> None:
    assert same_quantity(a, b) is same
    assert same_quantity(b, a) is same


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (r"6\pi", r"$6 \pi$", True), ("3:7", "$3: 7$", True), (r"\frac12", r"$\dfrac{1}{2}$", True),
        ("u-v = 3", "$u - v = 3$", True), (r"3+2\sqrt{5}", r"$3+2 \sqrt{5}$", True),
        ("3√5", r"$3\sqrt{5}$", True), ("u+v = 3", "u - v = 3", False), ("3:7", "7:3", False),
        ("1 2", "12", False), (r"6\pi", "6", False), ("xy", "x y z", False),
    ],
)  # fmt: skip
def test_options_in_latex_are_the_same_value(a: str, b: str, same: bool) -> None:
    assert same_value(a, b) is same
    assert same_value(b, a) is same


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        ("y = 4x + 1", "math"), ("3u - v = 0", "math"), ("u = 4, v = 7", "math"), ("t = 9", "math"),
        ("(4, 7)", "math"), ("(6, 6)", "math"), ("6, 6", "math"), ("4:7", "math"),
        ("2018-11-30", "text"),
        ("30/11/2018", "text"), ("7:45", "text"), ("7:45 pm", "text"), ("11 June", "text"),
        ("1960s", "text"), ("1939-1945", "text"), ("7", "number"), ("7 kg", "number"),
        ("$7", "number"), ("7 million", "number"), ("7/8", "number"), ("1,700", "number"),
        ("1960", "number"), ("-7.5", "number"), ("¾", "number"), (r"\frac{7}{8}", "number"),
    ],
)  # fmt: skip
def test_a_gold_is_a_number_only_where_it_is_one(gold: str, kind: str) -> None:
    assert read_kind(gold, None)[0] == kind
    assert is_bare_quantity(gold) is (kind == "number")


def test_dates_and_missing_golds() -> None:
    assert is_date("2018-11-30") and is_date("7:45") and not is_date("7/8") and not is_date("1960")
    assert all(map(is_no_gold, ["", " ", "nan", "NaN", "null"]))
    assert not is_no_gold("None") and not is_no_gold("0")
