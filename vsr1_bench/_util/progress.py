"""Progress bars with rate and time left on standard error, for work longer than two seconds."""

from __future__ import annotations

import time
from typing import Any

from tqdm import tqdm

from vsr1_bench._util.terminal import acting_stderr


class Bar(tqdm):
    """A bar whose rate begins with the first unit: before it, an engine starts."""

    _since = 0.0
    _before = 0
    """What was done when the rate began; what was only counted, not worked on, is added later."""

    def update(self, n: float | None = 1) -> bool | None:
        """Count finished units."""
        shown: bool | None = super().update(n)
        if not self._since and n:
            self._since, self._before = time.monotonic(), self.n
        return shown

    def skip(self, n: int = 1) -> None:
        """Count units that took no work, such as stored ones; the rate is without them."""
        super().update(n)
        self._before += n if self._since else 0

    @property
    def format_dict(self) -> dict[str, Any]:
        """Values of the bar; the rate is 0, which is shown as `?`, until two units are done."""
        values: dict[str, Any] = dict(super().format_dict)
        worked, seconds = self.n - self._before, time.monotonic() - self._since
        values["rate"] = worked / seconds if self._since and worked > 0 and seconds > 0 else 0
        return values


def progress_bar(total: int | None, what: str, unit: str, *, shown: bool = True) -> Bar:
    """Open a bar that appears once the work has taken two seconds.

    Args:
        total: Number of units; None = unknown.
        what: One word for the work.
        unit: What is counted.
        shown: False = no bar.
    """
    return Bar(
        total=total,
        desc=what,
        unit=unit,
        disable=not shown,
        delay=2,
        leave=False,
        mininterval=0.5,
        file=acting_stderr(),
    )
