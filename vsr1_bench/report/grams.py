"""Which chunks of samples can hold a text: a bit set of three-letter groups for each chunk."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import numpy as np

BITS = 65536
"""GRAM_BITS of `web/src/types.ts`."""
_PIECE = 1 << 20


def gram_bits(texts: Iterable[str]) -> str:
    """Bit set, in base64, of the groups of three ASCII bytes in lower-cased texts.

    Args:
        texts: Everything that a search of the chunk looks into.
    """
    joined = "\0".join(texts).lower().encode("utf-8", "surrogatepass")
    found = np.zeros(BITS, dtype=bool)
    # Pieces, so that a chunk of one long text does not need many times its own memory.
    for start in range(0, len(joined), _PIECE):
        piece = np.frombuffer(joined[start : start + _PIECE + 2], dtype=np.uint8)  # (B,)
        if len(piece) < 3:
            continue
        wide = piece.astype(np.uint16)  # sums wrap at 65,536, which is the number of bits
        group = wide[:-2] * np.uint16(961) + wide[1:-1] * np.uint16(31) + wide[2:]  # (B - 2,)
        found[group] = True
    return base64.b64encode(np.packbits(found, bitorder="little").tobytes()).decode("ascii")
