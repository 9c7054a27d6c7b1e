"""Responses to prompts with images, and models that score them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLConfig
from transformers import Qwen3VLForConditionalGeneration as Qwen3

from tests.models import demo_requests
from vsr1_bench.records import ImagePlace, Message, Request
from vsr1_bench.tiny import weights_path
from vsr1_bench.train.core.encoding import TrainRow


def rows_on(requests: Sequence[Request], samples: int) -> list[TrainRow]:
    """Responses of different lengths; those to a prompt are not neighbours."""
    return [
        TrainRow(replace(request, key=f"{request.key} {n}", index=n), tuple(range(9, 12 + n)), ())
        for n in range(samples)
        for request in requests
    ]


def two_images() -> Request:
    one, two = demo_requests(2)
    content = (ImagePlace(0), "then", ImagePlace(1), "?")
    return replace(one, messages=(Message("user", content),), images=one.images + two.images)


def qwen2_5() -> Any:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(weights_path(), dtype=torch.float32)


def qwen3() -> Any:
    """A random Qwen3-VL that reads the embedded model's batches."""
    small = qwen2_5().config
    text = small.get_text_config()
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": text.vocab_size,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [6, 5, 5],
            },
        },
        vision_config={
            "depth": 3,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "patch_size": 14,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=small.image_token_id,
        video_token_id=small.video_token_id,
        vision_start_token_id=small.vision_start_token_id,
        vision_end_token_id=small.vision_end_token_id,
    )
    torch.manual_seed(0)
    return Qwen3(config)
