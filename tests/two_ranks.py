"""Under torchrun, in one start: ZeRO-2 and ZeRO-3 by transformers rollouts, at last ZeRO-3 by vLLM.

The first ZeRO-3 is as strict as a large model makes it: every parameter is in pieces, gathered for
each use and let go after it, and ranks differ in how many pieces their log-probs are computed.
Between them runs whose second checkpoint one of the ranks cannot write, a run that was killed
before (if FOLDER/killed is there), a step on rows of a hub (if HF_ENDPOINT names one), and a
cold start.

python -m torch.distributed.run --standalone --nproc_per_node 2 -m tests.two_ranks FOLDER
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.training import EAGER

TWO: dict[str, Any] = {
    "prompts_per_step": 2,
    "minibatch_prompts": 2,
    "max_steps": 3,
    "beta": 0.01,
}
WAYS: dict[str, dict[str, Any]] = {
    "zero2": {"deepspeed": "zero2"},
    "zero3": {"gradient_checkpointing": True},
    "vllm": {"deepspeed": "zero3", "backend": "vllm", "engine_args": EAGER},
}

SFT: dict[str, Any] = {"dataset": ("tiny/glances",), "schedule_steps": 3}
KILLED: dict[str, Any] = {"deepspeed": "zero2", "save_every": 1}
HUB_ID = "example/rows"
REFUSED = {"zero2": 0, "zero3": 1}
"""ZeRO stage and the rank whose disk is full."""

STRICT = {
    "stage": 3,
    "stage3_param_persistence_threshold": 0,
    "stage3_max_live_parameters": 0,
    "stage3_max_reuse_distance": 0,
}


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond a limit: to a writer that is a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refuse(folder: Path, stage: str, full: int) -> None:
    """Train two steps, and let the disk of rank `full` be full when the second one is saved."""
    import torch.distributed as dist

    from tests.training import small_recipe
    from vsr1_bench.errors import BenchError
    from vsr1_bench.train.core.checkpoints import Checkpoints
    from vsr1_bench.train.grpo import train

    real = Checkpoints.save

    def save(self: Checkpoints, engine: Any, progress: Any, keep_last: int, steps: int) -> Path:
        refused = progress.step == 2 and dist.get_rank() == full
        with small_files(1 << 18) if refused else contextlib.nullcontext():
            return real(self, engine, progress, keep_last, steps)

    Checkpoints.save = save  # type: ignore[method-assign]
    told: dict[str, Any] = {}
    changes = TWO | {"deepspeed": stage, "save_every": 1, "objective": "answer_only"}
    try:
        train(small_recipe(folder / f"refused-{stage}", **changes))
    except BenchError as error:
        told = {"error": str(error), "code": error.exit_code}
    except SystemExit as left:
        told = {"error": None, "code": left.code}
    finally:
        Checkpoints.save = real  # type: ignore[method-assign]
    (folder / f"refused-{stage}-{dist.get_rank()}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    from tests.training import small_recipe, small_sft
    from vsr1_bench.train import sft
    from vsr1_bench.train.core import logprobs
    from vsr1_bench.train.grpo import train

    folder = Path(sys.argv[1])
    strict = folder / "zero3.json"
    strict.write_text(json.dumps({"zero_optimization": STRICT}))
    train(small_recipe(folder / "zero2", **TWO, **WAYS["zero2"]))
    logprobs.CHUNK = 24
    train(small_recipe(folder / "zero3", **TWO, **WAYS["zero3"] | {"deepspeed": str(strict)}))
    logprobs.CHUNK = 1024
    for stage, full in REFUSED.items():
        refuse(folder, stage, full)
    if (folder / "killed").is_dir():
        train(small_recipe(folder / "killed", **TWO, **KILLED))
    if "HF_ENDPOINT" in os.environ:
        changes = {"objective": "answer_only", "task": None, "dataset": HUB_ID, "max_steps": 1}
        train(small_recipe(folder / "hub", **TWO | changes))
    sft.train(small_sft(folder / "sft", **SFT, deepspeed="zero3"))
    # vLLM ends the process group that it shares, so nothing trains in these processes after it.
    train(small_recipe(folder / "vllm", **TWO, **WAYS["vllm"]))
