r"""Two layers of a real model's width through vLLM and the trainer: one GRPO step, checked.

    python scripts/real_width.py [--untied] [--lora RANK] [--padded] [--pixels 4194304]

The model is a Qwen2.5-VL of 3B with random weights and two layers: real widths, the real
vocabulary, a tied or an untied head. Its prompt is an image of so many pixels and a question.
Random answers earn nothing, so their advantages are given: +1 and -1. The script prints one row of
a Markdown table, and fails where a run would: if trainer and engine disagree, before or after the
step.

On a CPU it takes minutes, and about 19 GB of memory without LoRA.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

RANDOM = Path(__file__).with_name("random_qwen.py")
TOKENS = 16
"""Tokens of each of the two answers."""


def write_row(folder: Path, pixels: int) -> Path:
    """Write a data set of one question on a square image."""
    from PIL import Image

    side = int(pixels**0.5)
    gradient = Image.linear_gradient("L").resize((side, side))
    Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).save(
        folder / "image.png"
    )
    row = {"problem": "<image>How many dots?", "answer": "2", "images": ["image.png"]}
    file = folder / "train.jsonl"
    file.write_text(json.dumps(row) + "\n")
    return file


def allow(model: Path, pixels: int) -> None:
    """Raise the bound of the processor, which is the embedded model's."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (file := model / name).is_file():
            told = json.loads(file.read_text())
            for part in (told, told.get("image_processor", {})):
                if "size" in part:
                    part["size"]["longest_edge"] = pixels
                    part.pop("max_pixels", None)
            file.write_text(json.dumps(told))


def settings(args: argparse.Namespace, folder: Path) -> list[str]:
    """The recipe's keys."""
    longest = args.pixels // 784 + 512
    engine = f"max_model_len = {longest}" if args.backend == "vllm" else "batch_size = 2"
    recipe: dict[str, Any] = {
        "model": folder / "model",
        "dataset": write_row(folder, args.pixels),
        "judge": "string_match",
        "objective": "answer_only",
        "backend": args.backend,
        "engine_args": f"{{ {engine} }}",
        "dtype": "bfloat16",
        "deepspeed": "zero2",
        "gradient_checkpointing": "true",
        "max_pixels": args.pixels,
        "max_prompt_tokens": longest - TOKENS,
        "max_tokens": TOKENS,
        "prompts_per_step": 1,
        "minibatch_prompts": 1,
        "samples_per_prompt": 2,
        "lr": 1e-3,
        "beta": 0,
        "output_dir": folder / "run",
    }
    if args.padded:
        recipe["packing"] = "false"
    if args.lora:
        recipe |= {"lora_rank": args.lora, "freeze": "[]"}
    return [f"{key}={value}" for key, value in recipe.items()]


def step(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Sync, roll out, update, sync and check; the metrics of the step."""
    from vsr1_bench.train import grpo
    from vsr1_bench.train.core.metrics import StepMetrics
    from vsr1_bench.train.recipe import load_recipe
    from vsr1_bench.train.rl import objectives

    def given(group: Any, *rest: Any) -> Any:
        return [1.0, -1.0], None

    grpo.advantages_of = objectives.advantages_of = given
    recipe = load_recipe("tiny/vision_sr1", ["task=none", *settings(args, folder)])
    with ExitStack() as stack:
        trainer = grpo.Trainer(recipe, stack)
        trainer.start()
        metrics = StepMetrics()
        start = time.monotonic()
        trainer.step(metrics)
        metrics.seconds("step", time.monotonic() - start)
        return trainer.log(metrics)


def main() -> int:
    """Build the model, make the step, print a row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--untied", action="store_true", help="a head with its own weights")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="train adapters")
    parser.add_argument("--pixels", type=int, default=4_194_304)
    parser.add_argument(
        "--padded", action="store_true", help="a padded row for each of the two answers"
    )
    parser.add_argument("--backend", choices=("vllm", "transformers"), default="vllm")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [sys.executable, str(RANDOM), str(folder / "model"), "--layers", "2"]
        build += ["--untied"] if args.untied else []
        said = subprocess.run(build, check=True, capture_output=True, text=True).stdout
        allow(folder / "model", args.pixels)
        told = step(args, folder)
    if told["tokens_trained"] / 2 < 0.9 * args.pixels / 784:
        raise SystemExit(
            f"the image was scaled down: {told['tokens_trained'] / 2:.0f} tokens per row"
        )
    head = "untied" if args.untied else "tied"
    shown = {
        "head": head,
        "parameters": said.rpartition(": ")[2].split()[0],
        "trained": f"LoRA, rank {args.lora}" if args.lora else "full",
        "tokens": f"{told['tokens_trained'] / 2:,.0f}",
        "rollouts: mean": f"{told['mismatch/mean']:.4f}",
        "max": f"{told['mismatch/max']:.4f}",
        "proof: mean": f"{told['proof/mismatch_mean']:.4f}",
        "moved": f"{told['proof/distance']:.3f}",
        "generate": f"{told['seconds/generate']:.0f} s",
        "update": f"{told['seconds/update']:.0f} s",
        "host": f"{told['memory/host_gb']:.1f} GB",
    }
    for line in (shown, ["---"] * len(shown), shown.values()):
        print(f"| {' | '.join(line)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
