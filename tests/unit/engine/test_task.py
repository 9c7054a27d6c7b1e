"""Image marks: the rule of field.md and benchmarks.md, which two peers get wrong."""

from __future__ import annotations

import pytest

from vsr1_bench.errors import RowError
from vsr1_bench.records import EncodedImage, ImagePlace
from vsr1_bench.task import interleave, interleave_all, numbered_images

ONE, TWO, THREE = (EncodedImage(data=bytes([n])) for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("text", "images", "parts"),
    [
        # out of order, and a repeat: each mark gets its own image, no text is dropped
        (
            "<image 2> then <image 1> then <image 2>",
            (ONE, TWO),
            (ImagePlace(1), " then ", ImagePlace(0), " then ", ImagePlace(1)),
        ),
        ("see <image> and <image>", (ONE, TWO), ("see ", ImagePlace(0), " and ", ImagePlace(1))),
        # one image, several marks: shown once, the later marks stay as text
        ("A <image1> B <image2>?", (ONE,), ("A ", ImagePlace(0), " B <image2>?")),
        ("A <image2> B <image1>?", (ONE,), ("A ", ImagePlace(0), " B <image1>?")),
        # no mark: images come first
        ("How many?", (ONE, TWO), (ImagePlace(0), ImagePlace(1), "How many?")),
        ("<image 1> only", (ONE, TWO), (ImagePlace(1), ImagePlace(0), " only")),
        ("no images", (), ("no images",)),
        # one image named twice by its own number is shown once, too
        ("<image 1> and <image 1>", (ONE,), (ImagePlace(0), " and <image 1>")),
        ("", (ONE,), (ImagePlace(0),)),
    ],
)
def test_marks(text: str, images: tuple[EncodedImage, ...], parts: tuple[object, ...]) -> None:
    assert interleave(text, images) == (parts, images)


@pytest.mark.parametrize(
    ("text", "images", "said"),
    [
        ("<image 3>", (ONE, TWO), "asks for image 3, the row has 2"),
        ("<image>", (), "asks for image 1, the row has none"),
        ("see <image 1>", (), "asks for image 1, the row has none"),
        ("<image1>", (), "asks for image 1, the row has none"),
        ("first <image>, then <image>", (ONE,), "asks for image 2, the row has 1"),
        ("<image><image><image>", (ONE, TWO), "asks for image 3, the row has 2"),
        ("<image 0>", (ONE, TWO), "asks for image 0"),
    ],
)
def test_a_mark_without_its_image_is_an_error(
    text: str, images: tuple[EncodedImage, ...], said: str
) -> None:
    with pytest.raises(RowError, match=said):
        interleave(text, images)


def test_marks_of_a_question_that_is_asked_without_images_on_purpose() -> None:
    assert interleave("see <image 1>", None) == (("see <image 1>",), ())
    assert interleave("", None) == ((), ())


def test_numbers_beyond_an_only_image() -> None:
    """MATH-Vision's picture of all options is one task's way; elsewhere an image is missing."""
    parts, _ = interleave_all(("<image1> or <image2>",), (ONE,))
    assert parts == ((ImagePlace(0), " or <image2>"),)
    with pytest.raises(RowError, match="asks for image 2, the row has 1"):
        interleave_all(("<image1> or <image2>",), (ONE,), one_for_all=False)


def test_an_empty_column_of_images_before_a_filled_one() -> None:
    row = {"image_1": ONE, "image_2": None, "image_3": TWO}
    with pytest.raises(RowError, match="image_2 is empty"):
        numbered_images(row, tuple(row))
