"""The runs that were named on the command line: a damaged run does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench.errors import (
    EXIT_DONE,
    EXIT_INCOMPLETE,
    BenchError,
    DamagedRunError,
    StoreError,
)

if TYPE_CHECKING:
    from vsr1_bench.store.run_folder import RunFolder


def print_skipped(reason: object) -> None:
    """Say on standard error what the command skips, and why."""
    print(f"vsr1-bench: skipped: {reason}", file=sys.stderr)


class Skipped:
    """Counts the runs that a command skips, and prints a line for each."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, *errors: object) -> None:
        """Print why runs are skipped."""
        for error in errors:
            self.count += 1
            print_skipped(error)


def sound_runs(paths: Sequence[Path], skipped: Skipped, *, deep: bool = False) -> list[RunFolder]:
    """The runs at or below the paths, without those that cannot be read.

    Args:
        paths: What was typed.
        skipped: Gets each damaged run.
        deep: Read every journal, too: for commands that stop half-way where one is damaged.

    Raises:
        StoreError: a path has no runs.
        DamagedRunError: none of the runs can be read.
    """
    from vsr1_bench.store.run_folder import find_runs

    runs = [run for path in paths for run in find_runs(path)]
    damaged = [error for run in runs if (error := _damage(run, deep)) is not None]
    if len(damaged) == len(runs):
        raise damaged[0]
    for error in damaged:
        skipped.note(error)
    broken = {error.folder for error in damaged}
    return [run for run in runs if run.path not in broken]


Show = Callable[[list[list["RunFolder"]], Mapping[Path, DamagedRunError]], None]
"""Prints the runs of each path; the second argument says which runs are skipped, and why."""


def show_sound(paths: Sequence[Path], show: Show, *, least: int = 1) -> int:
    """Show many runs: a damaged one is skipped with a line, and does not hide the others.

    Only `show` knows which files it needs, and to read all journals before would double the time of
    a large table. So it is called again without each damaged run that it meets, and prints last.

    Args:
        paths: What was typed.
        show: Shows the runs.
        least: How many of the paths must have a sound run.

    Returns:
        The exit code.

    Raises:
        StoreError: a path has no runs.
        DamagedRunError: too few paths have a sound run.
    """
    from vsr1_bench.store.run_folder import find_runs

    damaged: dict[Path, DamagedRunError] = {}
    skipped = Skipped()
    while True:
        runs = [[run for run in find_runs(path) if run.path not in damaged] for path in paths]
        if damaged and sum(map(bool, runs)) < least:
            raise next(iter(damaged.values()))
        try:
            show(runs, damaged)
            break
        except DamagedRunError as error:
            if error.folder is None or error.folder in damaged:
                raise
            damaged[error.folder] = error
        except BenchError:
            skipped.note(*damaged.values())
            raise
    skipped.note(*damaged.values())
    return EXIT_INCOMPLETE if damaged else EXIT_DONE


def _damage(run: RunFolder, deep: bool) -> DamagedRunError | None:
    try:
        run.spec()
        run.scores()
        run.readers()
        if deep:
            _read_all(run)
    except StoreError as error:
        return DamagedRunError(str(error), run.path)
    return None


def _read_all(run: RunFolder) -> None:
    from vsr1_bench.judging.llm_replies import read_replies
    from vsr1_bench.store.dependences import read_dependences
    from vsr1_bench.store.journal_index import check_asked

    generations = run.generations().values()
    check_asked(run.path, run.samples().keys(), {one.sample_id for one in generations})
    for read in (run.skipped, run.captions, run.perceptions):
        read()
    read_dependences(run)
    for path in sorted(run.path.glob("*judgments/*.jsonl")):
        run.judgments(path)
    for path in sorted(run.replies.glob("*.jsonl")):
        read_replies(path)
