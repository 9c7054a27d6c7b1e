"""Prompt formats: the protocol's words, and where question, choices and images stand."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from vsr1_bench.errors import UsageError
from vsr1_bench.prompts.formats import (
    CAPTION_REASONER,
    COT,
    FORMATS,
    SEE_THINK,
    build_messages,
    get_format,
    reader_hash,
    reading_messages,
    to_chat,
)
from vsr1_bench.records import EncodedImage, ImagePlace, Sample

IMAGE = EncodedImage(data=b"x")
CHOICE = Sample(
    "1",
    (ImagePlace(0), "Which one? "),
    "B",
    "choice",
    images=(IMAGE,),
    choices=("red", "blue"),
)


def test_the_protocol_constants_do_not_drift() -> None:
    """A released checkpoint knows these words; a changed hash here is another measurement."""
    digest = {
        name: hashlib.sha256(text.encode()).hexdigest()[:16]
        for name, text in (
            ("see_think", SEE_THINK),
            ("cot", COT),
            ("caption_reasoner", CAPTION_REASONER),
        )
    }
    assert digest == {
        "see_think": "4176d59623d91e5f",
        "cot": "ce8dbcf37ba747f3",
        "caption_reasoner": "19f77f14b188c1e5",
    }
    assert SEE_THINK.count("\\n") == 3 and "\n" not in SEE_THINK


def test_question_choices_and_wording_stand_in_this_order() -> None:
    (user,) = build_messages(CHOICE, get_format("cot"))
    assert user.content == (ImagePlace(0), f"Which one?\nA. red\nB. blue {COT}")
    question = Sample("2", ("How many?",), "3", "number")
    assert build_messages(question, get_format("see_think"))[0].content == (
        f"How many? {SEE_THINK}",
    )


def test_native_is_the_tasks_wording_else_the_answer_types() -> None:
    native = build_messages(CHOICE, get_format("native"), native="Letter, please.")
    assert str(native[0].content[-1]).endswith("\nLetter, please.")
    direct = build_messages(CHOICE, get_format("native"))
    assert "option's letter" in str(direct[0].content[-1])
    assert FORMATS["native"].digest("a") != FORMATS["native"].digest("b")


def test_the_second_pass_sees_no_image_and_survives_braces() -> None:
    (message,) = reading_messages(CHOICE, " {question} two \\boxed{dots} ")
    (text,) = message.content
    assert isinstance(text, str)
    assert text.startswith("Text description: {question} two \\boxed{dots}\nQuestion: Which one?")
    assert text.count("Which one?") == 1 and "A. red\nB. blue" in text


@pytest.mark.parametrize("name", ["see_think", "cot"])
def test_the_formats_for_qwen3_ask_for_thinking_in_both_passes(name: str) -> None:
    """Its Instruct models write `<thinking>`, and never `<think>`, which is one token of theirs."""
    asked, plain = get_format(f"{name}_qwen3"), get_format(name.replace("think", "think_2026"))
    assert asked.wording.replace("thinking>", "think>") == plain.wording
    assert "<think>" not in asked.wording and "<thinking> </thinking>" in asked.wording
    (message,) = reading_messages(CHOICE, "a <think> tag", thinking=asked.thinking)
    text = str(message.content[0])
    assert "within <thinking> </thinking> tags" in text and "a <think> tag" in text
    (known,) = reading_messages(CHOICE, "a <think> tag")
    assert text.replace("<thinking> </thinking>", "<think> </think>") == known.content[0]
    assert reader_hash("mark", asked.thinking) not in (reader_hash("mark"), reader_hash("end"))


def test_a_system_message_goes_first() -> None:
    system, user = build_messages(CHOICE, get_format("direct"), system="Be brief.")
    assert (system.role, system.content) == ("system", ("Be brief.",))
    assert to_chat((user,))[0]["content"] == [
        {"type": "image"},
        {"type": "text", "text": user.content[1]},
    ]


def test_an_unknown_format_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean see_think"):
        get_format("see-think")


def test_options_with_images_and_options_inside_the_image() -> None:
    parts = (("red ", ImagePlace(1)), (ImagePlace(0),))
    pictured = replace(CHOICE, question=("Which?",), choice_parts=parts)
    (user,) = build_messages(pictured, get_format("cot"))
    assert user.content == (
        "Which?\nA. red ",
        ImagePlace(1),
        "\nB. ",
        ImagePlace(0),
        f" {COT}",
    )
    (user,) = build_messages(replace(CHOICE, choices_in_image=True), get_format("cot"))
    assert "A." not in str(user.content[-1])
