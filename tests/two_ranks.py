"""Under torchrun, in one start: ZeRO-2 and ZeRO-3 by transformers rollouts, at last ZeRO-3 by vLLM.

The first two note what their ranks had in memory while the model was loaded.

The first ZeRO-3 is as strict as a large model makes it: every parameter is in pieces, gathered for
each use and let go after it, and ranks differ in how many pieces their log-probs are computed.
Between them a step in the published shape, runs whose second checkpoint one of the ranks cannot
write, one whose engine takes no weights on one of the ranks, a run that was killed before (if
FOLDER/killed is there), a step on rows of a hub (if HF_ENDPOINT names one), and a cold start.

python -m torch.distributed.run --standalone --nproc_per_node 2 -m tests.two_ranks FOLDER
python -m tests.two_ranks FOLDER 4      # the published shape alone, on four ranks
"""

from __future__ import annotations

import contextlib
import dataclasses
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

PUBLISHED: dict[str, Any] = {
    "objective": "summed",
    "reader": "drawn",
    "dtype": "bfloat16",
    "deepspeed": "zero3",
    "beta": 0.01,
    "gradient_checkpointing": True,
    "prompts_per_step": 16,
    "minibatch_prompts": 4,
    "samples_per_prompt": 2,
    "lr": 1e-5,
    "max_steps": 1,
}
"""The shape of the published recipes: four minibatches per step, both passes, a reference."""
MASKED: dict[str, Any] = {
    "masked_pass": "papo",
    "papo_masked_entropy": 0.03,
    "entropy_penalty": 0.03,
    "max_steps": 2,
}
"""PAPO with a gradient through the masked images, too; readings have none."""
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


@dataclasses.dataclass
class Loading:
    """What this rank has had of the models that it loaded: numbers of elements."""

    read: int = 0
    """Times that it has read the weights."""
    total: int = 0
    """Of one model."""
    largest: int = 0
    """Of its largest parameter."""
    whole: int = 0
    """Most at once in whole parameters, while they came; not counted where they are read."""
    kept: int = 0
    """Afterwards, of all models."""

    def watch(self) -> None:
        """Count in the functions that load."""
        from vsr1_bench.train.core import loading
        from vsr1_bench.train.core.engine import TrainingEngine

        read, sent, start = loading._read, loading._sent, TrainingEngine.__init__

        def counting_read(*args: Any, whole: bool) -> Any:
            self.read += whole
            return read(*args, whole=whole)

        def counting_sent(module: Any, ranks: Any) -> Iterator[Any]:
            everything = list(module.parameters())
            self.total = sum(p.numel() for p in everything)
            self.largest = max(p.numel() for p in everything)
            for parameter in sent(module, ranks):
                here = sum(p.data.numel() for p in everything if not p.is_meta)
                self.whole = max(self.whole, here * (not ranks.first))
                yield parameter

        def counting_start(engine: TrainingEngine, *args: Any) -> None:
            start(engine, *args)
            for module in filter(None, (engine.engine, engine.reference)):
                for p in module.parameters():
                    self.kept += p.ds_tensor.numel() if hasattr(p, "ds_tensor") else p.numel()

        loading._read, loading._sent = counting_read, counting_sent  # type: ignore[assignment]
        TrainingEngine.__init__ = counting_start  # type: ignore[assignment,method-assign]

    def write(self, folder: Path) -> None:
        """Write the numbers of a run, and start again."""
        rank = os.environ["RANK"]
        (folder / f"loaded-{rank}.json").write_text(json.dumps(dataclasses.asdict(self)))
        self.read = self.total = self.largest = self.whole = self.kept = 0


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

    from vsr1_bench.train.core.checkpoints import Checkpoints

    real = Checkpoints.save

    def save(self: Checkpoints, engine: Any, progress: Any, keep_last: int, steps: int) -> Path:
        refused = progress.step == 2 and dist.get_rank() == full
        with small_files(1 << 18) if refused else contextlib.nullcontext():
            return real(self, engine, progress, keep_last, steps)

    Checkpoints.save = save  # type: ignore[method-assign]
    changes = TWO | {"deepspeed": stage, "save_every": 1, "objective": "answer_only"}
    try:
        note_end(folder / f"refused-{stage}", **changes)
    finally:
        Checkpoints.save = real  # type: ignore[method-assign]


def deaf(folder: Path) -> None:
    """Train at ZeRO-3 until the engine of rank 1 takes no weights in the middle of a sync."""
    import torch
    import torch.distributed as dist

    from vsr1_bench.generation.transformers_sync import SyncableTransformers

    real, syncs = SyncableTransformers.sync, 0

    def sync(self: SyncableTransformers, weights: Any) -> None:
        nonlocal syncs
        syncs += 1
        if syncs == 2 and dist.get_rank() == 1:
            layers = self.model.model.language_model.layers
            layers[-1].input_layernorm.weight = torch.nn.Parameter(torch.ones(3))
        real(self, weights)

    SyncableTransformers.sync = sync  # type: ignore[method-assign]
    try:
        note_end(folder / "deaf", **TWO, deepspeed="zero3", objective="answer_only")
    finally:
        SyncableTransformers.sync = real  # type: ignore[method-assign]


def note_end(folder: Path, **changes: Any) -> None:
    """Train, and write how this rank ended to FOLDER-RANK.json."""
    import torch.distributed as dist

    from tests.training import small_recipe
    from vsr1_bench.errors import BenchError
    from vsr1_bench.train.grpo import train

    told: dict[str, Any] = {}
    try:
        train(small_recipe(folder, **changes))
    except BenchError as error:
        told = {"error": str(error), "code": error.exit_code}
    except SystemExit as left:
        told = {"error": None, "code": left.code}
    Path(f"{folder}-{dist.get_rank()}.json").write_text(json.dumps(told))


def published(folder: Path, world: int) -> int:
    """Train in the published shape on ranks that are forked, so that they import nothing again."""
    import multiprocessing
    import socket

    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl  # noqa: F401 - loaded lazily

    from tests.training import small_recipe
    from vsr1_bench.train.grpo import train

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def rank(number: int) -> None:
        place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": world, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in place.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", LOCAL_WORLD_SIZE=str(world))
        train(small_recipe(folder, **PUBLISHED))

    ranks = [
        multiprocessing.get_context("fork").Process(target=rank, args=(i,)) for i in range(world)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    return max(abs(process.exitcode or 0) for process in ranks)


if __name__ == "__main__":
    from tests.training import small_recipe, small_sft
    from vsr1_bench.train import sft
    from vsr1_bench.train.core import logprobs
    from vsr1_bench.train.grpo import train

    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        raise SystemExit(published(folder, int(sys.argv[2])))
    strict = folder / "zero3.json"
    strict.write_text(json.dumps({"zero_optimization": STRICT}))
    loading = Loading()
    loading.watch()
    train(small_recipe(folder / "zero2", **TWO, **WAYS["zero2"]))
    loading.write(folder / "zero2")
    logprobs.CHUNK = 24
    train(small_recipe(folder / "zero3", **TWO, **WAYS["zero3"] | {"deepspeed": str(strict)}))
    loading.write(folder / "zero3")
    train(small_recipe(folder / "masked", **TWO | MASKED | {"deepspeed": str(strict)}))
    logprobs.CHUNK = 1024
    train(small_recipe(folder / "published", **PUBLISHED))
    for stage, full in REFUSED.items():
        refuse(folder, stage, full)
    deaf(folder)
    if (folder / "killed").is_dir():
        train(small_recipe(folder / "killed", **TWO, **KILLED))
    if "HF_ENDPOINT" in os.environ:
        changes = {"objective": "answer_only", "task": None, "dataset": HUB_ID, "max_steps": 1}
        train(small_recipe(folder / "hub", **TWO | changes))
    sft.train(small_sft(folder / "sft", **SFT, deepspeed="zero3"))
    # vLLM ends the process group that it shares, so nothing trains in these processes after it.
    train(small_recipe(folder / "vllm", **TWO, **WAYS["vllm"]))
