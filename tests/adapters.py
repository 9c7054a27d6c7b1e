"""LoRA adapters of the embedded model, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def make_adapter(folder: Path, *, seed: int = 0, size: float = 0.3) -> Path:
    """Let peft itself write an adapter with random weights; `size` = how far it moves the model."""
    import torch
    from peft import LoraConfig, get_peft_model

    targets = r".*language_model.*\.(q_proj|v_proj|up_proj|down_proj)"
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = get_peft_model(plain_tiny(), config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=size)
    model.save_pretrained(folder)
    return folder


def plain_tiny() -> Any:
    """The embedded model, loaded by transformers alone."""
    import torch
    from transformers import AutoModelForImageTextToText

    from vsr1_bench.tiny import weights_path

    return AutoModelForImageTextToText.from_pretrained(weights_path(), dtype=torch.float32)
