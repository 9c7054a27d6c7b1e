"""What the measurements share: ways to do one thing, timed in interleaved rounds and tabulated."""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

Way = Callable[[Path], Any]
"""Does the work once, in an empty folder; its result is kept for the table."""


@dataclass
class Times:
    """The counted rounds of one way."""

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Seconds of this process, an engine in it included; other programs hardly change them."""
    result: Any = None
    """Of the last round."""

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return statistics.median(self.wall)


def interleave(
    ways: Mapping[str, Way], rounds: int, prepare: Callable[[], object] = lambda: None
) -> list[Times]:
    """Time all ways once per round, after a round that warms up; `prepare` runs before each."""
    times = [Times(name) for name in ways]
    for number in range(rounds + 1):
        for one, way in zip(times, ways.values(), strict=True):
            prepare()
            with tempfile.TemporaryDirectory() as folder:
                start, used = time.perf_counter(), time.process_time()
                one.result = way(Path(folder))
                if number:
                    one.wall.append(time.perf_counter() - start)
                    one.cpu.append(time.process_time() - used)
    return times


def show(times: Sequence[Times], **columns: Callable[[Times], object]) -> None:
    """Print a row per way: its median, its range, its ratio to the first, and more columns."""
    rows = [
        [
            one.name,
            f"{one.seconds:.2f}",
            f"{min(one.wall):.2f} to {max(one.wall):.2f}",
            f"{one.seconds / times[0].seconds:.2f}",
            f"{statistics.median(one.cpu):.2f}",
            *(cell(one) for cell in columns.values()),
        ]
        for one in times
    ]
    headers = ["way", "seconds", "range", "ratio", "CPU seconds", *columns]
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True), flush=True)


def resident_mib() -> float:
    """Resident memory of this process, without garbage."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
