"""LoRA adapters in training (`peft`): put in, switched off, merged, written.

An adapter is two small matrices beside a frozen weight: W + (alpha / rank) B A (arXiv:2106.09685).
peft replaces each such layer by a layer that holds both; the model around it stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.generation.adapters import CONFIG, WEIGHTS

from .settings import Training

if TYPE_CHECKING:
    from torch import Tensor

NAME = "default"
"""peft's name of the only adapter."""
BASE = ".base_layer."
"""In the names of what peft has wrapped."""


def add_adapters(policy: Any, recipe: Training, layers: list[str]) -> None:
    """Freeze a model and put adapters into some of its layers, in place.

    They change nothing yet, because B is zero. A is drawn from the recipe's seed, so that it is the
    same on every rank.

    Args:
        policy: The Hugging Face model.
        recipe: Its rank and alpha.
        layers: Names of the linear layers.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_scale,
        target_modules=layers,
        base_model_name_or_path=recipe.model,
    )
    policy.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        inject_adapter_in_model(config, policy, NAME)


def linear_layers(policy: Any, part_of: Any, parts: tuple[str, ...], model_id: str) -> list[str]:
    """Names of the linear layers in some parts of a model, without its language-model head.

    Raises:
        UsageError: a part has none.
    """
    import torch

    head = policy.get_output_embeddings()
    names = [
        name
        for name, module in policy.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    for part in parts:
        if part not in {part_of(name) for name in names}:
            raise UsageError(f"lora_target {part}: {model_id} has no linear layers of that part")
    return [name for name in names if part_of(name) in parts]


def adapted_layers(policy: Any) -> dict[str, Any]:
    """Name of each weight with an adapter -> peft's layer around it."""
    from peft.tuners.lora import LoraLayer

    return {
        f"{name}{BASE}weight": module
        for name, module in policy.named_modules()
        if isinstance(module, LoraLayer)
    }


@contextmanager
def switched_off(policy: Any) -> Iterator[None]:
    """Run a model without its adapters: as it was at the start of training, to the bit.

    Their scale is 0 meanwhile. The layers run as always, because at ZeRO-3 every pass must gather
    the same parameters in the same order.
    """
    layers = adapted_layers(policy).values()
    for layer in layers:
        layer.set_scale(NAME, 0)
    try:
        yield
    finally:
        for layer in layers:
            layer.set_scale(NAME, 1)


def matrices(layer: Any) -> list[Tensor]:
    """The parameters A and B of a layer."""
    return [layer.lora_A[NAME].weight, layer.lora_B[NAME].weight]


def merged(layer: Any) -> Tensor:
    """A layer's weight with its adapter, as peft merges it; a new tensor."""
    import torch

    with torch.no_grad():
        weight = layer.get_base_layer().weight
        delta = layer.get_delta_weight(NAME).to(weight.dtype)
        # -0.0 + 0.0 is 0.0: an unchanged weight keeps its bits, which the sync check compares.
        return torch.where(delta == 0, weight, weight + delta)


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to an adapter, by its name."""
    return ".lora_A." in name or ".lora_B." in name


def keep_adapters(module: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Leave only the adapters in a module's `state_dict()`, as a hook of it.

    DeepSpeed excludes frozen parameters by name, but a head that is tied to the embedding has two.
    """
    for name in [name for name in state if not is_adapter(name)]:
        del state[name]


def check_adapters(module: Any, keys: Any) -> None:
    """Check that a `load_state_dict()` filled each adapter and nothing else, as a hook of it.

    Frozen weights may be missing: they are those of the base model.

    Raises:
        StoreError: an adapter is missing or has no place.
    """
    missing, odd = [n for n in keys.missing_keys if is_adapter(n)], list(keys.unexpected_keys)
    if missing or odd:
        raise StoreError(
            f"of the parameters of its adapters {len(missing)} are missing and {len(odd)} have no "
            f"place in this model, first {min(missing + odd)}"
        )
    keys.missing_keys.clear()


def write_adapter(policy: Any, state: dict[str, Tensor], folder: Path) -> None:
    """Write an adapter as a folder that peft reads.

    Args:
        policy: The model that it belongs to.
        state: The adapter's parameters on the CPU, by their names in the model.
        folder: Where it is written.

    Raises:
        OSError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    settings = policy.peft_config[NAME].to_dict()
    # peft keeps some lists as sets; sorted, equal adapters have equal files.
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in settings.items()}
    plain["inference_mode"] = True
    (folder / CONFIG).write_text(json.dumps(plain, indent=1, sort_keys=True, default=str) + "\n")
    named = {
        f"base_model.model.{name.replace(f'.{NAME}.', '.')}": value.contiguous()
        for name, value in state.items()
    }
    save_file(named, folder / WEIGHTS, metadata={"format": "pt"})
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors makes files that only their owner can read
