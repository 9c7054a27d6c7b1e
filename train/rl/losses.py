"""The loss per token: clipped policy gradient, KL to a reference, and the aggregation.

All tensors are `(B, T)` or flat `(N,)` over completion tokens: every formula is elementwise. The
weights of `token_weight` already hold the mean over the whole minibatch, so that a sum over any
micro-batches and ranks is the minibatch's loss, however it was cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Aggregation = Literal["grpo", "dr_grpo", "dapo", "bnpo"]

KL_CLAMP = 10.0
LOG_RATIO_CLAMP = 20.0


def policy_loss(
    logprobs: Tensor,
    old: Tensor,
    advantages: Tensor,
    *,
    low: float,
    high: float,
    dual: float | None,
) -> Tensor:
    """Clipped policy-gradient loss of each token.

    `-min(ratio A, clip(ratio, 1 - low, 1 + high) A)` (PPO, arXiv:1707.06347, eq 7, with DAPO's
    separate bounds, arXiv:2503.14476), and for A < 0 never more than `-dual A` (dual clip,
    arXiv:1912.09729, eq 5): an unlikely bad token would else have an unbounded gradient.

    Args:
        logprobs: Under the policy that is being trained.
        old: Under the policy at the start of the updates.
        advantages: Of each token.
        low: How far below 1 the ratio may fall.
        high: How far above 1 it may rise.
        dual: Bound of the ratio of tokens with a negative advantage; None = unbounded.
    """
    import torch

    ratio = torch.exp((logprobs - old).clamp(-LOG_RATIO_CLAMP, LOG_RATIO_CLAMP))
    clipped = ratio.clamp(1 - low, 1 + high)
    loss = -torch.minimum(ratio * advantages, clipped * advantages)
    if dual is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual * advantages), loss)
    return loss


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Estimate KL(policy || reference) of each token: `exp(d) - d - 1`, d = reference - policy.

    Low variance, never negative (Schulman's k3), clamped to `KL_CLAMP` as in the released code.
    """
    import torch

    difference = (reference - logprobs).clamp(-LOG_RATIO_CLAMP, LOG_RATIO_CLAMP)
    return (torch.exp(difference) - difference - 1).clamp(-KL_CLAMP, KL_CLAMP)


def importance_weights(old: Tensor, sampled: Tensor, cap: float) -> Tensor:
    """Truncated importance correction of tokens that another engine drew: `min(p/q, cap)`.

    Args:
        old: Log-probs p of the trainer, for the weights that drew.
        sampled: Log-probs q of the engine that drew.
        cap: Largest weight.
    """
    import torch

    return torch.exp((old - sampled).clamp(max=LOG_RATIO_CLAMP)).clamp(max=cap).detach()


def objective(
    token_losses: Tensor, weights: Tensor, correction: Tensor, kl: Tensor, beta: float
) -> Tensor:
    """A part's loss: `sum(weights * (correction * token_losses + beta * kl))`, a scalar."""
    return (weights * (correction * token_losses + beta * kl)).sum()


@dataclass(frozen=True, slots=True)
class Totals:
    """What a mean over a minibatch divides by; of all ranks, except `local_tokens`."""

    sequences: int
    tokens: int
    local_tokens: int
    """Of this rank."""
    ranks: int


def token_weight(length: int, totals: Totals, how: Aggregation, longest: int) -> float:
    """The weight of each token of a response in the sum that is the minibatch's loss.

    `grpo`: mean over a response, then over responses. `dr_grpo`: sum over all, divided by responses
    times the length limit (arXiv:2503.20783). `dapo`: mean over the tokens of all ranks. `bnpo`:
    mean over this rank's tokens, then over ranks.

    Args:
        length: Tokens of the response that are in the loss.
        totals: Of the minibatch.
        how: The aggregation.
        longest: The limit of a response's length.
    """
    divisor = {
        "grpo": totals.sequences * max(1, length),
        "dr_grpo": totals.sequences * longest,
        "dapo": totals.tokens,
        "bnpo": totals.local_tokens * totals.ranks,
    }[how]
    return 1.0 / max(1, divisor)
