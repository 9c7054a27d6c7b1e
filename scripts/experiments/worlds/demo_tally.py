"""demo_tally: count the dots of three colours at once. Training may hold back the large counts."""

from __future__ import annotations

from functools import partial
from typing import Any

from vsr1_bench.task import Metric, Procedural, Task
from vsr1_bench.tiny.scenes import COLORS, EMPTY, SIDE, Draw, Scene, Split, render, to_sample

EASY, HARD = 3, 5
"""The largest count of an asked colour that demonstrations show, and that questions have."""


def make_tally_row(split: Split, number: int, *, hard: bool | None = None) -> dict[str, Any]:
    """Make row `number` of a split: `scenes.make_row`'s columns.

    Args:
        split: Train and test share no scene.
        number: The row's number.
        hard: True = at least one count is above `EASY`, False = none is, None = as drawn.
    """
    draw = Draw(f"vsr1-tally:{split}:{hard}:{number}")
    while True:
        asked = draw.shuffled(tuple(COLORS))[:3]
        counts = [draw.below((EASY if hard is False else HARD) + 1) for _ in asked]
        free = [color for color in COLORS if color not in asked]
        dots = [color for color, n in zip(asked, counts, strict=True) for _ in range(n)]
        others = [draw.pick(free) for _ in range(draw.below(3))]
        if (hard and max(counts) <= EASY) or len(dots) + len(others) > SIDE * SIDE - 2:
            continue
        dots += others
        scene = Scene(tuple(draw.shuffled([*dots, *[EMPTY] * (SIDE * SIDE - len(dots))])))
        if scene.belongs_to() == split:
            break
    text = draw.pick(
        (
            "How many {}, {} and {} dots are there?",
            "Count the {}, the {} and the {} dots.",
            "What are the numbers of {}, {} and {} dots?",
        )
    )
    answer = " ".join(map(str, counts))
    pairs = zip(asked, counts, strict=True)
    return {
        "id": f"{split}-{number:06d}",
        "kind": "hard" if max(counts) > EASY else "easy",
        "question": text.format(*asked),
        "choices": None,
        "answer": answer,
        "answer_type": "text",
        "image": render(scene, draw),
        "description": scene.describe(),
        "reasoning": " ".join(f"{color} {n}" for color, n in pairs) + f" , so {answer}",
    }


TASK = Task(
    name="demo_tally",
    title="Demo, tally",
    version=1,
    source=Procedural(partial(make_tally_row, "test", hard=True), 500, "demo_tally-1", ("image",)),
    train=Procedural(partial(make_tally_row, "train"), 100_000, "demo_tally-1", ("image",)),
    to_sample=to_sample,
    answer_type="text",
    license="Apache-2.0",
    description="count the dots of three colours; one count at least is 4 or 5",
    metrics=(Metric("accuracy"),),
    example=partial(make_tally_row, "test", 0, hard=True),
)
