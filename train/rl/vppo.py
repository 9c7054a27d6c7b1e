"""VPPO (arXiv:2510.09285): the policy gradient goes to what depends on the image.

A token's dependence is the k3 KL between its log-probs with the images and with masked ones, both
from before the updates. Advantages are multiplied twice, as in the released code:

- filter: 1 for the share of a response's tokens that depend most, 0 for the others;
- shaping: a factor of the response that grows with its mean dependence, from `floor`, so that the
  mean of all factors is 1.

The released code takes the smallest and largest dependence of a rank's minibatch, and the mean of
each micro-batch. Here all three are the minibatch's, on all ranks, so that the division into
micro-batches does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..core.encoding import TrainRow
from ..core.ranks import Ranks
from .losses import kl_k3

if TYPE_CHECKING:
    from torch import Tensor

SPREAD = 1e-6
"""Dependences that differ by less shape nothing."""


def emphasise(rows: Sequence[TrainRow], ranks: Ranks, *, share: float, floor: float) -> float:
    """Set `emphasis` of a minibatch's rows that were scored with masked images; all ranks call.

    Args:
        rows: The rows of this rank.
        ranks: The ranks that train together.
        share: Share of a response's tokens that keep the gradient.
        floor: Factor of the response that depends least.

    Returns:
        The largest factor.
    """
    found: list[tuple[TrainRow, Tensor]] = []
    for row in rows:
        if row.terms and row.old is not None and row.unseen is not None:
            found.append((row, kl_k3(row.old, row.unseen)))  # (C,)
    scores = [float(each.mean()) for _, each in found]
    factor = shaping([s for rank in ranks.gather(scores) for s in rank], floor)
    factors = [factor(score) for score in scores]
    for (row, each), own in zip(found, factors, strict=True):
        row.emphasis = own * most_dependent(each, share).to(each)
    return max(factors, default=1.0)


def most_dependent(dependence: Tensor, share: float) -> Tensor:
    """Which tokens of a response depend most, `(C,)`: `ceil(share * C)` of them.

    Args:
        dependence: One per token, `(C,)`; of equal ones the first count.
        share: From 0 to 1.
    """
    import torch

    count = math.ceil(share * len(dependence) - 1e-9)  # 0.4 x 5 is 2
    order = torch.argsort(dependence, descending=True, stable=True)
    kept = torch.zeros_like(dependence, dtype=torch.bool)
    kept[order[:count]] = True
    return kept


def shaping(scores: Sequence[float], floor: float) -> Callable[[float], float]:
    """The factor of a response's advantage, by its mean dependence.

    `floor + (1 - floor) n / mean(n)`, where n is the score scaled to [0, 1] by the smallest and
    largest of `scores`.

    Args:
        scores: Of all responses of a minibatch.
        floor: Factor of the smallest score.
    """
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    if high - low <= SPREAD:
        return lambda score: 1.0
    mean = (math.fsum(scores) / len(scores) - low) / (high - low)
    return lambda score: floor + (1 - floor) * (score - low) / (high - low) / mean
