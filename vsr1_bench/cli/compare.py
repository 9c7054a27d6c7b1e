"""`vsr1-bench compare`: compare runs on the same samples."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.cli.stored import show_sound
from vsr1_bench.errors import DamagedRunError, UsageError

if TYPE_CHECKING:
    from vsr1_bench.store.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=user_path,
        metavar="RUN",
        help="two or more runs, or folders with one run per task; differences are the later "
        "minus the earlier",
    )
    parser.add_argument("--judge", help="compare by this judge (default: the task's own)")
    parser.add_argument(
        "--flips",
        type=common.positive_int,
        metavar="N",
        help="list the first N samples on which the runs of a comparison differ",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document with every flip")
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Compare each pair, task by task, and print."""
    if len(options.runs) < 2:
        raise UsageError("compare: wanted at least two runs, e.g. vsr1-bench compare RUN_A RUN_B")
    return show_sound(options.runs, partial(_compare, options), least=2)


def _compare(
    options: argparse.Namespace,
    runs: list[list[RunFolder]],
    damaged: Mapping[Path, DamagedRunError],
) -> None:
    import json

    from vsr1_bench.compare.compare import compare_runs, document, tasks_left_out
    from vsr1_bench.compare.text import comparison_texts

    shown = common.shows_progress(options) and not options.json
    comparisons = compare_runs(
        options.runs, options.judge, options.include_path, left_out=damaged, progress=shown
    )
    missing = tasks_left_out(options.runs, damaged)
    if options.json:
        listed = [document(one, options.flips) for one in comparisons]
        print(json.dumps({"comparisons": listed, "tasks_left_out": missing}, indent=1))
        return
    texts = comparison_texts(comparisons, options.runs, missing, options.flips or 0)
    print("\n\n".join(texts))
