"""`vsr1-bench grade`: judge a file of responses made elsewhere."""

from __future__ import annotations

import argparse
import sys

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "responses",
        type=user_path,
        metavar="IN.jsonl",
        help="lines {id, response, answer, choices?, answer_type?, question?}",
    )
    parser.add_argument("--judge", required=True, help="a judge (vsr1-bench ls judges)")
    parser.add_argument(
        "--output",
        type=user_path,
        required=True,
        metavar="OUT.jsonl",
        help="lines {id, verdict, extracted, unparsed, reason}, in the order of the input",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="also write which rule read the answer, and from which words: {rule, span, words}",
    )
    common.add_judging(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Grade the file and print how many responses got each verdict."""
    from vsr1_bench.judge import ModelJudge
    from vsr1_bench.judging.grade_file import estimate_file, grade_file
    from vsr1_bench.pipeline.report import closing_account
    from vsr1_bench.registry import find_judge
    from vsr1_bench.store.judge_names import read_name

    judging = common.judge_options(options)
    if options.dry_run:
        paths = options.responses, options.judge, options.output, options.include_path
        name, estimate = estimate_file(*paths, judging)
        row = ("", options.responses.name, f"judge {name}", estimate, False)
        common.print_estimates([row], judging.spending.currency)
        return EXIT_DONE
    with closing_account(judging.spending):
        counts = grade_file(
            options.responses,
            options.judge,
            options.output,
            tuple(options.include_path),
            options=judging,
            explain=options.explain,
            progress=common.shows_progress(options),
        )
    verdicts = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"{options.output}: {verdicts}", file=sys.stderr)
    # A rule fails on the same lines each time; a model that failed may answer the next time.
    asks = isinstance(find_judge(read_name(options.judge).kind, options.include_path), ModelJudge)
    return EXIT_INCOMPLETE if asks and counts["unscored"] else EXIT_DONE
