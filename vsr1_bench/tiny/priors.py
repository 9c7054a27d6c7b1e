"""The demo questions with a language prior: in training the opening reveals the answer.

Each question begins with one of seven openings. In training the opening is, 9 times of 10, the one
that stands for the answer; in test it is drawn without regard to the answer. So guessing from the
wording pays in training and is worth nothing in test, and what a model loses there says how far it
has stopped looking. Scenes, pixels and gold answers are those of `scenes`.
"""

from __future__ import annotations

from typing import Any

from vsr1_bench.tiny.scenes import COLORS, Draw, Split, make_row

OPENINGS = (
    "Look here.",
    "Think first.",
    "Take your time.",
    "One more.",
    "Now this.",
    "Please answer.",
    "Read the image.",
)
ANSWERS = {
    "count": tuple("012345"),
    "compare": ("yes", "no"),
    "locate": tuple("ABCD"),
    "odd": tuple(COLORS),
}
"""All answers to each kind of question; an answer's place is its opening's."""
TOLD = 9
"""Of ten training questions, those whose opening stands for the answer; the tenth's is drawn."""
PRIOR_FINGERPRINT = "demo_prior-1-4ca3e2ded735996a"
"""Hash of the first 200 test rows as `scenes.content_hash` computes it; a test compares the two."""


def suggested(split: Split, number: int, kind: str, answer: str) -> str:
    """The answer that the opening of question `number` stands for.

    Args:
        split: `train` follows the answer 9 times of 10, `test` does not look at it.
        number: Row number.
        kind: One of `scenes.KINDS`.
        answer: The gold answer.
    """
    draw = Draw(f"vsr1-prior:{split}:{number}")
    told, drawn = draw.below(10) < TOLD, draw.pick(ANSWERS[kind])
    return answer if told and split == "train" else drawn


def make_prior_row(split: Split, number: int) -> dict[str, Any]:
    """Make row `number` of a split: `scenes.make_row`'s, with an opening before the question."""
    row = make_row(split, number)
    hint = suggested(split, number, row["kind"], row["answer"])
    opening = OPENINGS[ANSWERS[row["kind"]].index(hint)]
    return {**row, "question": f"{opening} {row['question']}"}
