"""Cut rows into micro-batches: little padding, and few prompts in each."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")

SIMILAR = 1.15
"""Rows whose lengths differ by less than this factor may be padded to one length, so that those of
a prompt share a micro-batch."""


def pack(
    rows: Sequence[T], sizes: Sequence[int], prompts: Sequence[Hashable], tokens: int
) -> list[list[T]]:
    """Cut rows into micro-batches of at most `tokens` padded tokens.

    Args:
        rows: The rows.
        sizes: Tokens of each row.
        prompts: The prompt of each row; those of a prompt stay together as far as their lengths are
            similar. Rows without common prompts are sorted by length.
        tokens: Number of rows times the longest of them.
    """
    bands = [int(math.log(size) / math.log(SIMILAR)) for size in sizes]
    shortest: dict[Hashable, tuple[int, int]] = {}  # of a band's prompt: size and place
    for place, key in enumerate(zip(bands, prompts, strict=True)):
        shortest[key] = min(shortest.get(key, (sizes[place], place)), (sizes[place], place))
    order = sorted(
        range(len(rows)), key=lambda i: (bands[i], shortest[bands[i], prompts[i]], sizes[i])
    )
    packed: list[list[T]] = []
    longest = 0
    for place in order:
        longest = max(longest, sizes[place])
        if not packed or longest * (len(packed[-1]) + 1) > tokens:
            packed.append([])
            longest = sizes[place]
        packed[-1].append(rows[place])
    return packed
