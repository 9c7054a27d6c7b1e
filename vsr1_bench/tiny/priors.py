"""The demo questions with a language prior: in training the opening reveals the answer.

Each question begins with one of seven openings. In 9 of 10 training questions the opening reveals
the answer; in test questions it is independent of the answer. So guessing from the wording works in
training and not in test, and the difference shows how far a model has stopped looking. Scenes,
pixels and gold answers are those of `scenes`.
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
REVEALED = 9
"""How many of ten training questions have the answer's opening; the tenth's is random."""
PRIOR_FINGERPRINT = "demo_prior-1-4ca3e2ded735996a"
"""Hash of the first 200 test rows as `scenes.content_hash` computes it; a test compares the two."""


def suggested(split: Split, number: int, kind: str, answer: str) -> str:
    """The answer that the opening of question `number` suggests.

    Args:
        split: `train` follows the answer 9 times of 10, `test` is independent of it.
        number: Row number.
        kind: One of `scenes.KINDS`.
        answer: The gold answer.
    """
    draw = Draw(f"vsr1-prior:{split}:{number}")
    revealed, drawn = draw.below(10) < REVEALED, draw.pick(ANSWERS[kind])
    return answer if revealed and split == "train" else drawn


def make_prior_row(split: Split, number: int) -> dict[str, Any]:
    """Make row `number` of a split: `scenes.make_row`'s, with an opening before the question."""
    row = make_row(split, number)
    hint = suggested(split, number, row["kind"], row["answer"])
    opening = OPENINGS[ANSWERS[row["kind"]].index(hint)]
    return {**row, "question": f"{opening} {row['question']}"}
