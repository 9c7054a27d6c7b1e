"""The weight updates of a step: minibatches and epochs over one set of rollouts.

Every minibatch's loss is a sum over tokens with weights that already hold its mean, so that
micro-batches of any cut and any number of ranks give the same gradient. Ranks run micro-batches of
the same kind at the same time; where one has fewer, it scores a dummy row without a share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.encoding import PROMPTS_KEPT, Encoder, Kind, Micro, Row, lockstep
from ..core.engine import TrainingEngine
from ..core.metrics import StepMetrics
from ..recipe import Recipe
from .losses import (
    Totals,
    importance_weights,
    kl_k3,
    objective,
    policy_loss,
    token_weight,
)

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("answer", "visual")
Shares = tuple["Tensor", "Tensor"]
"""Weights and advantages of a micro-batch's tokens in one part of the objective; `(N,)` each."""


class Updater:
    """Turns training rows into new weights."""

    def __init__(
        self,
        recipe: Recipe,
        engine: TrainingEngine,
        encoder: Encoder,
        dummies: dict[Kind, Row],
    ) -> None:
        """Take the recipe's settings, the engine that is updated, and rows for lockstep."""
        self._recipe, self._engine, self._encoder = recipe, engine, encoder
        self._dummies = dummies

    def update(self, minibatches: list[list[Row]], metrics: StepMetrics, *, step: int) -> None:
        """Make a step's updates; all ranks call with as many minibatches.

        Raises:
            TrainError: a loss or gradient that is not a number.
        """
        recipe = self._recipe
        plans = [self._plan(rows) for rows in minibatches]
        several = len(minibatches) * recipe.epochs > 1
        if several:
            with metrics.phase("old_logprobs"):
                self._note(plans, reference=False)
        if recipe.beta:
            with metrics.phase("reference"):
                self._note(plans, reference=True)
        with metrics.phase("update"):
            for _ in range(recipe.epochs):
                for rows, plan in zip(minibatches, plans, strict=True):
                    self._minibatch(rows, plan, metrics, step)

    def _plan(self, rows: list[Row]) -> list[Micro]:
        """Cut a minibatch into micro-batches, of as many of each kind on every rank."""
        window = PROMPTS_KEPT * self._recipe.samples_per_prompt
        tokens = self._recipe.microbatch_tokens
        return lockstep(self._encoder, self._engine.ranks, rows, tokens, window, self._dummies)

    def _note(self, plans: list[list[Micro]], *, reference: bool) -> None:
        """Score every row before the updates begin."""
        import torch

        for plan in plans:
            for micro in plan:
                batch = self._encoder.collate(micro)
                scores = self._engine.score(batch, reference=reference)
                for row, part in zip(micro, torch.split(scores, batch.lengths), strict=True):
                    if reference:
                        row.reference = part
                    else:
                        row.old = part

    def _minibatch(
        self, rows: list[Row], plan: list[Micro], metrics: StepMetrics, step: int
    ) -> None:
        """One optimizer step."""
        totals = {part: self._totals(rows, part) for part in PARTS}
        if not any(total.tokens for total in totals.values()):
            metrics.peak("skipped_updates", 1.0)  # on every rank alike: nothing could be rewarded
            return
        told = self._engine.update(plan, lambda micro: self._loss(micro, totals, metrics), step)
        for name, value in told.items():
            metrics.add(name, value, 1)

    def _totals(self, rows: Sequence[Row], part: str) -> Totals:
        """Count a minibatch's responses and tokens of one part, on all ranks."""
        spans = [t.span for row in rows for t in row.terms if t.part == part]
        mine = (len(spans), sum(end - start for start, end in spans))
        counted = self._engine.ranks.gather(mine)
        return Totals(
            sequences=sum(count[0] for count in counted),
            tokens=sum(count[1] for count in counted),
            local_tokens=mine[1],
            ranks=self._engine.ranks.world,
        )

    def _loss(self, micro: Micro, totals: dict[str, Totals], metrics: StepMetrics) -> Tensor:
        """A micro-batch's share in the minibatch's loss, with its gradient."""
        import torch

        from ..core.logprobs import score_batch

        recipe = self._recipe
        batch = self._encoder.collate(micro)
        logprobs, entropy = score_batch(
            self._engine.engine, batch, temperature=recipe.temperature, bans=True
        )  # (N,)
        metrics.count("tokens_trained", float(batch.inputs["attention_mask"].sum()))
        now = logprobs.detach()
        old = now if micro[0].old is None else _joined([r.old for r in micro], now)
        sampled = torch.tensor([p for row in micro for p in row.sampled]).to(now)
        kl = torch.zeros_like(logprobs)
        if recipe.beta:
            kl = kl_k3(logprobs, _joined([r.reference for r in micro], now))
        correction = torch.ones_like(now)
        if recipe.importance_cap:
            correction = importance_weights(old, sampled, recipe.importance_cap)
        loss = logprobs.sum() * 0.0  # a dummy row, too, must reach every parameter
        pulled = torch.zeros_like(now, dtype=torch.bool)  # tokens whose KL a part has counted
        for part in PARTS:
            shares = self._shares(micro, part, totals[part], now)
            if shares is None:
                continue
            weights, advantages = shares
            clipped = policy_loss(
                logprobs,
                old,
                advantages,
                low=recipe.clip_low,
                high=recipe.clip_high,
                dual=recipe.dual_clip,
            )
            own = kl.masked_fill(pulled, 0.0)
            pulled = pulled | (weights > 0)
            loss = loss + objective(clipped, weights, correction, own, recipe.beta)
            self._tell(metrics, part, now, old, sampled, kl.detach(), entropy, shares)
        return loss

    def _shares(self, micro: Micro, part: str, totals: Totals, like: Tensor) -> Shares | None:
        """What a micro-batch's tokens count in one part; None if it has none of it."""
        import torch

        if not any(term.part == part for row in micro for term in row.terms):
            return None
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

    def _tell(
        self,
        metrics: StepMetrics,
        part: str,
        now: Tensor,
        old: Tensor,
        sampled: Tensor,
        kl: Tensor,
        entropy: Tensor,
        shares: Shares,
    ) -> None:
        """Note what the tokens of a part say about the update."""
        recipe = self._recipe
        weights, advantages = shares
        held = weights > 0
        count = int(held.sum())
        if not count:
            return
        ratio, gap = (now - old).exp(), (old - sampled).abs()
        low = (ratio < 1 - recipe.clip_low) & (advantages < 0)
        high = (ratio > 1 + recipe.clip_high) & (advantages > 0)
        told = {
            "entropy": entropy,
            "kl": kl,
            "ratio": ratio,
            "clip/low_share": low.float(),
            "clip/high_share": high.float(),
            "mismatch/mean": gap,
        }
        if recipe.dual_clip is not None:
            dual = (ratio > recipe.dual_clip) & (advantages < 0)
            told["clip/dual_share"] = dual.float()
        if recipe.importance_cap:
            over = (old - sampled).exp() > recipe.importance_cap
            told["mismatch/capped_share"] = over.float()
        prefix = "" if part == "answer" else f"{part}/"
        for name, values in told.items():
            metrics.add(f"{prefix}{name}", float(values[held].sum()), count)
        metrics.peak(f"{prefix}mismatch/max", float(gap[held].max()))
        metrics.peak(f"{prefix}ratio_max", float(ratio[held].max()))


def _joined(parts: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """The rows' stored log-probs as one line, `(N,)`."""
    import torch

    return torch.cat([part for part in parts if part is not None]).to(like)
