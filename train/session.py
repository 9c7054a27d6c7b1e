"""How a training ends: whatever stops it, one line says after which step and what is safe."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from vsr1_bench.errors import EXIT_INTERRUPTED, BenchError
from vsr1_bench.train.checkpoints import Checkpoints, Progress
from vsr1_bench.train.engine import TrainError


class Trains(Protocol):
    """A trainer that has been set up."""

    checkpoints: Checkpoints
    progress: Progress

    def run(self) -> None:
        """Train to the end."""


def train_safely(start: Callable[[ExitStack], Trains]) -> None:
    """Set a trainer up, run it, and close what it opened.

    Raises:
        BenchError: as it came, before anything is trained.
        TrainError: afterwards, with the last whole checkpoint; the same command continues.
    """
    with ExitStack() as stack:
        trainer = start(stack)
        try:
            trainer.run()
        except (BenchError, KeyboardInterrupt) as error:
            whole = trainer.checkpoints.complete()
            last = f"last whole checkpoint: {whole[-1]}" if whole else "no checkpoint was made yet"
            reason = str(error) or "interrupted"
            said = TrainError(f"after step {trainer.progress.step}: {reason}; {last}")
            said.exit_code = error.exit_code if isinstance(error, BenchError) else EXIT_INTERRUPTED
            raise said from error
