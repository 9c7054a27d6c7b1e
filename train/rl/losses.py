"""The loss per token: clipped policy gradient, KL to a reference, and the aggregation.

All tensors are `(B, T)` or flat `(N,)` over response tokens. Every formula is elementwise, except
those that get the number of each token's sequence, `(N,)`. The weights of `token_weight` contain
the mean over the whole minibatch. The sum over micro-batches and ranks is therefore the minibatch's
loss, for any division into micro-batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Aggregation = Literal["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo"]

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
    arXiv:1912.09729, eq 5), because an unlikely bad token would have an unbounded gradient.

    Args:
        logprobs: Log-probs of the policy that is trained.
        old: Log-probs of the policy before the updates.
        advantages: One per token.
        low: The ratio is clipped below 1 - low.
        high: The ratio is clipped above 1 + high.
        dual: Bound of the ratio of tokens with a negative advantage; None = unbounded.
    """
    import torch

    ratio = torch.exp((logprobs - old).clamp(-LOG_RATIO_CLAMP, LOG_RATIO_CLAMP))
    clipped = ratio.clamp(1 - low, 1 + high)
    loss = -torch.minimum(ratio * advantages, clipped * advantages)
    if dual is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual * advantages), loss)
    return loss


def cispo_loss(
    logprobs: Tensor, old: Tensor, advantages: Tensor, *, low: float, high: float
) -> Tensor:
    """CISPO's loss of each token: `-sg(clip(ratio, 1 - low, 1 + high)) A log p`.

    The clipped ratio is a weight without a gradient (`sg`), so that every token keeps its gradient
    (MiniMax-M1, arXiv:2506.13585, eqs 4 and 5). The paper has no lower bound: `low` of at least 1.

    Args:
        logprobs: Log-probs of the policy that is trained.
        old: Log-probs of the policy before the updates.
        advantages: One per token.
        low: Weights are at least 1 - low.
        high: Weights are at most 1 + high.
    """
    import torch

    ratio = torch.exp((logprobs - old).clamp(-LOG_RATIO_CLAMP, LOG_RATIO_CLAMP))
    return -ratio.clamp(1 - low, 1 + high).detach() * advantages * logprobs


def sequence_means(values: Tensor, sequence: Tensor) -> Tensor:
    """The mean over each token's sequence, `(N,)`, with gradients.

    `policy_loss` of the means of both log-probs is GSPO's: its ratio is the length-normalised
    ratio of the sequences (arXiv:2507.18071, eqs 5 and 7).

    Args:
        values: Log-probs, `(N,)`.
        sequence: Number of each token's sequence, from 0, `(N,)`.
    """
    import torch

    zeros = values.new_zeros(int(sequence.max()) + 1)
    sums = zeros.index_add(0, sequence, values)
    counts = zeros.index_add(0, sequence, torch.ones_like(values))
    return (sums / counts.clamp(min=1))[sequence]


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Estimate KL(policy || reference) of each token: `exp(d) - d - 1`, d = reference - policy.

    Low variance, never negative (Schulman's k3), clamped to `KL_CLAMP` as in the released code.
    """
    import torch

    difference = (reference - logprobs).clamp(-LOG_RATIO_CLAMP, LOG_RATIO_CLAMP)
    return (torch.exp(difference) - difference - 1).clamp(-KL_CLAMP, KL_CLAMP)


def importance_weights(old: Tensor, sampled: Tensor, cap: float) -> Tensor:
    """Truncated importance weights of tokens that another engine sampled: `min(p/q, cap)`.

    Args:
        old: Log-probs p of the trainer, with the weights that sampled.
        sampled: Log-probs q of the engine that sampled.
        cap: Maximum weight.
    """
    import torch

    return torch.exp((old - sampled).clamp(max=LOG_RATIO_CLAMP)).clamp(max=cap).detach()


def masked_importance_weights(old: Tensor, sampled: Tensor, sequence: Tensor, cap: float) -> Tensor:
    """Importance weights of whole sequences, 0 for those above the cap (TRL's `sequence_mask`).

    The weight of a sequence is the product of its tokens' p/q. A sequence that the trainer finds
    more than `cap` times as likely as the engine is masked: its tokens have no policy gradient.

    Args:
        old: Log-probs p of the trainer, with the weights that sampled, `(N,)`.
        sampled: Log-probs q of the engine that sampled, `(N,)`.
        sequence: Number of each token's sequence, from 0, `(N,)`.
        cap: Maximum weight.
    """
    import torch

    sums = old.new_zeros(int(sequence.max()) + 1).index_add(0, sequence, old - sampled)
    weights = torch.exp(sums.clamp(max=LOG_RATIO_CLAMP))
    return weights.masked_fill(weights > cap, 0.0)[sequence].detach()


def papo_loss(logprobs: Tensor, unseen: Tensor, *, gamma: float, masked_entropy: float) -> Tensor:
    """PAPO's loss of each token: `masked_entropy H_mask - gamma KL(policy || masked policy)`.

    arXiv:2507.06448, eq 2: the KL (`kl_k3`) to the policy that sees masked images is maximised, the
    entropy of that policy minimised. As there, `-log p` of the sampled token estimates the entropy.

    Args:
        logprobs: Log-probs with the images.
        unseen: Log-probs with masked images; a constant if they have no gradient.
        gamma: Weight of the KL.
        masked_entropy: Weight of the entropy with masked images, η2.
    """
    return -gamma * kl_k3(logprobs, unseen) - masked_entropy * unseen


def objective(token_losses: Tensor, weights: Tensor, correction: Tensor, penalty: Tensor) -> Tensor:
    """The loss of a part: `sum(weights * (correction * token_losses + penalty))`, a scalar."""
    return (weights * (correction * token_losses + penalty)).sum()


@dataclass(frozen=True, slots=True)
class Totals:
    """The divisors of a minibatch's means, over all ranks except `local_tokens`."""

    sequences: int
    tokens: int
    local_tokens: int
    """Tokens on this rank."""
    ranks: int


def token_weight(length: int, totals: Totals, how: Aggregation, longest: int) -> float:
    """The weight of each token of a response in the sum that is the minibatch's loss.

    `grpo` and `gspo`: mean over a response, then over responses. `dr_grpo`: sum over all, divided
    by responses times the length limit (arXiv:2503.20783). `dapo` and `cispo`: mean over the tokens
    of all ranks. `bnpo`: mean over this rank's tokens, then over ranks.

    Args:
        length: Number of the response's tokens in the loss.
        totals: Totals of the minibatch.
        how: The aggregation.
        longest: The maximum length of a response.
    """
    divisor = {
        "grpo": totals.sequences * max(1, length),
        "gspo": totals.sequences * max(1, length),
        "dr_grpo": totals.sequences * longest,
        "dapo": totals.tokens,
        "cispo": totals.tokens,
        "bnpo": totals.local_tokens * totals.ranks,
    }[how]
    return 1.0 / max(1, divisor)
