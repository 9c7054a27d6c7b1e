"""Backend `transformers` for the trainer: a second copy of the weights that is kept up to date.

It is a copy because under ZeRO the trained module itself is partitioned and has hooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from vsr1_bench.errors import GenerationError
from vsr1_bench.generation.base import SyncableGenerator
from vsr1_bench.generation.checksums import checksums
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.generation.transformers import TransformersGenerator
from vsr1_bench.generation.transformers_args import TransformersArgs


class SyncableTransformers(TransformersGenerator, SyncableGenerator):
    """A Hugging Face model whose weights a trainer replaces."""

    def __init__(
        self, model: ModelInfo, args: TransformersArgs, *, banned: Sequence[int] = ()
    ) -> None:
        """Load the model; see `TransformersGenerator`."""
        super().__init__(model, args.model_copy(update={"logprobs": True}))
        self.banned = tuple(banned)

    @torch.no_grad()
    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copy the weights over."""
        own = dict(self.model.named_parameters(remove_duplicate=False))
        for name, tensor in weights:
            if name not in own or own[name].shape != tensor.shape:
                shape = tuple(tensor.shape)
                raise GenerationError(f"the engine has no parameter {name} of shape {shape}")
            own.pop(name).copy_(tensor)
        if own:
            raise GenerationError(f"the sync left {len(own)} parameters as they were: {min(own)}")

    def reset_caches(self) -> None:
        """No cache outlives a batch."""

    def checksums(self) -> dict[str, int]:
        """Checksums of all parameters; tied ones are under one name."""
        return checksums(self.model.named_parameters())

    def sleep(self) -> None:
        """The copy stays where it is."""

    def wake(self) -> None:
        """The copy stays where it is."""
