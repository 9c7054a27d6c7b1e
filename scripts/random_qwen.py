r"""Write a Qwen2.5-VL with random weights in real sizes, to measure speed and memory offline.

    python scripts/random_qwen.py OUT [--size 3b|7b] [--layers N] [--untied]

Tokenizer, chat template and processor are the embedded model's, so its recipes run on it; its
answers are noise. Then, say:

    vsr1-bench train grpo tiny/vision_sr1 model=OUT dtype=bfloat16 deepspeed=zero2 max_steps=5 \
      engine_args='{ max_model_len = 1024, gpu_memory_utilization = 0.4 }'
    python scripts/bench_grpo.py --model OUT --dtype bfloat16 --deepspeed zero2 --gpu-share 0.4 \
      --no-trl
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

SIZES = {
    "3b": {"hidden": 2048, "layers": 36, "heads": 16, "kv": 2, "intermediate": 11_008, "tied": 1},
    "7b": {"hidden": 3584, "layers": 28, "heads": 28, "kv": 4, "intermediate": 18_944, "tied": 0},
}
VOCABULARY = {"3b": 151_936, "7b": 152_064}


def config_of(name: str, layers: int | None = None, *, untied: bool = False) -> Any:
    """The configuration of a real model's size, with the embedded model's special tokens.

    Args:
        name: One of `SIZES`.
        layers: Of the language model and of the tower; None = the real numbers.
        untied: Give the head its own weights, as 7B has them.
    """
    from transformers import Qwen2_5_VLConfig

    from vsr1_bench.tiny import weights_path

    size = SIZES[name]
    tied = bool(size["tied"]) and not untied
    small = Qwen2_5_VLConfig.from_pretrained(weights_path())
    text = small.text_config.to_dict() | {
        "vocab_size": VOCABULARY[name],
        "hidden_size": size["hidden"],
        "intermediate_size": size["intermediate"],
        "num_hidden_layers": layers or size["layers"],
        "num_attention_heads": size["heads"],
        "num_key_value_heads": size["kv"],
        "max_position_embeddings": 32_768,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [16, 24, 24],
        },
        "tie_word_embeddings": tied,
        "layer_types": None,
    }
    vision = small.vision_config.to_dict() | {
        "depth": layers or 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": size["hidden"],
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    named = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=tied,
        **{token: getattr(small, token) for token in named},
    )


def main() -> int:
    """Build and save the model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=tuple(SIZES), default="3b")
    parser.add_argument("--layers", type=int, help="fewer layers than the real model, to try it")
    parser.add_argument("--untied", action="store_true", help="a head with its own weights")
    args = parser.parse_args()
    import torch
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    from vsr1_bench.tiny import weights_path
    from vsr1_bench.tiny.architecture import save

    disable_progress_bar()
    processor = AutoProcessor.from_pretrained(weights_path())
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    config = config_of(args.size, args.layers, untied=args.untied)
    # On a CPU, drawing billions of weights takes minutes.
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    save(model, processor, args.out)
    print(f"{args.out}: {sum(p.numel() for p in model.parameters()):,} random parameters")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
