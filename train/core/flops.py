"""Floating-point operations of an update, and the share of a card's peak that they reach (MFU).

Model FLOPs (arXiv:2204.02311, appendix B): the matrix products of one forward and backward pass
over the tokens of a batch, or of the forward pass alone. Padding is not counted, neither is what
gradient checkpointing computes again, and a prompt that responses share counts once. Attention is
counted over all pairs of a query and a key, as torch counts it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from .encoding import DISTINCT, GRIDS
from .settings import Training

if TYPE_CHECKING:
    from .encoding import Batch

PEAKS = {
    "B200": 2250.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100|H200|GH200": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}
"""Words in a card's name -> 1e12 operations per second in bfloat16, without sparsity, from NVIDIA's
data sheets. The first that is in the name counts."""


def peak_of(recipe: Training) -> float | None:
    """Operations per second that a card can do at most: the recipe's, or those of this card.

    Returns:
        None if the card is not known, or if there is none; also in fp32, whose peak depends on
        settings of torch.
    """
    import torch

    if recipe.peak_tflops is not None:
        return recipe.peak_tflops * 1e12
    if recipe.dtype != "bfloat16" or not torch.cuda.is_available():
        return None
    return known_peak(torch.cuda.get_device_name())


def known_peak(card: str) -> float | None:
    """The peak of a card in operations per second, by its name; None if it is not in `PEAKS`."""
    for words, peak in PEAKS.items():
        if re.search(rf"\b({words})\b", card):
            return peak * 1e12
    return None


class FlopCount:
    """Counts the operations that a model needs for a batch, forward and backward."""

    def __init__(self, policy: Any) -> None:
        """Read the sizes of a model's matrices.

        Args:
            policy: The Hugging Face model as it is trained: parts are frozen, adapters are in it.
        """
        from torch import nn

        from .engine import part_of

        self._config = policy.config
        named = list(policy.named_parameters())
        learns = {part_of(name) for name, parameter in named if parameter.requires_grad}
        self._tower_learns = "vision" in learns
        # Parts into which the gradient flows; it passes through the language model in any case.
        reached = {"language"} | ({"vision", "projector"} if self._tower_learns else learns)
        head = policy.get_output_embeddings()
        self._each = dict.fromkeys(("vision", "projector", "language", "head"), 0.0)
        """Operations per patch, per image token, per token and per response token."""
        self._forward = dict(self._each)
        """The same without the backward pass."""
        for name, module in policy.named_modules():
            if isinstance(module, nn.Linear):
                size = module.in_features * module.out_features
            elif isinstance(module, nn.Conv2d | nn.Conv3d):  # a tower's patches
                size = module.in_channels * module.out_channels * math.prod(module.kernel_size)
            else:
                continue
            part = part_of(name)
            to_input = part in reached and isinstance(module, nn.Linear)
            passes = 1 + to_input + module.weight.requires_grad
            self._each["head" if module is head else part] += 2 * size * passes
            self._forward["head" if module is head else part] += 2 * size

    def of(self, batch: Batch, *, backward: bool = True) -> float:
        """Operations of one forward and backward pass, or of the forward pass alone."""
        each, turns = (self._each, 3) if backward else (self._forward, 1)
        attended = batch.attended()
        text = self._config.get_text_config()
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        width = text.num_attention_heads * size
        images = self._images(batch)
        passes = turns if self._tower_learns else 1
        return float(
            each["language"] * sum(queries for queries, _ in attended)
            + each["head"] * len(batch.targets)
            + turns * text.num_hidden_layers * 4 * width * sum(q * k for q, k in attended)
            + each["vision"] * sum(height * width for height, width in images)
            + each["projector"] * self._image_tokens(batch, images)
            + passes * sum(self._tower_attention(*image) for image in images)
        )

    def _images(self, batch: Batch) -> list[tuple[int, int]]:
        """Height and width in patches of each image that passes through the tower."""
        grids = batch.inputs.get(DISTINCT, batch.inputs.get(GRIDS))
        if grids is not None:
            return [(h, w) for t, h, w in grids.tolist() for _ in range(t)]
        pixels = batch.inputs.get("pixel_values")
        if pixels is None or pixels.ndim < 4:
            return []
        *many, _, height, width = pixels.shape  # (..., C, H, W)
        side = self._config.vision_config.patch_size
        side = side if isinstance(side, int) else side[0]
        return [(height // side, width // side)] * math.prod(many)

    def _image_tokens(self, batch: Batch, images: list[tuple[int, int]]) -> float:
        """Outputs of the projector."""
        merge = getattr(getattr(self._config, "vision_config", None), "spatial_merge_size", None)
        if merge:
            return sum(height * width for height, width in images) / float(merge) ** 2
        token: int = getattr(self._config, "image_token_id", -1)
        return float(batch.inputs["input_ids"].eq(token).sum()) if images else 0.0

    def _tower_attention(self, height: int, width: int) -> float:
        """Operations of the tower's attention on one image, forward."""
        vision = self._config.vision_config
        depth = getattr(vision, "depth", None) or vision.num_hidden_layers
        hidden = getattr(vision, "embed_dim", None) or vision.hidden_size
        full = getattr(vision, "fullatt_block_indexes", None)
        whole = depth if full is None else len(full)
        pairs: int = whole * (height * width) ** 2
        if full is not None:
            pairs += (depth - whole) * sum(n * n for n in windows(vision, height, width))
        return float(4 * hidden * pairs)


def windows(vision: Any, height: int, width: int) -> list[int]:
    """Patches of each window of Qwen2.5-VL's tower over an image of height x width patches."""
    side = vision.window_size // vision.patch_size
    rows, columns = ([min(side, n - i) for i in range(0, n, side)] for n in (height, width))
    return [h * w for h in rows for w in columns]
