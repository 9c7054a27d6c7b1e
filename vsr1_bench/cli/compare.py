"""`vsr1-bench compare`: runs against each other, on the same samples."""

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
        help="two or more runs, or folders that hold one run of each task; a difference is the "
        "later one minus the earlier one",
    )
    parser.add_argument("--judge", help="whose verdicts (default: the task's own judge)")
    parser.add_argument(
        "--flips",
        type=common.positive_int,
        metavar="N",
        help="list the first N samples of each comparison on which the runs differ",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document with every flip")
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Compare each pair, task by task, and print."""
    if len(options.runs) < 2:
        raise UsageError("compare: wanted two runs or more, e.g. vsr1-bench compare RUN_A RUN_B")
    return show_sound(options.runs, partial(_compare, options), least=2)


def _compare(
    options: argparse.Namespace,
    runs: list[list[RunFolder]],
    damaged: Mapping[Path, DamagedRunError],
) -> None:
    import json

    from vsr1_bench.compare.compare import compare_runs, document, tasks_left_out
    from vsr1_bench.compare.text import comparison_texts

    shown = options.verbosity in ("DEBUG", "INFO") and not options.json
    found = compare_runs(
        options.runs, options.judge, options.include_path, left_out=damaged, progress=shown
    )
    missing = tasks_left_out(options.runs, damaged)
    if options.json:
        listed = [document(one, options.flips) for one in found]
        print(json.dumps({"comparisons": listed, "tasks_left_out": missing}, indent=1))
        return
    texts = comparison_texts(found, options.runs, missing, options.flips or 0)
    print("\n\n".join(texts))
