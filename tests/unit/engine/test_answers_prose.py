"""What a careful person reads, and does not read, out of words around an answer."""
# ruff: noqa: E501, RUF001

from __future__ import annotations

import pytest

from vsr1_bench.answers import extract
from vsr1_bench.judge import Item
from vsr1_bench.judges.string_match import JUDGE
from vsr1_bench.records import AnswerType

ANIMALS = ("dog", "cat", "bird", "fish")
WORDS = tuple(f"word{i}" for i in range(26))

NAMED = (
    ("It isn't (B), it is (C).", "C"),
    ("Not A but B.", "B"),
    ("not (A) but (C)", "C"),
    ("The answer is not (A) but (D).", "D"),
    ("The answer is B, not A.", "B"),
    ("A is wrong, B is wrong, so it must be C.", "C"),
    ("A) First we count.\nB) Then we add.\nThe answer is C", "C"),
    ("The correct option is the bird", "C"),
    ("The animal in the picture is a cat.", "B"),
    ("It is a fish, because it swims.", "D"),
    ("It's not a dog but a cat.", "B"),
    ("The picture shows a bird.", "C"),
    ("A: B", "B"),
    ("A: cat", "B"),
    ("A: dog", "A"),
    ("A: The correct option is C.", "C"),
    ("A: because it barks", "A"),
    ("A: It is a bird.", "C"),
    ("A. dog", "A"),
    ('{"answer": "C"}', "C"),
    ('```json\n{"answer": "C"}\n```', "C"),
    ('{"reasoning": "A is furry", "final_answer": "D"}', "D"),
    ("{'answer': 'B'}", "B"),
    ('{"answer": "bird"}', "C"),
    ('{"option": "(B)"}', "B"),
    ("> B", "B"),
    ("> **Answer: B**", "B"),
    ('"B"', "B"),
    ("\u201cB\u201d", "B"),
    ("«B»", "B"),
    ("'C'", "C"),
    ("\u201eB\u201c", "B"),
    ("<answer><answer>B</answer></answer>", "B"),
    ("<answer>\n<answer>(C)</answer>\n</answer>", "C"),
    ("\u200eB", "B"),
    ("\u202aB\u202c", "B"),
    ("\u200bAnswer: \u200bC", "C"),
    ("B \u2013 the ears", "B"),
    ("B - because", "B"),
    ("I choose D \u2014 fins.", "D"),
    ("I'd go with C - wings", "C"),
    ("The answer is most likely B.", "B"),
    ("The answer is definitely C.", "C"),
    ("The answer is, therefore, C.", "C"),
    ("My answer: C", "C"),
    ("The best answer is (D) fish", "D"),
    ("Final answer → B", "B"),
    ("Answer = D", "D"),
    ("ANSWER: (c)", "C"),
    ("Ans: B", "B"),
    ("answer is option d", "D"),
    ("We get \\boxed{x^2+1}.\nFinal Answer: B", "B"),
    ("\\boxed{\\text{unknown}}\n\nThe answer is C.", "C"),
    ("Answer: A\n\\boxed{B}", "B"),
    ("答案是C", "C"),
    ("答案：C。", "C"),
    ("正确答案是 (B)", "B"),
    ("因此，答案为D。", "D"),
    ("故选B", "B"),
    ("所以选C。", "C"),
    ("选 D", "D"),
    ("选项B", "B"),
    ("答案选A", "A"),
    ("正確答案：B", "B"),
    ("最终答案：**B**", "B"),
    ("答案是B，因为它有耳朵", "B"),
    ("答えはBです。", "B"),
    ("正解は C です", "C"),
    ("答え：D", "D"),
    ("정답은 B입니다.", "B"),
    ("정답: C", "C"),
    ("답은 D 입니다", "D"),
    ("Die richtige Antwort ist B.", "B"),
    ("Die Antwort lautet: C", "C"),
    ("Antwort: D) fish", "D"),
    ("La réponse est C.", "C"),
    ("Réponse : B", "B"),
    ("La bonne réponse est la D", "D"),
    ("La respuesta correcta es B.", "B"),
    ("Respuesta: C", "C"),
    ("la respuesta es la opción D", "D"),
    ("A resposta correta é C.", "C"),
    ("Resposta: B", "B"),
    ("Ответ: C", "C"),
    ("Правильный ответ: B", "B"),
    (
        "\u041f\u0440\u0430\u0432\u0438\u043b\u044c\u043d\u044b\u0439 \u043e\u0442\u0432\u0435\u0442 \u2014 D.",
        "D",
    ),
    ("الإجابة: B", "B"),
    ("الإجابة الصحيحة هي C", "C"),
    ("الجواب هو D.", "D"),
    ("The answer is clearly (C).", "C"),
    ("So I pick (B).", "B"),
    ("I'd say B.", "B"),
    ("I select option C", "C"),
    ("B!", "B"),
    ("Option: B", "B"),
    ("Choice B", "B"),
    ("Correct answer: B", "B"),
    ("The option is B.", "B"),
    ("Thus the correct statement is B.", "B"),
    ("Hence, (B) is correct.", "B"),
    ("Only B is true.", "B"),
    ("I think it's B", "B"),
    ("It must be D.", "D"),
    ("must be option (D)", "D"),
    ("The image shows (A) a dog.", "A"),
    ("A cat", "B"),
    ("a bird.", "C"),
    ("The answer is A because B is wrong", "A"),
    ("Answer: B.\nOption A is wrong as it barks.", "B"),
    ("B. It is not a dog.", "B"),
    ("(B) It is not a dog", "B"),
    ("B, not A", "B"),
    ("Since A is wrong, the answer is B.", "B"),
    ("A. dog\nB. cat\nC. bird\nD. fish\n\nB", "B"),
    ("Question: which?\nA. dog\nB. cat\nC. bird\nD. fish\nAnswer: C", "C"),
)
SILENT = (
    "It can't be B",
    "B is not correct.",
    "The answer cannot be C.",
    "I would rule out option D.",
    "(C) can be eliminated.",
    "Neither A nor B.",
    "None of (A), (B)",
    "\\boxed{\\text{not B}}",
    "I do not think that the answer is A.",
    "I don't believe it is B.",
    "Anything except C",
    "It is anything but B.",
    "Option B is false.",
    "B) is incorrect because it has ears",
    "**B** is incorrect.",
    "Answer: not A",
    "The wrong answer is A.",
    "The incorrect option is B.",
    "A, B and C are all wrong.",
    "The correct answer is one of A, B, C or D.",
    "Please choose from A, B, C, D.",
    "options A and B are both correct",
    "Options A and B",
    "The answers are A and C.",
    "Both A and B",
    "A or B",
    "None of the options (A, B, C) is correct.",
    "(A) 2006 (B) 2007 (C) 2008 (D) 2009",
    "the sequence is A, B, C",
    "the order is D, C, B, A",
    "a) First we count the legs.\nb) Then the ears.",
    "a) First we count the legs of the animal.",
    "not the cat",
    "I see a dog and a cat.",
    "A: I am not sure",
    '{"answer": ["A", "B"]}',
    '{"answer": null}',
    "\u200b\u200b",
    "答案不是B",
    "答案是：猫",
    "Die Antwort ist nicht B.",
    "La réponse n'est pas B",
    "B is the only one that fits.",
    "E",
    "Answer: E",
    "I think (A) is less likely than (B).",
    "A. dog\nB. cat\nC. bird\nD. fish",
)
BY_TEXT_OR_VALUE = (
    ("A: No", ("Yes", "No"), "B"),
    ("A: Yes", ("Yes", "No"), "A"),
    ("(C) No", ("Yes", "No"), "B"),
    ("B. Yes", ("Yes", "No"), None),
    ("No, it is not.", ("Yes", "No"), "B"),
    ("Yes, there is no dog", ("Yes", "No"), "A"),
    ("The statement is false.", ("True", "False"), "B"),
    ("The statement is not true.", ("True", "False"), None),
    ("Answer: False", ("True", "False"), "B"),
    ("I cannot say yes.", ("Yes", "No"), None),
    ("yes", ("Yes", "No"), "A"),
    ("No.", ("yes", "no", "cannot be determined"), "B"),
    ("It cannot be determined", ("yes", "no", "cannot be determined"), "C"),
    ("\\boxed{4\\pi}", ("$4 \\pi$", "$8\\pi$"), "A"),
    ("\\boxed{8:5}", ("$5: 8$", "$8: 5$"), "B"),
    ("\\boxed{\\frac{\\pi}{2}}", ("$\\frac{\\pi}{2}$", "$\\pi$"), "A"),
    ("\\boxed{x-y=4}", ("x + y = 4", "x - y = 4"), "B"),
    ("Answer: 2\\sqrt{3}", ("$3\\sqrt{2}$", "$2 \\sqrt 3$"), "B"),
    ("Answer: π/2", ("$\\frac{\\pi}{2}$", "$\\pi$"), "A"),
    ("\\boxed{[0, 2]}", ("[0, 2]", "[3,2]"), "A"),
    ("\\boxed{(1,2)}", ("(2, 1)", "(1, 2)"), "B"),
    ("\\boxed{60^{\\circ}}", ("60°", "70°"), "A"),
    ("\\boxed{x^2}", ("$x^3$", "$x^{2}$"), "B"),
    ("\\boxed{12}", ("1 2", "3"), None),
    ("\\boxed{-2}", ("$-\\!2$", "2"), "A"),
    ("red", ("red", "blue", "red"), "A"),
    ("red car", ("red", "red car"), "B"),
    ("the red car", ("red", "red car"), "B"),
    ("B. increase in bird", ("increase", "increase in birds"), "B"),
    ("B. red", ("red", "red car"), None),
    ("B: 4", ("4", "5"), None),
    ("(B) 5", ("4", "5"), "B"),
    ("Answer: K", tuple("abcdefghijkl"), "K"),
    (
        "L",
        (
            "word0",
            "word1",
            "word2",
            "word3",
            "word4",
            "word5",
            "word6",
            "word7",
            "word8",
            "word9",
            "word10",
            "word11",
        ),
        "L",
    ),
    (
        "\\boxed{(Z)}",
        (
            "word0",
            "word1",
            "word2",
            "word3",
            "word4",
            "word5",
            "word6",
            "word7",
            "word8",
            "word9",
            "word10",
            "word11",
            "word12",
            "word13",
            "word14",
            "word15",
            "word16",
            "word17",
            "word18",
            "word19",
            "word20",
            "word21",
            "word22",
            "word23",
            "word24",
            "word25",
        ),
        "Z",
    ),
    (
        "The answer is Q.",
        (
            "word0",
            "word1",
            "word2",
            "word3",
            "word4",
            "word5",
            "word6",
            "word7",
            "word8",
            "word9",
            "word10",
            "word11",
            "word12",
            "word13",
            "word14",
            "word15",
            "word16",
            "word17",
            "word18",
            "word19",
        ),
        "Q",
    ),
    ("The perimeter is 4 × 4 = 16 meters.", ("12 m", "16 m"), "B"),
    ("So it is 34m.", ("34m", "30m"), "A"),
    ("There are three.", ("1", "2", "3"), "C"),
    ("Answer: three", ("1", "2", "3"), "C"),
)
NUMBERS = (
    ("A: 18", "18"),
    ("work\nA: 18", "18"),
    ("a 3\nA: $1,200", "1200"),
    ("Answer: 18", "18"),
    ("1+1\nAnswer: 18 apples", "18"),
    ("So the perimeter is 4 × 4 = 16 meters.", "16"),
    ("She had 5. She ate 2. So she has 3 left.", "3"),
    ("There are 5 cats and 3 dogs.", None),
    ("The answer is undefined.", "undefined"),
    ("The answer cannot be determined from the 3 facts.", "cannot be determined"),
    ("x=3. The answer does not exist.", "does not exist"),
    ("It is 12. Since 3*4=12, we are done.", "12"),
    ("The answer is 12 since 3*4=12.", "12"),
    ("The total is 20, because 12 + 8 = 20.", "20"),
    ("There are seven apples.", "7"),
    ("Answer: twelve", "12"),
    ("twenty", "20"),
    ("twenty-five", "25"),
    ("The answer is one.", "1"),
    ("答案是18", "18"),
    ("答案：18元", "18"),
    ("La respuesta es 12.", "12"),
    ("Ответ: 7", "7"),
    ('{"answer": 42}', "42"),
    ('{"answer": "42"}', "42"),
    ("Antwort: 12 Äpfel", "12"),
    ("정답: 5", "5"),
    ("答えは8です", "8"),
    ("It is not 5.", None),
    ("more than 5", None),
    ("So x = 5 and y = 7", None),
    ("Step 1: add 5.\nStep 2: get 7.", None),
    ("The answer is 5, or maybe 6", None),
    ("If x is 3 then?", None),
    ("He earns $50 + $80 = $130.", "130"),
    ("The value is approximately 3.14.", "3.14"),
    ("It costs $5.", "5"),
    ("between 5 and 6", None),
    ("The 3rd one", None),
    ("A: First we count 3 dots", None),
)
OTHERS: tuple[tuple[str, AnswerType, str], ...] = (
    ("A: cat", "text", "cat"),
    ("thinking\nA: the red car", "text", "the red car"),
    ("Answer: cat\n\nbecause", "text", "cat"),
    ('{"answer": "red"}', "text", "red"),
    ("答案是猫", "text", "猫"),
    ("The answer is undefined.", "text", "undefined"),
    ("The answer cannot be determined.", "text", "cannot be determined"),
    ("A: yes", "yes_no", "yes"),
    ('{"answer": "no"}', "yes_no", "no"),
    ("Antwort: yes", "yes_no", "yes"),
    ('{"answer": true}', "yes_no", "yes"),
    ("A: No, it is not", "yes_no", "no"),
)


@pytest.mark.parametrize(("text", "letter"), NAMED)
def test_the_option_that_is_named(text: str, letter: str) -> None:
    assert extract(text, "choice", ANIMALS).value == letter


@pytest.mark.parametrize("text", SILENT)
def test_no_option_is_named(text: str) -> None:
    """Ruled out, listed, repeated, two at once: whatever the gold answer is, it is not credited."""
    assert extract(text, "choice", ANIMALS).value is None


@pytest.mark.parametrize(("text", "choices", "letter"), BY_TEXT_OR_VALUE)
def test_an_option_by_its_text_or_value(
    text: str, choices: tuple[str, ...], letter: str | None
) -> None:
    assert extract(text, "choice", choices).value == letter


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_the_number_that_is_concluded(text: str, number: str | None) -> None:
    assert extract(text, "number").value == number


@pytest.mark.parametrize(("text", "kind", "value"), OTHERS)
def test_texts_and_yes_or_no(text: str, kind: AnswerType, value: str) -> None:
    assert extract(text, kind).value == value


@pytest.mark.parametrize(
    ("response", "gold", "outcome"),
    [
        ("steel", "A", "correct"),
        ("steel", "C", "correct"),  # a text that two options share is whichever is gold
        ("A", "C", "incorrect"),  # a letter is a letter
        ("wood", "C", "incorrect"),
    ],
)
def test_options_of_the_same_text(response: str, gold: str, outcome: str) -> None:
    choices = ("steel", "wood", "steel")
    assert JUDGE.grade(Item("1", response, gold, "choice", choices)).outcome == outcome


def test_options_of_one_text_are_not_told_apart_by_it() -> None:
    item = Item("1", "see picture", "B", "choice", ("see picture",) * 3)
    assert JUDGE.grade(item).outcome == "incorrect"


@pytest.mark.parametrize("response", ["12 km", "The answer is 12 km.", "(B)", "It is 12 km long."])
def test_options_that_stand_in_the_question(response: str) -> None:
    question = "How long is it? Select from A, B and C. (A) 10 km (B) 12 km (C) 14 km"
    item = Item("1", response, "B", "choice", ("A", "B", "C"), question)
    assert JUDGE.grade(item).outcome == "correct"


def test_an_echo_of_the_question_is_no_answer() -> None:
    question = "How long is it? (A) 10 km (B) 12 km (C) 14 km"
    for gold in "ABC":
        item = Item("1", question.lower(), gold, "choice", ("A", "B", "C"), question)
        assert JUDGE.grade(item).outcome == "incorrect"
