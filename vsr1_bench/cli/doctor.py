"""`vsr1-bench doctor`: what works here, and how to fix the rest."""

from __future__ import annotations

import argparse

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, EXIT_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_output_path(parser, "folder for runs, whose disk is checked (default: runs)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also import the engines, which finds builds that do not fit, and takes longer",
    )
    common.add_data(parser)


def execute(options: argparse.Namespace) -> int:
    """Print the findings; the exit code is 1 if no model can be run on this machine."""
    import json
    import os
    from dataclasses import asdict

    from vsr1_bench.store.environment import DATA_ROOT_VARIABLE
    from vsr1_bench.tools.doctor import can_run, diagnose, report

    # Unlike elsewhere, a data root that is not a folder is a finding, not an error.
    root = options.data_root or os.environ.get(DATA_ROOT_VARIABLE)
    mirror = user_path(root) if root else None
    findings = diagnose(options.output_path, mirror, deep=options.deep)
    if options.json:
        print(json.dumps([asdict(f) for f in findings], indent=1))
    else:
        print(report(findings))
    return EXIT_DONE if can_run(findings) else EXIT_FAILED
