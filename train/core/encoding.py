"""Turn prompts and sampled tokens into the trainer's batches.

The trainer reads a prompt as the engine did: the same chat template, the same pixels, then the
model's processor. Images stay encoded until the micro-batch that needs their pixels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from vsr1_bench.errors import BenchError, GenerationError
from vsr1_bench.generation.images import fit, image_size
from vsr1_bench.records import ImagePlace, Message, Request, Sampling
from vsr1_bench.task import example_image

if TYPE_CHECKING:
    from torch import Tensor

    from vsr1_bench.generation.chat import ChatRenderer

    from .ranks import Ranks

Kind = Literal["image", "text"]
KINDS: tuple[Kind, ...] = ("image", "text")
PROMPTS_KEPT = 16
"""Prompts whose pixels are kept: a prompt's responses share them."""
# What a processor returns for each token; the rest (pixels, grids) is one stack over the batch.
_BY_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


@dataclass(frozen=True, slots=True)
class Term:
    """A response's share in the loss of one part of the objective."""

    part: Literal["answer", "visual"]
    weight: float
    """The part's λ."""
    advantage: float
    span: tuple[int, int]
    """Its tokens: [from, to) of the response."""


@dataclass(slots=True)
class Row:
    """A sampled response as the trainer sees it."""

    request: Request
    tokens: tuple[int, ...]
    sampled: tuple[float, ...]
    """Log-probs that the engine drew them with."""
    prompt_tokens: int | None = None
    """Tokens of the prompt as the engine read it."""
    terms: tuple[Term, ...] = ()
    old: Tensor | None = None
    """Log-probs of the trainer before the updates, `(C,)`."""
    reference: Tensor | None = None
    """Log-probs of the frozen first model, `(C,)`."""

    @property
    def kind(self) -> Kind:
        """Whether the vision tower has something to do."""
        return "image" if self.request.images else "text"


Micro = list[Row]
"""A micro-batch: rows of one kind that are scored together."""


@dataclass(slots=True)
class Batch:
    """Right-padded prompts and responses, and where the responses' tokens are predicted."""

    inputs: dict[str, Tensor]
    """What the model takes; `input_ids` is `(B, T)`."""
    rows: Tensor
    """Row of each response token, `(N,)`."""
    columns: Tensor
    """Position whose output predicts it, `(N,)`."""
    targets: Tensor
    """The token, `(N,)`."""
    lengths: list[int] = field(default_factory=list)
    """Response tokens of each row; they sum to N."""


class Encoder:
    """Makes batches with a model's own processor."""

    def __init__(self, renderer: ChatRenderer, kept: int = PROMPTS_KEPT) -> None:
        """Take the renderer that the engine uses, too, and the number of prompts to keep."""
        self.renderer = renderer
        self.tokenizer = renderer.tokenizer
        self.prompt = lru_cache(maxsize=kept)(self._encode)

    def encode(self, request: Request) -> dict[str, Any]:
        """What the processor gives for a prompt, one list entry or tensor row per token."""
        bare = replace(request, key="", index=0, sampling=replace(request.sampling, seed=0))
        return self.prompt(bare)

    def _encode(self, request: Request) -> dict[str, Any]:
        prompt = self.renderer.render(request)
        if not self.renderer.sees:
            return dict(
                self.tokenizer([prompt.text], add_special_tokens=False, return_tensors="pt")
            )
        encoded = dict(
            self.renderer.processor(
                text=[prompt.text], images=prompt.images or None, return_tensors="pt"
            )
        )
        self._check_places(encoded)
        return encoded

    def _check_places(self, encoded: dict[str, Any]) -> None:
        """Refuse a prompt with other places for image features than its images have features.

        The model would find out in the middle of a step.

        Raises:
            ValueError: names both numbers.
        """
        grids = encoded.get("image_grid_thw")  # (images, 3): Qwen's
        token = getattr(self.renderer.config, "image_token_id", None)
        vision = getattr(self.renderer.config, "vision_config", None)
        merge = getattr(vision, "spatial_merge_size", None)
        if grids is None or token is None or not merge:
            return
        places = int((encoded["input_ids"] == token).sum())
        features = int(grids.prod(dim=1).sum()) // merge**2
        if places != features:
            raise ValueError(f"a prompt of {places} image tokens and {features} image features")

    def fits(self, request: Request, limit: int) -> bool:
        """Whether a prompt has at most `limit` tokens; decodes no image where a bound will do.

        Raises:
            ImageError: an image that must be measured cannot be decoded.
        """
        words = self._words(request)
        if not request.images:
            return bool(words <= limit)
        if words > limit:
            return False
        if self.renderer.config.model_type.startswith(("qwen2_vl", "qwen2_5_vl")):
            # One token is 28 x 28 pixels; the sides are rounded to that, the start and end added.
            each = request.sampling.max_pixels // 784 + 64
            if words + each * len(request.images) <= limit:
                return True
        return bool(self.encode(request)["input_ids"].shape[1] <= limit)

    def estimate(self, request: Request) -> int:
        """A prompt's tokens, nearly: images by the size in their headers, none decoded.

        Raises:
            ImageError: an image without a readable header.
        """
        sampling = request.sampling
        total = self._words(request)
        for image in request.images:
            size = fit(*image_size(image), sampling.min_pixels, sampling.max_pixels)
            total += size[0] * size[1] // 784  # Qwen's 28 x 28 pixels per token; others are near
        return total

    def _words(self, request: Request) -> int:
        """Tokens of a prompt without its images."""
        blind = replace(
            request,
            images=(),
            messages=tuple(
                replace(m, content=tuple(p for p in m.content if isinstance(p, str)))
                for m in request.messages
            ),
        )
        return int(self._encode(blind)["input_ids"].shape[1])

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Put responses behind their prompts, padded on the right.

        Everything that the processor returns goes along: without `mm_token_type_ids` the positions
        of image tokens are wrong by a little, with no error.

        Raises:
            GenerationError: the engine read a prompt as another number of tokens.
        """
        import torch

        encoded = [self.encode(row.request) for row in rows]
        starts = [prompt["input_ids"].shape[1] for prompt in encoded]
        for row, start in zip(rows, starts, strict=True):
            if row.prompt_tokens not in (None, start):
                raise GenerationError(
                    f"sample {row.request.sample_id}: its prompt is {row.prompt_tokens} tokens to "
                    f"the engine and {start} to the trainer; they do not read it alike"
                )
        width = max(s + len(row.tokens) for s, row in zip(starts, rows, strict=True))
        inputs: dict[str, Tensor] = {}
        for name in encoded[0]:
            if name not in _BY_TOKEN:
                inputs[name] = torch.cat([prompt[name] for prompt in encoded])
                continue
            pad = self.tokenizer.pad_token_id or 0 if name == "input_ids" else 0
            inputs[name] = torch.full((len(rows), width), pad)  # (B, T)
            for i, (prompt, row, start) in enumerate(zip(encoded, rows, starts, strict=True)):
                inputs[name][i, :start] = prompt[name][0]
                if name == "input_ids":
                    inputs[name][i, start : start + len(row.tokens)] = torch.tensor(row.tokens)
                if name == "attention_mask":
                    inputs[name][i, start : start + len(row.tokens)] = 1
        lengths = [len(row.tokens) for row in rows]
        places = [
            (i, s - 1 + j)
            for i, (s, n) in enumerate(zip(starts, lengths, strict=True))
            for j in range(n)
        ]
        return Batch(
            inputs,
            torch.tensor([place[0] for place in places]),
            torch.tensor([place[1] for place in places]),
            torch.tensor([token for row in rows for token in row.tokens]),
            lengths,
        )

    def microbatches(
        self, rows: Sequence[Row], tokens: int, window: int
    ) -> dict[Kind, list[list[Row]]]:
        """Cut rows of each kind into micro-batches of at most so many padded tokens.

        Kinds are kept apart: a batch without images leaves the vision tower without gradients, and
        ZeRO wants that to happen on all ranks at once. A row that is too long gets its own batch.

        Args:
            rows: In the order of their prompts.
            tokens: Rows times the longest of them.
            window: Rows that are sorted by length among themselves; more would scatter a prompt's
                responses, and its pixels would be computed again.
        """
        cut: dict[Kind, list[list[Row]]] = {kind: [] for kind in KINDS}
        for kind in KINDS:
            of_kind = [row for row in rows if row.kind == kind]
            for start in range(0, len(of_kind), window):
                packed: list[list[Row]] = []
                for row in sorted(of_kind[start : start + window], key=self._size):
                    if not packed or self._size(row) * (len(packed[-1]) + 1) > tokens:
                        packed.append([])
                    packed[-1].append(row)
                cut[kind] += packed
        return cut

    def _size(self, row: Row) -> int:
        prompt = row.prompt_tokens or self.encode(row.request)["input_ids"].shape[1]
        return int(prompt + len(row.tokens))


def dummy_rows(encoder: Encoder, sampling: Sampling) -> dict[Kind, Row]:
    """A row of each kind without a share in the loss, to keep ranks in lockstep."""
    words = Message("user", ("-",))
    tokens = (int(encoder.tokenizer.eos_token_id or 0),)
    rows: dict[Kind, Row] = {"text": Row(Request("", (words,), sampling), tokens, (0.0,))}
    if encoder.renderer.sees:
        shown = Message("user", (ImagePlace(0), "-"))
        request = Request("", (shown,), replace(sampling, min_pixels=3136, max_pixels=12_544))
        rows["image"] = Row(replace(request, images=(example_image(),)), tokens, (0.0,))
    return rows


def lockstep(
    encoder: Encoder,
    ranks: Ranks,
    rows: Sequence[Row],
    tokens: int,
    window: int,
    dummies: dict[Kind, Row],
) -> list[Micro]:
    """Cut rows into micro-batches, of as many of each kind on every rank; all ranks call.

    Args:
        encoder: Measures them.
        ranks: Who trains together.
        rows: This rank's.
        tokens: Padded tokens of a micro-batch.
        window: See `Encoder.microbatches`.
        dummies: What a rank scores where others have more.
    """
    cut = encoder.microbatches(rows, tokens, window)
    counts = ranks.gather({kind: len(cut[kind]) for kind in KINDS})
    plan: list[Micro] = []
    for kind in KINDS:
        most = max(count[kind] for count in counts)
        plan += cut[kind] + [[dummies[kind]]] * (most - len(cut[kind]))
    return plan


def reason_of(error: Exception) -> str:
    """Why a row is left out, in one short line."""
    said = " ".join(str(error).split())
    known = said and isinstance(error, BenchError | ValueError | OSError)
    return (said if known else f"{type(error).__name__}: {said}".rstrip(": "))[:300]


@lru_cache(maxsize=2)
def order_of(seed: int, epoch: int, n: int) -> list[int]:
    """The order of an epoch: a permutation of range(n)."""
    places = list(range(n))
    random.Random(f"vsr1-order|{seed}|{epoch}").shuffle(places)
    return places
