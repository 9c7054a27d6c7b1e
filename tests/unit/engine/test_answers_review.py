"""What a careful person reads otherwise than a pattern does: suppositions, wrappers, languages."""

from __future__ import annotations

import pytest

from vsr1_bench.answers import extract, read_options
from vsr1_bench.answers.number_words import with_digits
from vsr1_bench.judges.math import JUDGE as MATH
from vsr1_bench.judging import Item

METALS = ("iron", "copper", "zinc", "lead")

NOT_NAMED = (
    "It's improbable that the answer is D.",
    "It is unlikely to be option D.",
    "Anything but D.",
    "Nothing supports option D.",
    "No one would pick D.",
    "If the answer is D, the metal must float.",
    "Assuming D is correct, we go on.",
    "It might be D.",
    "Let us examine option D.",
    "Should it be D?",
    "Option D is misleading.",
    "Answer: D (or B)",
    "Answer: D, but it may also be B",
    "Please give a letter A-D.",
    "Statement D is true.",
    "✘ D",
    "Answer: D (copper)",
    "It can't be the lead.",
    "Could it be lead?",
    "I doubt it is lead.",
)
NAMED = (
    "『D』",
    "【D】",
    "## D",
    "- D",
    '["D"]',
    "<strong>D</strong>",
    "✔ D",
    "My guess: D",
    "Decision: D",
    "OK, D.",
    "It's most likely D.",
    "That leaves D.",
    "Only D fits.",
    "The answer to this riddle is: D",
    '{"answer": {"letter": "D"}}',
    "D是正确的",
    "正确选项是D",
    "【答案】D",
    "La opción correcta es la D",
    "A alternativa certa é D",
    "정답은 D번입니다.",
    "Правильный ответ D",
    "Answer: D\n\nQuestion 7: Which metal floats?\nAnswer: A",
    "<rationale>Answer: A</rationale>D",
    "<|thinking|>Answer: A<|/thinking|>D",
    "It is lead; without doubt it is lead.",
)


@pytest.mark.parametrize("text", NOT_NAMED)
def test_what_is_supposed_or_ruled_out_is_no_answer(text: str) -> None:
    assert extract(text, "choice", METALS).value != "D"


@pytest.mark.parametrize("text", NAMED)
def test_what_wraps_a_letter_does_not_hide_it(text: str) -> None:
    assert extract(text, "choice", METALS).value == "D"


def test_a_picture_is_named_by_its_letter_only_where_the_options_are_pictures() -> None:
    said = "Therefore, the correct answer is figure C."
    assert extract(said, "choice", ("A", "B", "C", "D")).value == "C"
    assert extract(said, "choice", ("neither", "figure C", "figure D")).value == "B"


def test_a_list_of_bare_letters_before_the_options_is_not_the_options() -> None:
    assert read_options("Choose (A), (B) or (C). (A) 3 kg (B) 5 kg (C) 9 kg") == (
        "3 kg",
        "5 kg",
        "9 kg",
    )
    assert read_options("Choose one: (A) (B) (C)") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("有", "yes"),
        ("不是。", "no"),
        ("Oui, deux.", "yes"),
        ("Nein.", "no"),
        ("Sim!", "yes"),
        ("いいえ、違います。", "no"),
        ("네.", "yes"),
        ("Нет, это кошка.", "no"),
        ("Antwort: Ja", "yes"),
        ("是否", None),
        ("ja oder nein", None),
        ("If yes, it is large.", None),
        ("No. 7", None),
        ("It is gone, so no.", "no"),
    ],
)
def test_yes_and_no_in_other_languages(text: str, value: str | None) -> None:
    assert extract(text, "yes_no").value == value


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("There were 31 boats. 9 sank. So 22 boats float.", "22"),
        ("Since there are 6 rows of 4, there are 24.", "24"),
        ("He bakes 9 and eats 2, leaving 7.", "7"),
        ("So 8 + 5 = <<8+5=13>>13.", "13"),
        ("Answer: negative 6", "-6"),
        ("forty-one", "41"),
        ("three hundred and twelve", "312"),
        ("half a dozen", "6"),
        ("So in 2011 we moved. We had 5 and 6.", None),
        ("So not 22 boats float.", None),
        ("3y = 12", None),
        ("y + 4 = 12", None),
        ("Suppose there are 12.", None),
        ("See figure 12.", None),
    ],
)
def test_conclusions_and_number_words(text: str, number: str | None) -> None:
    assert extract(text, "number").value == number


def test_number_words_that_are_not_one_number_stay_apart() -> None:
    assert with_digits("twenty fourteen") == "20 14"
    assert with_digits("two-thirds of it") == "two-thirds of it"


@pytest.mark.parametrize(
    ("given", "gold", "right"),
    [
        (r"5 + 6 = 11", "11", True),
        (r"5 + 6 = 12", "12", False),
        (r"x + 6 = 11", "11", False),
        (r"t > 4", r"(4, \infty)", True),
        (r"t > 4", r"[4, \infty)", False),
        (r"7 \geq t", r"(-\infty, 7]", True),
        (r"2 \leq t < 6", "[2, 6)", True),
        (r"t < 1 \text{ or } t > 3", r"(-\infty, 1) \cup (3, \infty)", True),
        (r"t < 1 \text{ or } s > 3", r"(-\infty, 1) \cup (3, \infty)", False),
        (r"\text{417}_{9}", "417_9", True),
        (r"417 \text{ (base 9)}", "417_9", True),
        (r"417_{(9)}", "417_8", False),
        (r"\text{(D)}", "D", True),
        (r"\text{(D)}", "C", False),
        (r"a = 2, b = 9", "(2, 9)", True),
        (r"b = 2, a = 9", "(2, 9)", False),
        (r"(a, b) = (2, 9)", "b = 9, a = 2", True),
        (r"Q(2, 9)", "(2, 9)", True),
        (r"Q(2, 9)", "R(2, 9)", False),
        (r"\begin{pmatrix} 2 \\ 9 \end{pmatrix}", r"\begin{pmatrix}2\\9\end{pmatrix}", True),
        (r"10^{60}", r"10^{60} + 1", False),
        (r"\mathbb{R}", r"(-\infty, \infty)", True),
    ],
)
def test_formulas_as_a_person_compares_them(given: str, gold: str, right: bool) -> None:
    item = Item("1", rf"\boxed{{{given}}}", gold, "math")
    assert (MATH.grade(item).outcome == "correct") is right
