"""MMMU-Pro: ten options, images in options, the vision set, and no random letter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judged import BLUE, GREEN, RED, judged, load, mirrored, one

from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import ImagePlace, Sample
from vsr1_bench.tasks.mmmu_pro import COLUMNS, TEN, VISION, to_sample

TEN_OPTIONS = [f"{n} kg" for n in range(1, 11)]
ROW = dict.fromkeys(COLUMNS) | {
    "id": "test_Art_1",
    "question": "How heavy is <image 1>?",
    "options": str(TEN_OPTIONS),
    "answer": "J",
    "subject": "Art",
    "image_1": RED,
}


def sample(**changes: object) -> Sample:
    return one(to_sample(ROW | changes))


@pytest.mark.parametrize(
    "response",
    [r"\boxed{J}", "**J**", "(J)", "J.", "Answer: J", r"\boxed{10 kg}", "I weighed it.\n\nJ"],
)
def test_letters_to_j_in_every_form(response: str) -> None:
    assert judged(TEN, sample(), response).outcome == "correct"


@pytest.mark.parametrize("response", ["", "It depends.", r"\boxed{}", "A or J", "I cannot tell."])
def test_what_cannot_be_read_is_wrong_for_every_gold(response: str) -> None:
    """lmms-eval and VLMEvalKit draw a random letter here."""
    for letter in "ABCDEFGHIJ":
        verdict = judged(TEN, sample(answer=letter), response)
        assert (verdict.outcome, verdict.unparsed) == ("incorrect", True)


def test_marks_in_options_take_their_own_image() -> None:
    options = "['<image 3>', '<image 2>']"
    found = sample(options=options, image_2=BLUE, image_3=GREEN, answer="A")
    assert found.choice_parts == ((ImagePlace(2),), (ImagePlace(1),))
    (message,) = build_messages(found, get_format("direct"))
    places = [part.index for part in message.content if isinstance(part, ImagePlace)]
    assert places == [0, 2, 1]


def test_the_vision_set_is_parsed_and_its_options_are_not_written() -> None:
    """lmms-eval compares the whole response there: "Answer: B" and "B." score 0."""
    row = {"id": "1", "image": RED, "options": "['red', 'blue']", "answer": "B", "subject": "Art"}
    found = one(to_sample(row))
    assert found.choices_in_image and found.images == (RED,)
    (message,) = build_messages(found, get_format("direct"))
    assert not any("blue" in part for part in message.content if isinstance(part, str))
    for response in ("B", "B.", "Answer: B", r"\boxed{B}", r"\boxed{blue}"):
        assert judged(VISION, found, response).outcome == "correct", response


def test_real_rows(real_slices: Path) -> None:
    ten, vision = (load(name, real_slices) for name in ("mmmu_pro_10", "mmmu_pro_vision"))
    assert len(ten) == len(vision) == 6
    assert max(len(s.choices or ()) for s in ten) == 10
    assert all(s.images and not s.choices_in_image for s in ten)
    assert all(len(s.images) == 1 and s.choices_in_image for s in vision)
    for found in (*ten, *vision):
        assert judged(TEN, found, f"Answer: ({found.answer})").outcome == "correct"


def test_every_list_of_options_of_the_authors_is_read(real_slices: Path) -> None:
    lines = real_slices.parent / "loose/mmmu_pro_standard10_text_only.jsonl"
    rows = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    assert len(rows) == 60
    for row in rows:
        # the slice holds the words of rows whose images are elsewhere
        found = one(to_sample(dict.fromkeys(COLUMNS, RED) | {"subject": "x"} | row))
        assert found.choices and "A" <= found.answer < chr(ord("A") + len(found.choices))


def test_the_papers_copies(tmp_path: Path) -> None:
    lines = "\n".join(
        f"{letter}. {text}" for letter, text in zip("ABCDEFGHIJ", TEN_OPTIONS, strict=True)
    )
    row = {"problem": f"<image>How heavy?\n{lines}", "answer": "J", "images": ["a.png"]}
    mirrored(tmp_path, "zli12321/mmmu_pro_10options/test", [row])
    # all that is known of the vision copy: one image, and a letter
    mirrored(tmp_path, "zli12321/mmmu-pro-vision/test", [row | {"problem": "<image>Answer it."}])
    (ten,) = load("mmmu_pro_10", tmp_path, "paper")
    assert (ten.answer, ten.choices) == ("J", tuple(TEN_OPTIONS))
    (vision,) = load("mmmu_pro_vision", tmp_path, "paper")
    assert (vision.answer, vision.answer_type, vision.choices) == ("J", "choice", None)
    assert judged(VISION, vision, "The answer is (J).").outcome == "correct"
