"""`vsr1-bench plot`: plot stored scores."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common, table

if TYPE_CHECKING:
    from vsr1_bench.store.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    parser.add_argument(
        "--kind",
        default="intervals",
        choices=["intervals", "lsr", "categories"],
        help="intervals (default): scores with intervals, one panel per task; lsr: language "
        "shortcut rate against accuracy; categories: accuracy by the groups of --by",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=user_path,
        required=True,
        metavar="FILE",
        help="file to write: .png, .svg or .pdf",
    )
    parser.add_argument(
        "--by", metavar="GROUP", help="group for --kind categories, e.g. kind or subject"
    )
    parser.add_argument("--tasks", "-t", help="only these tasks, suites, groups or patterns")
    parser.add_argument("--judge", help="only this judge's scores")
    table.add_results(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Draw, and say where the file is."""
    return table.show_scores(options, _draw)


def _draw(options: argparse.Namespace, runs: list[RunFolder]) -> None:
    from vsr1_bench.leaderboard.plots import draw

    draw(
        options.kind,
        table.stored_scores(options, runs),
        options.output,
        reported=table.reported_tables(options),
        by=options.by,
        tasks=table.task_names(options),
        judges=table.own_judges(options),
    )
    print(f"drawn: {options.output}", file=sys.stderr)
