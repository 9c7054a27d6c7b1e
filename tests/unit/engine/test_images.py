"""Images of every kind become the same RGB pixels, within bounds, or an error that says why."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vsr1_bench.generation.images import MAX_SOURCE_PIXELS, ImageError, data_url, decode, fit
from vsr1_bench.records import EncodedImage

# Pillow warns of damage that it reads around, and of sizes below our own bound.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def array(values: object, dtype: str, mode: str | None = None) -> Image.Image:
    made = Image.fromarray(np.array(values, dtype=dtype))
    return made.convert(mode) if mode else made


def pixels(data: bytes) -> list[Any]:
    """The first row, in any size."""
    image = decode(EncodedImage(data=data), 1, 10**9)
    assert image.mode == "RGB"
    return [image.getpixel((x, 0)) for x in range(image.width)]


def two(mode: str = "RGB") -> Image.Image:
    """A red and a green pixel."""
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), GREEN)
    return image.convert(mode) if mode != "P" else image.quantize(2)


def png_of(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds no pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def grey(*values: int) -> list[tuple[int, int, int]]:
    return [(v, v, v) for v in values]


def test_plain_and_palette() -> None:
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert pixels(encoded(two(), kind)) == [RED, GREEN], kind
    assert pixels(encoded(two("P"), "PNG")) == [RED, GREEN]
    assert pixels(encoded(array([[0, 255]], "uint8", "1"), "PNG")) == grey(0, 255)


def test_transparency_is_laid_on_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *GREEN])
    palette.putpixel((1, 0), 1)
    assert pixels(encoded(palette, "PNG", transparency=1)) == [RED, WHITE]
    assert pixels(encoded(palette, "GIF", transparency=1)) == [RED, WHITE]
    assert pixels(encoded(two(), "PNG", transparency=GREEN)) == [RED, WHITE]
    assert pixels(encoded(array([[10, 200]], "uint8"), "PNG", transparency=200)) == grey(10, 255)
    rgba = Image.fromarray(np.array([[(*RED, 255), (*RED, 0), (*RED, 128)]], dtype="uint8"))
    assert pixels(encoded(rgba, "PNG")) == [RED, WHITE, (255, 127, 127)]
    la = Image.merge("LA", (array([[10, 10]], "uint8"), array([[255, 0]], "uint8")))
    assert pixels(encoded(la, "PNG")) == grey(10, 255)


def test_cmyk() -> None:
    for kind in ("JPEG", "TIFF"):
        assert pixels(encoded(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), kind)) == [RED]


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    deep = array([[0, 16_384, 32_768, 65_535]], "uint16")
    assert pixels(encoded(deep, "PNG")) == grey(0, 64, 128, 255)
    assert pixels(encoded(deep, "TIFF")) == grey(0, 64, 128, 255)
    # its range is its own: a dark picture stays dark
    assert pixels(encoded(array([[0, 257]], "uint16"), "PNG")) == grey(0, 1)


@pytest.mark.parametrize(
    ("values", "dtype", "seen"),
    [
        ((0.0, 0.25, 1.0), "float32", (0, 64, 255)),
        ((0.0, 64.0, 255.0), "float32", (0, 64, 255)),
        ((-1.0, 0.0, 1.0), "float32", (0, 128, 255)),
        ((float("nan"), 0.5, float("inf")), "float32", (0, 128, 255)),
        ((7.0, 7.0, 7.0), "float32", (7, 7, 7)),
        ((-7.0, -7.0, -7.0), "float32", (0, 0, 0)),
        ((float("nan"),) * 3, "float32", (0, 0, 0)),
        ((0, 64, 255), "int32", (0, 64, 255)),
        ((0, 16_384, 65_535), "int32", (0, 64, 255)),
        ((0, 1 << 29, 1 << 30), "int32", (0, 128, 255)),
    ],
)
def test_32_bit_grey(values: tuple[float, ...], dtype: str, seen: tuple[int, ...]) -> None:
    assert pixels(encoded(array([values], dtype), "TIFF")) == grey(*seen)


@pytest.mark.parametrize(
    ("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})]
)
def test_animations_show_their_first_frame(kind: str, options: dict[str, Any]) -> None:
    first, second = (Image.new("RGB", (2, 2), colour) for colour in (BLUE, RED))
    data = encoded(first, kind, save_all=True, append_images=[second], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 2  # type: ignore[attr-defined]
    assert pixels(data) == [BLUE, BLUE]


def test_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned = decode(EncodedImage(data=encoded(two(), "PNG", exif=exif)), 1, 10**9)
    assert turned.size == (1, 2)
    assert [turned.getpixel((0, y)) for y in (0, 1)] == [RED, GREEN]
    # EXIF that cannot be read turns nothing
    assert pixels(encoded(two(), "PNG", exif=b"II*\0\x08\0\0\0\xff\xff")) == [RED, GREEN]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no known format.*<svg"),
        (b"<!DOCTYPE html><html>404</html>", "no known format.*DOCTYPE"),
        (png_of(0, 5), "cannot be decoded"),
        (b"P6 1x 1 255\n\0\0\0", "cannot be decoded: ValueError"),
        (encoded(two(), "PNG")[:20], "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "format EPS"),
    ],
)
def test_what_is_no_image(data: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said) as error:
        decode(EncodedImage(data=data), 1, 10**9)
    assert "object at 0x" not in str(error.value)  # a journal line must be the same each time


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_a_truncated_file_is_an_error_not_half_a_picture(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype="uint8"))
    data = encoded(noise, kind)
    with pytest.raises(ImageError):
        decode(EncodedImage(data=data[: len(data) // 2]), 1, 10**9)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "ICO"]),
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_bytes_never_raise_anything_else(kind: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encoded(Image.new("RGB", (16, 16), BLUE), kind))
    for place, value in damage:
        data[place % len(data)] = value
    try:
        image = decode(EncodedImage(data=bytes(data)), 1, 4096)
    except ImageError:
        return
    assert image.mode == "RGB" and image.width * image.height <= 4096


def test_a_missing_file_and_a_missing_image(tmp_path: Path) -> None:
    for image in (EncodedImage(path=tmp_path / "no.png"), EncodedImage()):
        with pytest.raises(ImageError, match="cannot be read"):
            decode(image, 1, 10**9)


@pytest.mark.parametrize("size", [(13_000, 13_000), (60_000, 60_000), (1, MAX_SOURCE_PIXELS + 1)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    # it holds no pixels: had any been decoded, the error would be about truncation
    with pytest.raises(ImageError, match=f"over the bound of {MAX_SOURCE_PIXELS}"):
        decode(EncodedImage(data=png_of(*size)), 1, 10**9)


def test_the_bound_on_bombs_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as other packages do
    with pytest.raises(ImageError, match="60000 x 60000 pixels is over"):
        decode(EncodedImage(data=png_of(60_000, 60_000)), 1, 10**9)


@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    bounds=st.tuples(st.integers(1, 8_000_000), st.integers(1, 8_000_000)).map(sorted),
)
def test_fit_honours_the_bounds(width: int, height: int, bounds: list[int]) -> None:
    least, most = bounds
    w, h = fit(width, height, least, most)
    assert w >= 1 and h >= 1
    assert w * h <= most
    assert (w + 1) * (h + 1) >= least  # cut to whole pixels
    if least <= width * height <= most:
        assert (w, h) == (width, height)
    elif min(w, h) > 1:  # the aspect ratio, up to a pixel
        factor = ((most if width * height > most else least) / (width * height)) ** 0.5
        assert abs(w - width * factor) <= 1 and abs(h - height * factor) <= 1


@pytest.mark.parametrize(
    ("size", "bounds", "wanted"),
    [
        ((1, 10_000), (1, 1_000), (1, 1_000)),
        ((10_000, 1), (1, 1_000), (1_000, 1)),
        ((1, 10_000), (40_000, 90_000), (2, 20_000)),
        ((2048, 1024), (1, 524_288), (1024, 512)),
        ((100, 100), (40_000, 90_000), (200, 200)),
        ((56, 56), (3136, 3136), (56, 56)),
    ],
)
def test_decode_scales_into_the_bounds(
    size: tuple[int, int], bounds: tuple[int, int], wanted: tuple[int, int]
) -> None:
    data = encoded(Image.new("RGB", size, BLUE), "PNG")
    image = decode(EncodedImage(data=data), *bounds)
    assert image.size == wanted
    assert image.getpixel((0, 0)) == BLUE


def test_an_endpoint_sees_the_same_pixels() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 90, 3), dtype="uint8"))
    image = EncodedImage(data=encoded(noise, "PNG"))
    url = data_url(image, 1, 1_000)
    shown = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert shown.width * shown.height <= 1_000
    assert shown.tobytes() == decode(image, 1, 1_000).tobytes()


def test_every_backend_takes_its_pixels_from_here() -> None:
    """No other module of the engine opens an image."""
    engine = Path(decode.__code__.co_filename).parent
    code = {p: p.read_text("utf-8") for p in engine.rglob("*.py") if p.name != "images.py"}
    assert any("decode(" in text for text in code.values())
    assert not [p.name for p, text in code.items() if "Image.open(" in text or "Pil.open(" in text]
