"""demo_hard: the demo questions under coloured light, in which colours are hard to tell apart."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from vsr1_bench.task import Metric, Procedural, Task
from vsr1_bench.tiny.scenes import COLORS, EMPTY, Draw, Split, make_row, to_sample

CAST = 12
"""Largest shift of a channel of the whole image, of 255: the colour of the light."""
CONTRAST = (85, 100)
"""Percent of the distance to middle grey that is left."""
GRAIN = 20
"""Largest shift of a pixel's channel."""


def make_hard_row(split: Split, number: int) -> dict[str, Any]:
    """Make row `number` of a split: `scenes.make_row`'s, its image in another light."""
    row = make_row(split, number)
    return {**row, "image": relit(row["image"], Draw(f"vsr1-hard:{split}:{number}"))}


def relit(png: bytes, draw: Draw) -> bytes:
    """Show an image in coloured light, with less contrast and more grain."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float64)
    cast = np.array([draw.below(2 * CAST + 1) - CAST for _ in range(3)])
    low, high = CONTRAST
    contrast = (low + draw.below(high - low + 1)) / 100
    noise = hashlib.shake_256(f"{draw.below(2**30)}".encode()).digest(pixels.size)
    grain = (np.frombuffer(noise, dtype=np.uint8).reshape(pixels.shape) / 127.5 - 1) * GRAIN
    light = np.clip(128 + contrast * (pixels - 128) + cast + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(light).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def cells_right(description: str, gold: str) -> float:
    """The share of the cells that a description states as they are.

    Cells are counted from the start: a word too many or too few moves all that follow.
    """
    words = [word for word in description.split() if word in COLORS or word == EMPTY]
    cells = [word for word in gold.split() if word in COLORS or word == EMPTY]
    return agreement(words, cells)


def agreement(words: Sequence[str], cells: Sequence[str]) -> float:
    """The share of `cells` that `words` has at the same place."""
    return sum(a == b for a, b in zip(words, cells, strict=False)) / len(cells)


TASK = Task(
    name="demo_hard",
    title="Demo, coloured light",
    version=1,
    source=Procedural(
        partial(make_hard_row, "test"), 2000, f"demo_hard-{CAST}-{CONTRAST}-{GRAIN}", ("image",)
    ),
    train=Procedural(
        partial(make_hard_row, "train"), 100_000, f"demo_hard-{CAST}-{CONTRAST}-{GRAIN}", ("image",)
    ),
    to_sample=to_sample,
    answer_type=None,
    license="Apache-2.0",
    description="the demo questions under coloured light",
    metrics=(Metric("accuracy"), Metric("mean_by_kind", "mean_by", ("kind",))),
    example=partial(make_hard_row, "test", 0),
)
