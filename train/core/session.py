"""The part that all trainers share: resume a run, make its steps, log and save them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.errors import EXIT_INTERRUPTED, BenchError
from vsr1_bench.store.journal import Lock

from .checkpoints import Checkpoints
from .curves import draw_curves
from .engine import TrainingEngine
from .metrics import StepMetrics, open_loggers
from .ranks import TrainError, join_ranks
from .settings import Training

log = logging.getLogger(__name__)


class Session:
    """A training run."""

    engine: TrainingEngine
    label: str
    """Label of the progress bar."""
    shown: str
    """The metric beside the bar."""
    rate: tuple[str, ...]
    """The metric that `tokens_per_second` counts, and the phases whose seconds it is divided by."""
    accept_changed_data = False
    """Resume although the rows have changed since the checkpoint."""

    def __init__(self, recipe: Training, stack: ExitStack) -> None:
        """Join the ranks and lock the output folder; `stack` closes what is opened."""
        self.ranks, self.folder = join_ranks(), recipe.output_dir
        self._lock: Lock | None = None

        def lock() -> None:
            if self.ranks.first:
                self._lock = Lock(self.folder / ".lock")
                stack.callback(self._lock.release)

        self.ranks.on_all_ranks(lock)
        if self.ranks.first and self.ranks.nodes > 1:
            log.warning(
                "%d nodes: output_dir %s must be on a file system that all of them share",
                *(self.ranks.nodes, self.folder),
            )

    def resume(
        self, recipe: Training, steps: int, stack: ExitStack, *, rows: str | None = None
    ) -> None:
        """Load the newest checkpoint, if there is one, and open the loggers; the last set-up step.

        Args:
            recipe: The recipe.
            steps: Number of steps in all.
            stack: Closes what is opened.
            rows: Fingerprint of the rows, as the evaluator computes it; None = generated rows.
        """
        self.steps, self._save_every, self._keep_last = steps, recipe.save_every, recipe.keep_last
        self.checkpoints = Checkpoints(
            self.folder / "checkpoints",
            self.ranks,
            rows=rows,
            accept_changed_data=self.accept_changed_data,
        )
        self.progress = self.checkpoints.load(self.engine)
        self.first_step = self.progress.step
        self.loggers = open_loggers(recipe, self.folder, self.ranks, self.progress.step, stack)

    def start(self) -> None:
        """Prepare the first step of this process."""

    def step(self, metrics: StepMetrics) -> None:
        """Make a step, and count it in `progress`."""
        raise NotImplementedError

    def finish_step(self, metrics: StepMetrics) -> None:
        """Do what follows a step and is not part of its time."""

    def run(self) -> None:
        """Train to the end."""
        progress = self.progress
        self.start()
        bar = progress_bar(self.steps, self.label, "step", shown=self.ranks.first)
        bar.skip(progress.step)
        saving = 0.0
        with bar:
            while progress.step < self.steps:
                metrics = StepMetrics()
                if saving:
                    metrics.seconds("save", saving)  # of the previous checkpoint
                start = time.monotonic()
                self.step(metrics)
                metrics.seconds("step", time.monotonic() - start)
                self.finish_step(metrics)
                self.ranks.on_all_ranks(self._lock.check if self._lock else lambda: None)
                # Before the checkpoint, because a resumed run drops only the lines after it.
                record = self.log(metrics)
                saving = 0.0
                # The best one is saved too, so that it can be exported.
                if (
                    progress.step in (self.steps, progress.best_step)
                    or progress.step % self._save_every == 0
                ):
                    start = time.monotonic()
                    self.checkpoints.save(self.engine, progress, self._keep_last, self.steps)
                    saving = time.monotonic() - start
                    if self.ranks.first:
                        draw_curves(self.folder)
                bar.set_postfix_str(f"{self.shown} {record.get(self.shown, float('nan')):.3f}")
                bar.update()

    def log(self, metrics: StepMetrics, step: int | None = None) -> dict[str, float]:
        """Combine the ranks' numbers and log them, by default as those of the last step."""
        record = metrics.combined(self.ranks)
        counted, *phases = self.rate
        seconds = sum(record.get(f"seconds/{phase}", 0.0) for phase in phases)
        if seconds and record.get(counted):
            record["tokens_per_second"] = record[counted] / seconds
        if self.engine.peak and record.get("flops"):
            most = record["seconds/update"] * self.ranks.world * self.engine.peak
            record["mfu"] = record["flops"] / most
        for logger in self.loggers:
            logger({"step": self.progress.step if step is None else step, **record})
        return record


def train_safely(start: Callable[[ExitStack], Session]) -> Session:
    """Set up a trainer, run it, and close what it opened.

    Returns:
        The trainer, closed: `progress` is its last step, `first_step` the step it started from.

    Raises:
        BenchError: unchanged, during set-up.
        TrainError: afterwards, with the last complete checkpoint; the same command continues.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading and saving; our own counts steps
    with ExitStack() as stack:
        trainer = start(stack)
        try:
            trainer.run()
        except (BenchError, KeyboardInterrupt) as error:
            paths = trainer.checkpoints.complete()
            last = (
                f"last complete checkpoint: {paths[-1]}" if paths else "no checkpoint was made yet"
            )
            reason = str(error) or "interrupted"
            report = TrainError(f"after step {trainer.progress.step}: {reason}; {last}")
            report.exit_code = getattr(error, "exit_code", EXIT_INTERRUPTED)
            raise report from error
    return trainer
