"""Attention of a trained model whose batches are packed, without padding.

`layout.Segments` says which tokens attend to which. Nothing between responses is computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import UsageError

from .layout import Segments

if TYPE_CHECKING:
    from torch import Tensor

TEXT_MODELS = frozenset(
    {"llama", "qwen2", "qwen3", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text"}
)
"""Types of the language models whose layers hand `segments` on to their attention."""


def attend_with_torch(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    segments: Segments,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """PyTorch's attention: all segments at once on a GPU that can do it, else one by one.

    Args:
        module: The layer that attends.
        query: `(1, heads, T, D)`.
        key: `(1, heads of keys, T, D)`.
        value: As `key`.
        attention_mask: None.
        segments: What the tokens attend to.
        scaling: Factor of the scores.
        dropout: Probability of dropout.

    Returns:
        `(1, T, heads, D)`, and None for the weights.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention as attend

    gqa = key.shape[1] != query.shape[1]
    if not dropout and (varlen := varlen_of_torch(query)):
        at_once = partial(varlen, window_size=(-1, 0), scale=scaling, enable_gqa=gqa)
        return _at_once(at_once, query, key, value, segments), None
    kept: dict[str, Any] = {"dropout_p": dropout, "scale": scaling, "enable_gqa": gqa}
    # Their gradients are joined at once; those of slices would each be as long as the batch.
    queries, keys, values = (torch.split(t, segments.lengths, dim=2) for t in (query, key, value))
    outputs = []
    for segment, prompt in enumerate(segments.prompts):
        q, k, v = queries[segment], keys[segment], values[segment]
        if prompt is None:
            outputs.append(attend(q, k, v, is_causal=True, **kept))
            continue
        k, v = torch.cat((keys[prompt], k), dim=2), torch.cat((values[prompt], v), dim=2)
        start, end = keys[prompt].shape[2], k.shape[2]
        seen = torch.ones(end - start, end, dtype=torch.bool, device=q.device).tril(start)
        outputs.append(attend(q, k, v, attn_mask=seen, **kept))
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def varlen_of_torch(query: Tensor) -> Callable[..., Any] | None:
    """PyTorch's own flash attention for sequences of different lengths; None if it cannot run."""
    import torch

    half = query.dtype in (torch.bfloat16, torch.float16)
    if not half or query.device.type != "cuda" or torch.cuda.get_device_capability() < (8, 0):
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    # Before torch 2.12 it takes no fewer heads of keys than of queries.
    return varlen_attn if "enable_gqa" in inspect.signature(varlen_attn).parameters else None


def attend_with_flash(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    segments: Segments,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """The flash attention of package flash-attn, all segments at once; see `attend_with_torch`."""
    from flash_attn import flash_attn_varlen_func

    at_once = partial(flash_attn_varlen_func, dropout_p=dropout, softmax_scale=scaling, causal=True)
    return _at_once(at_once, query, key, value, segments), None


def _at_once(
    varlen: Callable[..., Any], query: Tensor, key: Tensor, value: Tensor, segments: Segments
) -> Tensor:
    """One call for all segments: the keys of a shared prompt are repeated for each response.

    The kernel's causal mask ends at the last key of each segment, so a response sees all of its
    prompt.
    """
    query, key, value = (whole[0].transpose(0, 1) for whole in (query, key, value))
    starts, key_starts, places = segments.varlen(str(query.device))
    if places is not None:
        key, value = key[places], value[places]
    longest = max(segments.lengths), max(segments.key_counts())
    output: Tensor = varlen(query, key, value, starts, key_starts, *longest)  # (T, heads, D)
    return output[None]


KERNELS = {
    "sdpa": ("packed_by_torch", attend_with_torch),
    "flash_attention_2": ("packed_by_fa2", attend_with_flash),
}
"""Attention of transformers -> the name of what replaces it, and the function. transformers looks
for a name that contains `flash` on the hub."""


def set_packing(policy: Any, wanted: bool | None) -> None:
    """Let a loaded model attend inside segments, if it can; it then takes packed batches only.

    Args:
        policy: The Hugging Face model.
        wanted: The recipe's `packing`.

    Raises:
        UsageError: `packing=true`, and model or attention cannot do it.
    """
    if wanted is False:
        return
    text = policy.config.get_text_config()
    attention = text._attn_implementation
    able = text.model_type in TEXT_MODELS and attention in KERNELS
    if attention == "flash_attention_2":  # transformers may have taken a kernel from the hub
        able &= find_spec("flash_attn") is not None
    if not able or {*(getattr(text, "layer_types", None) or ())} - {"full_attention"}:
        if wanted:
            raise UsageError(
                "packing=true: wanted a Qwen-VL or InternVL (or a text-only Llama, Qwen2 or Qwen3) "
                f"with attention sdpa or flash_attention_2, got {policy.config.model_type} with "
                f"{attention}; drop packing"
            )
        return
    from transformers import AttentionInterface

    name, function = KERNELS[attention]
    AttentionInterface.register(name, function)
    parts = [part for part in policy.config.sub_configs if getattr(policy.config, part) is text]
    policy.set_attn_implementation(dict.fromkeys(parts, name) if parts else name)


def is_packed(policy: Any) -> bool:
    """Whether `set_packing` has changed a model's attention."""
    name = policy.config.get_text_config()._attn_implementation
    return name in {own for own, _ in KERNELS.values()}


def positions_of(policy: Any, prompt: Mapping[str, Any]) -> Tensor:
    """The positions of an encoded prompt of P tokens, `(3, P)` for Qwen-VL, else `(1, P)`."""
    import torch

    tokens, model = prompt["input_ids"], policy.base_model  # (1, P)
    if "image_grid_thw" not in prompt or not hasattr(model, "get_rope_index"):
        return torch.arange(tokens.shape[1])[None]
    named = {name: prompt[name] for name in ("mm_token_type_ids", "image_grid_thw")}
    found: Tensor = model.get_rope_index(tokens, **named)[0][:, 0]  # (3, P)
    return found
