"""Per-step metrics: means over all ranks, phase timings, memory.

Each rank collects sums and counts, which are combined once per step. A mean is therefore over all
tokens and responses, and not over the ranks' means.
"""

from __future__ import annotations

import json
import resource
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from vsr1_bench._util.trackers import TRACKERS, check_trackers, open_tracker
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
        """Add values to a mean; None is skipped."""
        known = [value for value in values if value is not None]
        self.add(name, sum(known), len(known))

    def add(self, name: str, total: float, count: float) -> None:
        """Add a sum over `count` values to a mean."""
        before, n = self._means.get(name, (0.0, 0.0))
        self._means[name] = (before + total, n + count)

    def peak(self, name: str, value: float) -> None:
        """Keep the maximum, over ranks too."""
        self._peaks[name] = max(value, self._peaks.get(name, value))

    def count(self, name: str, value: float) -> None:
        """Add to a sum, over ranks too."""
        self._sums[name] = self._sums.get(name, 0.0) + value

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Record seconds and peak GPU memory of a phase; the largest of the ranks counts."""
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

    def combined(self, ranks: Ranks) -> dict[str, float]:
        """Combine the ranks' numbers; all ranks call, and every rank gets them."""
        self.peak("memory/host_gb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        every = StepMetrics()
        for means, peaks, sums in ranks.gather((self._means, self._peaks, self._sums)):
            for name, (total, count) in means.items():
                every.add(name, total, count)
            for name, value in peaks.items():
                every.peak(name, value)
            for name, value in sums.items():
                every.count(name, value)
        averages = {name: total / count for name, (total, count) in every._means.items() if count}
        return dict(sorted((averages | every._peaks | every._sums).items()))


def forget_after(path: Path, step: int) -> None:
    """Drop a journal's records of steps after `step`; a resumed run repeats these steps."""
    if any(record["step"] > step for record in read_journal(path)):
        kept = (record for record in read_journal(path) if record["step"] <= step)
        write_atomic(path, (json.dumps(record, separators=(",", ":")) + "\n" for record in kept))


def check_loggers(names: Iterable[str]) -> None:
    """Refuse loggers that are not installed.

    Raises:
        UsageError: names the first one, and how to install it.
    """
    kept = "metrics are always in metrics.jsonl, which `vsr1-bench view` shows"
    check_trackers(names, "loggers", kept)


def open_loggers(
    recipe: Training, folder: Path, ranks: Ranks, step: int, stack: ExitStack
) -> list[Callable[[dict[str, float]], object]]:
    """Write the resolved recipe; open metrics.jsonl and the recipe's `loggers`.

    Records of steps after `step` are dropped, because a resumed run repeats these steps.

    Returns:
        Functions that take a step's record; none on ranks other than the first.

    Raises:
        StoreError: the folder cannot be written.
        UsageError: a named logger is not installed.
    """
    if not ranks.first:
        return []
    check_loggers(recipe.loggers)
    # A run without a checkpoint validates the first weights again, as step 0.
    forget_after(folder / "metrics.jsonl", step or -1)
    settings = recipe.model_dump(mode="json")
    write_atomic(folder / "recipe.json", json.dumps(settings, indent=1) + "\n")
    journal = stack.enter_context(Journal(folder / "metrics.jsonl"))
    loggers: list[Callable[[dict[str, float]], object]] = [journal.append]
    if "tensorboard" in recipe.loggers:
        from torch.utils.tensorboard import SummaryWriter

        purge = step + 1 if step else 0
        board: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
        stack.callback(board.close)

        def draw(record: dict[str, float]) -> None:
            for name in record.keys() - {"step"}:
                board.add_scalar(name, record[name], int(record["step"]))
            board.flush()  # a step before a checkpoint is never repeated

        loggers.append(draw)
    for tracker in (name for name in TRACKERS if name in recipe.loggers):
        name = folder / f"{tracker}-run"
        if not (step and name.is_file()):
            write_atomic(name, secrets.token_hex(4))
        # A resumed run continues its curves; wandb ignores steps that it already has.
        log = open_tracker(tracker, name.read_text(), settings, folder, stack)
        loggers.append(partial(_log_step, log))
    return loggers


def _log_step(log: Callable[..., object], record: dict[str, float]) -> None:
    log(record, step=int(record["step"]))
