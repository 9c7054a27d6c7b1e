"""The ranks of a training: shared decisions, barriers and errors."""

from __future__ import annotations

import atexit
import logging
import os
import random
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from vsr1_bench.errors import EXIT_DONE, BenchError

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long a rank waits for the others: one may be validating, or writing a long response."""


class TrainError(BenchError):
    """Training cannot continue; the last checkpoint is complete."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the processes that train together."""

    rank: int
    world: int

    @property
    def nodes(self) -> int:
        """Number of machines, as torchrun states it."""
        return self.world // int(os.environ.get("LOCAL_WORLD_SIZE", self.world))

    @property
    def first(self) -> bool:
        """Whether this rank reports and writes for all."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order, on every rank."""
        import torch.distributed as dist

        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def on_all_ranks(self, act: Callable[[], T]) -> T:
        """Do something on every rank; if it fails on one, all of them end.

        Returns:
            This rank's result.

        Raises:
            BenchError: on the first rank, which reports for all.
            SystemExit: on the others; with code 0, because a launcher kills all ranks when the
                first one fails, perhaps before rank 0 has reported.
        """
        results: list[T] = []
        failure: BenchError | None = None
        try:
            results.append(act())
        except BenchError as error:
            failure = error
        own = (str(failure), failure.exit_code) if failure else None
        failures = [(rank, *other) for rank, other in enumerate(self.gather(own)) if other]
        if not failures:
            return results[0]
        if not self.first:
            raise SystemExit(EXIT_DONE)
        rank, reason, code = failures[0]
        report = failure or TrainError(f"rank {rank}: {reason}")
        report.exit_code = code
        raise report

    def rank0_first(self, act: Callable[[], T]) -> T:
        """Do something on the first rank, then on the others, which use what it downloaded.

        Raises:
            BenchError, SystemExit: as `on_all_ranks`, if the first rank fails.
        """
        done = self.on_all_ranks(lambda: [act()] if self.first else [])
        return done[0] if done else act()


def join_ranks() -> Ranks:
    """Set up torch.distributed through DeepSpeed: among torchrun's ranks, or alone."""
    with redirect_stdout(sys.stderr):  # its logger keeps the stream that it finds at import
        import deepspeed
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import torch
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if "RANK" not in os.environ and not dist.is_initialized():
        _join_alone(backend)
        if deepspeed.comm.is_initialized():
            # Not the first training of this process: vLLM has destroyed the last group on closing,
            # and DeepSpeed still refers to it, until it destroys a group itself.
            deepspeed.comm.destroy_process_group()
            _join_alone(backend)
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it
    if not cuda:
        # Its shared-memory op would first compile for half a minute; gloo is as good.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    deepspeed.init_distributed(
        dist_backend=backend, timeout=PATIENCE, verbose=False, auto_mpi_discovery=False
    )
    if "RANK" in os.environ and not cuda:
        # With NCCL a rank that fails could wait here for the others.
        atexit.register(_leave)
    return Ranks(dist.get_rank(), dist.get_world_size())


def _leave() -> None:
    """Leave torchrun's group: a rank that ends in it is aborted, now and then, by its threads."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _join_alone(backend: str) -> None:
    """Make a group of one, without a port and without variables that a child would inherit."""
    import torch.distributed as dist

    store = dist.HashStore()  # type: ignore[attr-defined]  # exported, though not by name
    dist.init_process_group(backend, store=store, rank=0, world_size=1)


def seed_all(seed: int) -> None:
    """Seed every generator of this process."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
