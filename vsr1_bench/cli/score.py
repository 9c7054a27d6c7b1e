"""`vsr1-bench score`: score judged runs from their journals."""

from __future__ import annotations

import argparse

from vsr1_bench.cli import common
from vsr1_bench.cli.stored import LeftOut, sound_runs
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE, DamagedRunError, StoreError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    parser.add_argument("--judge", help="only this judge's verdicts (default: every judge's)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--by", help="also by this group, e.g. kind or subject")
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Score and print."""
    from vsr1_bench.leaderboard import render
    from vsr1_bench.scoring.groups import score_groups
    from vsr1_bench.scoring.runs import score_run
    from vsr1_bench.store.run_folder import stored_judge

    left_out = LeftOut()
    runs = sound_runs(options.runs, left_out)
    options.judge = stored_judge(options.judge, runs)
    documents, whole = [], []
    for run in runs:
        judges = [options.judge] if options.judge else sorted(run.judged())
        try:
            if not judges:
                raise StoreError(f"{run.path}: not judged; run: vsr1-bench judge {run.path}")
            documents += [score_run(run, judge, options.include_path) for judge in judges]
            whole.append(run)
        except DamagedRunError as error:
            if len(runs) == 1:
                raise
            left_out.note(error)
        except (StoreError, UsageError) as error:
            if len(runs) == 1:
                raise
            left_out.note(error)  # one run that cannot be scored must not hide the others
            whole.append(run)
    scored = {document["judge"] for document in documents}
    documents += score_groups(whole, options.include_path, judges=scored)
    print(render(documents, "json" if options.json else "markdown", by=options.by))
    return EXIT_INCOMPLETE if left_out.count else EXIT_DONE
