"""Progress bars with rate and time left on standard error, for work longer than two seconds."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from vsr1_bench._util.terminal import acting_stderr


def progress_bar(total: int | None, what: str, unit: str, *, shown: bool = True) -> tqdm[Any]:
    """Open a bar that appears once the work has taken two seconds.

    Args:
        total: Number of units; None = unknown.
        what: One word for the work.
        unit: What is counted.
        shown: False = no bar.
    """
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        disable=not shown,
        delay=2,
        leave=False,
        mininterval=0.5,
        file=acting_stderr(),
    )
