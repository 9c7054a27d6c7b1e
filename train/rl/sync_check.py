"""PROOF that the rollouts' engine holds the weights that are trained.

After each sync both score the same tokens: greedy answers of the first weights to a few prompts,
with and without images. Log-probabilities that differ by more than a bound stop the training; a
trainer that goes on against a stale policy learns nothing, or worse, and no curve says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vsr1_bench.errors import GenerationError
from vsr1_bench.generation.base import SyncableGenerator
from vsr1_bench.prompts.formats import caption_messages
from vsr1_bench.records import Request, Sample

from ..core.encoding import Encoder, Row
from ..core.engine import TrainingEngine
from ..core.ranks import TrainError

BOUNDS = {"float32": 1e-4, "bfloat16": 0.5}
"""Largest |Δ log-prob| of one token. Measured on the embedded model: 1e-5 and below in fp32, 0.08
in bfloat16, whose numbers have 8 bits; weights that were never synced are off by whole nats."""
MOVED = 1e-3
"""From here on an update must have moved the engine's log-probs, too. One step in bfloat16 stays
below its bound, but an engine that missed it says the same as before, bit for bit."""
PROMPTS = 2
TOKENS = 64


class SyncError(TrainError):
    """The engine does not hold the trained weights."""


class Proof:
    """A probe batch and what the trainer said of it last."""

    def __init__(
        self,
        engine: TrainingEngine,
        generator: SyncableGenerator,
        encoder: Encoder,
        prompts: Sequence[tuple[Sample, Request]],
        bound: float | None = None,
    ) -> None:
        """Let the engine answer a few prompts, the same on every rank; its weights are the first.

        Raises:
            GenerationError: not one prompt could be answered.
        """
        self._engine, self._generator = engine, generator
        self.bound = BOUNDS[engine.recipe.dtype] if bound is None else bound
        asked: list[Request] = []
        for sample, prompt in prompts[:PROMPTS]:
            sampling = replace(prompt.sampling, temperature=0.0, max_tokens=TOKENS)
            blind = caption_messages(sample, "none")  # text only, as the second pass is
            asked.append(replace(prompt, sampling=sampling))
            asked.append(Request("", blind, sampling, sample_id=sample.id))
        asked = [replace(request, key=f"probe {i}") for i, request in enumerate(asked)]
        answers = {c.key: c for c in generator.generate(asked)}
        self.rows = [
            Row(request, answers[request.key].token_ids or (), ())
            for request in asked
            if answers[request.key].token_ids
        ]
        if not self.rows:
            reasons = {answer.error for answer in answers.values()}
            raise GenerationError(f"no probe prompt could be answered: {reasons}")
        self._batches = [
            encoder.collate(rows)
            for kind in ("image", "text")
            if (rows := [row for row in self.rows if row.kind == kind])
        ]
        self.rows.sort(key=lambda row: row.kind)  # as the batches: image, then text
        self._before = self._trainer()
        self._engine_before = self._engines()

    def _engines(self) -> list[float]:
        texts = [(row.request, row.tokens) for row in self.rows]
        return [value for scores in self._generator.score(texts) for value in scores]

    def _trainer(self) -> list[float]:
        return [
            value
            for batch in self._batches
            for value in self._engine.score(batch, probe=True).tolist()
        ]

    def check(self, step: int) -> dict[str, float]:
        """Compare engine and trainer; call right after a sync, on all ranks.

        Returns:
            `proof/mismatch` and its mean, `proof/bound`, and `proof/distance`, how far the trainer
            itself has moved since the last proof: a mismatch below it tells this step's weights
            from the ones before.

        Raises:
            SyncError: the mismatch is over the bound, or the engine did not move with the trainer,
                on any rank.
        """
        mine, theirs = self._trainer(), self._engines()
        gaps = [abs(a - b) for a, b in zip(mine, theirs, strict=True)]
        moved = [abs(a - b) for a, b in zip(mine, self._before, strict=True)]
        # NaN compares with nothing: `not <=` fails on it, `>` would let it pass.
        worst = max(gaps, key=lambda gap: gap if gap == gap else float("inf"))
        distance = max(moved)
        stale = distance > MOVED and theirs == self._engine_before

        def judge() -> None:
            if not worst <= self.bound:
                raise SyncError(
                    f"weight sync at step {step} failed its proof: log-probs of engine and trainer "
                    f"differ by up to {worst:.3g} on {len(gaps)} tokens, the bound for "
                    f"{self._engine.recipe.dtype} is {self.bound:.3g}, the last update moved them "
                    f"by {distance:.3g}; no rollout was drawn from these weights (if all that "
                    "differs is the two sides' arithmetic, give a larger proof_bound)"
                )
            if stale:
                raise SyncError(
                    f"weight sync at step {step} failed its proof: the last update moved the "
                    f"trainer's log-probs by up to {distance:.3g}, and the engine's not at all: it "
                    "holds the old weights; no rollout was drawn from them"
                )

        self._engine.ranks.together(judge)
        self._before, self._engine_before = mine, theirs
        return {
            "proof/mismatch": worst,
            "proof/mismatch_mean": sum(gaps) / len(gaps),
            "proof/distance": distance,
            "proof/bound": self.bound,
        }
