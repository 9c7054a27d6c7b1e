"""The embedded model's world: stable, honest about its gold answers, train and test apart."""

from __future__ import annotations

import io
import re
from collections import Counter

import pytest

from vsr1_bench.records import EncodedImage
from vsr1_bench.tiny import png
from vsr1_bench.tiny.scenes import (
    CELL,
    COLORS,
    EMPTY,
    FINGERPRINT,
    KINDS,
    SIDE,
    Draw,
    Scene,
    content_hash,
    make_question,
    make_row,
    render,
    to_sample,
)

BARE = (EMPTY,) * (SIDE * SIDE)


def test_the_fingerprint_names_the_rows_that_are_made() -> None:
    assert content_hash() == FINGERPRINT, "the generator changed: update FINGERPRINT and retrain"


def test_the_fingerprint_sees_a_single_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_hash(rows=4)
    monkeypatch.setitem(COLORS, "red", (204, 45, 45))
    assert content_hash(rows=4) != before


def test_rows_are_a_function_of_split_and_number() -> None:
    assert make_row("test", 17) == make_row("test", 17)
    assert make_row("test", 17) != make_row("train", 17)
    assert make_row("test", 17) != make_row("test", 21)


def test_no_test_scene_is_a_train_scene() -> None:
    test = {make_question("test", n)[0].scene for n in range(3000)}
    train = {make_question("train", n)[0].scene for n in range(3000)}
    assert not test & train
    # By construction, not by luck: each side holds what the checksum sends there.
    assert {scene.belongs_to() for scene in test} == {"test"}
    assert {scene.belongs_to() for scene in train} == {"train"}
    assert len(test) > 2990


def test_one_dot_more_changes_sides() -> None:
    one, two = Scene(("red", *BARE[1:])), Scene(("red", "red", *BARE[2:]))
    assert {one.belongs_to(), two.belongs_to()} == {"train", "test"}


def solve(description: str, question: str, choices: list[str] | None) -> str:
    """Answer from the description by rules that share nothing with the generator."""
    cells = re.sub(r"row \d :", "", description).split()
    assert len(cells) == SIDE * SIDE
    named = re.findall(rf"\b({'|'.join(COLORS)}) dot", question)
    if choices:
        assert cells.count(named[0]) == 1
        row, column = divmod(cells.index(named[0]), SIDE)
        quarter = f"{('top', 'bottom')[row // 2]} {('left', 'right')[column // 2]}"
        return "ABCD"[choices.index(f"row {row + 1}" if "row" in question else quarter)]
    if not named:
        (once,) = (color for color in COLORS if cells.count(color) == 1)
        return once
    sizes = [cells.count(color) for color in named]
    return str(sizes[0]) if len(sizes) == 1 else ("no", "yes")[sizes[0] > sizes[1]]


@pytest.mark.parametrize("split", ["train", "test"])
def test_gold_follows_from_the_description_and_ends_the_reasoning(split: str) -> None:
    for number in range(400):
        row = make_row("train" if split == "train" else "test", number)
        assert solve(row["description"], row["question"], row["choices"]) == row["answer"]
        assert row["reasoning"].split()[-1] == row["answer"]


def test_kinds_take_turns_and_answers_are_balanced() -> None:
    rows = [make_question("test", number)[0] for number in range(1000)]
    ceilings = {"count": 0.25, "compare": 0.60, "locate": 0.35, "odd": 0.25}
    for index, kind in enumerate(KINDS):
        answers = Counter(question.answer for question in rows[index :: len(KINDS)])
        share = answers.most_common(1)[0][1] / answers.total()
        assert share <= ceilings[kind], (kind, answers)
        assert make_row("test", index)["kind"] == kind
    assert {q.answer for q in rows[0::4]} == set("012345")
    assert {q.answer for q in rows[3::4]} == set(COLORS)


def test_a_scene_is_described_row_by_row() -> None:
    scene = Scene(("red", *BARE[:6], "pink", *BARE[:7], "blue"))
    assert scene.describe() == (
        "row 1 : red none none none row 2 : none none none pink "
        "row 3 : none none none none row 4 : none none none blue"
    )


def test_pixels_show_the_cells() -> None:
    image = pytest.importorskip("PIL.Image")
    scene = Scene(("blue", *BARE[1:]))
    pixels = image.open(io.BytesIO(render(scene, Draw("x")))).convert("RGB")
    assert pixels.size == (SIDE * CELL, SIDE * CELL)
    red, _, blue = pixels.getpixel((CELL // 2, CELL // 2))
    assert blue > red + 60
    red, green, blue = pixels.getpixel((CELL * 3, CELL * 3))
    assert min(red, green, blue) > 180


def test_every_color_and_every_cell_changes_the_pixels() -> None:
    colors = {render(Scene((color, *BARE[1:])), Draw("same")) for color in COLORS}
    places = {
        render(Scene((*BARE[:place], "red", *BARE[place + 1 :])), Draw("same"))
        for place in range(SIDE * SIDE)
    }
    assert (len(colors), len(places)) == (len(COLORS), SIDE * SIDE)


def test_a_sample_shows_the_image_before_the_question() -> None:
    row = make_row("test", 2)
    image = EncodedImage(data=row["image"])
    sample = to_sample({**row, "image": image})
    assert sample.images == (image,)
    assert sample.question_text == row["question"]
    assert sample.choices is not None
    assert sample.groups == {"kind": "locate"}


def test_png_reads_back_pixel_for_pixel() -> None:
    image = pytest.importorskip("PIL.Image")
    # More than one stored block: 300 x 300 is over 65,535 bytes.
    pixels = bytes((x * y) % 3 for y in range(300) for x in range(300))
    palette = [(1, 2, 3), (40, 50, 60), (255, 0, 128)]
    back = image.open(io.BytesIO(png.palette_png(pixels, 300, palette))).convert("RGB")
    assert back.tobytes() == bytes(value for index in pixels for value in palette[index])


@pytest.mark.parametrize(
    ("pixels", "width", "colors"), [(b"", 1, 1), (b"123", 2, 1), (b"12", 2, 257), (b"12", 2, 0)]
)
def test_png_refuses_what_it_cannot_write(pixels: bytes, width: int, colors: int) -> None:
    with pytest.raises(ValueError, match="whole rows"):
        png.palette_png(pixels, width, [(0, 0, 0)] * colors)
