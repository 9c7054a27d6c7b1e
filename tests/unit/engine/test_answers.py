"""Reading final answers: regions and boxes, yes or no, numbers, texts; no guess anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsr1_bench.answers import boxed, extract, final_region


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("plain", "plain"),
        ("<think>a</think> b", " b"),
        ("a</think> b", " b"),
        ("<THINKING>a</Thinking>b", "b"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>a <think> b</think>c", "c"),
        ("<think>never closed", ""),
        ("so B. <think>hm", "so B. "),
        ("<think>a</think> b <think>c", " b "),
        ("< think >a< / think >b", "b"),
        ("<description>5 dots</description><think>a</think> b", " b"),
        ("<description>5 dots</description> b", " b"),
        ("<visual_reasoning>5 dots</visual_reasoning> b", " b"),
        ("<description>cut off", ""),
        ("<thinker>a", "<thinker>a"),
    ],
)
def test_final_region(text: str, region: str) -> None:
    assert final_region(text) == region


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{ 5 }", "5"),
        (r"\boxed{\frac{1}{2}} and so on", r"\frac{1}{2}"),
        (r"\boxed{1} or \boxed{2}", "2"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{x\right.}", r"\left\{x\right."),
        (r"\fbox{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"\boxed 5.", "5"),
        (r"\\boxed{5}", "5"),
        (r"x \\\boxed{5}", "5"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{\frac{\boxed{1}}{2}}", r"\frac{\boxed{1}}{2}"),
        (r"\boxed{5} as asked: \boxed{}", "5"),
        (r"an open { before \boxed{5}", "5"),
        (r"\boxed{5", None),
        (r"\boxed{5} no, \boxed{6", None),
        (r"\boxed{5 forgotten, \boxed{6}", "6"),
        (r"\boxed{}", None),
        (r"\boxedin{5}", None),
        ("nothing", None),
    ],
)
def test_boxed(text: str, content: str | None) -> None:
    assert boxed(text) == content


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Yes", "yes"),
        ("No.", "no"),
        ("**No**", "no"),
        ("YES!", "yes"),
        ("\uff39\uff45\uff53", "yes"),
        ("true", "yes"),
        ("yes, it is", "yes"),
        ("No, there is no dog", "no"),
        ("Yes, there is no dog", "yes"),
        ("No there isn't", "no"),
        ("Yes. It is not a cat.", "yes"),
        ("I would say yes.", "yes"),
        (r"\boxed{yes}", "yes"),
        (r"\boxed{\text{No}}", "no"),
        (r"\boxed{True}", "yes"),
        ("The answer is no", "no"),
        ("The answer is false.", "no"),
        ("Answer: yes, because there is no other", "yes"),
        ("<answer>No</answer>", "no"),
        ("Yes and no at first sight.\nFinal answer: no", "no"),
        ("There is one.\n\nYes", "yes"),
        ("<think>No</think>Yes", "yes"),
        ("Yes and no", None),
        ("Yes, but also no", None),
        ("It may be yes. It may be no.", None),
        ("Answer: yes/no", None),
        (r"\boxed{yes or no}", None),
        ("Yes\nNo", None),
        ("It's true", None),
        ("There is no way to tell", None),
        ("There is no dog", None),
        ("I know nothing", None),
        ("No-one is there", None),
        ("I cannot say yes", None),
        ("Answer: not true", None),
        (r"\boxed{maybe}", None),
        ("", None),
    ],
)
def test_yes_no(text: str, value: str | None) -> None:
    assert extract(text, "yes_no").value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", "5"),
        ("\uff15", "5"),
        ("(5)", "5"),
        ("5.", "5"),
        ("+5", "5"),
        ("-3", "-3"),
        ("−3", "-3"),
        ("- 3", "-3"),
        ("1,234,567.5", "1234567.5"),
        ("$1{,}000$", "1000"),
        (r"10,\!000", "10000"),
        ("$5", "5"),
        ("-$5", "-5"),
        ("€5.50", "5.50"),
        ("50%", "50"),
        (r"\boxed{50\%}", "50"),
        ("1.5e3", "1.5e3"),
        (r"1.5 \times 10^{3}", "1.5e3"),
        ("1.5 × 10^-3", "1.5e-3"),
        ("1/2", "1/2"),
        (r"\frac{1}{2}", "1/2"),
        (r"\frac12", "1/2"),
        (r"-\dfrac{1}{2}", "-1/2"),
        (r"\frac{-1}{2}", "-1/2"),
        ("7 3/4", "7 3/4"),
        (r"7\frac{3}{4}", "7 3/4"),
        ("40 degrees", "40"),
        (r"40^\circ", "40"),
        (r"40^{\circ}", "40"),
        ("40°", "40"),
        ("5cm", "5"),
        (r"5\text{ cm}^2", "5"),
        ("9.8 m/s^2", "9.8"),
        ("5 apples", "5"),
        ("x = 5", "5"),
        ("3 + 2 = 5", "5"),
        (r"\approx 5", "5"),
        ("about 5", "5"),
        (".5", ".5"),
        ("There are 5 apples.", "5"),
        ("5 apples, yes 5", "5"),
        ("She has 3 and 4, so\n#### 7", "7"),
        ("The answer is 5. There are 3 others.", "5"),
        ("The answer is 12 because 3*5=15", "12"),
        ("Answer: **7**", "7"),
        ("First 3.\nThen 4.\n12", "12"),
        ("First 3.\nThen 4.\n12 cm", "12"),
        ("<answer>12</answer> (not 13)", "12"),
        ("3 or 4", None),
        ("3-5", None),
        ("3 – 5", None),
        ("3 to 5", None),
        ("between 3 and 5", None),
        ("1,2,3", None),
        ("12,34", None),
        ("1.2.3", None),
        ("3:30", None),
        ("5!", None),
        ("5²", None),
        ("½", "1/2"),
        ("2^3", None),
        ("10^3", None),
        ("2x", None),
        ("2 x", None),
        (r"3\pi", None),
        ("3π", None),
        ("3 pi", None),
        (r"2\sqrt{3}", None),
        ("5 squared", None),
        ("5/0", None),
        ("more than 5", None),
        ("at least 5", None),
        ("not 5", None),
        ("5 or more", None),
        ("> 5", None),
        ("5 ± 1", None),
        ("COVID-19", None),
        ("12 where x = 3", None),
        ("B2", None),
        ("five", "5"),
        ("There are 5 cats and 3 dogs", None),
        ("5 cats.\nThen I count 3 dogs", None),
        ("a 3\nb 4\nin step 5 we add", None),
        (r"\boxed{5 or 6}", None),
        (r"\boxed{x}", None),
    ],
)
def test_number(text: str, value: str | None) -> None:
    assert extract(text, "number").value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cat", "cat"),
        ("A red car.", "A red car"),
        (r"\boxed{\text{red car}}", "red car"),
        ("The answer is cat.", "cat"),
        ("The answer is Paris. It is large.", "Paris"),
        ("The answer is St. Louis.", "St. Louis"),
        ("Answer: **red car**", "red car"),
        ("<answer>cat</answer>", "cat"),
        ("<answer> </answer>cat", "<answer> </answer>cat"),
        ("<answer>cat</answer><answer></answer>", "cat"),
        ("one line\nand another", None),
        ("word " * 60, None),
        (r"\boxed{" + "x" * 3000 + "}", None),
    ],
)
def test_text(text: str, value: str | None) -> None:
    assert extract(text, "text").value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"So \boxed{\text{(A)}}.", r"\text{(A)}"),
        (r"The answer is $\frac{1}{2}$.", r"\frac{1}{2}"),
        (r"The final answer is \(x+1\).", "x+1"),
        ("Final Answer:\n$$\n5\n$$", "5"),
        ("$5$ and $6$", "$5$ and $6$"),
        ("x = 5", "x = 5"),
        ("First 5.\nThen 6.", None),
    ],
)
def test_math(text: str, value: str | None) -> None:
    assert extract(text, "math").value == value


def test_how_and_raw_say_where_the_value_is_from() -> None:
    assert extract(r"\boxed{5 cm}", "number").raw == "5 cm"
    found = [r"\boxed{5}", "<answer>5</answer>", "Answer: 5", "5"]
    hows = [extract(text, "number").how for text in found]
    assert hows == ["boxed", "answer_tag", "statement", "only_number"]


@given(st.integers(-(10**12), 10**12))
def test_numbers_are_read_back(number: int) -> None:
    for text in (f"{number:,}", f"\\boxed{{{number}}}", f"The answer is ${number:,}$."):
        assert extract(text, "number").value == str(number)
