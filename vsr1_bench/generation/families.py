"""Families of models: the tested ones, and one line for a model that cannot be used."""

from __future__ import annotations

import json

from vsr1_bench.errors import ModelError, UsageError
from vsr1_bench.generation.models import ModelInfo

FAMILIES = {
    "qwen2_vl": "Qwen2-VL",
    "qwen2_5_vl": "Qwen2.5-VL",
    "qwen3_vl": "Qwen3-VL",
    "internvl": "InternVL (-hf)",
    "gemma3": "Gemma 3",
}
"""`model_type` of transformers -> name, of the families that tests evaluate and train."""
NOT_SYNCED = frozenset({"gemma3"})
"""Families whose vision tower has other names in vLLM (0.32) than in transformers (5.19), which
vLLM's loader does not know."""


def family_of(model: ModelInfo) -> str | None:
    """The `model_type` of a model's config.json; None if it states none."""
    if model.path is None:
        return None
    try:
        kind = json.loads((model.path / "config.json").read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):  # not readable, or no object
        return None
    return kind if isinstance(kind, str) else None


def unknown_family(model: ModelInfo) -> ModelError | None:
    """The one-line error for a model whose type transformers does not know; None if it does."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = family_of(model)
    if kind is None or kind in CONFIG_MAPPING_NAMES:
        return None
    return ModelError(
        f"model {model.id!r} cannot be loaded: this transformers does not know type {kind!r}; give "
        f"its transformers form (often NAME-hf), or --trust_remote_code; tested: {_names()}"
    )


def check_trainable(model: ModelInfo, rollouts: str | None = None) -> ModelInfo:
    """Return a model if the trainer supports its family: a tested one, or text only.

    Args:
        model: The model.
        rollouts: The backend that samples with its weights; None = none does.

    Raises:
        ModelError: it does not.
        UsageError: that backend does not take the weights.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    kind = family_of(model)
    text_only = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if kind in FAMILIES or (text_only and kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES):
        if kind in NOT_SYNCED and rollouts == "vllm":
            raise UsageError(
                f"model {model.id!r}: vLLM names the weights of {FAMILIES[kind]} differently from "
                "transformers, so it cannot be synced; give backend=transformers"
            )
        return model
    raise ModelError(
        f"model {model.id!r} is of type {kind!r}, which training does not support; give one of "
        f"{_names()}, or a model that reads text only"
    )


def _names() -> str:
    return ", ".join(FAMILIES.values())
