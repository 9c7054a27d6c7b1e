"""`vsr1-bench score`: score judged runs from their journals."""

from __future__ import annotations

import argparse

from vsr1_bench.cli import common
from vsr1_bench.cli.stored import Skipped, sound_runs
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    parser.add_argument("--judge", help="score only this judge's verdicts (default: all judges)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument(
        "--by", metavar="GROUP", help="also score by this group, e.g. kind or subject"
    )
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Score and print."""
    from vsr1_bench.leaderboard import render
    from vsr1_bench.scoring.runs import score_runs
    from vsr1_bench.store.run_folder import stored_judge

    skipped = Skipped()
    runs = sound_runs(options.runs, skipped)
    judge = stored_judge(options.judge, runs)
    documents = score_runs(runs, judge, options.include_path, skipped.note)
    print(render(documents, "json" if options.json else "markdown", by=options.by))
    return EXIT_INCOMPLETE if skipped.count else EXIT_DONE
