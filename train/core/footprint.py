"""Memory of one micro-batch, measured on tensors without data.

The trainer's own forward and backward pass runs on fake tensors (`FakeTensorMode` of torch), which
have shapes and storages but no memory. A tracker adds up the storages that are alive. Parameters
are not counted, and each parameter's gradient is dropped as soon as it is complete, as ZeRO does.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .encoding import Batch
from .engine import freeze_parts, part_of
from .logprobs import CHUNK, Scorer, score_batch
from .shapes import model_class

aten = torch.ops.aten
INDEXING = (
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
)

DEPTH = 6
"""Layers of language model and tower that are run. The last two must be like the rest: Qwen3-VL
hands on the output of three layers."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A micro-batch of equal rows."""

    rows: int
    tokens: int
    """Tokens of a row: prompt and response."""
    response: int
    """Tokens of a row's response."""
    patches: tuple[int, int] | None = None
    """Height and width of a row's image in patches; None = no image."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a forward and backward pass takes beside the parameters."""

    peak: int
    """Bytes of activations and temporary tensors at the moment when they are most."""
    logits: int
    """Bytes of one chunk of logits, forward and backward; part of the peak."""


class StorageTracker(TorchDispatchMode):
    """Adds up the storages that operations make.

    torch's `MemTracker` walks over all modules at each operation.
    """

    def __init__(self, ignored: Iterable[Tensor] = ()) -> None:
        """Start at 0; storages of `ignored` are not counted."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.now = self.peak = 0
        self._alive: set[int] = set()
        for tensor in ignored:
            self._add(tensor.untyped_storage(), 0)

    def _add(self, storage: torch.UntypedStorage, size: int) -> None:
        if storage._cdata in self._alive:
            return
        self._alive.add(storage._cdata)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, storage._cdata, size).atexit = False

    def _remove(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in INDEXING and isinstance(args[0], FakeTensor):
            args = (args[0], list(_positions(args[1])), *args[2:])
        result = func(*args, **kwargs or {})
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._add(storage, storage.nbytes())
        return result


def _positions(indices: Sequence[Tensor | None]) -> Iterator[Tensor | None]:
    """The same indices without masks: of a mask, a fake tensor would not know how many are set."""
    for index in indices:
        if index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor):
            yield from index.nonzero(as_tuple=True)
        else:
            yield index


class _Stack:
    """Watches a stack of layers: what one more layer would add."""

    def __init__(self, tracker: StorageTracker, layers: Sequence[nn.Module]) -> None:
        self.layers, self._tracker = layers, tracker
        self.peak = 0
        """Maximum until the backward pass leaves the first layer; 0 if it does not reach it."""
        self._starts: dict[int, int] = {}
        for number, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(self._forward, number))

    def _forward(self, number: int, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if number in self._starts:  # computed again in the backward pass
            return
        self._starts[number] = self._tracker.now
        hidden: Any = inputs[0]
        if number == 0 and hidden.requires_grad:
            hidden.register_hook(self._finish)

    def _finish(self, gradient: Tensor) -> None:
        """Start another maximum, because the backward pass leaves the first layer."""
        self.peak, self._tracker.peak = self._tracker.peak, self._tracker.now

    def added(self, layers: int) -> int:
        """Bytes that so many more layers would keep for the backward pass."""
        if layers <= 0:
            return 0
        last = len(self.layers) - 1
        return layers * (self._starts[last] - self._starts[last - 1])


class _Adapted(nn.Module):
    """A linear layer with a LoRA adapter."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer
        kind: dict[str, Any] = {"bias": False, "dtype": layer.weight.dtype}
        self.down = nn.Linear(layer.in_features, rank, **kind)
        self.up = nn.Linear(rank, layer.out_features, **kind)

    def forward(self, inputs: Tensor) -> Tensor:
        adapted: Tensor = self.layer(inputs) + self.up(self.down(inputs)) * 1.0
        return adapted


def build(
    config: Any,
    dtype: torch.dtype,
    *,
    checkpointing: bool,
    freeze: Collection[str] = (),
    lora_rank: int = 0,
    lora_parts: Collection[str] = ("language",),
) -> Scorer:
    """The trained module with random weights, as the trainer prepares it.

    Args:
        config: The transformers configuration.
        dtype: Of the weights.
        checkpointing: Compute activations again in the backward pass.
        freeze: Parts that keep their weights.
        lora_rank: Rank of adapters, everything else frozen; 0 = no adapters.
        lora_parts: Parts whose linear layers get adapters.
    """
    policy = model_class(config).from_config(config, dtype=dtype)
    policy.train()
    if checkpointing:
        policy.gradient_checkpointing_enable({"use_reentrant": False})
    freeze_parts(policy, tuple(freeze), "the model")
    if lora_rank:
        policy.requires_grad_(False)
        head = policy.get_output_embeddings()
        for name, layer in list(policy.named_modules()):
            linear = isinstance(layer, nn.Linear) and layer is not head
            if linear and part_of(name) in lora_parts:
                policy.set_submodule(name, _Adapted(layer, lora_rank))
    tower = getattr(policy.base_model, "visual", None)
    if tower and not any(p.requires_grad for p in tower.patch_embed.parameters()):
        # On fake tensors a convolution by a frozen weight claims to need a gradient.
        tower.patch_embed.register_forward_hook(lambda module, inputs, output: output.detach())
    return Scorer(policy)


def batch_of(config: Any, micro: MicroBatch, mode: FakeTensorMode | None = None) -> Batch:
    """A micro-batch's inputs; pixels are random, or fake if a mode is given.

    The first of several rows has one token of padding, so that attention needs a mask.
    """
    rows, tokens = micro.rows, micro.tokens
    inputs = {"input_ids": torch.zeros(rows, tokens, dtype=torch.long)}  # (B, T)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if rows > 1:
        inputs["attention_mask"][0, -1] = 0
    if micro.patches:
        vision = config.vision_config
        height, width = micro.patches
        places = height * width // vision.spatial_merge_size**2
        inputs["input_ids"][:, :places] = config.image_token_id
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == config.image_token_id).long()
        inputs["image_grid_thw"] = torch.tensor([[1, height, width]] * rows)
        channels = getattr(vision, "in_channels", 3) * vision.temporal_patch_size
        pixels = (rows * height * width, channels * vision.patch_size**2)
        with mode or torch.no_grad():
            inputs["pixel_values"] = torch.empty(pixels).normal_()
    ends = torch.arange(tokens - micro.response - 1, tokens - 1)
    return Batch(
        inputs,
        (torch.arange(rows)[:, None] * tokens + ends).flatten(),
        torch.zeros(rows * micro.response, dtype=torch.long),
        [micro.response] * rows,
    )


def run(scorer: Scorer, batch: Batch) -> None:
    """One forward and backward pass, whose gradients are dropped one by one."""
    logprobs: Any = score_batch(scorer, batch, temperature=1.0, bans=False)[0]
    logprobs.sum().backward()


@contextmanager
def dropped_gradients(scorer: nn.Module) -> Iterator[None]:
    """Drop each gradient when it is complete."""

    def drop(parameter: Tensor) -> None:
        parameter.grad = None

    trained: list[Any] = [p for p in scorer.parameters() if p.requires_grad]
    handles = [p.register_post_accumulate_grad_hook(drop) for p in trained]
    yield
    for handle in handles:
        handle.remove()


def measure(
    config: Any,
    micro: MicroBatch,
    dtype: torch.dtype,
    *,
    checkpointing: bool,
    freeze: Collection[str] = (),
    lora_rank: int = 0,
    lora_parts: Collection[str] = ("language",),
) -> Footprint:
    """Run a micro-batch forward and backward without data.

    Layers are alike, so that a few of them are run and the others added: each keeps as much for
    the backward pass as the one before the last. The arguments are those of `build`.
    """
    shallow = _shallow(config)
    # The mode is active only while the model is made: the small tensors that a forward pass
    # computes from an image's size must have data.
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        scorer = build(
            shallow,
            dtype,
            checkpointing=checkpointing,
            freeze=freeze,
            lora_rank=lora_rank,
            lora_parts=lora_parts,
        )
    batch = batch_of(config, micro, mode)
    tracker = StorageTracker([*scorer.parameters(), *scorer.buffers()])
    text, tower = (_Stack(tracker, layers) for layers in _stacks(scorer.policy.base_model))
    with tracker, dropped_gradients(scorer):
        run(scorer, batch)
    text_bytes = text.added(_layers(config)[0] - len(text.layers))
    tower_bytes = tower.added(_layers(config)[1] - len(tower.layers))
    # Behind the language model nothing of it is kept: the tower has a maximum of its own.
    peak = max((text.peak or tracker.peak) + text_bytes, tracker.peak) + tower_bytes
    return Footprint(peak, _chunk(scorer, mode))


def _chunk(scorer: Scorer, mode: FakeTensorMode) -> int:
    """Bytes of one chunk of logits, forward and backward."""
    head = scorer.policy.get_output_embeddings().weight
    with mode:
        hidden = head.new_empty(CHUNK, head.shape[1]).requires_grad_()
        targets = torch.zeros(CHUNK, dtype=torch.long)
    tracker = StorageTracker([head])
    with tracker, dropped_gradients(scorer):
        logprobs: Any = scorer._score(hidden, targets, 1.0, False)[0]
        logprobs.sum().backward()
        del logprobs
    return tracker.peak


def _layers(config: Any) -> tuple[int, int]:
    """Number of layers of the language model and of the tower, 0 without one."""
    vision = getattr(config, "vision_config", None)
    return int(config.get_text_config().num_hidden_layers), int(getattr(vision, "depth", 0))


def _stacks(model: Any) -> tuple[Sequence[nn.Module], Sequence[nn.Module]]:
    """Layers of the language model and of the tower."""
    tower = getattr(model, "visual", None)
    return getattr(model, "language_model", model).layers, tower.blocks if tower else ()


def _shallow(config: Any) -> Any:
    """The same configuration with few layers, and without windows in the tower.

    Attention in windows keeps as much as attention in the whole image, in many more operations.
    """
    config = deepcopy(config)
    text: Any = config.get_text_config()
    vision: Any = getattr(config, "vision_config", None)
    text.num_hidden_layers = min(DEPTH, text.num_hidden_layers)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]
    if getattr(vision, "depth", None):
        vision.depth = min(DEPTH, vision.depth)
        if getattr(vision, "fullatt_block_indexes", None):
            vision.fullatt_block_indexes = list(range(vision.depth))
        if features := getattr(vision, "deepstack_visual_indexes", None):
            vision.deepstack_visual_indexes = list(range(len(features)))
    return config
