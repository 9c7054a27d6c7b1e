"""Measure a GRPO step by phase, beside TRL's GRPOTrainer on the same model and batch.

    python scripts/bench_grpo.py [--steps 5] [--prompts 4] [--samples 4] [--tokens 80] [--no-trl]

Four ways, each in a separate process: ours with vLLM rollouts in one pass (`answer_only`) and in
both (`decoupled`), ours with transformers rollouts, and TRL's trainer with its transformers path
(its vLLM path does not run with vLLM on CPU). All train the embedded model in fp32 on the same
prompts with one update per step and no KL term; TRL has no second pass. On a CPU the ways take
turns, step by step, so that other programs slow all of them alike. On a GPU they run one after
another, because each fills it. The first step is a warm-up and not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PHASES = ("generate", "read", "judge", "update", "sync", "proof")
TRL = "TRL, transformers"
BOUNDS = {"ours, vllm, decoupled": 1.0, "ours, vllm, answer_only": 0.7}
"""Way -> largest ratio of its step to TRL's, which has one pass."""
Step = dict[str, float]
"""Seconds of a step (`step`, `cpu` and the phases), and what it did."""


def take_turn() -> None:
    """In a child: wait until the parent lets the next step begin."""
    print("\nREADY", flush=True)
    if not sys.stdin.readline():
        raise SystemExit(0)  # no more steps are wanted


class Way:
    """A child process that makes a step whenever it is its turn."""

    def __init__(self, name: str, settings: Mapping[str, Any], work: Path) -> None:
        self.name, self.steps = name, list[Step]()
        self._errors = work / f"{name}.stderr"
        with self._errors.open("w") as errors:
            self._child = subprocess.Popen(
                [sys.executable, __file__, "--child", json.dumps(dict(settings), default=str)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._await("READY")

    def _await(self, mark: str) -> str | None:
        """The rest of the next line that begins with `mark`; None at the end of the output."""
        assert self._child.stdout
        for line in self._child.stdout:
            if line.startswith(mark):
                return line.removeprefix(mark)
        return None

    def step(self) -> None:
        """Let the child make a step, and wait until it is ready for the next one, or has ended."""
        assert self._child.stdin
        try:
            self._child.stdin.write("\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            return
        if result := self._await("RESULT"):
            self.steps.append(json.loads(result))
            self._await("READY")

    def close(self) -> str | None:
        """End the child; returns its error if it did not make every step."""
        assert self._child.stdin
        with suppress(BrokenPipeError):  # it has ended, and a turn is still in the buffer
            self._child.stdin.close()
        failed = self._child.wait() != 0
        lines = self._errors.read_text().strip().splitlines()
        errors = [line for line in lines if "rror: " in line] or lines
        return (errors or ["no output"])[-1] if failed or len(self.steps) < 2 else None

    def median(self, name: str) -> float:
        """Of the counted steps; 0 where a step has no such number."""
        return statistics.median(step.get(name, 0.0) for step in self.steps[1:])


def our_steps(settings: Mapping[str, Any]) -> None:
    """In a child: make steps of this project's trainer."""
    from vsr1_bench.train.core.metrics import StepMetrics
    from vsr1_bench.train.core.session import train_safely
    from vsr1_bench.train.grpo import Trainer
    from vsr1_bench.train.recipe import load_recipe

    class Timed(Trainer):
        """Takes turns, and reports each step."""

        def step(self, metrics: StepMetrics) -> None:
            take_turn()
            start, used = time.perf_counter(), time.process_time()
            super().step(metrics)
            self.took = {"step": time.perf_counter() - start, "cpu": time.process_time() - used}

        def log(self, metrics: StepMetrics, step: int | None = None) -> dict[str, float]:
            record = super().log(metrics, step)
            phases = {name: record.get(f"seconds/{name}", 0.0) for name in PHASES}
            done = {name: record[name] for name in ("tokens", "flops", "mfu") if name in record}
            print("\nRESULT", json.dumps(self.took | phases | done), flush=True)
            return record

    keys = [f"{key}={value}" for key, value in settings.items()]
    train_safely(lambda stack: Timed(load_recipe("tiny/vision_sr1", keys), stack))


def our_settings(args: argparse.Namespace, backend: str, objective: str) -> dict[str, Any]:
    """The recipe's settings."""
    engine = "batch_size = 64" if backend == "transformers" else "max_model_len = 512"
    if backend == "vllm" and args.gpu_share:
        engine += f", gpu_memory_utilization = {args.gpu_share}"
    return {
        "objective": objective,
        "backend": backend,
        "engine_args": f"{{ {engine} }}",
        "prompts_per_step": args.prompts,
        "minibatch_prompts": args.prompts,
        "samples_per_prompt": args.samples,
        "max_tokens": args.tokens,
        "max_steps": args.steps + 1,
        "save_every": 10**6,
        "model": args.model,
        "dtype": args.dtype,
        "deepspeed": args.deepspeed,
        **({"peak_tflops": args.peak_tflops} if args.peak_tflops else {}),
    }


def trl_steps(steps: int, prompts: int, samples: int, tokens: int) -> None:
    """In a child: make steps of TRL's trainer."""
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

    class Turns(TrainerCallback):  # type: ignore[misc]
        """Takes turns, and reports each step."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            take_turn()
            self.start, self.used = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            now, used = time.perf_counter(), time.process_time()
            self.took = {"step": now - self.start, "cpu": used - self.used}

        def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
            if "completions/mean_length" in logs:
                tokens = logs["completions/mean_length"] * prompts * samples
                print("\nRESULT", json.dumps(self.took | {"tokens": tokens}), flush=True)

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
            callbacks=[Turns()],
        )
        trainer.train()


def run_ways(args: argparse.Namespace, work: Path, *, in_turn: bool) -> dict[str, Way]:
    """Run all ways; those that failed are reported and left out.

    Args:
        args: The command's.
        work: Where they write.
        in_turn: Step by step in turn; otherwise one way after another.
    """
    choices = [("vllm", "answer_only"), ("vllm", "decoupled"), ("transformers", "answer_only")]
    wanted: dict[str, dict[str, Any]] = {
        f"ours, {backend}, {objective}": our_settings(args, backend, objective)
        | {"output_dir": work / f"{backend}-{objective}"}
        for backend, objective in choices
    }
    if not args.no_trl:
        sizes = ("steps", "prompts", "samples", "tokens")
        wanted[TRL] = {"trl": [getattr(args, size) for size in sizes]}
    ways: dict[str, Way] = {}
    for names in [list(wanted)] if in_turn else [[name] for name in wanted]:
        running = [Way(name, wanted[name], work) for name in names]
        for _ in range(args.steps + 1):
            for way in running:
                way.step()
        for way in running:
            if error := way.close():
                print(f"{way.name} did not run here: {error}")
            else:
                ways[way.name] = way
    return ways


def show(ways: Sequence[Way]) -> None:
    """Print the seconds of each way, the share of each phase, and what the update reached."""
    columns = ["step", "CPU", *PHASES, "tokens sampled", "GFLOP of the update", "GFLOP/s"]
    known = any(way.median("mfu") for way in ways)
    columns += ["MFU"] * known
    print(f"| way | {' | '.join(columns)} |")
    print("|" + "---|" * (len(columns) + 1))
    for way in ways:
        step, flops = way.median("step"), way.median("flops")
        cells = [f"{step:.3f}", f"{way.median('cpu'):.3f}"]
        if flops:
            cells += [f"{(s := way.median(phase)):.3f} ({s / step:.0%})" for phase in PHASES]
        else:
            cells += [""] * len(PHASES)
        cells.append(f"{way.median('tokens'):.0f}")
        rate = statistics.median(s["flops"] / s["update"] for s in way.steps[1:]) if flops else 0
        cells += [f"{flops / 1e9:.1f}", f"{rate / 1e9:.1f}"] if flops else ["", ""]
        cells += [f"{way.median('mfu'):.1%}" if flops else ""] * known
        print(f"| {way.name} | {' | '.join(cells)} |")


def show_ratios(ways: Mapping[str, Way]) -> None:
    """Print each way's step as a multiple of TRL's, and the bounds."""
    print("\n| step / TRL's step, one pass | wall | CPU | bound on wall |")
    print("|---|---|---|---|")
    for name, way in ways.items():
        if name == TRL:
            continue
        wall, used = (
            statistics.median(
                ours[clock] / theirs[clock]
                for ours, theirs in zip(way.steps[1:], ways[TRL].steps[1:], strict=False)
            )
            for clock in ("step", "cpu")
        )
        bound = BOUNDS.get(name)
        held = f"{bound}: {'held' if wall <= bound else 'exceeded'}" if bound else "–"
        print(f"| {name} | {wall:.2f} | {used:.2f} | {held} |")


def main() -> int:
    """Run the ways and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--model", default="tiny", help="see scripts/random_qwen.py")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--deepspeed", default="zero0")
    parser.add_argument("--gpu-share", type=float, help="of the memory, that vLLM keeps")
    parser.add_argument(
        "--peak-tflops", type=float, help="of the device, for the MFU; known for some GPUs"
    )
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.child:
        if sizes := args.child.get("trl"):
            trl_steps(*sizes)
        else:
            our_steps(args.child)
        return 0
    import torch

    with tempfile.TemporaryDirectory() as work:
        ways = run_ways(args, Path(work), in_turn=not torch.cuda.is_available())
    print(
        f"median of {args.steps} steps, {args.prompts} prompts x {args.samples} responses of at "
        f"most {args.tokens} tokens; seconds (share of the step)"
    )
    show(list(ways.values()))
    if TRL in ways:
        show_ratios(ways)
    return 0 if len(ways) == 4 - args.no_trl else 1


if __name__ == "__main__":
    raise SystemExit(main())
