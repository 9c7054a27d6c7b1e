"""Typed errors: each says in one line what was given, what is wanted and how to fix it.

The command line prints `str(error)` and exits with `error.exit_code`; a traceback appears only
with `--verbosity debug`.
"""

from __future__ import annotations

from pathlib import Path

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 75  # sysexits' EX_TEMPFAIL: what is finished is safe, run the same command again
EXIT_INTERRUPTED = 130


class BenchError(Exception):
    """Base of every error that a user can act on."""

    exit_code = EXIT_FAILED


class UsageError(BenchError):
    """The request itself is wrong: an unknown name, a refused flag, a contradiction."""

    exit_code = EXIT_USAGE


class TaskError(BenchError):
    """A task, its data set or one of its rows cannot be read."""


class MissingDataError(TaskError):
    """A task's data are not on this machine and cannot be downloaded from the hub."""


class RowError(TaskError):
    """One row of a data set cannot be used; the run goes on with the others."""


class GenerationError(BenchError):
    """The model or its engine cannot continue; finished samples are safe."""

    exit_code = EXIT_INCOMPLETE


class BatchPendingError(GenerationError):
    """Requests are in batches that are not finished; the same command collects them."""


class ModelError(BenchError):
    """The model cannot be loaded at all (missing folder, bad weights, refused key)."""


class JudgeError(BenchError):
    """A judge cannot continue; finished verdicts are safe."""

    exit_code = EXIT_INCOMPLETE


class JudgeMissingError(UsageError):
    """The model of a judge or a reader is not there: its name, key, endpoint or package."""


class StoreError(BenchError):
    """A journal or run folder cannot be read or written."""


class DamagedRunError(StoreError):
    """A stored run cannot be read; other runs can."""

    def __init__(self, message: str, folder: Path | None = None) -> None:
        """Keep the run's folder if it is known."""
        super().__init__(message)
        self.folder = folder


class DiskFullError(StoreError):
    """The disk is full; records that were written before are safe."""

    exit_code = EXIT_INCOMPLETE


class Interrupted(BenchError):
    """The work was interrupted; what is finished is safe."""

    def __init__(
        self, cause: BaseException, finished: int, total: int, what: str = "responses"
    ) -> None:
        """Compose the one-line message."""
        reason = "interrupted" if isinstance(cause, KeyboardInterrupt) else str(cause)
        super().__init__(f"{reason}; {finished} of {total} {what} are safe")
        self.exit_code = cause.exit_code if isinstance(cause, BenchError) else EXIT_INTERRUPTED


class ExchangeError(BenchError):
    """A bundle, or the place that it comes from or goes to, cannot be used."""


class TransferError(ExchangeError):
    """A transfer broke off; what has arrived is kept, and the same command resumes from there."""

    exit_code = EXIT_INCOMPLETE


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The known names nearest to `name`, worded as the end of an error line."""
    import difflib

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(sorted(known))}"
