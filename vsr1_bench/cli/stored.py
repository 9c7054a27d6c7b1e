"""The runs of a folder, for commands that change them: a damaged run does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench.errors import DamagedRunError, StoreError

if TYPE_CHECKING:
    from vsr1_bench.store.run_folder import RunFolder


class LeftOut:
    """Counts the runs that a command goes on without, and tells each in a line."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, error: object) -> None:
        """Tell why a run is left out."""
        self.count += 1
        print(f"vsr1-bench: left out: {error}", file=sys.stderr)


def sound_runs(paths: Sequence[Path], left_out: LeftOut, *, deep: bool = False) -> list[RunFolder]:
    """The runs at or below the paths, without those that cannot be read.

    Args:
        paths: What was typed.
        left_out: Told of each damaged run.
        deep: Read every journal, too: for commands that stop half-way where one is damaged.

    Raises:
        StoreError: a path has no runs.
        DamagedRunError: none of the runs can be read.
    """
    from vsr1_bench.store.run_folder import find_runs

    found = [run for path in paths for run in find_runs(path)]
    damaged = [error for run in found if (error := _damage(run, deep)) is not None]
    if len(damaged) == len(found):
        raise damaged[0]
    for error in damaged:
        left_out.note(error)
    broken = {error.folder for error in damaged}
    return [run for run in found if run.path not in broken]


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
    from vsr1_bench.store.journal_index import check_asked

    made = run.generations().values()
    check_asked(run.path, run.samples().keys(), {one.sample_id for one in made})
    for read in (run.skipped, run.captions, run.perceptions):
        read()
    for path in sorted(run.path.glob("*judgments/*.jsonl")):
        run.judgments(path)
    for path in sorted(run.replies.glob("*.jsonl")):
        read_replies(path)
