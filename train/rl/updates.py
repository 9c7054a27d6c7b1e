"""The weight updates of a step: minibatches and epochs over one set of rollouts.

The loss of a minibatch is a sum over tokens, whose weights contain the mean. Any division into
micro-batches and any number of ranks therefore gives the same gradient. Ranks run micro-batches of
the same kind at the same time; a rank with fewer of them scores a dummy row without a share.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ..core.encoding import PROMPTS_TOGETHER, Batch, Encoder, Kind, Micro, TrainRow, lockstep
from ..core.engine import TrainingEngine
from ..core.metrics import StepMetrics
from ..recipe import Recipe
from .losses import Totals, importance_weights, kl_k3, objective, policy_loss, token_weight

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("answer", "visual")


class Updater:
    """Turns training rows into new weights."""

    def __init__(
        self,
        recipe: Recipe,
        engine: TrainingEngine,
        encoder: Encoder,
        dummies: dict[Kind, TrainRow],
    ) -> None:
        """Bind to the recipe, the engine that is updated, and the dummy rows of lockstep."""
        self._recipe, self._engine, self._encoder = recipe, engine, encoder
        self._dummies = dummies

    def update(self, minibatches: list[list[TrainRow]], metrics: StepMetrics, *, step: int) -> None:
        """Make a step's updates; all ranks call, with the same number of minibatches.

        Raises:
            TrainError: a loss or gradient is NaN or inf.
        """
        recipe = self._recipe
        # Micro-batches of a window hold all responses to PROMPTS_TOGETHER prompts.
        window = PROMPTS_TOGETHER * recipe.samples_per_prompt
        tokens, ranks = recipe.microbatch_tokens, self._engine.ranks
        plans = [
            lockstep(self._encoder, ranks, rows, tokens, window, self._dummies)
            for rows in minibatches
        ]
        if len(minibatches) * recipe.epochs > 1:  # otherwise the policy is the old one
            with metrics.phase("old_logprobs"):
                self._store_logprobs(plans, reference=False)
        if recipe.beta:
            with metrics.phase("reference"):
                self._store_logprobs(plans, reference=True)
        with metrics.phase("update"):
            for _ in range(recipe.epochs):
                for rows, plan in zip(minibatches, plans, strict=True):
                    self._minibatch(rows, plan, metrics, step)
        self._encoder.forget()

    def _store_logprobs(self, plans: list[list[Micro]], *, reference: bool) -> None:
        """Score every row before the updates begin."""
        import torch

        micros = [micro for plan in plans for micro in plan]
        for micro, batch in zip(micros, self._encoder.batches(micros), strict=True):
            scores = self._engine.score(batch, reference=reference)  # (N,)
            for row, part in zip(micro, torch.split(scores, batch.lengths), strict=True):
                setattr(row, "reference" if reference else "old", part)

    def _minibatch(
        self, rows: list[TrainRow], plan: list[Micro], metrics: StepMetrics, step: int
    ) -> None:
        """One optimizer step."""
        totals = {part: self._totals(rows, part) for part in PARTS}
        if not any(total.tokens for total in totals.values()):
            metrics.peak("skipped_updates", 1.0)  # alike on all ranks: nothing could be rewarded
            return
        with closing(self._encoder.batches(plan)) as batches:
            stats = self._engine.update(
                plan, lambda micro: self._loss(micro, next(batches), totals, metrics), step
            )
        for name, value in stats.items():
            metrics.add(name, value, 1)

    def _totals(self, rows: Sequence[TrainRow], part: str) -> Totals:
        """Count a minibatch's responses and tokens of one part, on all ranks."""
        spans = [t.span for row in rows for t in row.terms if t.part == part]
        own = (len(spans), sum(end - start for start, end in spans))
        counts = self._engine.ranks.gather(own)
        return Totals(
            sequences=sum(count[0] for count in counts),
            tokens=sum(count[1] for count in counts),
            local_tokens=own[1],
            ranks=self._engine.ranks.world,
        )

    def _loss(
        self, micro: Micro, batch: Batch, totals: dict[str, Totals], metrics: StepMetrics
    ) -> Tensor:
        """A micro-batch's share of the minibatch's loss, with its gradient."""
        import torch

        from ..core.logprobs import score_batch

        recipe = self._recipe
        # B responses of T tokens with their prompts, padded: `input_ids` (B, T); N response
        # tokens, one after another.
        logprobs, entropy = score_batch(
            self._engine.engine, batch, temperature=recipe.temperature, bans=True
        )  # (N,), (N,)
        metrics.count("tokens_trained", float(batch.inputs["attention_mask"].sum()))
        metrics.count("flops", self._engine.work.of(batch))
        now = logprobs.detach()  # (N,), the value without the gradient
        # In the first and only update the policy is the old one: ratio 1, but with a gradient.
        old = now if micro[0].old is None else _concatenated([r.old for r in micro], now)  # (N,)
        sampled = torch.tensor([p for row in micro for p in row.sampled]).to(now)  # (N,), engine's
        kl = torch.zeros_like(logprobs)  # (N,)
        if recipe.beta:
            kl = kl_k3(logprobs, _concatenated([r.reference for r in micro], now))  # (N,), >= 0
        correction = torch.ones_like(now)  # (N,), engine -> trainer, no gradient
        if recipe.importance_cap:
            correction = importance_weights(old, sampled, recipe.importance_cap)  # (N,)
        loss = logprobs.sum() * 0.0  # (), so that a dummy row reaches every parameter too
        has_kl = torch.zeros_like(now, dtype=torch.bool)  # (N,), tokens whose KL is in the loss
        for part in PARTS:
            weights, advantages = self._shares(micro, part, totals[part], now)  # (N,), (N,)
            in_part = weights > 0  # (N,), a part covers some of the N tokens
            if not in_part.any():
                continue
            clipped = policy_loss(
                logprobs,
                old,
                advantages,
                low=recipe.clip_low,
                high=recipe.clip_high,
                dual=recipe.dual_clip,
            )  # (N,)
            own_kl = kl.masked_fill(has_kl, 0.0)  # (N,), each token's KL counts once
            has_kl = has_kl | in_part
            loss = loss + objective(clipped, weights, correction, own_kl, recipe.beta)  # ()
            stats = self._stats(now, old, sampled, advantages)
            stats |= {"kl": kl.detach(), "entropy": entropy}
            self._log(metrics, "" if part == "answer" else f"{part}/", stats, in_part)
        return loss

    def _shares(
        self, micro: Micro, part: str, totals: Totals, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weights and advantages of a micro-batch's tokens in one part, `(N,)` each; 0 outside."""
        import torch

        weights, advantages = torch.zeros_like(like), torch.zeros_like(like)
        recipe, place = self._recipe, 0
        for row in micro:
            for term in row.terms:
                if term.part == part:
                    start, end = term.span
                    each = token_weight(end - start, totals, recipe.aggregation, recipe.max_tokens)
                    weights[place + start : place + end] = term.weight * each
                    advantages[place + start : place + end] = term.advantage
            place += len(row.tokens)
        return weights, advantages

    def _stats(
        self, now: Tensor, old: Tensor, sampled: Tensor, advantages: Tensor
    ) -> dict[str, Tensor]:
        """Statistics of the update, `(N,)` each."""
        recipe = self._recipe
        ratio = (now - old).exp()
        stats = {
            "ratio": ratio,
            "clip/low_share": ((ratio < 1 - recipe.clip_low) & (advantages < 0)).float(),
            "clip/high_share": ((ratio > 1 + recipe.clip_high) & (advantages > 0)).float(),
            "mismatch/mean": (old - sampled).abs(),
        }
        if recipe.dual_clip is not None:
            stats["clip/dual_share"] = ((ratio > recipe.dual_clip) & (advantages < 0)).float()
        if recipe.importance_cap:
            over = (old - sampled).exp() > recipe.importance_cap
            stats["mismatch/capped_share"] = over.float()
        return stats

    @staticmethod
    def _log(metrics: StepMetrics, prefix: str, stats: dict[str, Tensor], mask: Tensor) -> None:
        """Add the statistics of a part's tokens to the metrics."""
        for name, values in stats.items():
            metrics.add(f"{prefix}{name}", float(values[mask].sum()), int(mask.sum()))
        metrics.peak(f"{prefix}mismatch/max", float(stats["mismatch/mean"][mask].max()))
        metrics.peak(f"{prefix}ratio_max", float(stats["ratio"][mask].max()))


def _concatenated(parts: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """The rows' stored log-probs, `(N,)`."""
    import torch

    return torch.cat([part for part in parts if part is not None]).to(like)
