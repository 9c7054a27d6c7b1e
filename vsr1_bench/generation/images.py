"""Images: decoding within bounds, resizing, and data URLs.

Every backend gets its pixels from `decode`, so equal pixel bounds give equal pixels everywhere.
"""

from __future__ import annotations

import base64
import io
import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vsr1_bench.records import EncodedImage, Request

if TYPE_CHECKING:
    from PIL.Image import Image

# Limit against decompression bombs, far above any benchmark image. Pillow's own limit is higher; it
# is only a warning in some versions, and any code can switch it off.
MAX_SOURCE_PIXELS = 150_000_000
# Formats that Pillow decodes itself; for PostScript (EPS) it would start an interpreter.
FORMATS = frozenset("AVIF BMP GIF ICO JPEG JPEG2000 MPO PNG PPM TIFF WEBP".split())

MASK_PATCH = 14
"""Side of a patch of `blackened` in pixels."""
MASK_SHARE = 0.6
"""Probability of a patch to be black."""


class ImageError(ValueError):
    """An image that cannot be shown to a model; the message says why."""


def decode(image: EncodedImage, min_pixels: int, max_pixels: int) -> Image:
    """Decode to RGB and scale the area into [min_pixels, max_pixels], keeping the aspect ratio.

    Transparent images get a white background, animations show their first frame, EXIF orientation
    is applied, and grey of more than 8 bits is scaled, not clipped. The resize is that of the
    authors' own validation; a model's processor then only rounds to its patch size.

    Args:
        image: The encoded image.
        min_pixels: Smallest area in pixels after scaling.
        max_pixels: Largest area in pixels after scaling.

    Raises:
        ImageError: unreadable, truncated, empty, of another format, or larger than
            `MAX_SOURCE_PIXELS` (by its header, so nothing is decoded).
    """
    from PIL import Image as Pil
    from PIL import ImageOps, UnidentifiedImageError

    file = f" ({image.path.name})" if image.path else ""
    try:
        data = image.read()
    except OSError as error:
        raise ImageError(f"image cannot be read: {type(error).__name__}{file}") from error
    if not data:
        raise ImageError(f"image is empty, 0 bytes{file}")
    try:
        opened = Pil.open(io.BytesIO(data))
        if opened.format not in FORMATS:
            wanted = ", ".join(sorted(FORMATS))
            raise ImageError(f"an image of format {opened.format}; wanted one of {wanted}{file}")
        if opened.width * opened.height > MAX_SOURCE_PIXELS:
            raise ImageError(
                f"image of {opened.width} x {opened.height} pixels is over the bound of "
                f"{MAX_SOURCE_PIXELS}{file}"
            )
        opened.load()
        rgb = _to_rgb(ImageOps.exif_transpose(opened))
    except ImageError:
        raise
    except Pil.DecompressionBombError as error:
        raise ImageError(f"image is over the bound of {MAX_SOURCE_PIXELS} pixels{file}") from error
    except UnidentifiedImageError as error:  # its own message names an object in memory
        reason = f"image cannot be decoded: no known format, it begins with {data[:12]!r}{file}"
        raise ImageError(reason) from error
    except Exception as error:  # untrusted bytes: a decoder's bug must fail this image only
        raise ImageError(
            f"image cannot be decoded: {type(error).__name__}: {error}{file}"
        ) from error
    width, height = fit(rgb.width, rgb.height, min_pixels, max_pixels)
    if (width, height) == rgb.size:
        return rgb
    return rgb.resize((width, height), Pil.Resampling.BICUBIC)


def image_size(image: EncodedImage) -> tuple[int, int]:
    """Width and height in pixels as `decode` sees them before scaling; reads the header only.

    Raises:
        ImageError: as `decode`.
    """
    from PIL import ExifTags
    from PIL import Image as Pil

    try:
        opened = Pil.open(io.BytesIO(image.read()))
        turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except Exception as error:  # untrusted bytes, as in `decode`
        raise ImageError(f"image cannot be decoded: {type(error).__name__}: {error}") from error
    width, height = opened.size[::-1] if turned else opened.size
    if opened.format not in FORMATS or not 0 < width * height <= MAX_SOURCE_PIXELS:
        raise ImageError(f"an image of {width} x {height} pixels in format {opened.format}")
    return width, height


def _to_rgb(image: Image) -> Image:
    from PIL import Image as Pil

    if image.mode.startswith(("I", "F")):
        return _scale_grey(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Pil.new("RGBA", layer.size, (255, 255, 255, 255))
        return Pil.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _scale_grey(image: Image) -> Image:
    """Convert grey of 16 or 32 bits to 8 bits; Pillow's own conversion clips at 255.

    16-bit grey has a known range. Other modes do not state theirs: it is the smallest of 0-1,
    0-255 and 0-65,535 that contains all values (0-1 for floats only), else their own range.
    """
    import numpy as np
    from PIL import Image as Pil

    grey = np.asarray(image).astype(np.float32)  # (H, W)
    known = grey[np.isfinite(grey)]
    least, most = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    tops = [65_535.0]
    if ";16" not in image.mode:
        tops = [1.0, 255.0, 65_535.0] if image.mode == "F" else [255.0, 65_535.0]
    top = next((top for top in tops if least >= 0 and most <= top), None)
    low, span = (0.0, top) if top else (least, (most - least) or 1.0)
    scaled = np.nan_to_num((grey - low) / span, nan=0.0, posinf=1.0, neginf=0.0)
    return Pil.fromarray((scaled * 255 + 0.5).astype(np.uint8))


def fit(width: int, height: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Scale a size so that its area is within the bounds; unchanged if it already is.

    Sides are rounded down to whole pixels, so the area may be below the lower bound by a row and a
    column. The upper bound always holds, at the cost of the aspect ratio if a side would be less
    than one pixel.
    """
    area = width * height
    if area > max_pixels:
        factor = math.sqrt(max_pixels / area)
    elif area < min_pixels:
        factor = math.sqrt(min_pixels / area)
    else:
        return width, height
    width, height = max(1, int(width * factor)), max(1, int(height * factor))
    height = max(1, min(height, max_pixels // width))
    return max(1, min(width, max_pixels // height)), height


def mask_seed(request: Request) -> str:
    """The seed of a request's masked images; all responses to a sample share them."""
    return f"{request.sampling.seed}|{request.sample_id}"


def blackened(images: Sequence[Image], seed: str) -> list[Image]:
    """Copies in which each patch of 14 x 14 pixels is black with probability 0.6.

    The masked images of PAPO (arXiv:2507.06448) and VPPO (arXiv:2510.09285).

    Args:
        images: As `decode` returns them, so that a patch has the size that the model sees.
        seed: Equal seeds blacken the same patches.
    """
    drawn = random.Random(f"vsr1-masked|{seed}")
    masked = [image.copy() for image in images]
    for image in masked:
        for top in range(0, image.height, MASK_PATCH):
            for left in range(0, image.width, MASK_PATCH):
                if drawn.random() < MASK_SHARE:
                    right = min(left + MASK_PATCH, image.width)
                    bottom = min(top + MASK_PATCH, image.height)
                    image.paste((0, 0, 0), (left, top, right, bottom))
    return masked


def encoded(image: EncodedImage, min_pixels: int, max_pixels: int) -> tuple[str, bytes]:
    """Write an image as PNG; returns the media type and the bytes.

    Lossless, with the pixels of `decode`, so that an endpoint sees what a local backend sees.

    Raises:
        ImageError: as `decode`.
    """
    buffer = io.BytesIO()
    # Level 1 takes a tenth of the default level's time for about 10 % more bytes.
    decode(image, min_pixels, max_pixels).save(buffer, "PNG", compress_level=1)
    return "image/png", buffer.getvalue()


def data_url(image: EncodedImage, min_pixels: int, max_pixels: int) -> str:
    """Write an image as a PNG data URL (see `encoded`).

    Raises:
        ImageError: as `decode`.
    """
    kind, data = encoded(image, min_pixels, max_pixels)
    return f"data:{kind};base64," + base64.b64encode(data).decode("ascii")
