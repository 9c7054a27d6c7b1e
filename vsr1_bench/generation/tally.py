"""Counts of successful and failed requests, and when to stop because all fail."""

from __future__ import annotations

from dataclasses import dataclass, field

from vsr1_bench.errors import GenerationError

HOPELESS = 32
"""After this many failures without a success, the fault is not in the requests."""


@dataclass(slots=True)
class Tally:
    """Counts of the requests of one kind."""

    what: str
    finished: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    in_a_row: int = 0
    """Failures since the last success."""
    asked_apart: bool = False
    """Whether these are calls to another model (readings). Then `HOPELESS` failures in a row stop
    them, even after a success. A run's own requests may fail because of adjacent samples."""

    def note(self, error: str | None, count: int = 1) -> None:
        """Count requests with the same outcome.

        Raises:
            GenerationError: `HOPELESS` requests have failed without a success.
        """
        if error is None:
            self.finished += count
            self.in_a_row = 0
            return
        self.failed += count
        self.in_a_row += count
        self.reasons[error] = self.reasons.get(error, 0) + count
        if self.failed >= HOPELESS and not self.finished:
            raise GenerationError(f"the first {self.failed} {self.what} all failed: {error}")
        if self.asked_apart and self.in_a_row >= HOPELESS:
            raise GenerationError(f"the last {self.in_a_row} {self.what} all failed: {error}")
