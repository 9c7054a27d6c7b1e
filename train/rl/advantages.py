"""Group advantages: how much better a response did than its siblings.

Pure functions of plain numbers. `None` is a reward that could not be had (a failure of the
machinery): it takes no part in its group's mean, and its response has no advantage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

EPSILON = 1e-6

Rewards = Sequence[float | None]


def group_advantages(rewards: Rewards, *, scale: bool = True) -> list[float | None]:
    """Advantages of the responses to ONE prompt.

    `(r - mean) / (std + EPSILON)` with the unbiased standard deviation (GRPO, arXiv:2402.03300,
    section 4.1.2; normalised by prompt group, as the released code does and the text does not say).

    Args:
        rewards: Of each response, in order.
        scale: Divide by the deviation; without it this is Dr. GRPO's advantage.

    Returns:
        An advantage for each reward, None where that is None. A group whose rewards are all equal,
        or of a single reward, has advantages of exactly 0.
    """
    known = [reward for reward in rewards if reward is not None]
    if len(known) < 2 or max(known) == min(known):
        return [None if reward is None else 0.0 for reward in rewards]
    mean = math.fsum(known) / len(known)
    deviation = math.sqrt(math.fsum((r - mean) ** 2 for r in known) / (len(known) - 1))
    divisor = deviation + EPSILON if scale else 1.0
    return [None if reward is None else (reward - mean) / divisor for reward in rewards]


def weighted_advantages(
    components: Mapping[str, Rewards], weights: Mapping[str, float], *, scale: bool = True
) -> list[float | None]:
    """Sum of the components' own group advantages (objective `multi_advantage`).

    A response with any component unknown has no advantage.

    Args:
        components: Rewards of the group, by component.
        weights: Weight of each component.
        scale: See `group_advantages`.
    """
    parts = [
        [None if a is None else weight * a for a in group_advantages(components[name], scale=scale)]
        for name, weight in weights.items()
    ]
    return [
        None if any(a is None for a in of_one) else math.fsum(a for a in of_one if a is not None)
        for of_one in zip(*parts, strict=True)
    ]
