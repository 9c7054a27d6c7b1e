"""Check that the rollouts' engine holds the trained weights.

After each sync, trainer and engine score the same tokens: greedy answers of the first weights to a
few prompts, with and without images. If their log-probabilities differ by more than a bound,
training stops. A trainer whose engine is stale learns nothing, or worse, and no curve shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vsr1_bench.errors import GenerationError
from vsr1_bench.generation.base import SyncableGenerator
from vsr1_bench.prompts.formats import reading_messages
from vsr1_bench.records import Request, Sample

from ..core.encoding import KINDS, Encoder, TrainRow
from ..core.engine import TrainingEngine
from ..core.ranks import TrainError

BOUNDS = {"float32": 1e-4, "bfloat16": 0.5}
"""Maximum |Δ log-prob| of one token. On the embedded model it is at most 1e-5 in fp32, and 0.08 in
bfloat16, which has 8 bits. Weights that were never synced differ by several nats."""
MOVED = 1e-3
"""If the trainer's log-probs moved by this much, the engine's must have moved too. In bfloat16 one
step stays below the bound, but an engine that missed it returns exactly the same numbers again."""
PROMPTS = 2
TOKENS = 64


class SyncError(TrainError):
    """The engine does not hold the trained weights."""


class SyncCheck:
    """A probe batch, and the log-probs at the last check."""

    def __init__(
        self,
        engine: TrainingEngine,
        generator: SyncableGenerator,
        encoder: Encoder,
        prompts: Sequence[tuple[Sample, Request]],
        bound: float | None = None,
    ) -> None:
        """Let the engine, which holds the first weights, answer a few prompts.

        Args:
            engine: The trainer.
            generator: The rollouts' engine.
            encoder: Makes the trainer's batches.
            prompts: Samples with their first-pass prompts, the same on every rank.
            bound: Maximum |Δ log-prob|; None = by dtype.

        Raises:
            GenerationError: no prompt could be answered.
        """
        self._engine, self._generator = engine, generator
        self.bound = BOUNDS[engine.recipe.dtype] if bound is None else bound
        probes: list[Request] = []
        for sample, prompt in prompts[:PROMPTS]:
            sampling = replace(prompt.sampling, temperature=0.0, max_tokens=TOKENS)
            blind = reading_messages(sample, "none")  # text only, like the second pass
            probes.append(replace(prompt, sampling=sampling))
            probes.append(Request("", blind, sampling, sample_id=sample.id))
        probes = [replace(request, key=f"probe {i}") for i, request in enumerate(probes)]
        answers = {c.key: c for c in generator.generate(probes)}
        rows = [
            TrainRow(request, tokens, ())
            for request in probes
            if (tokens := answers[request.key].token_ids)
        ]
        if not rows:
            reasons = {answer.error for answer in answers.values()}
            raise GenerationError(f"no probe prompt could be answered: {reasons}")
        by_kind = [[row for row in rows if row.kind == kind] for kind in KINDS]
        self.rows = [row for kind in by_kind for row in kind]  # in the order of the batches
        self._batches = [encoder.collate(kind) for kind in by_kind if kind]
        self._before = self._trainer_logprobs()
        self._engine_before = self._engine_logprobs()

    def _engine_logprobs(self) -> list[float]:
        texts = [(row.request, row.tokens) for row in self.rows]
        return [value for scores in self._generator.score(texts) for value in scores]

    def _trainer_logprobs(self) -> list[float]:
        return [
            value
            for batch in self._batches
            for value in self._engine.score(batch, probe=True).tolist()
        ]

    def check(self, step: int) -> dict[str, float]:
        """Compare engine and trainer; all ranks call, right after a sync.

        Returns:
            `proof/mismatch` and its mean, `proof/bound`, and `proof/distance`, by how much the
            trainer has moved since the last check. A mismatch far below the distance shows that
            the engine holds this step's weights and not those of the last step.

        Raises:
            SyncError: on any rank the mismatch is above the bound, or the engine did not move with
                the trainer.
        """
        trainer, engine = self._trainer_logprobs(), self._engine_logprobs()
        gaps = [abs(a - b) for a, b in zip(trainer, engine, strict=True)]
        moves = [abs(a - b) for a, b in zip(trainer, self._before, strict=True)]
        # Every comparison with NaN is false: `not <=` stops on it, `>` would not.
        worst = max(gaps, key=lambda gap: gap if gap == gap else float("inf"))
        distance = max(moves)
        stale = distance > MOVED and engine == self._engine_before

        def compare() -> None:
            if not worst <= self.bound:
                raise SyncError(
                    f"weight sync at step {step} failed its check: log-probs of engine and trainer "
                    f"differ by up to {worst:.3g} on {len(gaps)} tokens, the bound for "
                    f"{self._engine.recipe.dtype} is {self.bound:.3g}, the last update moved them "
                    f"by {distance:.3g}; no rollout was sampled from these weights (if only "
                    "rounding differs between the two sides, give a larger proof_bound)"
                )
            if stale:
                raise SyncError(
                    f"weight sync at step {step} failed its check: the last update moved the "
                    f"trainer's log-probs by up to {distance:.3g} and the engine's not at all, so "
                    "it holds the old weights; no rollout was sampled from them"
                )

        self._engine.ranks.on_all_ranks(compare)
        self._before, self._engine_before = trainer, engine
        return {
            "proof/mismatch": worst,
            "proof/mismatch_mean": sum(gaps) / len(gaps),
            "proof/distance": distance,
            "proof/bound": self.bound,
        }
