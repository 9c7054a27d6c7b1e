"""RealWorldQA: the gold says what is wanted; nothing is added to a question that instructs."""

from __future__ import annotations

from pathlib import Path

import pytest
from judged import RED, judged, load, mirrored, one

from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import AnswerType, ImagePlace, Sample
from vsr1_bench.task import ROW_NUMBER
from vsr1_bench.tasks.realworldqa import TASK, to_sample

LETTER = "Please answer directly with only the letter of the correct option and nothing else."
WORD = "Please answer directly with a single word or number."
TURN = f"Where does it turn?\n\nA. Left\nB. Straight\nC. Right\n{LETTER}"


def sample(question: str, answer: str) -> Sample:
    return one(to_sample({"question": question, "answer": answer, "image": RED}))


@pytest.mark.parametrize(
    ("question", "answer", "kind", "right", "wrong"),
    [
        (TURN, "C", "choice", ["C", "C. Right", "right", r"\boxed{(C)}"], ["A", "Left", "A or C"]),
        (f"Is it red? {WORD}", "Yes", "yes_no", ["yes", "Yes.", r"\boxed{Yes}"], ["No", "maybe"]),
        (
            f"How many? {WORD}",
            "3",
            "number",
            ["3", "There are 3 cars.", "3.0"],
            ["4", "three?", ""],
        ),
        (f"Which lane? {WORD}", "Middle", "text", ["middle", "The middle."], ["left", "mid"]),
    ],
)
def test_letters_words_and_numbers(
    question: str, answer: str, kind: AnswerType, right: list[str], wrong: list[str]
) -> None:
    found = sample(question, answer)
    assert found.answer_type == kind
    assert {judged(TASK, found, text).outcome for text in right} == {"correct"}
    assert {judged(TASK, found, text).outcome for text in wrong} == {"incorrect"}


def test_the_native_prompt_is_the_question_and_its_image_alone() -> None:
    (message,) = build_messages(sample(TURN, "C"), get_format("native"), native=TASK.native_prompt)
    assert message.content == (ImagePlace(0), TURN)


def test_the_instruction_is_no_part_of_the_last_option() -> None:
    assert sample(TURN, "C").choices == ("Left", "Straight", "Right")


def test_one_question_of_many_images_has_many_ids() -> None:
    row = {"question": TURN, "answer": "C", "image": RED}
    ids = [one(to_sample(row | {ROW_NUMBER: n})).id for n in range(3)]
    assert len(set(ids)) == 3


def test_the_copies(tmp_path: Path) -> None:
    rows = [{"question": TURN, "answer": "C", "image": "a.png"}] * 2
    mirrored(tmp_path, "lmms-lab-encoder/RealWorldQA/test", rows)
    problems = [{"problem": f"<image>{TURN}", "answer": "C", "images": ["a.png"]}] * 2
    mirrored(tmp_path, "zli12321/realWorldQA/test", problems)
    for copy in ("lmms_eval", "paper"):
        found = load("realworldqa", tmp_path, copy)
        assert [s.answer_type for s in found] == ["choice", "choice"]
        assert found[0].choices == ("Left", "Straight", "Right")
