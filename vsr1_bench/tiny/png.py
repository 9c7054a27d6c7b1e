"""The smallest PNG writer: 8-bit palette, stored uncompressed.

Compressors may change the bytes of a file between versions (zlib, zlib-ng) while its pixels stay,
and a record's key is a hash of the bytes. Stored blocks leave nothing to choose.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STORED_MAX = 65_535


def palette_png(pixels: bytes, width: int, palette: Sequence[tuple[int, int, int]]) -> bytes:
    """Write an image.

    Args:
        pixels: One palette index a pixel, row after row.
        width: Pixels of a row.
        palette: At most 256 colours.

    Raises:
        ValueError: the pixels are not whole rows, or the palette is too long.
    """
    if not pixels or len(pixels) % width or not 0 < len(palette) <= 256:
        raise ValueError(
            f"{len(pixels)} pixels in rows of {width} with {len(palette)} colours: want whole rows "
            "and 1 to 256 colours"
        )
    height = len(pixels) // width
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    rows = b"".join(b"\0" + pixels[width * row : width * (row + 1)] for row in range(height))
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", bytes(value for rgb in palette for value in rgb)),
            _chunk(b"IDAT", _stored(rows)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _stored(data: bytes) -> bytes:
    """A zlib stream of stored blocks (RFC 1951, 3.2.4)."""
    blocks = []
    for start in range(0, len(data), _STORED_MAX):
        block = data[start : start + _STORED_MAX]
        last = start + _STORED_MAX >= len(data)
        blocks.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    return b"\x78\x01" + b"".join(blocks) + struct.pack(">I", zlib.adler32(data))
