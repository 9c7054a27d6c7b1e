"""What is known of metrics by name: which way is up, and which are a mean over samples."""

from __future__ import annotations

LOWER_IS_BETTER = frozenset({"lsr", "leakage"})
"""The one place that says so. `name[variant]` counts as `name`."""


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of this metric is the better one."""
    return metric.partition("[")[0] in LOWER_IS_BETTER


def arrow(metric: str) -> str:
    """The sign that a heading carries; only what goes against expectation has one."""
    return " ↓" if lower_is_better(metric) else ""
