"""Log-probabilities of given tokens, computed only at the positions that need them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .encoding import COPIES, DISTINCT, Batch
from .layout import Segments

CHUNK = 1024
"""Positions whose logits are in memory at once: 0.6 GB in fp32 with a vocabulary of 152,000."""
BANNED = -1e4
"""Logit of a banned token: its probability is 0 in every precision, its entropy term not NaN."""


class Scorer(nn.Module):
    """A language model that returns log-probabilities of given tokens instead of logits.

    DeepSpeed runs this module, so that its hooks see one forward pass from the embedding to the
    log-softmax.
    """

    def __init__(
        self, policy: Any, banned: tuple[int, ...] = (), *, lockstep: bool = False
    ) -> None:
        """Wrap a Hugging Face model.

        Args:
            policy: The model, with its language-model head.
            banned: Tokens that the rollouts' engine never samples.
            lockstep: Apply the head equally often on every rank, because at ZeRO-3 each
                application gathers its weights from all ranks.
        """
        super().__init__()
        self.policy = policy
        self.banned = banned
        self.lockstep = lockstep

    def forward(
        self,
        inputs: dict[str, Tensor],
        places: Tensor,
        targets: Tensor,
        temperature: float,
        bans: bool,
        segments: Segments | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Score tokens.

        Args:
            inputs: What the model takes, `(B, T)` and the images.
            places: The place among the B * T outputs that predicts each token, `(N,)`.
            targets: The tokens, `(N,)`.
            temperature: Logits are divided by it, as in sampling.
            bans: Remove banned tokens from the distribution, as in rollouts.
            segments: What the tokens of a packed batch attend to; None = padded rows.

        Returns:
            Log-probabilities and entropies in nats, fp32, `(N,)` each; entropies have no gradient.
        """
        named = self._with_features(inputs)
        if segments is not None:
            named["segments"] = segments
        elif self.policy.config.get_text_config()._attn_implementation == "sdpa":
            # Padding is on the right, where no token attends to it; torch's fast kernels of causal
            # attention take no mask.
            named.pop("attention_mask", None)
        hidden = self.policy.base_model(**named, use_cache=False).last_hidden_state  # (B, T, H)
        picked = hidden.flatten(0, 1)[places]  # (N, H)
        passes = torch.tensor(max(1, -(-len(targets) // CHUNK)))
        if self.lockstep:
            dist.all_reduce(passes, dist.ReduceOp.MAX)
        scores = []
        # Pieces of equal size, so that ranks with fewer tokens have as many; some may be empty.
        for part in zip(
            picked.tensor_split(int(passes)), targets.tensor_split(int(passes)), strict=True
        ):
            if torch.is_grad_enabled() and passes > 1:
                score = checkpoint(self._score, *part, temperature, bans, use_reentrant=False)
            else:
                score = self._score(*part, temperature, bans)
            scores.append(score)
        logprobs, entropies = zip(*scores, strict=True)
        return torch.cat(logprobs), torch.cat(entropies)

    def _with_features(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Replace pixels by their features, where the rows of a batch share images.

        The tower runs once for each distinct image. Its gradient is the sum over the rows.
        """
        inputs = dict(inputs)
        grids, copies = inputs.pop(DISTINCT, None), inputs.pop(COPIES, None)
        if copies is None:
            return inputs
        pixels = inputs.pop("pixel_values")
        output = self.policy.base_model.get_image_features(pixels, grids, return_dict=True)
        order = copies.tolist()
        output.pooler_output = [output.pooler_output[i] for i in order]
        if (layers := output.get("deepstack_features")) is not None:  # of Qwen3-VL
            output.deepstack_features = [[layer[i] for i in order] for layer in layers]
        return inputs | {"mm_encoder_outputs": {"image": output}}

    def _score(
        self, hidden: Tensor, targets: Tensor, temperature: float, bans: bool
    ) -> tuple[Tensor, Tensor]:
        logits = self.policy.get_output_embeddings()(hidden).float()  # (C, V)
        # In place, because a copy takes as much memory as the logits.
        if bans and self.banned:
            logits.index_fill_(1, torch.tensor(self.banned, device=logits.device), BANNED)
        if temperature != 1:
            logits.div_(temperature)
        logs = logits.log_softmax(-1)  # (C, V)
        chosen = logs.gather(1, targets[:, None])[:, 0]
        with torch.no_grad():
            entropy = -logs.exp().mul_(logs).sum(-1)
        return chosen, entropy


def score_batch(
    module: Any, batch: Batch, *, temperature: float, bans: bool
) -> tuple[Tensor, Tensor]:
    """Run a `Scorer`, or the DeepSpeed engine around one, on a batch.

    Returns:
        Log-probabilities and entropies, `(N,)` each, in the order of the batch's tokens.
    """
    device = next(module.parameters()).device
    inputs = {name: value.to(device) for name, value in batch.inputs.items()}
    places = (t.to(device) for t in (batch.places, batch.targets))
    scored: tuple[Tensor, Tensor] = module(inputs, *places, temperature, bans, batch.segments)
    return scored
