"""Shapes of models: the configuration, and the parameters on the meta device; no weights.

`shapes.json` has the configurations of the models that the recipes train, so that a plan needs
neither the model nor the network.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vsr1_bench.tiny import weights_path

KNOWN = Path(__file__).with_name("shapes.json")


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a model."""

    config: Any
    """The transformers configuration."""
    parts: dict[str, int]
    """Parameters of `vision`, `projector` and `language`; tied ones count once."""
    features: dict[str, int]
    """Features in and out of the linear layers of each part, without the head: an adapter of rank
    r has r parameters for each."""
    largest: int
    """Parameters of the largest tensor."""

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return sum(self.parts.values())

    @property
    def cache_bytes(self) -> int:
        """Bytes of a token's keys and values in 16 bits."""
        text = self.config.get_text_config()
        return int(2 * 2 * text.num_hidden_layers * text.num_key_value_heads * _head(text))

    def trained(self, freeze: Collection[str]) -> int:
        """Number of parameters outside the frozen parts."""
        return sum(count for part, count in self.parts.items() if part not in freeze)

    def adapter(self, rank: int, parts: Collection[str]) -> int:
        """Parameters of LoRA adapters of this rank on the linear layers of some parts."""
        return rank * sum(count for part, count in self.features.items() if part in parts)


def _head(text: Any) -> int:
    """Features of an attention head."""
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def known_models() -> dict[str, dict[str, Any]]:
    """Entries of `shapes.json` by hub id."""
    entries: dict[str, dict[str, Any]] = json.loads(KNOWN.read_text("utf-8"))
    return {model: entry for entry in entries.values() for model in entry["models"]}


@lru_cache
def shape_of(model: str) -> Shape | None:
    """The shape of a recipe's model.

    Args:
        model: `tiny`, a folder, or a hub id. A hub id must be in `shapes.json`, or its
            configuration in the hub's cache.

    Returns:
        None if no configuration is found.
    """
    from transformers import AutoConfig

    if known := known_models().get(model):
        settings = dict(known["config"])
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    elif folder := _config_folder(model):
        config = AutoConfig.from_pretrained(folder)
    else:
        return None
    return counted(config)


def counted(config: Any) -> Shape:
    """Count a configuration's parameters on the meta device."""
    import torch

    from .engine import part_of

    with torch.device("meta"):
        model = model_class(config).from_config(config)
    named = dict(model.named_parameters())  # tied ones once
    parts: dict[str, int] = {}
    for name, parameter in named.items():
        parts[part_of(name)] = parts.get(part_of(name), 0) + parameter.numel()
    features: dict[str, int] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and layer is not model.get_output_embeddings():
            ends = layer.in_features + layer.out_features
            features[part_of(name)] = features.get(part_of(name), 0) + ends
    return Shape(config, parts, features, max(p.numel() for p in named.values()))


def model_class(config: Any) -> Any:
    """The transformers class that the trainer loads a model with."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    sees = getattr(config, "vision_config", None) is not None
    return AutoModelForImageTextToText if sees else AutoModelForCausalLM


def _config_folder(model: str) -> Path | None:
    """The folder of a model's `config.json` on this machine."""
    from huggingface_hub import try_to_load_from_cache

    if model in ("tiny", "tiny/untrained"):
        return weights_path()
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        return folder
    try:
        cached = try_to_load_from_cache(model, "config.json")
    except ValueError:  # no hub id
        return None
    return Path(cached).parent if isinstance(cached, str) else None
