"""demo_tally: count the dots of several colours at once; demonstrations hold back a combination."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from vsr1_bench.task import Metric, Procedural, Task
from vsr1_bench.tiny.scenes import COLORS, EMPTY, SIDE, Draw, Scene, Split, render, to_sample

ASKED = 4
"""Colours that a question asks for."""
MOST, LARGE = 5, 4
"""The largest count of an asked colour, and the least that is called large."""


def make_tally_row(split: Split, number: int, *, hard: bool) -> dict[str, Any]:
    """Make row `number` of a split: `scenes.make_row`'s columns.

    Args:
        split: Train and test share no scene.
        number: The row's number.
        hard: True = three counts are large, False = one at most is.
    """
    draw = Draw(f"vsr1-tally:{split}:{hard}:{number}")
    while True:
        asked = draw.shuffled(tuple(COLORS))[:ASKED]
        counts = [draw.below(MOST + 1) for _ in asked]
        large = sum(n >= LARGE for n in counts)
        free = [color for color in COLORS if color not in asked]
        dots = [color for color, n in zip(asked, counts, strict=True) for _ in range(n)]
        others = [draw.pick(free) for _ in range(draw.below(3))]
        if (large < 3 if hard else large > 1) or len(dots) + len(others) > SIDE * SIDE - 1:
            continue
        dots += others
        scene = Scene(tuple(draw.shuffled([*dots, *[EMPTY] * (SIDE * SIDE - len(dots))])))
        if scene.belongs_to() == split:
            break
    text = draw.pick(
        (
            "How many {} and {} dots are there?",
            "Count the {} and the {} dots.",
            "What are the numbers of {} and {} dots?",
        )
    )
    answer = " ".join(map(str, counts))
    pairs = zip(asked, counts, strict=True)
    return {
        "id": f"{split}-{number:06d}",
        "kind": "hard" if hard else "easy",
        "question": text.format(", ".join(asked[:-1]), asked[-1]),
        "choices": None,
        "answer": answer,
        "answer_type": "text",
        "image": render(scene, draw),
        "description": scene.describe(),
        "reasoning": " ".join(f"{color} {n}" for color, n in pairs) + f" , so {answer}",
    }


FINGERPRINT = "demo_tally-3"
TASK = Task(
    name="demo_tally",
    title="Demo, tally",
    version=1,
    source=Procedural(partial(make_tally_row, "test", hard=True), 500, FINGERPRINT, ("image",)),
    train=Procedural(partial(make_tally_row, "train", hard=True), 100_000, FINGERPRINT, ("image",)),
    to_sample=to_sample,
    answer_type="text",
    license="Apache-2.0",
    description="count the dots of four colours; three counts are 4 or 5",
    metrics=(Metric("accuracy"),),
    example=partial(make_tally_row, "test", 0, hard=True),
)
EASY = replace(
    TASK,
    name="demo_tally_easy",
    title="Demo, easy tally",
    source=Procedural(
        partial(make_tally_row, "test", hard=False), 500, f"{FINGERPRINT}-easy", ("image",)
    ),
    train=None,
    description="count the dots of four colours; one count at most is 4 or 5, as demonstrations",
    example=partial(make_tally_row, "test", 0, hard=False),
)
