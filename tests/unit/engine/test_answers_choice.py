"""Reading which option an answer chooses: every trap that a peer fell into."""

from __future__ import annotations

import pytest

from vsr1_bench.answers import extract, read_answer

ANGLES = ("30 degrees", "40 degrees", "50 degrees", "60 degrees")

LETTER_B = [
    "B",
    "b",
    "B.",
    "B)",
    "(B)",
    "(b)",
    "[B]",
    "\uff22",
    "**B**",
    "**(B)**",
    "`B`",
    '"B"',
    " B \n",
    "$B$",
    r"\boxed{B}",
    r"\boxed{b}",
    r"\boxed{(B)}",
    r"\boxed{B.}",
    r"\boxed{\text{B}}",
    r"\boxed{\text{(B)}}",
    r"$\boxed{\mathrm{B}}$",
    r"\boxed{\mathbf{B}}",
    r"\boxed{\textbf{(B) }}",
    "\\boxed{\uff22}",
    r"\boxed{B. 40 degrees}",
    r"\boxed{B: 40 degrees}",
    r"\boxed{(B) 40 degrees}",
    r"\boxed{B 40 degrees}",
    r"\boxed{(B) 40^{\circ}}",
    r"\boxed{Option B}",
    r"\boxed{40 degrees}",
    r"\boxed{\text{40 degrees}}",
    r"\boxed{40 Degrees.}",
    r"\boxed{40}",
    r"\boxed{40.0}",
    r"\boxed{40^\circ}",
    "40 degrees",
    "B. 40 degrees",
    "(B) 40 degrees",
    "B. Because it is acute",
    "Answer: B",
    "Answer: b",
    "Answer: (B)",
    "Answer: B. 40 degrees",
    "**Answer:** B",
    "**Answer: B**",
    "**Final Answer**: **B**",
    "Final answer: B.",
    "### Final Answer\nB",
    "## Answer\n\n**B**",
    "Final Answer:\n\n(B)",
    "answer: 40 degrees",
    "The answer is B",
    "The answer is (B).",
    "The answer is: **B**",
    "The answer is option B.",
    "The final answer is $\\boxed{B}$.",
    "The correct answer is B because A is too small",
    "the correct option is B because it is acute",
    "The correct choice is (B), since the rest is too large",
    "The answer to the question is B.",
    "The answer is 40 degrees. It is acute.",
    "<answer>B</answer>",
    "<answer> B. 40 degrees </answer>",
    "<answer>Final Answer: B</answer>",
    "<ANSWER>\n(B)\n</ANSWER>",
    "<think>C</think> B",
    "C</think>\\boxed{B}",
    "<think>\\boxed{C}</think>The answer is B",
    "<description>Option C</description><think>A?</think> \\boxed{B}",
    "B\n\nExplanation: option A is too small.",
    "Look at the figure (A).\n\nB",
    "Option B is correct.",
    "I would choose B.",
    "I think it is B.",
    "It's B.",
    "Therefore, B.",
    "So (B).",
    "Clearly B is the correct answer.",
    "Thinking about a figure, **B** fits.",
    "Answer: A\nWait, I see.\nAnswer: B",
    "Answer: A\n\\boxed{B}",
    "\\boxed{A}, or rather \\boxed{B}",
    "Answer: B\n\nI hope the answer is helpful.",
    "Option A is wrong. Option B is right.",
]


@pytest.mark.parametrize("text", LETTER_B)
def test_a_choice_that_can_be_read(text: str) -> None:
    assert extract(text, "choice", ANGLES).value == "B"


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<think>B", "unfinished"),
        ("<think>B</think>", "unfinished"),
        (r"\boxed{B", "unfinished"),
        (r"Answer: B \boxed{", "unfinished"),
        ("A dog is on the grass", "no_answer"),
        ("I see a dog", "no_answer"),
        ("I", "not_an_option"),
        ("Look.\n\nF", "not_an_option"),
        ("x", "not_an_option"),
        ("a dog", "no_answer"),
        ("Answer: a dog", "no_answer"),
        ("Answer: A dog", "no_answer"),
        ("Answer: I cannot tell", "no_answer"),
        ("The answer is a matter of taste", "no_answer"),
        ("The answer is not A", "no_answer"),
        ("The angle at point C is obtuse", "no_answer"),
        ("Because", "no_answer"),
        ("45 degrees", "no_answer"),
        (r"\boxed{45}", "no_answer"),
        (r"\boxed{4}", "no_answer"),
        (r"\boxed{F}", "not_an_option"),
        ("Answer: E", "not_an_option"),
        ("(J)", "not_an_option"),
        ("A or B", "ambiguous"),
        ("(A) or (B)", "ambiguous"),
        ("(A) (B)", "ambiguous"),
        ("A, B", "ambiguous"),
        ("A/B", "ambiguous"),
        ("Answer: A and B", "ambiguous"),
        (r"\boxed{A, B}", "ambiguous"),
        (r"\boxed{A or B}", "ambiguous"),
        ("A\nB\nC\nD", "ambiguous"),
        ("A. 30 degrees\nB. 40 degrees\nC. 50 degrees", "ambiguous"),
        ("B. 50 degrees", "conflict"),
        ("(B) 50 degrees", "conflict"),
        (r"\boxed{B. 50 degrees}", "conflict"),
        (r"\boxed{B: 50}", "conflict"),
        ("Answer: B. 50 degrees because it is", "conflict"),
    ],
)
def test_a_choice_that_cannot_be_read(text: str, how: str) -> None:
    found = extract(text, "choice", ANGLES)
    assert (found.value, found.how) == (None, how)


@pytest.mark.parametrize(
    ("text", "choices", "value"),
    [
        # The letter is the option's letter even where options are letters.
        ("E", ("C", "D", "F", "E", "A", "B"), "E"),
        (r"\boxed{(c)}", ("(b)", "(c)", "(a)"), "B"),
        ("a", ("c", "b", "a"), "C"),
        ("(C)", ("(b)", "(c)", "(a)"), "C"),
        (r"\boxed{F. B}", ("C", "D", "F", "E", "A", "B"), "F"),
        (r"\boxed{Project A}", ("Neither Project A nor B", "Project B", "Project A"), "C"),
        (r"\boxed{Neither Project A nor B}", ("Neither Project A nor B", "Project B"), "A"),
        (r"\boxed{\frac{1}{300}}", (r"$\frac{1}{100}$", r"$\frac{1}{300}$"), "B"),
        (r"\boxed{1/300}", (r"$\frac{1}{100}$", r"$\frac{1}{300}$"), "B"),
        (r"\boxed{3\sqrt{2}}", (r"$2\sqrt{3}$", r"$3\sqrt{2}$", "$3$"), "B"),
        (r"\boxed{30\%}", (r"$25 \%$", r"$30 \%$"), "B"),
        (r"\boxed{3.5}", (r"$2 \frac{1}{2}$", r"$3 \frac{1}{2}$"), "B"),
        (r"\boxed{$484,000}", ("$1,484,000", "$484,000"), "B"),
        (r"\boxed{484000}", ("$1,484,000", "$484,000"), "B"),
        (r"\boxed{(40, 50) degrees}", ("(30, 40) degrees", "(40, 50) degrees"), "B"),
        (r"\boxed{24 dm}", (r"$40 \mathrm{dm}$", r"$24 \mathrm{dm}$"), "B"),
        ("the red car", ("blue car", "Red car."), "B"),
        ("x", ("y", "x"), "B"),
        ("H", tuple("jihgfedcba"), "H"),
        ("(j)", tuple("0123456789"), "J"),
        # The same value under another unit is another value.
        (r"\boxed{40 m}", ("30 cm", "40 cm"), None),
        # Two options carry the number: nothing is chosen.
        (r"\boxed{1}", ("1 square", "2 squares", "1 hexagon"), None),
        (r"\boxed{red}", ("red", "Red"), None),
        (r"\boxed{50,000}", ("Less than 50,000", "More than 60,000"), None),
        ("B. 4 because", ("4", "5"), None),
        ("B. 4.5 because", ("4", "4.5"), "B"),
        (r"\boxed{\frac{12}{3}}", (r"$\frac{1}{23}$", r"$\frac{12}{4}$"), None),
    ],
)
def test_texts_and_values_of_options(
    text: str, choices: tuple[str, ...], value: str | None
) -> None:
    assert extract(text, "choice", choices).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("J", "J"),
        ("K", "K"),
        (r"\boxed{C. anything}", "C"),
        ("Answer: 40", None),
        ("(i)", "I"),
        ("i", "I"),
    ],
)
def test_without_choices_any_letter_is_one(text: str, value: str | None) -> None:
    assert extract(text, "choice").value == value


def test_the_first_explicit_final_decides_even_where_it_is_unreadable() -> None:
    assert extract(r"Answer: B. \boxed{unsure}", "choice", ANGLES).value is None
    assert extract("<answer>unsure</answer> Answer: B", "choice", ANGLES).value is None


def test_read_answer_reads_gold() -> None:
    assert read_answer("(b)", "choice", ANGLES) == "B"
    assert read_answer("60 degrees", "choice", ANGLES) == "D"
    assert read_answer("E", "choice", ANGLES) is None
    assert read_answer("True", "yes_no") == "yes"
    assert read_answer("many", "number") is None
