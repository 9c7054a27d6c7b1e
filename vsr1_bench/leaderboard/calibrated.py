"""Numbers corrected by human labels: what their cells keep, and how they are marked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What corrected a number, and what the judge alone says; values in percent."""

    labels: int
    """Labels behind the correction."""
    judge_value: float | None = None
    judge_low: float | None = None
    judge_high: float | None = None

    @property
    def note(self) -> str:
        """The footnote of the number."""
        return f"calibrated by {self.labels:,} human labels"
