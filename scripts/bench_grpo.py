"""Measure a GRPO step by phase, beside TRL's GRPOTrainer on the same model and batch.

    python scripts/bench_grpo.py [--steps 5] [--prompts 4] [--samples 4] [--tokens 80] [--no-trl]

Three ways, each in a separate process: ours with vLLM rollouts, ours with transformers rollouts,
and TRL's trainer with its transformers path (its vLLM path does not run with vLLM on CPU). All
train the embedded model in fp32 on the same prompts: one pass (`answer_only`), because TRL has no
second one, one update per step, no KL term. The first step is a warm-up and not counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PHASES = ("generate", "read", "judge", "update", "sync", "proof")


def ours(args: argparse.Namespace, backend: str, objective: str, folder: Path) -> dict[str, float]:
    """Median seconds of a step of this project's trainer, whole and by phase."""
    engine = "batch_size = 64" if backend == "transformers" else "max_model_len = 512"
    if backend == "vllm" and args.gpu_share:
        engine += f", gpu_memory_utilization = {args.gpu_share}"
    recipe = {
        "objective": objective,
        "backend": backend,
        "engine_args": f"{{ {engine} }}",
        "prompts_per_step": args.prompts,
        "minibatch_prompts": args.prompts,
        "samples_per_prompt": args.samples,
        "max_tokens": args.tokens,
        "max_steps": args.steps + 1,
        "save_every": 10**6,
        "output_dir": folder,
        "model": args.model,
        "dtype": args.dtype,
        "deepspeed": args.deepspeed,
    }
    settings = [f"{key}={value}" for key, value in recipe.items()]
    done = subprocess.run(
        [sys.executable, "-m", "vsr1_bench", "train", "grpo", "tiny/vision_sr1", *settings],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{backend}, {objective}: {done.stderr.strip().splitlines()[-1]}")
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][1:]
    names = ["step", *PHASES]
    return {
        name: statistics.median(step.get(f"seconds/{name}", 0.0) for step in steps)
        for name in names
    } | {
        name: statistics.mean(step[name] for step in steps) for name in ("tokens", "tokens_trained")
    }


def trl_steps(steps: int, prompts: int, samples: int, tokens: int) -> None:
    """Print TRL's seconds per step as JSON; runs in a separate process."""
    import io

    from datasets import Dataset
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from vsr1_bench.generation.models import find_model
    from vsr1_bench.prompts.formats import SEE_THINK
    from vsr1_bench.tiny import weights_path
    from vsr1_bench.tiny.scenes import make_row
    from vsr1_bench.train.core.engine import banned_tokens

    rows = [make_row("train", number) for number in range(prompts * (steps + 1))]
    prompted = [[{"role": "user", "content": f"{row['question']} {SEE_THINK}"}] for row in rows]
    pictures = [Image.open(io.BytesIO(row["image"])).convert("RGB") for row in rows]
    gold = [row["answer"] for row in rows]
    data = Dataset.from_dict({"prompt": prompted, "answer": gold, "image": pictures})

    def reward(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
        return [
            float(f"\\boxed{{{gold}}}" in completion[0]["content"])
            for completion, gold in zip(completions, answer, strict=True)
        ]

    marks: list[float] = []
    drawn: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Notes when steps end, and how long completions were."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.monotonic())

        def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
            if "completions/mean_length" in logs:
                drawn.append(logs["completions/mean_length"] * prompts * samples)

    processor = AutoProcessor.from_pretrained(weights_path(), padding_side="left")
    banned = banned_tokens(find_model("tiny", backend="transformers"))
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=prompts * samples,
            num_generations=samples,
            max_completion_length=tokens,
            max_steps=steps + 1,
            learning_rate=7e-5,
            lr_scheduler_type="constant",
            beta=0.0,
            temperature=1.0,
            loss_type="dapo",
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            # A sampled image placeholder crashes its forward pass; ours bans them, too.
            generation_kwargs={"suppress_tokens": list(banned)},
        )
        model = AutoModelForImageTextToText.from_pretrained(weights_path())
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=config,
            train_dataset=data,
            processing_class=processor,
            callbacks=[Clock()],
        )
        trainer.train()
    gaps = [b - a for a, b in itertools.pairwise(marks)]
    result = {"step": statistics.median(gaps), "tokens": statistics.mean(drawn[1:])}
    print("RESULT " + json.dumps(result))


def trl(args: argparse.Namespace) -> dict[str, float] | str:
    """Median seconds of a step of TRL's trainer, or why it did not run."""
    sizes = (args.steps, args.prompts, args.samples, args.tokens)
    done = subprocess.run(
        [sys.executable, __file__, "--trl-child", *map(str, sizes)],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            result: dict[str, float] = json.loads(line.removeprefix("RESULT "))
            return result
    errors = [line for line in done.stderr.splitlines() if "Error: " in line]
    return (errors or ["no output"])[-1]


def main() -> int:
    """Run the ways one after another and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--model", default="tiny", help="see scripts/random_qwen.py")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--deepspeed", default="zero0")
    parser.add_argument("--gpu-share", type=float, help="of the memory, that vLLM keeps")
    parser.add_argument("--peak-tflops", type=float, help="of the device: prints the update's MFU")
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--trl-child", type=int, nargs=4)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.trl_child:
        trl_steps(*args.trl_child)
        return 0
    with tempfile.TemporaryDirectory() as work:
        ways = {
            f"ours, {backend}, {objective}": ours(args, backend, objective, Path(work) / str(i))
            for i, (backend, objective) in enumerate(
                [("vllm", "answer_only"), ("vllm", "decoupled"), ("transformers", "answer_only")]
            )
        }
    print(
        f"median of {args.steps} steps, {args.prompts} prompts x {args.samples} responses of at "
        f"most {args.tokens} tokens; seconds"
    )
    print("| way | step | " + " | ".join(PHASES) + " | tokens sampled per step |")
    print("|" + "---|" * (len(PHASES) + 3))
    for name, seconds in ways.items():
        cells = [f"{seconds[phase]:.3f}" for phase in ("step", *PHASES)]
        print(f"| {name} | " + " | ".join(cells) + f" | {seconds['tokens']:.0f} |")
    if args.peak_tflops:
        # Forward and backward, 6 operations a parameter and token (arXiv:2001.08361, section 2.1).
        from vsr1_bench.train.plan import parameters

        count = parameters(args.model) or 0
        for name, seconds in ways.items():
            done = 6 * count * seconds["tokens_trained"] / seconds["update"] / 1e12
            print(f"{name}: update at {done:.2f} TFLOP/s, MFU {done / args.peak_tflops:.1%}")
    if not args.no_trl:
        peer = trl(args)
        if isinstance(peer, str):
            print(f"TRL did not run here: {peer}")
        else:
            print(
                f"| TRL, transformers | {peer['step']:.3f} |"
                + " |" * len(PHASES)
                + f" {peer['tokens']:.0f} |"
            )
            for name, seconds in ways.items():
                print(f"TRL / {name}: {peer['step'] / seconds['step']:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
