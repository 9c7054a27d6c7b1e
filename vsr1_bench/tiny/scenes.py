"""The world of the embedded model: 4 x 4 grids of coloured dots, and four kinds of question.

A row is a function of (split, number) and of nothing else: its draws use only
`random.Random.random`, whose sequence Python promises to keep, its pixel noise comes from SHAKE,
and its PNG is stored uncompressed, so that the bytes, and with them every record key, are the same
under any Python, numpy or zlib.

Train and test share no scene by construction: a checksum of the cells decides the side
(`belongs_to`), and a scene of the wrong side is drawn again.

Blind guessing: the best constant answer of each kind scores about 0.17 (count, 0 to 5), 0.50
(compare), 0.25 (locate) and 0.14 (odd), so 0.27 over a whole cycle.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vsr1_bench.records import ImagePlace, Sample
from vsr1_bench.tiny.png import palette_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 4
CELL = 28
"""Pixels of a cell's side; Qwen2.5-VL turns 28 x 28 pixels into one visual token."""
COLORS = {
    "red": (205, 45, 45),
    "orange": (225, 135, 40),
    "yellow": (215, 205, 60),
    "green": (50, 150, 70),
    "blue": (50, 90, 200),
    "purple": (140, 60, 170),
    "pink": (230, 125, 175),
}
HUE_JITTER = 39
"""Largest shift of each of a dot's channels: some reds are nearer to orange than to red."""
EMPTY = "none"
KINDS = ("count", "compare", "locate", "odd")
QUARTERS = ("top left", "top right", "bottom left", "bottom right")
ROWS = ("row 1", "row 2", "row 3", "row 4")
FINGERPRINT = "demo-1-186112b5bcc42dd5"
"""Hash of the first 200 test rows as `content_hash` computes it; a test compares the two."""

Split = Literal["train", "test"]
T = TypeVar("T")


class Draw:
    """Random choices built on `random.Random.random` alone."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random

    def below(self, n: int) -> int:
        """Draw an integer in [0, n)."""
        return int(self._random() * n)

    def pick(self, items: Sequence[T]) -> T:
        """Draw one item."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in items]


@dataclass(frozen=True, slots=True)
class Scene:
    """The colour of the dot in each of the 16 cells, in raster order, or `EMPTY`."""

    cells: tuple[str, ...]

    def belongs_to(self) -> Split:
        """The side of this scene: the parity of a checksum of its cells."""
        words = (EMPTY, *COLORS)
        return "test" if sum(words.index(cell) for cell in self.cells) % 2 else "train"

    def describe(self) -> str:
        """Describe every cell in raster order, one word per cell."""
        rows = [" ".join(self.cells[SIDE * row : SIDE * (row + 1)]) for row in range(SIDE)]
        return " ".join(f"row {row + 1} : {text}" for row, text in enumerate(rows))


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene with its gold answer and the reasoning that leads there.

    In the reasoning each number comes right after the colour that it is about: a model of this
    size then finds it by looking for cells of the same word, and learns to count within minutes.
    """

    scene: Scene
    text: str
    answer: str
    answer_type: str
    reasoning: str
    choices: tuple[str, ...] | None = None


def _scatter(draw: Draw, dots: Sequence[str]) -> Scene:
    """Put dots on random cells."""
    return Scene(tuple(draw.shuffled([*dots, *([EMPTY] * (SIDE * SIDE - len(dots)))])))


def _others(draw: Draw, n: int, *unwanted: str) -> list[str]:
    """Draw n colours, repeats allowed, none of them unwanted."""
    free = [color for color in COLORS if color not in unwanted]
    return [draw.pick(free) for _ in range(n)]


def _count(draw: Draw) -> Question:
    """How many there are: 0 to 5, equally often."""
    color, n = draw.pick(tuple(COLORS)), draw.below(6)
    scene = _scatter(draw, [color] * n + _others(draw, 3 + draw.below(5), color))
    text = draw.pick(
        (
            f"How many {color} dots are there?",
            f"How many {color} dots can you see in the image?",
            f"Count the {color} dots.",
            f"What is the number of {color} dots?",
        )
    )
    return Question(scene, text, str(n), "number", f"{color} {n} , total {n}")


def _compare(draw: Draw) -> Question:
    """Whether one colour outnumbers another: yes as often as no."""
    first, second = draw.shuffled(tuple(COLORS))[:2]
    low = draw.below(4)
    high = low + 1 + draw.below(2)
    yes = draw.below(2) == 0
    a, b = (high, low) if yes else draw.pick(((low, high), (low, high), (low, low)))
    dots = [first] * a + [second] * b
    scene = _scatter(draw, dots + _others(draw, 2 + draw.below(4), first, second))
    text = draw.pick(
        (
            f"Are there more {first} dots than {second} dots?",
            f"Is the number of {first} dots greater than the number of {second} dots?",
            f"Do the {first} dots outnumber the {second} dots?",
        )
    )
    answer = "yes" if yes else "no"
    sign = ">" if a > b else "<" if a < b else "="
    reasoning = f"{first} {a} {second} {b} , {a} {sign} {b} so {answer}"
    return Question(scene, text, answer, "yes_no", reasoning)


def _locate(draw: Draw) -> Question:
    """Where the only dot of its colour is: a quarter of the image or a row."""
    color = draw.pick(tuple(COLORS))
    scene = _scatter(draw, [color, *_others(draw, 5 + draw.below(5), color)])
    row, column = divmod(scene.cells.index(color), SIDE)
    if draw.below(2):
        choices, place = QUARTERS, 2 * (row // 2) + column // 2
        text = draw.pick(
            (
                f"In which quarter of the image is the {color} dot?",
                f"Where is the {color} dot?",
                f"Which part of the image holds the {color} dot?",
            )
        )
    else:
        choices, place = ROWS, row
        text = draw.pick((f"In which row is the {color} dot?", f"Which row holds the {color} dot?"))
    answer = "ABCD"[place]
    spot = f"row and column of {color} {row + 1} {column + 1}"
    reasoning = f"{spot} , that is {choices[place]} , option {answer}"
    return Question(scene, text, answer, "choice", reasoning, choices)


def _odd(draw: Draw) -> Question:
    """Which colour occurs once; every other colour occurs twice, three times or not at all."""
    once, *others = draw.shuffled(tuple(COLORS))[: 4 + draw.below(2)]
    counts = {once: 1} | {color: 2 + draw.below(2) for color in others}
    scene = _scatter(draw, [color for color, n in counts.items() for _ in range(n)])
    text = draw.pick(
        (
            "Which color occurs exactly once?",
            "One color is used by a single dot only. Which color is it?",
            "Which color appears on just one dot?",
        )
    )
    tally = " ".join(f"{color} {counts.get(color, 0)}" for color in COLORS)
    return Question(scene, text, once, "text", f"{tally} , once : {once}")


_MAKERS = {"count": _count, "compare": _compare, "locate": _locate, "odd": _odd}


def make_question(split: Split, number: int) -> tuple[Question, Draw]:
    """Make question `number` of a split, and the draw that goes on to render its scene."""
    draw = Draw(f"vsr1-demo:{split}:{number}")
    make = _MAKERS[KINDS[number % len(KINDS)]]
    question = make(draw)
    while question.scene.belongs_to() != split:
        question = make(draw)
    return question, draw


def make_row(split: Split, number: int) -> dict[str, Any]:
    """Make row `number` of a split.

    Returns:
        `id`, `kind`, `question`, `choices` (None or four texts), `answer`, `answer_type`, `image`
        (PNG bytes, 112 x 112 px), and for training `description` and `reasoning`.
    """
    question, draw = make_question(split, number)
    return {
        "id": f"{split}-{number:06d}",
        "kind": KINDS[number % len(KINDS)],
        "question": question.text,
        "choices": list(question.choices) if question.choices else None,
        "answer": question.answer,
        "answer_type": question.answer_type,
        "image": render(question.scene, draw),
        "description": question.scene.describe(),
        "reasoning": question.reasoning,
    }


def to_sample(row: Mapping[str, Any]) -> Sample:
    """Map a row, whose image is an `EncodedImage` by now, to a sample: the image comes first."""
    return Sample(
        id=row["id"],
        question=(ImagePlace(0), row["question"]),
        answer=row["answer"],
        answer_type=row["answer_type"],
        images=(row["image"],),
        choices=tuple(row["choices"]) if row["choices"] else None,
        groups={"kind": row["kind"]},
    )


def content_hash(
    name: str = "demo-1",
    make: Callable[[Split, int], Mapping[str, Any]] = make_row,
    rows: int = 200,
) -> str:
    """Hash what the first test rows hold, pixels included; `name` precedes the hash."""
    digest = hashlib.sha256()
    for number in range(rows):
        row = make("test", number)
        for value in row.values():
            digest.update(value if isinstance(value, bytes) else repr(value).encode())
            digest.update(b"\0")
    return f"{name}-{digest.hexdigest()[:16]}"


def render(scene: Scene, draw: Draw) -> bytes:
    """Draw a scene as PNG bytes.

    Dots differ in size and place, hues wander and the whole image is noisy, so that seeing is a
    task that can go wrong.

    Args:
        scene: What to draw.
        draw: Where the jitter and the noise's seed come from.
    """
    import numpy as np

    grid = np.zeros((SIDE * CELL, SIDE * CELL), dtype=np.uint8)
    gray = 225 + draw.below(20)
    base = [(gray, gray, gray)]
    for place, color in enumerate(scene.cells):
        if color == EMPTY:
            continue
        shifts = [draw.below(2 * HUE_JITTER + 1) - HUE_JITTER for _ in range(3)]
        base.append(_clip(tuple(v + d for v, d in zip(COLORS[color], shifts, strict=True))))
        mask = _disc(5 + draw.below(5), draw.below(7) - 3, draw.below(7) - 3)
        top, left = (CELL * index for index in divmod(place, SIDE))
        grid[top : top + CELL, left : left + CELL][mask] = len(base) - 1
    noise = hashlib.shake_256(f"{draw.below(2**30)}".encode()).digest(grid.size)
    levels = np.frombuffer(noise, dtype=np.uint8).reshape(grid.shape) & 7
    palette = [_clip(tuple(v + 8 * level - 28 for v in rgb)) for rgb in base for level in range(8)]
    return palette_png((grid * 8 + levels).astype(np.uint8).tobytes(), grid.shape[1], palette)


def _clip(rgb: tuple[int, ...]) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, value)) for value in rgb)
    return red, green, blue


@cache
def _disc(radius: int, dx: int, dy: int) -> NDArray[np.bool_]:
    """Pixels of a cell that a dot covers, `(CELL, CELL)`.

    Args:
        radius: In pixels.
        dx: Pixels right of the cell's middle.
        dy: Pixels below it.
    """
    import numpy as np

    # Doubled coordinates keep everything in whole numbers, which no platform rounds differently.
    steps = 2 * np.arange(CELL) - CELL + 1
    x, y = (steps - 2 * dx)[None, :], (steps - 2 * dy)[:, None]
    return np.asarray(x * x + y * y <= 4 * radius * radius)
