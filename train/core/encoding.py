"""Turn prompts and sampled tokens into the trainer's batches.

The trainer reads a prompt as the engine does: the same chat template and pixels, then the model's
processor. Images are decoded only for the micro-batch that needs their pixels.
"""

from __future__ import annotations

import inspect
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from vsr1_bench._util.memory import local_share
from vsr1_bench.errors import BenchError, GenerationError
from vsr1_bench.generation.images import blackened, fit, image_size, mask_seed
from vsr1_bench.records import Request

from .layout import Layout, Segments
from .microbatches import cut_packed, cut_padded
from .packed import is_packed, positions_of

if TYPE_CHECKING:
    from torch import Tensor

    from vsr1_bench.generation.chat import ChatRenderer


Kind = Literal["image", "text"]
KINDS: tuple[Kind, ...] = ("image", "text")
PROMPTS_TOGETHER = 16
"""Prompts whose responses are cut into micro-batches together."""
CACHED_SHARE = 8
"""One part in so many of the memory of this machine holds the encoded prompts of a step."""
MARKS = 16
"""Maximum tokens of a prompt around an image, such as Qwen's `<|vision_start|>`."""
DISTINCT, COPIES = "distinct_grids", "copies"
"""Our names for inputs of a batch of images: the grids of the distinct images `(M, 3)`, whose
pixels alone are in the batch, and which of them each image of the rows is, `(images,)`."""
GRIDS = "image_grid_thw"
"""Patches of each image in time, height and width, `(images, 3)`, from Qwen's processors."""
# What a processor returns per token; the rest (pixels, grids) is one stack for the batch.
_BY_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


@dataclass(frozen=True, slots=True)
class Term:
    """A response's share of the loss in one part of the objective."""

    part: Literal["answer", "visual"]
    weight: float
    """The part's λ."""
    advantage: float
    span: tuple[int, int]
    """The tokens [from, to) of the response that it applies to."""
    other: tuple[float, tuple[int, int]] | None = None
    """Another advantage, and the tokens among them that have it (objective `moca`)."""


@dataclass(slots=True)
class TrainRow:
    """A sampled response, or a reply to learn, as the trainer sees it."""

    request: Request
    tokens: tuple[int, ...]
    sampled: tuple[float, ...]
    """Log-probs of the engine that sampled them; empty for a reply to learn."""
    prompt_tokens: int | None = None
    """Number of the prompt's tokens in the engine."""
    terms: tuple[Term, ...] = ()
    old: Tensor | None = None
    """Log-probs of the trainer before the updates, `(C,)` for C tokens."""
    reference: Tensor | None = None
    """Log-probs of the frozen first model, `(C,)`."""
    unseen: Tensor | None = None
    """Log-probs of the trainer with masked images before the updates, `(C,)`."""
    emphasis: Tensor | None = None
    """Factors of the tokens' advantages, `(C,)`; None = 1 (see `rl.vppo`)."""
    masked: bool = False
    """Patches of the images are black (`images.blackened`)."""

    @property
    def kind(self) -> Kind:
        """Whether the prompt has images."""
        return "image" if self.request.images else "text"


Micro = list[TrainRow]
"""A micro-batch: rows of one kind that are scored together."""


@dataclass(slots=True)
class Batch:
    """Prompts and responses, and where the N response tokens are predicted."""

    inputs: dict[str, Tensor]
    """The model's inputs; `input_ids` is `(B, T)`."""
    places: Tensor
    """The place among the B * T outputs that predicts each response token, `(N,)`."""
    targets: Tensor
    """The token, `(N,)`."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each response; they sum to N."""
    prompts: list[int] = field(default_factory=list)
    """Tokens of the prompt of each response."""
    segments: Segments | None = None
    """What the tokens of a packed batch attend to; None = rows, padded on the right."""

    def attended(self) -> list[tuple[int, int]]:
        """Numbers of queries and keys of each attention.

        The queries sum to the tokens of the batch, without padding.
        """
        if self.segments is not None:
            return [*zip(self.segments.lengths, self.segments.key_counts(), strict=True)]
        return [(n, n) for n in self.inputs["attention_mask"].sum(1).tolist()]


class Encoder:
    """Makes batches with a model's own processor."""

    def __init__(self, renderer: ChatRenderer, limit: int | None = None) -> None:
        """Bind to the engine's renderer.

        Args:
            renderer: Its own processor makes the batches.
            limit: Bytes of encoded prompts that are cached; None = by the memory of this machine.
        """
        self.renderer = renderer
        self.tokenizer = renderer.tokenizer
        self.shares_images = shares_images(renderer)
        """Whether the rows of a batch share the features of their images."""
        self._limit = local_share() // CACHED_SHARE if limit is None else limit
        self._positions: Callable[[Mapping[str, Any]], Tensor] | None = None
        self._kept: OrderedDict[tuple[Request, str], dict[str, Any]] = OrderedDict()
        self._bytes = 0
        self._one = Lock()

    @property
    def packs(self) -> bool:
        """Whether batches are packed; else they are padded."""
        return self._positions is not None

    def make_batches_for(self, policy: Any) -> None:
        """Pack batches if a model takes them packed; see `packed.set_packing`."""
        self._positions = partial(positions_of, policy) if is_packed(policy) else None

    def encode(self, request: Request, *, masked: bool = False) -> dict[str, Any]:
        """The processor's output for a prompt; see `TrainRow.masked`."""
        bare = _bare(request)
        # One masked image for all responses to a prompt, another one in each step.
        mask = mask_seed(request) if masked else ""
        with self._one:  # `batches` encodes in a thread
            known = self._kept.get((bare, mask))
            if known is None:
                known = self._kept[bare, mask] = self._encode(bare, mask)
                self._bytes += _size_of(known)
                while self._bytes > self._limit and len(self._kept) > 1:
                    self._bytes -= _size_of(self._kept.popitem(last=False)[1])
            self._kept.move_to_end((bare, mask))
            return known

    def forget(self) -> None:
        """Free the encoded prompts; a step calls it at its end, because the next has others."""
        with self._one:
            self._kept.clear()
            self._bytes = 0

    def _encode(self, request: Request, mask: str = "") -> dict[str, Any]:
        prompt = self.renderer.render(request)
        images = blackened(prompt.images, mask) if mask else prompt.images
        if not self.renderer.sees:
            return dict(
                self.tokenizer([prompt.text], add_special_tokens=False, return_tensors="pt")
            )
        encoded = dict(
            self.renderer.processor(text=[prompt.text], images=images or None, return_tensors="pt")
        )
        self._check_places(encoded)
        return encoded

    def _check_places(self, encoded: dict[str, Any]) -> None:
        """Refuse a prompt whose image tokens and image features differ in number.

        The model would fail on it in the middle of a step.

        Raises:
            ValueError: names both numbers.
        """
        grids = encoded.get(GRIDS)
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
        """Whether a prompt has at most `limit` tokens.

        Reads no image if a bound is enough, and decodes none if its size is.

        Raises:
            ImageError: an image has no readable header, or must be decoded and cannot be.
            ValueError: the processor refuses an image of that size.
        """
        words = self._words(request)
        if words > limit or not request.images:
            return words <= limit
        marks = MARKS * len(request.images)
        most = self._most_image_tokens(request)
        if most is not None and words + most + marks <= limit:
            return True
        expected = words + self._image_tokens(request)
        if abs(expected - limit) > marks:
            return expected < limit
        return bool(self.encode(request)["input_ids"].shape[1] <= limit)

    def estimate(self, request: Request) -> int:
        """About how many tokens a prompt has; reads image headers and decodes no image.

        Raises:
            ImageError: an image without a readable header.
            ValueError: the processor refuses an image of that size.
        """
        return self._words(request) + self._image_tokens(request)

    def _most_image_tokens(self, request: Request) -> int | None:
        """Maximum number of tokens of a prompt's images, of any size; None = unknown.

        Qwen's processors round the sides to whole tokens. They allow an aspect ratio of at most
        200, with which the sides of P pixels add up to at most 14.3 sqrt(P).
        """
        if not self.renderer.config.model_type.startswith(("qwen2_vl", "qwen2_5_vl", "qwen3_vl")):
            return None
        vision = self.renderer.config.vision_config
        side = vision.patch_size * vision.spatial_merge_size  # of a token, in pixels
        own = self.renderer.processor.image_processor.size["shortest_edge"]
        pixels = max(own, request.sampling.max_pixels)
        each = pixels // side**2 + math.ceil(14.3 * math.sqrt(pixels) / side)
        return int(each * len(request.images))

    def _image_tokens(self, request: Request) -> int:
        """Number of tokens of a prompt's images, by the processor's own arithmetic on their sizes.

        Tokens around an image may be missing, at most `MARKS`.
        """
        if not request.images:
            return 0
        low, high = request.sampling.min_pixels, request.sampling.max_pixels
        sizes = [fit(*image_size(image), low, high) for image in request.images]
        counts = self.renderer.processor._get_num_multimodal_tokens(
            image_sizes=[(height, width) for width, height in sizes]
        )
        return int(sum(counts.num_image_tokens))

    def _words(self, request: Request) -> int:
        """Number of a prompt's tokens without its images."""
        blind = replace(
            request,
            images=(),
            messages=tuple(
                replace(m, content=tuple(p for p in m.content if isinstance(p, str)))
                for m in request.messages
            ),
        )
        return int(self._encode(blind)["input_ids"].shape[1])

    def collate(self, rows: Sequence[TrainRow]) -> Batch:
        """Append responses to their prompts: packed, or padded on the right.

        Everything that the processor returns is passed on. Without `mm_token_type_ids` the
        positions of image tokens would be slightly wrong, with no error.

        Raises:
            GenerationError: the engine counted another number of tokens in a prompt.
        """
        import torch

        prompts = [self.encode(row.request, masked=row.masked) for row in rows]
        starts = [prompt["input_ids"].shape[1] for prompt in prompts]
        for row, start in zip(rows, starts, strict=True):
            if row.prompt_tokens not in (None, start):
                raise GenerationError(
                    f"sample {row.request.sample_id}: its prompt has {row.prompt_tokens} tokens in "
                    f"the engine and {start} in the trainer; they must read it alike"
                )
        lengths = [len(row.tokens) for row in rows]
        if self.packs:
            layout = Layout.packed(list(map(id, prompts)), starts, lengths)
        else:
            layout = Layout.padded(starts, lengths)
        encoded = [prompts[first] for first, _ in layout.prompts]
        inputs, distinct = dict[str, Any](), encoded
        if self.shares_images and GRIDS in encoded[0]:
            distinct = list({id(prompt): prompt for prompt in encoded}.values())
            inputs |= _copies(encoded, distinct)
        for name in encoded[0]:
            if name not in _BY_TOKEN:
                whole = distinct if name == "pixel_values" else encoded
                inputs[name] = torch.cat([prompt[name] for prompt in whole])
            elif name == "input_ids" or not self.packs:
                inputs[name] = self._by_token(name, rows, encoded, layout)
        if self._positions is not None:
            inputs["position_ids"] = layout.positions(list(map(self._positions, encoded)))
        targets = torch.tensor([token for row in rows for token in row.tokens])
        return Batch(inputs, layout.predicted(), targets, lengths, starts, layout.segments)

    def _by_token(
        self,
        name: str,
        rows: Sequence[TrainRow],
        encoded: Sequence[Mapping[str, Any]],
        layout: Layout,
    ) -> Tensor:
        """An input with a value for each token, `(B, T)`."""
        import torch

        pad = self.tokenizer.pad_token_id or 0 if name == "input_ids" else 0
        flat = torch.full(layout.shape, pad).flatten()
        for (_, at), prompt in zip(layout.prompts, encoded, strict=True):
            flat[at : at + prompt[name].shape[1]] = prompt[name][0]
        for row, span in zip(rows, layout.spans(), strict=True):
            if name == "input_ids":
                flat[span] = torch.tensor(row.tokens)
            elif name == "attention_mask":
                flat[span] = 1
        return flat.view(layout.shape)

    def batches(self, plan: Sequence[Micro]) -> Generator[Batch, None, None]:
        """The batches of micro-batches; each is made while the one before it is used.

        Raises:
            GenerationError: see `collate`.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="encoder") as pool:
            following = pool.submit(self.collate, plan[0]) if plan else None
            for micro in [*plan[1:], None]:
                if following is None:
                    return
                batch = following.result()
                following = pool.submit(self.collate, micro) if micro else None
                yield batch

    def microbatches(
        self, rows: Sequence[TrainRow], tokens: int, window: int
    ) -> dict[Kind, list[list[TrainRow]]]:
        """Cut rows of each kind into micro-batches of at most `tokens` tokens, padding included.

        Kinds are separate: a batch without images gives the vision tower no gradients, and ZeRO
        requires this to happen on all ranks at once. A row that is too long gets its own batch.
        Padded rows are sorted by length, and among similar lengths by prompt: the vision tower runs
        once per prompt of a micro-batch.

        Args:
            rows: In the order of their prompts.
            tokens: Tokens of a packed batch, or number of rows times the longest of them.
            window: Number of padded rows that are sorted by length together. A larger one would
                scatter the responses to a prompt, whose pixels would then be computed again.
        """
        cut: dict[Kind, list[list[TrainRow]]] = {kind: [] for kind in KINDS}
        for kind in KINDS:
            of_kind = [row for row in rows if row.kind == kind]
            if self.packs:
                # A sample in two slots of a step has two masked images.
                prompts = [(_bare(row.request), mask_seed(row.request)) for row in of_kind]
                sizes = [(self._start(row), len(row.tokens)) for row in of_kind]
                cut[kind] = cut_packed(of_kind, sizes, prompts, tokens)
                continue
            for start in range(0, len(of_kind), window):
                together = of_kind[start : start + window]
                shared = kind == "image" and self.shares_images
                keys = [_bare(row.request) if shared else n for n, row in enumerate(together)]
                lengths = [self._start(row) + len(row.tokens) for row in together]
                cut[kind] += cut_padded(together, lengths, keys, tokens)
        return cut

    def _start(self, row: TrainRow) -> int:
        return int(row.prompt_tokens or self.encode(row.request)["input_ids"].shape[1])


def _bare(request: Request) -> Request:
    """A prompt without what differs between its responses."""
    return replace(request, key="", index=0, sampling=replace(request.sampling, seed=0))


def shares_images(renderer: ChatRenderer) -> bool:
    """Whether a model takes the features of images in place of their pixels, as Qwen-VL does."""
    if not renderer.sees:
        return False
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    kind = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(renderer.config)]
    return "mm_encoder_outputs" in inspect.signature(kind.forward).parameters


def _copies(
    encoded: Sequence[dict[str, Any]], distinct: Sequence[dict[str, Any]]
) -> dict[str, Tensor]:
    """The inputs `DISTINCT` and `COPIES` of a batch."""
    import torch

    counts = [len(prompt[GRIDS]) for prompt in distinct]
    numbers = torch.split(torch.arange(sum(counts)), counts)
    places = {id(prompt): own for prompt, own in zip(distinct, numbers, strict=True)}
    return {
        DISTINCT: torch.cat([prompt[GRIDS] for prompt in distinct]),
        COPIES: torch.cat([places[id(prompt)] for prompt in encoded]),
    }


def _size_of(encoded: dict[str, Any]) -> int:
    return sum(int(tensor.nbytes) for tensor in encoded.values())


def reason_of(error: Exception) -> str:
    """Why a row is skipped, in one short line."""
    message = " ".join(str(error).split())
    known = message and isinstance(error, BenchError | ValueError | OSError)
    return (message if known else f"{type(error).__name__}: {message}".rstrip(": "))[:300]


@lru_cache(maxsize=2)
def order_of(seed: int, epoch: int, n: int) -> list[int]:
    """The order of an epoch: a permutation of range(n)."""
    order = list(range(n))
    random.Random(f"vsr1-order|{seed}|{epoch}").shuffle(order)
    return order
