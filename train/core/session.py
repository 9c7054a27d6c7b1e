"""Shared by the trainers: resume a run, make steps, log, save and end."""

from __future__ import annotations

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


class Session:
    """A training run."""

    engine: TrainingEngine
    label: str
    """Of the progress bar."""
    shown: str
    """The metric beside the bar."""
    rate: tuple[str, ...]
    """What `tokens_per_second` counts, and the phases in whose seconds."""
    accept_changed_data = False
    """Go on from a checkpoint though the rows are others than it was made on."""

    def __init__(self, recipe: Training, stack: ExitStack) -> None:
        """Join the ranks and take the output folder; what must be closed goes onto `stack`."""
        self.ranks, self.folder = join_ranks(), recipe.output_dir
        self._lock: Lock | None = None

        def take() -> None:
            if self.ranks.first:
                self._lock = Lock(self.folder / ".lock")
                stack.callback(self._lock.release)

        self.ranks.together(take)

    def resume(
        self, recipe: Training, steps: int, stack: ExitStack, *, rows: str | None = None
    ) -> None:
        """Load the newest checkpoint, if there is one, and open the loggers; ends a set-up.

        Args:
            recipe: What is trained.
            steps: Where it ends.
            stack: What must be closed.
            rows: Fingerprint of the rows, as the evaluator takes it; None = rows that are made.
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
        """What comes before the first step of this process."""

    def step(self, metrics: StepMetrics) -> None:
        """Make a step, and count it in `progress`."""
        raise NotImplementedError

    def finish_step(self, metrics: StepMetrics) -> None:
        """What follows a step and is not part of its time."""

    def run(self) -> None:
        """Train to the end."""
        progress = self.progress
        self.start()
        bar = progress_bar(self.steps, self.label, "step", shown=self.ranks.first)
        bar.update(progress.step)
        saving = 0.0
        with bar:
            while progress.step < self.steps:
                metrics = StepMetrics()
                if saving:
                    metrics.seconds("save", saving)  # of the checkpoint before
                start = time.monotonic()
                self.step(metrics)
                metrics.seconds("step", time.monotonic() - start)
                self.finish_step(metrics)
                self.ranks.together(self._lock.check if self._lock else lambda: None)
                # Before the checkpoint: a resumed run drops lines after it, and would miss none.
                told = self.log(metrics)
                saving = 0.0
                last = progress.step == self.steps
                # The best one, too, or there would be nothing to hand out.
                best = progress.step == progress.best_step
                if last or best or progress.step % self._save_every == 0:
                    start = time.monotonic()
                    self.checkpoints.save(self.engine, progress, self._keep_last, self.steps)
                    saving = time.monotonic() - start
                    if self.ranks.first:
                        draw_curves(self.folder)
                bar.set_postfix_str(f"{self.shown} {told.get(self.shown, float('nan')):.3f}")
                bar.update()

    def log(self, metrics: StepMetrics, step: int | None = None) -> dict[str, float]:
        """Join the ranks' numbers and write them down, by default of the last step made."""
        told = metrics.together(self.ranks)
        counted, *phases = self.rate
        seconds = sum(told.get(f"seconds/{phase}", 0.0) for phase in phases)
        if seconds and told.get(counted):
            told["tokens_per_second"] = told[counted] / seconds
        for logger in self.loggers:
            logger({"step": self.progress.step if step is None else step, **told})
        return told


def train_safely(start: Callable[[ExitStack], Session]) -> Session:
    """Set a trainer up, run it, and close what it opened.

    Returns:
        The trainer, closed: `progress` says where it is, `first_step` where it started.

    Raises:
        BenchError: as it came, before anything is trained.
        TrainError: afterwards, with the last whole checkpoint; the same command continues.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading and saving; ours counts steps
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
    return trainer
