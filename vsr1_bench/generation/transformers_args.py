"""`--model_args` of the transformers backend, apart from it: reading them loads no torch."""

from __future__ import annotations

from typing import Annotated

from vsr1_bench.generation.attention import Attention
from vsr1_bench.generation.base import EXTRA, ROUNDING, BackendArgs, InSpec, NotInSpec


class TransformersArgs(BackendArgs):
    """`--model_args` of the transformers backend."""

    dtype: Annotated[str, InSpec("model.precision")] = "auto"
    """`auto` is the checkpoint's own (see `generation.precision`), as in every backend."""
    device: Annotated[str, NotInSpec(ROUNDING)] = "auto"
    """`cpu`, `cuda`, `cuda:1`; `auto` = a GPU if there is one."""
    batch_size: Annotated[int, NotInSpec(ROUNDING)] = 16
    """Requests that run at the same time."""
    max_model_len: Annotated[int | None, InSpec()] = None
    """Maximum tokens of prompt and response; None = by the checkpoint."""
    attn_implementation: Annotated[Attention, InSpec()] = "auto"
    """`auto` rounds as a batch of another size does; see `generation.attention`."""
    logprobs: Annotated[bool, NotInSpec(EXTRA)] = False
    """Store the log-probability of each token."""
