"""The weight updates of a step: minibatches and epochs over one set of rollouts.

The loss of a minibatch is a sum over tokens, whose weights contain the mean. Any division into
micro-batches and any number of ranks therefore gives the same gradient. Ranks run micro-batches of
the same kind at the same time; a rank with fewer of them scores a dummy row without a share.

Groups of equal rewards have advantages of 0. Without a penalty their gradient is 0 too, so their
rows get no backward pass; they are scored for the metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Literal

from ..core.encoding import PROMPTS_TOGETHER, Batch, Encoder, Kind, Micro, TrainRow
from ..core.engine import TrainingEngine
from ..core.lockstep import lockstep
from ..core.metrics import StepMetrics
from ..recipe import Recipe
from .losses import (
    Totals,
    cispo_loss,
    importance_weights,
    kl_k3,
    masked_importance_weights,
    objective,
    papo_loss,
    policy_loss,
    sequence_means,
    token_weight,
)
from .vppo import emphasise

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("answer", "visual")


@dataclass(frozen=True, slots=True)
class Plan:
    """The micro-batches of an update."""

    learnt: list[Micro]
    scored: list[Micro]
    """Of rows whose gradient is 0."""

    def __iter__(self) -> Iterator[Micro]:
        return chain(self.learnt, self.scored)


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
        # Padded micro-batches of a window hold all responses to PROMPTS_TOGETHER prompts.
        window = PROMPTS_TOGETHER * recipe.samples_per_prompt
        # Rows whose masked copy is in the same batch are half as many.
        tokens = max(1, recipe.microbatch_tokens // (1 + recipe.masked_gradient))
        ranks = self._engine.ranks
        plans = [self._plan(rows, tokens, window) for rows in minibatches]
        # In the first update the policy is the old one.
        later = plans if recipe.epochs > 1 or recipe.masked_pass == "vppo" else plans[1:]
        if later:
            with metrics.phase("old_logprobs"):
                self._store_logprobs(later, "old", metrics)
        if recipe.beta:
            with metrics.phase("reference"):
                self._store_logprobs(plans, "reference", metrics)
        if recipe.masked_pass and not recipe.masked_gradient:
            with metrics.phase("masked"):
                self._store_logprobs(plans, "unseen", metrics)
        if recipe.masked_pass == "vppo":
            kept = {"share": recipe.vppo_tokens, "floor": recipe.vppo_floor}
            for rows in minibatches:
                metrics.peak("vppo/largest_factor", emphasise(rows, ranks, **kept))
        with metrics.phase("update"):
            for _ in range(recipe.epochs):
                for rows, plan in zip(minibatches, plans, strict=True):
                    self._minibatch(rows, plan, metrics, step)
        self._encoder.forget()

    def _plan(self, rows: list[TrainRow], tokens: int, window: int) -> Plan:
        """Cut an update into micro-batches; all ranks call."""
        penalised = self._recipe.penalised
        learnt = [row for row in rows if penalised or _has_advantage(row)]
        scored = [row for row in rows if not penalised and not _has_advantage(row)]
        # A part of the model without any gradient would not even move by its momentum.
        needed = {row.kind for row in rows}
        shared = (self._encoder, self._engine.ranks)
        return Plan(
            lockstep(*shared, learnt, tokens, window, self._dummies, needed),
            lockstep(*shared, scored, tokens, window, self._dummies),
        )

    def _store_logprobs(
        self,
        plans: list[Plan],
        name: Literal["old", "reference", "unseen"],
        metrics: StepMetrics,
    ) -> None:
        """Score every row before the updates begin; `unseen`: those with images, masked."""
        import torch

        micros = scored = [micro for plan in plans for micro in plan]
        if name == "unseen":  # rows of a kind are together, on all ranks at the same time
            micros = [micro for micro in micros if micro[0].kind == "image"]
            scored = [_masked(micro) for micro in micros]
        for micro, batch in zip(micros, self._encoder.batches(scored), strict=True):
            scores = self._engine.score(batch, reference=name == "reference")  # (N,)
            if name == "unseen":
                metrics.count("flops/masked", self._engine.work.of(batch, backward=False))
            for row, part in zip(micro, torch.split(scores, batch.lengths), strict=True):
                setattr(row, name, part)

    def _minibatch(self, rows: list[TrainRow], plan: Plan, metrics: StepMetrics, step: int) -> None:
        """One optimizer step."""
        import torch

        totals = {part: self._totals(rows, part) for part in PARTS}
        if not any(total.tokens for total in totals.values()):
            metrics.peak("skipped_updates", 1.0)  # alike on all ranks: nothing could be rewarded
            return
        learnt = plan.learnt
        if self._recipe.masked_gradient:  # one forward pass, which ZeRO-3 needs
            learnt = [[*m, *_masked(m)] if m[0].kind == "image" else m for m in learnt]
        with closing(self._encoder.batches([*plan.scored, *learnt])) as batches:
            with torch.no_grad():
                for micro in plan.scored:
                    self._loss(micro, next(batches), totals, metrics)
            stats = self._engine.update(
                plan.learnt, lambda micro: self._loss(micro, next(batches), totals, metrics), step
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

        recipe = self._recipe
        logprobs, entropy, unseen = self._scores(micro, batch, metrics)  # (N,) each
        now = logprobs.detach()  # (N,), the value without the gradient
        # In the first update the policy is the old one: ratio 1, but with a gradient.
        old = now if micro[0].old is None else _concatenated([r.old for r in micro], now)  # (N,)
        sampled = torch.tensor([p for row in micro for p in row.sampled]).to(now)  # (N,), engine's
        kl = torch.zeros_like(logprobs)  # (N,)
        if recipe.beta:
            kl = kl_k3(logprobs, _concatenated([r.reference for r in micro], now))  # (N,), >= 0
        if unseen is not None:
            self._log_dependence(micro, now if unseen.requires_grad else old, unseen, metrics)
        penalty = self._penalty(logprobs, kl, unseen)  # (N,)
        correction = self._correction(micro, old, sampled)  # (N,), engine -> trainer, no gradient
        loss = logprobs.sum() * 0.0  # (), so that a dummy row reaches every parameter too
        penalised = torch.zeros_like(now, dtype=torch.bool)  # (N,), whose penalty is in the loss
        for part in PARTS:
            # (N,) each
            weights, advantages, sequence = self._shares(micro, part, totals[part], now)
            in_part = weights > 0  # (N,), a part covers some of the N tokens
            if not in_part.any():
                continue
            surrogate = self._surrogate(logprobs, old, advantages, sequence)  # (N,)
            own = penalty.masked_fill(penalised, 0.0)  # (N,), each token's penalty counts once
            penalised = penalised | in_part
            loss = loss + objective(surrogate, weights, correction, own)  # ()
            stats = self._stats(now, old, sampled, advantages, sequence)
            if recipe.importance_cap:
                stats["mismatch/capped_share"] = self._capped(correction).float()
            stats |= {"kl": kl.detach(), "entropy": entropy}
            self._log(metrics, "" if part == "answer" else f"{part}/", stats, in_part)
        return loss

    def _scores(
        self, micro: Micro, batch: Batch, metrics: StepMetrics
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log-probs and entropies of a micro-batch's N tokens, and log-probs with masked images.

        The last ones are None if there are no such log-probs. They have a gradient if the masked
        rows are in the batch, behind the others.
        """
        from ..core.logprobs import score_batch

        # N response tokens, one after another, or 2 N with the masked rows.
        logprobs, entropy = score_batch(
            self._engine.engine, batch, temperature=self._recipe.temperature, bans=True
        )
        tokens = [*batch.prompts[: len(micro)], *batch.lengths[: len(micro)]]
        metrics.count("tokens_trained", float(sum(tokens)))
        metrics.count("flops", self._engine.work.of(batch, backward=logprobs.requires_grad))
        if len(batch.lengths) > len(micro):
            (logprobs, unseen), entropy = logprobs.chunk(2), entropy.chunk(2)[0]
            return logprobs, entropy, unseen
        if micro[0].unseen is None:
            return logprobs, entropy, None
        return logprobs, entropy, _concatenated([r.unseen for r in micro], logprobs)

    def _penalty(self, logprobs: Tensor, kl: Tensor, unseen: Tensor | None) -> Tensor:
        """What is added to the policy-gradient loss of each token, `(N,)`."""
        recipe = self._recipe
        penalty = recipe.beta * kl
        if recipe.entropy_penalty:
            penalty = penalty - recipe.entropy_penalty * logprobs
        if unseen is not None and recipe.masked_pass == "papo":
            masked_entropy = recipe.papo_masked_entropy
            penalty = penalty + papo_loss(
                logprobs, unseen, gamma=recipe.papo_gamma, masked_entropy=masked_entropy
            )
        return penalty

    @staticmethod
    def _log_dependence(micro: Micro, seen: Tensor, unseen: Tensor, metrics: StepMetrics) -> None:
        """Add each response's visual dependence to the metrics: its tokens' mean `kl_k3`."""
        import torch

        each = kl_k3(seen, unseen.detach())  # (N,)
        parts = torch.split(each, [len(row.tokens) for row in micro])
        own = [float(part.mean()) for row, part in zip(micro, parts, strict=True) if row.terms]
        metrics.mean("visual_dependence", own)

    def _correction(self, micro: Micro, old: Tensor, sampled: Tensor) -> Tensor:
        """Weights that correct the engine's log-probs to the trainer's, `(N,)`."""
        import torch

        cap = self._recipe.importance_cap
        if not cap:
            return torch.ones_like(old)
        if self._recipe.importance_mode == "token_truncate":
            return importance_weights(old, sampled, cap)
        lengths = torch.tensor([len(row.tokens) for row in micro], device=old.device)
        rows = torch.arange(len(micro), device=old.device).repeat_interleave(lengths)  # (N,)
        return masked_importance_weights(old, sampled, rows, cap)

    def _capped(self, correction: Tensor) -> Tensor:
        """Tokens whose importance weight is truncated or masked, `(N,)`."""
        if self._recipe.importance_mode == "sequence_mask":
            return correction == 0
        return correction >= self._recipe.importance_cap

    def _surrogate(
        self, logprobs: Tensor, old: Tensor, advantages: Tensor, sequence: Tensor
    ) -> Tensor:
        """The policy-gradient loss of each token, `(N,)`; see `losses`."""
        recipe = self._recipe
        bounds = {"low": recipe.clip_low, "high": recipe.clip_high}
        if recipe.aggregation == "cispo":
            return cispo_loss(logprobs, old, advantages, **bounds)
        if recipe.aggregation == "gspo":
            logprobs, old = sequence_means(logprobs, sequence), sequence_means(old, sequence)
        return policy_loss(logprobs, old, advantages, **bounds, dual=recipe.dual_clip)

    def _shares(
        self, micro: Micro, part: str, totals: Totals, like: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, advantages and sequences of a micro-batch's tokens in one part, `(N,)` each.

        Outside the part all are 0. A sequence is the tokens that an advantage applies to.
        """
        import torch

        weights, advantages = torch.zeros_like(like), torch.zeros_like(like)
        sequence = torch.zeros_like(like, dtype=torch.long)
        recipe, place = self._recipe, 0
        for number, row in enumerate(micro, start=1):
            for term in row.terms:
                if term.part == part:
                    start, end = term.span
                    sequence[place + start : place + end] = number
                    each = token_weight(end - start, totals, recipe.aggregation, recipe.max_tokens)
                    weights[place + start : place + end] = term.weight * each
                    advantages[place + start : place + end] = term.advantage
                    if term.other is not None:
                        advantage, (start, end) = term.other
                        advantages[place + start : place + end] = advantage
            if row.emphasis is not None:
                advantages[place : place + len(row.tokens)] *= row.emphasis.to(like)
            place += len(row.tokens)
        return weights, advantages, sequence

    def _stats(
        self, now: Tensor, old: Tensor, sampled: Tensor, advantages: Tensor, sequence: Tensor
    ) -> dict[str, Tensor]:
        """Statistics of the update, `(N,)` each."""
        recipe = self._recipe
        log_ratio = now - old
        if recipe.aggregation == "gspo":
            log_ratio = sequence_means(log_ratio, sequence)
        ratio = log_ratio.exp()
        low, high = ratio < 1 - recipe.clip_low, ratio > 1 + recipe.clip_high
        if recipe.aggregation != "cispo":  # which clips whatever the sign of the advantage
            low, high = low & (advantages < 0), high & (advantages > 0)
        stats = {
            "ratio": ratio,
            "clip/low_share": low.float(),
            "clip/high_share": high.float(),
            "mismatch/mean": (old - sampled).abs(),
        }
        if recipe.dual_clip is not None and recipe.aggregation != "cispo":
            stats["clip/dual_share"] = ((ratio > recipe.dual_clip) & (advantages < 0)).float()
        return stats

    @staticmethod
    def _log(metrics: StepMetrics, prefix: str, stats: dict[str, Tensor], mask: Tensor) -> None:
        """Add the statistics of a part's tokens to the metrics."""
        for name, values in stats.items():
            metrics.add(f"{prefix}{name}", float(values[mask].sum()), int(mask.sum()))
        metrics.peak(f"{prefix}mismatch/max", float(stats["mismatch/mean"][mask].max()))
        metrics.peak(f"{prefix}ratio_max", float(stats["ratio"][mask].max()))


def _has_advantage(row: TrainRow) -> bool:
    """Whether any token of a row has an advantage other than 0."""
    return any(term.advantage or (term.other or (0,))[0] for term in row.terms)


def _masked(micro: Micro) -> Micro:
    """The same rows with masked images."""
    return [replace(row, masked=True) for row in micro]


def _concatenated(parts: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """The rows' stored log-probs, `(N,)`."""
    import torch

    return torch.cat([part for part in parts if part is not None]).to(like)
