"""`vsr1-bench rerun`: a stored run, made again."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from vsr1_bench.leaderboard.settings import Difference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("run", type=user_path, metavar="RUN", help="the folder of one run")
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="print the command and what would differ today; run nothing",
    )
    parser.add_argument(
        "--output_path",
        "-o",
        type=user_path,
        default=Path("reruns"),
        metavar="DIR",
        help="folder of the new run (default: reruns); the stored run is not changed",
    )
    common.add_include_path(parser)
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="execute code that comes with the model"
    )
    parser.epilog = (
        "The recorded command's own --include_path and --trust_remote_code execute code, and "
        "run.json may be somebody else's: give them again to allow it."
    )


def execute(options: argparse.Namespace) -> int:
    """Say what would differ, then run."""
    from vsr1_bench.cli.main import parse
    from vsr1_bench.cli.rerunning import made_again, plan_rerun
    from vsr1_bench.store.environment import COMMAND, typed_as
    from vsr1_bench.store.run_folder import find_runs

    runs = find_runs(options.run)
    if len(runs) > 1:
        listed = ", ".join(str(run.path) for run in runs[:5])
        raise UsageError(f"{options.run} holds {len(runs)} runs; name one of them: {listed}")
    (run,) = runs
    if options.output_path.resolve() == run.path.parent.parent.resolve():
        raise UsageError(
            f"--output_path {options.output_path}: {run.path} is stored there, and stored "
            "responses are never made twice; name another folder"
        )
    allowed = [word for path in options.include_path for word in ("--include_path", path)]
    allowed += ["--trust_remote_code"] if options.trust_remote_code else []
    rerun = plan_rerun(run, options.output_path, allowed)
    out = sys.stdout if options.dry_run else sys.stderr
    print(rerun.command, file=out)
    if rerun.unknown:
        print(f"\nIt cannot run here: {rerun.unknown}", file=out)
    if rerun.differences:
        print(f"\n{_table(rerun.differences)}", file=out)
    elif not rerun.unknown:
        print("\nNothing that is written down would differ.", file=out)
    if options.dry_run:
        return EXIT_DONE
    if rerun.lacking:
        raise UsageError(
            f"{run.path}: its command executes code; look at it, then allow it by "
            f"`rerun {shlex.quote(str(run.path))} {rerun.lacking}`"
        )
    module, arguments = parse(list(rerun.arguments))
    with typed_as(rerun.arguments):  # so that the new run can be made again, too
        code: int = module.execute(arguments)
    made = made_again(run, options.output_path)
    print(
        f"compare with: {shlex.join([COMMAND, 'compare', str(run.path), str(made)])}",
        file=sys.stderr,
    )
    return code


def _table(found: Sequence[Difference]) -> str:
    from vsr1_bench.compare.explain import difference_table

    return difference_table(found, "stored", "today")
