"""Cut rows into micro-batches: few prompts in each, and little padding or none."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")

SIMILAR = 1.15
"""Rows whose lengths differ by less than this factor may be padded to one length, so that those of
a prompt share a micro-batch."""
KEYS = 4
"""Keys of a packed micro-batch at most, as a multiple of its tokens: attention keeps the keys of a
prompt for each of its responses."""


def cut_padded(
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
    cut: list[list[T]] = []
    longest = 0
    for place in order:
        longest = max(longest, sizes[place])
        if not cut or longest * (len(cut[-1]) + 1) > tokens:
            cut.append([])
            longest = sizes[place]
        cut[-1].append(rows[place])
    return cut


def cut_packed(
    rows: Sequence[T],
    sizes: Sequence[tuple[int, int]],
    prompts: Sequence[Hashable],
    tokens: int,
) -> list[list[T]]:
    """Cut rows into micro-batches of at most `tokens` tokens, in which each prompt stands once.

    The rows of a prompt are divided among micro-batches only if one cannot hold them, or if the
    part that fits into the rest of one has at least as many tokens as the prompt, which stands in
    both.

    Args:
        rows: The rows.
        sizes: Tokens of each row's prompt, and of its response.
        prompts: The prompt of each row.
        tokens: Maximum sum; a row that is longer is alone.
    """
    of_prompt: dict[Hashable, list[int]] = {}
    for place, prompt in enumerate(prompts):
        of_prompt.setdefault(prompt, []).append(place)
    cut: list[list[T]] = []
    room = keys = 0
    for places in of_prompt.values():
        start = sizes[places[0]][0]
        responses = [sizes[place][1] for place in places]
        fitting = max((n for n in accumulate(responses) if n <= room - start), default=0)
        if fitting < min(start, sum(responses)):
            room = 0
        room -= start
        for place, response in zip(places, responses, strict=True):
            if room < response or keys < start + response:
                cut.append([])
                room, keys = tokens - start, KEYS * tokens
            cut[-1].append(rows[place])
            room, keys = room - response, keys - start - response
    return cut
