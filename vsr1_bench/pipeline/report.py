"""Report a run on standard error: what was reused, what failed, what was skipped."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vsr1_bench.generation.costs import Spending
from vsr1_bench.generation.tally import Tally

if TYPE_CHECKING:
    from vsr1_bench.pipeline.stream import TaskRun


def notice(text: str) -> None:
    """Print a line that begins with the tool's name."""
    print(f"vsr1-bench: {text}", file=sys.stderr)


@contextmanager
def closing_account(spending: Spending) -> Iterator[None]:
    """Print what was spent when the block ends, however it ends."""
    try:
        yield
    finally:
        for line in spending.lines():
            print(line, file=sys.stderr)


def report_responses(run: TaskRun) -> None:
    """Print how many responses were reused, and which are missing."""
    # Here, because `grade` uses this module without data or runs.
    from vsr1_bench.data.blind import run_label
    from vsr1_bench.store.provenance import reuse_line

    name = run_label(run.task.name, run.spec.variant)
    if run.reused:
        print(reuse_line(name, run.reused, run.total, run.makers), file=sys.stderr)
    report_failures(name, run.answers, run.total)
    for tally in run.further:
        report_failures(name, tally)
    for reason, count in run.skipped.items():
        notice(f"{name}: {count} samples skipped: {reason}")


def alike_reasons(reasons: Mapping[str, int]) -> dict[str, int]:
    """Count reasons that differ only in the file of an image as one, with the first file."""
    counts: dict[str, tuple[str, int]] = {}
    for reason, count in reasons.items():
        kind = re.sub(r" \([^()]*\)$", "", reason) if "image" in reason else reason
        first, before = counts.get(kind, (reason, 0))
        counts[kind] = first, before + count
    return dict(counts.values())


def report_failures(name: str, tally: Tally, total: int | None = None) -> None:
    """Print the most frequent reasons why requests of one kind failed."""
    count = tally.finished + tally.failed if total is None else total
    if tally.what == "readings" and count == 0:
        notice(
            f"{name}: no description to read: it has no `lsr`; for models that write none: "
            "--perception caption"
        )
    what = "" if tally.what == "responses" else f" {tally.what}"
    reasons = sorted(alike_reasons(tally.reasons).items(), key=lambda pair: -pair[1])
    if rest := sum(failed for _, failed in reasons[3:]):
        reasons[3:] = [(f"for {len(reasons) - 3} other reasons", rest)]
    for reason, failed in reasons:
        notice(
            f"{name}: {failed} of {count}{what} failed: {reason}; the same command tries them again"
        )
