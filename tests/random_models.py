"""Random models of the families that training supports, of two layers: they load in a moment.

Their tokenizer is the embedded model's with the marks of the family, and their answers are noise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

from vsr1_bench.tiny import weights_path
from vsr1_bench.tiny.architecture import CHAT_TEMPLATE, MAX_PIXELS, MIN_PIXELS, save

QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
THINKING = ("<think>", "</think>")
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32}
TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, **HEADS}
TOWER = {"hidden_size": 32, "intermediate_size": 64}
NORMALISED = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def tokenizer(image: str = QWEN_IMAGE, **named: str) -> Any:
    """The embedded tokenizer with further special tokens, and Qwen3's tags of thinking.

    Args:
        image: How the chat template writes an image.
        named: Special tokens by attribute, e.g. `boi_token="<start_of_image>"`.
    """
    template = CHAT_TEMPLATE.replace(QWEN_IMAGE, image)
    found = AutoTokenizer.from_pretrained(
        weights_path(), extra_special_tokens=named, chat_template=template
    )
    found.add_tokens(list(THINKING))  # whole tokens, but not special ones
    return found


def qwen2_vl() -> tuple[Any, Any]:
    """The embedded model's predecessor: its tower has no windows."""
    from transformers import AutoProcessor, Qwen2VLConfig, Qwen2VLProcessor

    own, words = AutoProcessor.from_pretrained(weights_path()), tokenizer()
    processor = Qwen2VLProcessor(
        own.image_processor, words, own.video_processor, words.chat_template
    )
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
    config = Qwen2VLConfig(
        text_config={"vocab_size": len(words), "rope_parameters": rope, **TEXT},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2},
        **media(words),
    )
    return config, processor


def media(words: Any) -> dict[str, int]:
    """The ids of Qwen's tokens for images and videos."""
    tokens = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: words.convert_tokens_to_ids(token) for name, token in tokens.items()}


def qwen3_vl() -> tuple[Any, Any]:
    """Patches of 16 pixels, features of an inner layer, mRoPE whose parts alternate."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    words = tokenizer()
    pixels: dict[str, Any] = {
        "size": {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        "patch_size": 16,
        **NORMALISED,
    }
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(**pixels), words, Qwen3VLVideoProcessor(**pixels), words.chat_template
    )
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(words),
            "rope_parameters": {**rope, "mrope_section": [6, 5, 5]},
            "tie_word_embeddings": True,
            **TEXT,
        },
        vision_config={
            "depth": 2,
            "num_heads": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
            **TOWER,
        },
        tie_word_embeddings=True,
        **media(words),
    )
    return config, processor


def internvl() -> tuple[Any, Any]:
    """Tiles of 56 pixels, of four tokens each, between `<img>` and `</img>`."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    words = tokenizer(
        "<IMG_CONTEXT>\n",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    size = {"size": {"height": 56, "width": 56}, **NORMALISED}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(crop_to_patches=True, min_patches=1, max_patches=4, **size),
        words,
        InternVLVideoProcessor(**size),
        image_seq_length=4,
        chat_template=words.chat_template,
    )
    config = InternVLConfig(
        text_config={"model_type": "qwen3", "vocab_size": len(words), **TEXT},
        vision_config={
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            **TOWER,
        },
        image_token_id=processor.image_token_id,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return config, processor


def gemma3() -> tuple[Any, Any]:
    """Images of one size, which attend to themselves in both directions; sliding windows."""
    from transformers import Gemma3Config, Gemma3ImageProcessor, Gemma3Processor

    words = tokenizer(
        "<start_of_image>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )
    words.add_tokens(["\n" * n for n in range(1, 5)])  # vLLM looks Gemma's own tokens up
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 56, "width": 56}, **NORMALISED),
        words,
        chat_template=words.chat_template,
        image_seq_length=4,
    )
    config = Gemma3Config(
        text_config={
            "vocab_size": len(words),
            "sliding_window": 64,
            "sliding_window_pattern": 2,
            "query_pre_attn_scalar": 32,
            **TEXT,
        },
        vision_config={
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            **TOWER,
        },
        mm_tokens_per_image=4,
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
    )
    return config, processor


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "qwen2_vl": qwen2_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "gemma3": gemma3,
}


def write(family: str, folder: Path) -> Path:
    """Write a random model of a family as a Hugging Face folder."""
    config, processor = FAMILIES[family]()
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # the usual 0.02 is for widths of thousands
                parameter.normal_(0.0, parameter[0].numel() ** -0.5)
    words = processor.tokenizer
    ends = ("<|im_end|>", "<|endoftext|>")
    model.generation_config.eos_token_id = [words.convert_tokens_to_ids(end) for end in ends]
    model.generation_config.pad_token_id = words.pad_token_id
    save(model, processor, folder)
    return folder
