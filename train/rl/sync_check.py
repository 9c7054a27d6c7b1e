"""Check that the rollouts' engine holds the trained weights.

A trainer whose engine is stale learns nothing, or worse, and no curve shows it. After each sync,
trainer and engine score the same tokens: greedy answers of the first weights to a few prompts, with
and without images. Training stops in three cases:

- The engine's log-probs are exactly those of the last check, although the trainer's have moved.
- The bits of a layer differ. Only those parameters are compared that were equal bit for bit at the
  start, because an engine may store the others in another form.
- The log-probs differ by more than rounding explains, in the mean or at a high quantile. The
  largest difference only warns: of thousands of tokens, one or two differ by half a nat between two
  healthy implementations in bfloat16.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vsr1_bench.errors import GenerationError
from vsr1_bench.generation.base import SyncableGenerator
from vsr1_bench.prompts.formats import reading_messages
from vsr1_bench.records import Request, Sample

from ..core.encoding import KINDS, Encoder, Kind, TrainRow
from ..core.engine import TrainingEngine, part_of
from ..core.ranks import Ranks, TrainError

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

BOUNDS = {"float32": 1e-4, "bfloat16": 0.3}
"""Maximum mean |Δ log-prob| of the probe's tokens, in nats. `scripts/simulate_sync_check.py` shows
what healthy engines reach."""
QUANTILE_FACTOR = 3.0
"""The 95 % quantile may be this many times the bound of the mean."""
WARNING_FACTOR = 2.0
"""A largest difference above this many times the bound of the mean gives a warning."""
SPARED = 3
"""The quantile excludes at least this many tokens, however short the answers are."""
MOVED = 1e-3
"""If the trainer's log-probs moved by this much, the engine's must have moved too."""
CANDIDATES = 64
"""Number of prompts of which the smallest become the probe."""
PROMPTS = 8
"""Maximum number of prompts in the probe; each is also asked without its images."""
TOKENS = 64
"""Maximum tokens of one answer."""
ENOUGH_TOKENS = 128
"""A probe of this many tokens takes no more prompts."""
PIXELS = 262_144
"""Larger images are scaled down to this area (unless the recipe's lower bound is above it). The
engine computes logits for each token of a probe's prompt, outside its memory budget."""

Prompt = tuple[Sample, Request]


class SyncError(TrainError):
    """The engine does not hold the trained weights."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """How much the log-probs of engine and trainer differ over the tokens of a probe, in nats."""

    mean: float
    quantile: float
    """The 95 % quantile; of short probes the value below the `SPARED` largest."""
    largest: float

    @classmethod
    def of(cls, gaps: Sequence[float]) -> Mismatch:
        """Summarise |Δ log-prob| per token; NaN counts as infinite."""
        ranked = sorted(gap if gap == gap else math.inf for gap in gaps)
        spared = max(SPARED, len(ranked) // 20)
        return cls(sum(ranked) / len(ranked), ranked[max(0, len(ranked) - 1 - spared)], ranked[-1])

    def within(self, bound: float) -> bool:
        """Whether rounding can explain it; `bound` is that of the mean."""
        return self.mean <= bound and self.quantile <= QUANTILE_FACTOR * bound


class SyncCheck:
    """A probe batch, and what engine and trainer held at the last check."""

    def __init__(
        self,
        generator: SyncableGenerator,
        encoder: Encoder,
        prompts: Sequence[Prompt],
        ranks: Ranks,
    ) -> None:
        """Let the engine, which holds the first weights, answer a few prompts; all ranks call.

        The engine may sleep afterwards, until the first sync.

        Args:
            generator: The rollouts' engine.
            encoder: Makes the trainer's batches.
            prompts: Samples with their first-pass prompts, the same on every rank.
            ranks: The ranks that train together.

        Raises:
            GenerationError: on one rank no prompt of a kind could be answered.
        """
        self._generator, self._ranks = generator, ranks
        probes = probes_of(encoder, prompts)
        rows, reasons = ranks.on_all_ranks(lambda: _answered(generator, probes))
        # Ranks score the probe together, so all of them need the same kinds of batches.
        answered = {kind for kinds in ranks.gather({row.kind for row in rows}) for kind in kinds}
        ranks.on_all_ranks(lambda: _require(answered - {row.kind for row in rows}, reasons))
        of_kinds = [[row for row in rows if row.kind == kind] for kind in KINDS]
        self.rows = [row for of_kind in of_kinds for row in of_kind]
        self._encoder, self._of_kinds = encoder, [of_kind for of_kind in of_kinds if of_kind]
        self._engine_before, sums = ranks.on_all_ranks(
            lambda: (self._engine_logprobs(), generator.checksums())
        )
        self._first = by_layer(sums)
        self._sent: dict[str, Tensor] = {}
        self._warned = 0.0

    def bind(self, engine: TrainingEngine, bound: float | None = None) -> None:
        """Take a trainer that holds the same first weights; all ranks call.

        The encoder must make that trainer's batches by now (`Encoder.make_batches_for`).

        Args:
            engine: The trainer.
            bound: Maximum mean |Δ log-prob|; None = by dtype.
        """
        self._engine = engine
        self.bound = BOUNDS[engine.recipe.dtype] if bound is None else bound
        self._batches = list(map(self._encoder.collate, self._of_kinds))  # the order of `rows`
        self._before = self._trainer_logprobs()
        for _ in self.watch(engine.weights()):
            pass
        own = self._sent_layers()
        self.layers = {key for key, value in self._first.items() if own.get(key) == value}
        self._checked = False

    def watch(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Pass on the weights of a sync, and note their checksums for the check that follows."""
        self._sent = {}
        return self._watched(weights)

    def _watched(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        from vsr1_bench.generation.checksums import checksum

        for name, tensor in weights:
            self._sent[name] = checksum(tensor)
            yield name, tensor

    def _sent_layers(self) -> dict[str, int]:
        return by_layer({name: int(value) for name, value in self._sent.items()})

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
            `proof/mismatch_mean`, `_q95` and `_max`, the differences of the log-probs in nats;
            `proof/bound`, that of the mean; `proof/distance`, by how much the trainer has moved
            since the last check.

        Raises:
            SyncError: on any rank, the engine does not hold the trainer's weights.
        """
        trainer = self._trainer_logprobs()
        engine, sums = self._ranks.on_all_ranks(
            lambda: (self._engine_logprobs(), self._generator.checksums() if self._sent else {})
        )
        mismatch = Mismatch.of([abs(a - b) for a, b in zip(trainer, engine, strict=True)])
        moved = max(abs(a - b) for a, b in zip(trainer, self._before, strict=True))
        reason = None
        if moved > MOVED and engine == self._engine_before:
            reason = (
                f"the last update moved the trainer's log-probs by up to {moved:.3g} and the "
                "engine's not at all, so it holds the old weights"
            )
        elif moved > MOVED and not self._sent:
            reason = "the sync read none of the trainer's weights"
        elif wrong := self._wrong_layers(by_layer(sums)):
            reason = (
                f"the engine holds other weights than the trainer in {len(wrong)} of "
                f"{len(self.layers)} compared groups of parameters, first {wrong[0]}"
            )
        elif not mismatch.within(self.bound):
            reason = (
                f"log-probs of engine and trainer differ by {mismatch.mean:.3g} on average and "
                f"by {mismatch.quantile:.3g} at the 95 % quantile of {len(engine)} tokens, the "
                f"bounds for {self._engine.recipe.dtype} are {self.bound:.3g} and "
                f"{QUANTILE_FACTOR * self.bound:.3g} (if only rounding differs between the two "
                "sides, give a larger proof_bound)"
            )

        def stop() -> None:
            if reason is not None:
                raise SyncError(
                    f"weight sync at step {step} failed its check: {reason}; no rollout was "
                    "sampled from these weights"
                )

        self._ranks.on_all_ranks(stop)
        self._warn(mismatch, step)
        self._before, self._engine_before = trainer, engine
        return {
            "proof/mismatch_mean": mismatch.mean,
            "proof/mismatch_q95": mismatch.quantile,
            "proof/mismatch_max": mismatch.largest,
            "proof/distance": moved,
            "proof/bound": self.bound,
        }

    def _wrong_layers(self, held: Mapping[str, int]) -> list[str]:
        """The compared groups of parameters in which the engine does not hold what was sent.

        `held` is what it holds, by layer.
        At the first sync, a group that the engine has changed but stores in another form is not
        compared any more.
        """
        if not self._sent:  # the engine has read nothing: its log-probs show it
            return []
        sent = self._sent_layers()
        wrong = {key for key in self.layers if sent.get(key) != held.get(key)}
        if not self._checked:
            stale = {key for key in wrong if held.get(key) == self._first[key]}
            wrong, excused, self._checked = stale, wrong - stale, True
            self.layers -= excused
            if excused:
                log.info(
                    "weight sync: the engine stores %d of %d groups of parameters in another form, "
                    "first %s; only their log-probs are compared",
                    *(len(excused), len(self.layers) + len(excused), min(excused)),
                )
        return sorted(wrong)

    def _warn(self, mismatch: Mismatch, step: int) -> None:
        """Warn of a largest difference that no earlier one has reached."""
        if mismatch.largest > max(WARNING_FACTOR * self.bound, self._warned):
            self._warned = mismatch.largest
            log.warning(
                "weight sync at step %d: log-probs of engine and trainer differ by up to %.3g "
                "(mean %.3g, bound %.3g); single tokens may, see docs/training.md",
                *(step, mismatch.largest, mismatch.mean, self.bound),
            )


def probes_of(encoder: Encoder, prompts: Sequence[Prompt]) -> list[Request]:
    """The requests of a probe: the smallest prompts, those with images first, and without images.

    Only headers of images are read. A prompt whose images have none, or are refused by the
    processor, comes last and only without them; its rollouts will report them.
    """
    sized: list[tuple[bool, float, int, Request]] = []
    for place, (_, prompt) in enumerate(prompts):
        sampling = replace(prompt.sampling, temperature=0.0, max_tokens=TOKENS)
        most = min(sampling.max_pixels, max(sampling.min_pixels, PIXELS))
        small = replace(prompt, sampling=replace(sampling, max_pixels=most))
        try:
            sized.append((not prompt.images, encoder.estimate(small), place, small))
        except ValueError:  # no header (`ImageError`), or sides that the processor refuses
            sized.append((True, math.inf, place, small))
    probes: list[Request] = []
    for _, size, place, small in sorted(sized, key=lambda entry: entry[:3])[:PROMPTS]:
        blind = reading_messages(prompts[place][0], "none")  # text only, like the second pass
        probes += [small] if size < math.inf else []
        probes.append(Request("", blind, small.sampling, sample_id=small.sample_id))
    return [replace(request, key=f"probe {i}") for i, request in enumerate(probes)]


def _answered(
    generator: SyncableGenerator, probes: Sequence[Request]
) -> tuple[list[TrainRow], set[str]]:
    """Greedy answers to the probes, in pairs, until there are enough tokens.

    Returns:
        The answers, and why others failed.

    Raises:
        GenerationError: no probe could be answered.
    """
    answers = {c.key: c for c in generator.generate(probes)}
    rows: list[TrainRow] = []
    for place, request in enumerate(probes):
        if place % 2 == 0 and sum(len(row.tokens) for row in rows) >= ENOUGH_TOKENS:
            break
        if tokens := answers[request.key].token_ids:
            rows.append(TrainRow(request, tokens, ()))
    reasons = {answer.error for answer in answers.values() if answer.error}
    if not rows:
        raise GenerationError(f"no probe prompt could be answered: {_first(reasons)}")
    return rows, reasons


def _require(lacking: set[Kind], reasons: set[str]) -> None:
    """Refuse an engine that answered no probe of a kind which another rank's engine answers.

    Raises:
        GenerationError: names the kind and a reason.
    """
    for kind in sorted(lacking):
        prompts = "with images" if kind == "image" else "without images"
        raise GenerationError(
            f"no probe prompt {prompts} could be answered on this rank, but on others: "
            f"{_first(reasons)}; its engine or its GPU may be at fault"
        )


def _first(reasons: set[str]) -> str:
    return min(reasons, default="empty answers")


def by_layer(sums: Mapping[str, int]) -> dict[str, int]:
    """Add up the checksums of parameters by layer, and within a layer by the end of the name.

    Engine and trainer name and fuse parameters differently. Sums over a layer, over its biases and
    over parameters whose last two words agree can be compared all the same.
    """
    groups: dict[str, int] = {}
    for name, value in sums.items():
        words = name.split(".")
        number = re.search(r"\.(\d+)\.", name)
        layer = f"{part_of(name)} layer {number[1]}" if number else part_of(name)
        ends = {"", words[-1], ".".join(words[-2:])} if number else {".".join(words[-2:])}
        for key in {f"{layer} {end}".rstrip() for end in ends}:
            groups[key] = (groups.get(key, 0) + value) % 2**64
    return groups
