"""The ranks of a training: shared decisions, barriers and errors."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from vsr1_bench.errors import EXIT_DONE, EXIT_INTERRUPTED, BenchError

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long a rank waits for others: a validation or a long answer may be between them."""


class TrainError(BenchError):
    """Training cannot continue; the last checkpoint is whole."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Who we are among the processes that train together."""

    rank: int
    world: int

    @property
    def first(self) -> bool:
        """Whether this rank speaks and writes for all."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order, on every rank."""
        import torch.distributed as dist

        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def together(self, act: Callable[[], object]) -> None:
        """Do something on every rank; if it fails on one, all of them end.

        Raises:
            BenchError: on the first rank, which speaks for all.
            SystemExit: on the others; with code 0, because a launcher kills all at the first one
                that fails, and might do so before the first rank has spoken.
        """
        failure: BenchError | None = None
        try:
            act()
        except BenchError as error:
            failure = error
        told = (str(failure), failure.exit_code) if failure else None
        failures = [(rank, *said) for rank, said in enumerate(self.gather(told)) if said]
        if not failures:
            return
        if not self.first:
            raise SystemExit(EXIT_DONE)
        rank, reason, code = failures[0]
        said = failure or TrainError(f"rank {rank}: {reason}")
        said.exit_code = code
        raise said

    def in_turn(self, act: Callable[[], T]) -> T:
        """Do something on the first rank, then on the others: they find what it has downloaded.

        Raises:
            BenchError, SystemExit: as `together`, if the first rank fails.
        """
        found: list[T] = []

        def alone() -> None:
            if self.first:
                found.append(act())

        self.together(alone)
        return found[0] if found else act()


def said_already(error: BaseException) -> bool:
    """Return True if another rank has already reported this error.

    Also True if this is only the interruption that followed another rank's error.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    import torch.distributed as dist

    noted = f"vsr1-bench/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}/"
    try:
        where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(  # type: ignore[attr-defined]  # exported, though not by name
            *where, timeout=timedelta(seconds=10)
        )
        alike, others = store.add(f"{noted}{error!r}", 1), store.add(noted, 1)
    except RuntimeError:  # the launcher is gone
        return False
    code = error.exit_code if isinstance(error, BenchError) else None
    interrupted = isinstance(error, KeyboardInterrupt) or code == EXIT_INTERRUPTED
    return alike > 1 or (interrupted and others > 1)


def join_ranks() -> Ranks:
    """Set up torch.distributed through DeepSpeed: among torchrun's ranks, or alone."""
    import deepspeed
    import torch
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if "RANK" not in os.environ and not dist.is_initialized():
        _join_alone(backend)
        if deepspeed.comm.is_initialized():
            # Not the first time: vLLM, closing in this process, has ended the last group, and
            # DeepSpeed still points at parts of it. It forgets them where it ends one itself.
            deepspeed.comm.destroy_process_group()
            _join_alone(backend)
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it
    if not cuda:
        # Its shared-memory op would be compiled first, for half a minute; gloo does as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    deepspeed.init_distributed(
        dist_backend=backend, timeout=PATIENCE, verbose=False, auto_mpi_discovery=False
    )
    return Ranks(dist.get_rank(), dist.get_world_size())


def _join_alone(backend: str) -> None:
    """A group of one, without a port or a variable that a child would take for its own."""
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
