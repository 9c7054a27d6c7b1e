"""How the requests of one kind go, and when it is hopeless to go on."""

from __future__ import annotations

from dataclasses import dataclass, field

from vsr1_bench.errors import GenerationError

HOPELESS = 32
"""If so many requests of a kind fail, and none between them succeeds, it is not the requests."""


@dataclass(slots=True)
class Tally:
    """How the requests of one kind have gone."""

    what: str
    finished: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    in_a_row: int = 0
    """Failures since the last success."""
    asked_apart: bool = False
    """By separate calls, as another model's readings: so many failures in a row stop them, also
    after a success. A run's own requests may fail by their samples, which may be adjacent."""

    def note(self, error: str | None, count: int = 1) -> None:
        """Count requests that have ended alike.

        Raises:
            GenerationError: so many have failed, and none has succeeded, that it is hopeless.
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
