"""Which gold answers to look at first, from the answers of several models.

A Rasch model (Rasch 1960): model r answers item i right with probability sigmoid(theta_r - b_i).
Abilities theta follow from the models' accuracies, difficulties b are integrated over N(0, 1).
Who is wrong gives the item's popular wrong answer in half of the cases, else any other. Under this
model, each answer that was given has a posterior probability of being the true one. The prior is
5 % for a wrong gold answer.

An item that strong models miss and weak ones hit has a large outfit: the mean squared standardized
residual (Wright and Masters 1982), with the difficulty that fits best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsr1_bench.audit.items import Item, normal

LEAST_RUNS = 5
PRIOR = 0.05
"""Share of wrong gold answers that is expected before looking."""
POPULAR = 0.5
"""How often a wrong answer is the item's popular wrong one."""
SPREAD = 1.0
"""Standard deviation of the difficulties."""
OPEN = 20
"""Answers to choose from if they are open."""
SUSPECT = 0.5
"""From this posterior on, a gold answer is suspect."""
MISFIT = 2.0
"""From this outfit on, an item does not fit."""

Floats = NDArray[np.float64]
GRID = np.linspace(-4, 4, 33)
WEIGHTS = np.exp(-0.5 * (GRID / SPREAD) ** 2)
WEIGHTS /= WEIGHTS.sum()


@dataclass(frozen=True, slots=True)
class Doubt:
    """What the answers of the models say about one item."""

    id: str
    gold: str
    answers: tuple[str | None, ...]
    """What each run answered, normalized, (R,); the gold answer if it was right; None = unknown."""
    right: int
    """Runs that were right."""
    known: int
    """Runs with a verdict."""
    suspect: float
    """Posterior probability that the gold answer is wrong."""
    rival: str | None
    """The most probable other answer."""
    outfit: float
    against: bool
    """Whether strong models miss it and weak ones hit it."""

    @property
    def dead(self) -> bool:
        """Whether all runs are right, or all are wrong: such an item tells no models apart."""
        return self.right in (0, self.known)

    @property
    def unanimous(self) -> bool:
        """Whether all runs give the same answer, and it is not the gold one."""
        return self.right == 0 and len(set(self.answers)) == 1 and self.answers[0] is not None


def abilities(accuracies: Floats) -> Floats:
    """Ability of each run whose expected accuracy over the difficulties is as observed, (R,)."""
    from scipy.optimize import brentq

    def expected(theta: float) -> float:
        return float(WEIGHTS @ _sigmoid(theta - GRID))

    clipped = np.clip(accuracies, 0.01, 0.99)
    return np.array([brentq(lambda t, a=a: expected(t) - a, -12, 12) for a in clipped])


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)), np.float64)


def doubts(
    items: Sequence[Item], answers: Sequence[Mapping[str, str | None]], right: Sequence[set[str]]
) -> list[Doubt]:
    """Judge each item by the answers to it.

    Args:
        items: The items.
        answers: For each run: item id -> the answer that was read, None if none was.
        right: For each run: ids of the items that it answered right.

    Returns:
        Items that all runs have a verdict on, in their order.
    """
    shared = [item for item in items if all(item.id in one for one in answers)]
    if not shared:
        return []
    accuracies = np.array([np.mean([item.id in one for item in shared]) for one in right])
    theta = abilities(accuracies)
    correct = _sigmoid(theta[:, None] - GRID[None, :])
    found = []
    for item in shared:
        gold = item.answer if item.answer_type == "choice" else normal(item.answer)
        given = tuple(
            gold if item.id in hits else _spoken(item, one[item.id])
            for one, hits in zip(answers, right, strict=True)
        )
        found.append(_doubt(item, gold, given, correct, theta))
    return found


def _spoken(item: Item, answer: str | None) -> str | None:
    if answer is None:
        return None
    return answer.strip().upper() if item.answer_type == "choice" else normal(answer)


def _doubt(
    item: Item, gold: str, given: tuple[str | None, ...], correct: Floats, theta: Floats
) -> Doubt:
    distinct = sorted({one for one in given if one is not None} - {gold})
    width = len(item.options) or (2 if item.answer_type == "yes_no" else OPEN)
    width = max(width, len(distinct) + 1, 2)
    truths = [gold, *distinct]
    likelihood = np.array([_likelihood(truth, given, correct, truths, width) for truth in truths])
    prior = np.array([1 - PRIOR, *([PRIOR / (width - 1)] * len(distinct))])
    posterior = prior * (likelihood @ WEIGHTS)
    posterior /= posterior.sum()
    hit = np.array([one == gold for one in given], np.float64)
    place = int(np.argmax(WEIGHTS * _pattern(hit, correct)))
    expected = correct[:, place]
    outfit = float(np.mean((hit - expected) ** 2 / (expected * (1 - expected))))
    against = bool(0 < hit.sum() < len(hit) and theta[hit == 1].mean() < theta[hit == 0].mean())
    best = 1 + int(np.argmax(posterior[1:])) if distinct else 0
    return Doubt(
        item.id,
        gold,
        given,
        int(hit.sum()),
        len(given),
        float(1 - posterior[0]),
        truths[best] if best else None,
        outfit,
        against,
    )


def _pattern(hit: Floats, correct: Floats) -> Floats:
    """Likelihood of the hits at each difficulty, (G,)."""
    return np.asarray(np.prod(np.where(hit[:, None] == 1, correct, 1 - correct), axis=0))


def _likelihood(
    truth: str,
    given: tuple[str | None, ...],
    correct: Floats,
    answers: Sequence[str],
    width: int,
) -> Floats:
    """Likelihood of the answers at each difficulty if `truth` is true, (G,).

    The popular wrong answer is unknown: its place is averaged over the other answers.
    """
    total = np.zeros(len(GRID))
    others = [one for one in answers if one != truth]
    # Answers that nobody gave are alike.
    for popular, weight in [(o, 1) for o in others] + [("", max(0, width - 1 - len(others)))]:
        product = np.ones(len(GRID))
        for run, one in enumerate(given):
            if one is None:
                continue
            if one == truth:
                product = product * correct[run]
            else:
                share = (1 - POPULAR) / (width - 1) + POPULAR * (one == popular)
                product = product * (1 - correct[run]) * share
        total += weight * product
    return total / (width - 1)
