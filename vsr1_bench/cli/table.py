"""`vsr1-bench table`: the stored scores of many runs, side by side."""

from __future__ import annotations

import argparse

from vsr1_bench.cli import common
from vsr1_bench.errors import StoreError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    parser.add_argument("--format", default="markdown", choices=["markdown", "json"])
    parser.add_argument("--judge", help="only this judge's scores")
    parser.add_argument("--by", help="also by this group, e.g. kind or subject")
    parser.add_argument(
        "--explain",
        metavar="OLD",
        nargs="?",
        const="auto",
        help="each cell under an old judge (published, legacy_vsr1, …; default: the first that "
        "there is) beside --judge or the task's own, and why they differ",
    )
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Read score files and print them; nothing is computed anew."""
    from vsr1_bench.grouping import score_groups
    from vsr1_bench.leaderboard import render
    from vsr1_bench.store import find_runs

    runs = [run for path in options.runs for run in find_runs(path)]
    if options.explain:
        from vsr1_bench.leaderboard.delta import explain, render_delta

        cells = explain(
            runs, options.explain, options.judge, by=options.by, include_path=options.include_path
        )
        print(render_delta(cells, options.format))
        return 0
    documents = [
        document
        for run in runs
        for document in run.scores()
        if options.judge in (None, document["judge"])
    ]
    documents += [
        document
        for document in score_groups(runs, options.include_path)
        if options.judge in (None, document["judge"])
    ]
    if not documents:
        where = " ".join(str(path) for path in options.runs)
        raise StoreError(f"{where}: no scores yet; run: vsr1-bench judge {where}")
    documents.sort(key=lambda d: (d["task"], d["model"], d["judge"], d["spec_hash"]))
    print(render(documents, options.format, by=options.by))
    return 0
