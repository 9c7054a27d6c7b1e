"""Per-step metrics: means over all ranks, phase timings, memory.

Each rank adds up sums and counts. They are combined once per step, so that a mean covers all tokens
and responses and is not a mean of the ranks' means.
"""

from __future__ import annotations

import json
import resource
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vsr1_bench.errors import UsageError
from vsr1_bench.store.journal import Journal, read_journal, write_atomic

from .ranks import Ranks
from .settings import Training


class StepMetrics:
    """The numbers of one step on one rank."""

    def __init__(self) -> None:
        self._means: dict[str, tuple[float, float]] = {}
        self._peaks: dict[str, float] = {}
        self._sums: dict[str, float] = {}

    def mean(self, name: str, values: Iterable[float | None]) -> None:
        """Add values to a mean; None is left out."""
        known = [value for value in values if value is not None]
        self.add(name, sum(known), len(known))

    def add(self, name: str, total: float, count: float) -> None:
        """Add a sum over `count` things to a mean."""
        old = self._means.get(name, (0.0, 0.0))
        self._means[name] = (old[0] + total, old[1] + count)

    def peak(self, name: str, value: float) -> None:
        """Keep the largest."""
        self._peaks[name] = max(value, self._peaks.get(name, value))

    def count(self, name: str, value: float) -> None:
        """Add up, over ranks, too."""
        self._sums[name] = self._sums.get(name, 0.0) + value

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase, and note its peak of GPU memory; the slowest and largest rank counts."""
        import torch

        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        start = time.monotonic()
        yield
        self.seconds(name, time.monotonic() - start)
        if cuda:
            self.peak(f"memory/gpu_{name}_gb", torch.cuda.max_memory_allocated() / 2**30)

    def seconds(self, name: str, value: float) -> None:
        """Add to a phase's seconds."""
        self._peaks[f"seconds/{name}"] = self._peaks.get(f"seconds/{name}", 0.0) + value

    def together(self, ranks: Ranks) -> dict[str, float]:
        """Join the ranks' numbers; every rank gets them."""
        self.peak("memory/host_gb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        joined = StepMetrics()
        for other in ranks.gather((self._means, self._peaks, self._sums)):
            for name, (total, count) in other[0].items():
                joined.add(name, total, count)
            for name, value in other[1].items():
                joined.peak(name, value)
            for name, value in other[2].items():
                joined.count(name, value)
        means = {name: total / count for name, (total, count) in joined._means.items() if count}
        return dict(sorted((means | joined._peaks | joined._sums).items()))


def forget_after(path: Path, step: int) -> None:
    """Drop a journal's records of steps after `step`: a resumed run makes them again."""
    if any(record["step"] > step for record in read_journal(path)):
        kept = (record for record in read_journal(path) if record["step"] <= step)
        write_atomic(path, (json.dumps(record, separators=(",", ":")) + "\n" for record in kept))


def check_loggers(names: Iterable[str]) -> None:
    """Refuse loggers that are not here.

    Raises:
        UsageError: names the first one, and the way out.
    """
    for name in names:
        found = find_spec(name)
        if found is None or found.origin is None:  # without: some folder `wandb`, of its own runs
            raise UsageError(
                f"loggers: {name} is not installed; pip install {name}, or leave it out (metrics "
                "are in metrics.jsonl and curves.html anyway)"
            )


def open_loggers(
    recipe: Training, folder: Path, ranks: Ranks, step: int, stack: ExitStack
) -> list[Callable[[dict[str, float]], object]]:
    """Write the resolved recipe and open metrics.jsonl, and what the recipe's `loggers` name.

    Returns:
        What takes each step's record, where what was logged of steps after `step` is made again;
        nothing on ranks that do not speak.

    Raises:
        StoreError: the folder cannot be written.
        UsageError: a named logger is not installed.
    """
    if not ranks.first:
        return []
    check_loggers(recipe.loggers)
    # A run that starts anew validates the first weights once more, as step 0.
    forget_after(folder / "metrics.jsonl", step or -1)
    told = recipe.model_dump(mode="json")
    write_atomic(folder / "recipe.json", json.dumps(told, indent=1) + "\n")
    loggers: list[Callable[[dict[str, float]], object]] = []
    loggers.append(stack.enter_context(Journal(folder / "metrics.jsonl")).append)
    if "tensorboard" in recipe.loggers:
        from torch.utils.tensorboard import SummaryWriter

        purge = step + 1 if step else 0
        board: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
        stack.callback(board.close)

        def draw(record: dict[str, float]) -> None:
            for name in record.keys() - {"step"}:
                board.add_scalar(name, record[name], int(record["step"]))
            board.flush()  # a step before a checkpoint is never made again

        loggers.append(draw)
    if "wandb" in recipe.loggers:
        import wandb

        name = folder / "wandb-run"
        if not (step and name.is_file()):
            write_atomic(name, secrets.token_hex(4))
        # A run that resumes goes on with its curves; wandb drops the steps that it has already.
        given: Any = {"id": name.read_text(), "resume": "allow", "config": told}
        run: Any = wandb.init(project="vsr1-bench", dir=str(folder), **given)
        stack.callback(run.finish)
        loggers.append(lambda r: run.log(r, step=int(r["step"])))
    return loggers
