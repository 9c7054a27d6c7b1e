"""What `gpu_acceptance.py` runs in a process of its own: an evaluation, or two steps of GRPO.

    python scripts/gpu_checks.py '{"run": "evaluate", …}'

The last line of the output is `RESULT` and JSON.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vsr1_bench.errors import BenchError

GB = 1e9
UPDATE = ("old_logprobs", "reference", "update")
"""The trainer's phases while the engine sleeps."""


def card() -> tuple[int, float]:
    """Gigabytes as `train plan` counts this card, and the bytes that it has beside them.

    A card of 80 GB has 80 GiB and counts as 80e9 bytes. The rest is for the CUDA context and for
    fragments.
    """
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    gigabytes = round(total / 2**30)
    return gigabytes, total - gigabytes * GB


def evaluate(told: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate the model on demo scenes by a backend; returns counts."""
    from vsr1_bench.pipeline.plan import RunOptions
    from vsr1_bench.pipeline.run import generate

    options = RunOptions(
        model=told["model"],
        tasks="demo",
        output_path=Path(told["work"]) / "runs",
        backend=told["backend"],
        model_args=told["model_args"],
        gen_kwargs=told["gen_kwargs"],
        limit=told["samples"],
        progress=False,
    )
    start = time.perf_counter()
    (run,) = generate(options)
    seconds = time.perf_counter() - start
    stored = list(run.folder.generations().values())
    errors = [record.error for record in stored if record.error]
    tokens = sum(record.usage.completion_tokens or 0 for record in stored)
    return {"stored": len(stored), "errors": errors, "tokens": tokens, "seconds": seconds}


def fitted(settings: Sequence[str], backend: str) -> tuple[list[str], dict[str, float]]:
    """The settings with which a recipe fits on this card, and the bytes of each moment."""
    from vsr1_bench.train.core.memory import Cards, budget_of, fitting
    from vsr1_bench.train.core.shapes import shape_of
    from vsr1_bench.train.recipe import load_recipe

    engine = "{ max_model_len = 2048, gpu_memory_utilization = 0.35, enforce_eager = true }"
    planned = [*settings, f"engine_args={engine}"]
    recipe = load_recipe("tiny/vision_sr1", planned)
    shape = shape_of(recipe.model)
    assert shape is not None
    cards = Cards(1, card()[0])
    changes = fitting(recipe, shape, cards)
    if changes is None:
        raise SystemExit(f"error: train plan: it does not fit on {cards}")
    planned += shlex.split(" ".join(changes))
    moments = budget_of(load_recipe("tiny/vision_sr1", planned), shape, cards).moments
    if backend != "vllm":
        planned = [setting for setting in planned if not setting.startswith("engine_args=")]
        planned.append("engine_args={ batch_size = 64 }")
    return planned, moments


class Watch:
    """Notes when each moment of a training was, and what each sleep of its engine freed."""

    def __init__(self) -> None:
        self.moments: list[tuple[str, float, float]] = []
        """Name, start and end by this machine's clock."""
        self.freed: list[float] = []
        """Bytes of each sleep."""
        self._start = time.time()

    def loaded(self) -> None:
        """The moment of loading is over."""
        self.moments.append(("loading", self._start, time.time()))

    @contextmanager
    def phases(self) -> Iterator[None]:
        """Note the trainer's phases, and the rollouts before an update."""
        from vsr1_bench.train.core.metrics import StepMetrics

        phase = StepMetrics.phase

        @contextmanager
        def noted(metrics: StepMetrics, name: str) -> Iterator[None]:
            began = time.time()
            if name in UPDATE and self.moments[-1][0] not in UPDATE:
                self.moments.append(("generate", self.moments[-1][2], began))
            with phase(metrics, name):
                yield
            self.moments.append((name, began, time.time()))

        StepMetrics.phase = noted  # type: ignore[method-assign]
        try:
            yield
        finally:
            StepMetrics.phase = phase  # type: ignore[method-assign]

    def measured(self, sleep: Callable[[], None]) -> Callable[[], None]:
        """The same function, whose freed memory is noted."""
        import torch

        def sleeping() -> None:
            before = torch.cuda.mem_get_info()[0]
            sleep()
            self.freed.append(torch.cuda.mem_get_info()[0] - before)

        return sleeping


def train(told: Mapping[str, Any]) -> dict[str, Any]:
    """Make two steps of GRPO; returns metrics, moments, and what each sleep freed."""
    import torch

    from vsr1_bench.train.core.encoding import TrainRow
    from vsr1_bench.train.core.metrics import StepMetrics
    from vsr1_bench.train.core.session import train_safely
    from vsr1_bench.train.grpo import Group, Trainer
    from vsr1_bench.train.recipe import load_recipe

    watch, cuda, backend = Watch(), torch.cuda.is_available(), told["backend"]

    class Watched(Trainer):
        """Rewards every second response, and writes no checkpoint."""

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.checkpoints.save = lambda *_: None  # 12 bytes a parameter take minutes
            if cuda and backend == "vllm":
                self.generator.sleep = watch.measured(self.generator.sleep)
            watch.loaded()

        def _minibatches(self, groups: list[Group], metrics: StepMetrics) -> list[list[TrainRow]]:
            for group in groups:
                for place, rollout in enumerate(group):
                    rollout.components["accuracy"] = float(place % 2)
            return super()._minibatches(groups, metrics)

    if cuda:
        settings, planned = fitted(told["settings"], backend)
    else:
        engine = "max_model_len = 512" if backend == "vllm" else "batch_size = 64"
        settings, planned = [*told["settings"], f"engine_args={{ {engine} }}"], {}
    folder = Path(told["work"]) / told["name"]
    recipe = load_recipe(
        "tiny/vision_sr1", [*settings, f"backend={backend}", f"output_dir={folder}"]
    )
    with watch.phases():
        train_safely(lambda stack: Watched(recipe, stack))
    share = recipe.engine_args.get("gpu_memory_utilization", 0.0) if watch.freed else 0.0
    return {
        "settings": settings,
        "steps": [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()],
        "moments": watch.moments,
        "freed": watch.freed,
        "engine": share and share * torch.cuda.mem_get_info()[1],
        "planned": planned,
    }


CHECKS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "evaluate": evaluate,
    "train": train,
}


def main(told: Mapping[str, Any]) -> int:
    """Run a check and print its result."""
    try:
        result = CHECKS[told["run"]](told)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\nRESULT", json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
