"""An image of an lmms-eval task, kept as plain pixels or as PNG: what a model sees is the same."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from vsr1_bench.generation.images import decode
from vsr1_bench.lmms_eval.messages import read_image
from vsr1_bench.records import EncodedImage

SIZE = (7, 5)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'


def noise(mode: str, size: tuple[int, int] = SIZE) -> Image.Image:
    """Random pixels of any mode; of the deep ones with values above 255, which it clips."""
    drawn = np.random.default_rng(7)
    deep = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    if mode in deep:
        return Image.fromarray(drawn.integers(0, 400, size[::-1]).astype(deep[mode]))
    bands = len(Image.new(mode, (1, 1)).getbands())
    length = (size[0] + 7) // 8 * size[1] if mode == "1" else size[0] * size[1] * bands
    made = Image.frombytes(mode, size, drawn.integers(0, 256, length, dtype=np.uint8).tobytes())
    if mode in ("P", "PA"):
        made.putpalette(drawn.integers(0, 256, 768, dtype=np.uint8).tolist())
    return made


def with_transparency(mode: str) -> Image.Image:
    """As opened from a file with a tRNS chunk: pixels of one colour are seen through."""
    made = noise(mode)
    first: Any = made.getpixel((0, 0))
    made.info["transparency"] = {"P": bytes(range(256)), "1": 0}.get(mode, first)
    return made


def photo(mode: str = "RGB", kind: str = "JPEG") -> Image.Image:
    """A photo with a tag that says it lies on its side, opened from its file."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    noise(mode).save(buffer, kind, exif=exif)
    opened = Image.open(buffer)
    assert opened.mode == mode
    assert ImageOps.exif_transpose(opened).size == SIZE[::-1]
    return opened


def tagged(mode: str) -> Image.Image:
    """An image with that tag where XMP has it."""
    made = noise(mode)
    made.info["xmp"] = XMP
    assert ImageOps.exif_transpose(made).size == SIZE[::-1]
    return made


# Pillow warns of a palette with transparency that is made opaque, as a task may do.
pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")

IMAGES = {
    **{mode: noise(mode) for mode in "RGB RGBA L LA P 1 CMYK YCbCr HSV I;16 I F RGBa PA".split()},
    **{f"{mode}, tRNS": with_transparency(mode) for mode in ("RGB", "L", "P", "1", "I;16")},
    **{f"{mode}, EXIF in JPEG": photo(mode) for mode in ("RGB", "L", "CMYK")},
    **{f"{mode}, EXIF in PNG": photo(mode, "PNG") for mode in ("RGB", "RGBA", "LA", "P", "1")},
    **{f"{mode}, XMP": tagged(mode) for mode in ("RGB", "L", "RGBA", "P")},
    "RGB, EXIF, turned by its task": ImageOps.exif_transpose(photo()),
}


def as_png(image: Image.Image) -> EncodedImage:
    """The other way to keep it, whatever its mode: PNG, without the tags that would turn it."""
    kept = image
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "1"):
        kept = image.convert("RGB")
        kept.info.pop("transparency", None)
    buffer = io.BytesIO()
    kept.save(buffer, "PNG")
    return EncodedImage(data=buffer.getvalue())


def pixels(image: EncodedImage) -> Any:
    return np.asarray(decode(image, 1, 10**9))


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_seen_is_what_the_task_handed_over(name: str) -> None:
    image = IMAGES[name]
    before = image.convert("RGBA").tobytes() if image.mode != "RGBa" else image.tobytes()
    kept = read_image(image)
    assert kept.data is not None
    seen = pixels(kept)
    assert seen.shape == (image.height, image.width, 3)  # turned by nobody
    assert (seen == pixels(as_png(image))).all()
    through = image.mode in ("RGBA", "LA") or name in ("RGB, tRNS", "L, tRNS", "P, tRNS", "1, tRNS")
    if through:  # on white, as every image that a task of ours shows
        layer = image.convert("RGBA")
        wanted = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        assert (np.asarray(wanted) != np.asarray(image.convert("RGB"))).any()
    else:
        wanted = image.convert("RGB")
    assert (seen == np.asarray(wanted)).all()
    after = image.convert("RGBA").tobytes() if image.mode != "RGBa" else image.tobytes()
    assert after == before


@pytest.mark.parametrize("name", IMAGES)
def test_only_what_plain_pixels_cannot_hold_is_compressed(name: str) -> None:
    image = IMAGES[name]
    data = read_image(image).data
    assert data is not None
    other = image.mode in ("RGBA", "LA", "P", "1") or name in ("RGB, tRNS", "L, tRNS")
    assert data.startswith(b"\x89PNG" if other else (b"P5" if image.mode == "L" else b"P6"))


@given(
    st.sampled_from(["RGB", "L"]),
    st.integers(1, 6),
    st.integers(1, 6),
    st.binary(min_size=108, max_size=108),
)
def test_any_plain_pixels_come_back(mode: str, width: int, height: int, data: bytes) -> None:
    # Its first pixels may look like a comment or like white space of the header.
    image = Image.frombytes(mode, (width, height), data[: width * height * len(mode)])
    seen = pixels(read_image(image))
    assert (seen == np.asarray(image.convert("RGB"))).all()
