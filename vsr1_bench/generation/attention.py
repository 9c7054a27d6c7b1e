"""Which attention a model of transformers runs with: backend `transformers` and the trainer.

`auto` is flash attention where it is installed. Elsewhere it is PyTorch's (`sdpa`), with one change
for vision towers. transformers calls `sdpa` once per image, and in Qwen2.5-VL once per window of
8 x 8 patches: 704 calls for an image of 512 x 512 pixels. `attend_windows` calls it once per layer
and length of window, 88 times, with equal results.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from vsr1_bench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Attention = Literal[
    "auto", "eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"
]
"""The names of transformers, and `auto`."""

WINDOWS = "sdpa_in_flash_layout"
"""Our function among those of transformers. Its name contains `flash`, because towers pass all of
their windows at once only to such functions."""
TOWERS = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen3_vl"})
"""Types of models whose towers do so."""


def attention_settings(name: Attention, dtype: str, device: str, flag: str) -> dict[str, str]:
    """The arguments of `from_pretrained` for an attention.

    Args:
        name: The attention.
        dtype: The model's.
        device: Where it will run.
        flag: How the user names this setting, for the message.

    Raises:
        UsageError: flash attention cannot run in this dtype or on this device.
    """
    if name == "auto":
        return {}
    if name.startswith("flash") and not _flash_runs(dtype, device):
        raise UsageError(
            f"{flag}={name}: flash attention needs a GPU and dtype bfloat16 or float16, this is "
            f"{dtype} on {device}; give auto or sdpa"
        )
    return {"attn_implementation": name}


def set_attention(model: Any, name: Attention, device: str) -> None:
    """Give a loaded model the attention that `auto` means; any other is already set."""
    if name != "auto":
        return
    from transformers import AttentionInterface
    from transformers.utils import is_flash_attn_2_available

    dtype = str(model.dtype).removeprefix("torch.")
    if _flash_runs(dtype, device) and is_flash_attn_2_available():
        before = model.config._attn_implementation
        try:
            model.set_attn_implementation("flash_attention_2")
            return
        except (ImportError, ValueError):  # a model without flash attention
            model.set_attn_implementation(before)
    if model.config.model_type in TOWERS:
        AttentionInterface.register(WINDOWS, attend_windows)
        model.set_attn_implementation({"vision_config": WINDOWS})


def _flash_runs(dtype: str, device: str) -> bool:
    return device.startswith("cuda") and dtype in ("bfloat16", "float16")


def attend_windows(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention inside each window, without a mask; windows of equal length are one batch.

    Args:
        module: The layer that attends.
        query: All windows, one after another, `(1, heads, S, D)`.
        key: As `query`.
        value: As `query`.
        attention_mask: None.
        cu_seq_lens_q: Where the windows begin and the last one ends, `(windows + 1,)`.
        scaling: Factor of the scores.
        dropout: Probability of dropout.

    Returns:
        `(1, S, heads, D)`, and None for the weights.
    """
    import torch
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attend(places: Tensor | None, length: int) -> Tensor:
        batches = [
            (whole[0] if places is None else whole[0, :, places])  # (heads, n * length, D)
            .reshape(whole.shape[1], -1, length, whole.shape[3])
            .transpose(0, 1)  # (n, heads, length, D)
            for whole in (query, key, value)
        ]
        output: Tensor = sdpa(
            module, *batches, None, scaling=scaling, dropout=dropout, is_causal=False
        )[0]  # (n, length, heads, D)
        return output.flatten(0, 1)

    bounds = cu_seq_lens_q.tolist()
    windows: dict[int, list[int]] = {}
    for start, end in pairwise(bounds):
        windows.setdefault(end - start, []).append(start)
    if len(windows) == 1:
        return attend(None, next(iter(windows)))[None], None
    places = [
        (torch.tensor(starts)[:, None] + torch.arange(length)).flatten().to(query.device)
        for length, starts in windows.items()
    ]
    outputs = [attend(of, length) for of, length in zip(places, windows, strict=True)]
    order = torch.cat(places).argsort()  # (S,), where each patch's output is
    return torch.cat(outputs)[order][None], None
