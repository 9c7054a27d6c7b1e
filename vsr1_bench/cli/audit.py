"""`vsr1-bench audit`: what a benchmark's rows give away, repeat or contradict."""

from __future__ import annotations

import argparse
from dataclasses import replace

from vsr1_bench._util.paths import user_path, user_text
from vsr1_bench.cli import common
from vsr1_bench.cli.stored import Skipped, print_skipped, sound_runs
from vsr1_bench.errors import EXIT_DONE, EXIT_FAILED, EXIT_INCOMPLETE, TaskError

FINDINGS = 8
"""How many findings of a task are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "tasks", nargs="+", metavar="TASK", help="tasks, suites or patterns; `all` for every task"
    )
    parser.add_argument(
        "--training", action="store_true", help="audit the rows that the task states for training"
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        type=user_path,
        default=[],
        metavar="RUNS",
        help="stored runs, whose blind runs tell what models get without the image",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        type=user_text,
        default=[],
        metavar="DATASET",
        help="training data in which test images and questions are looked for: files, folders or "
        "hub ids as in a recipe's dataset, or TASK:train",
    )
    common.add_limit(parser)
    common.add_output_path(parser, "folder for the pages (default: audits)", "audits")
    common.add_data(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Audit each task; print what was found and where the page is."""
    from vsr1_bench.audit.audit import AuditOptions, audit_task, write_audit
    from vsr1_bench.audit.overlap import open_training
    from vsr1_bench.audit.page import NOTHING
    from vsr1_bench.pipeline.flags import refuse_share
    from vsr1_bench.registry import resolve_tasks

    names = ",".join(options.tasks)
    refuse_share(options.limit, {"tasks": names, "include_path": options.include_path})
    wanted = AuditOptions(
        data=common.data_options(options),
        output=options.output_path,
        training=options.training,
        limit=options.limit,
        progress=common.shows_progress(options),
    )
    skipped = Skipped()
    runs = sound_runs(options.runs, skipped, deep=True) if options.runs else []
    against = tuple(
        open_training(name, wanted.data, options.output_path / "data", options.include_path)
        for name in options.against
    )
    wanted = replace(wanted, runs=tuple(runs), against=against)
    tasks = resolve_tasks(names, options.include_path)
    failed = 0
    for task in tasks:
        try:
            audit = audit_task(task, wanted)
        except TaskError as error:
            if len(tasks) == 1:
                raise
            failed += 1
            print_skipped(error)
            continue
        _, page, _ = write_audit(audit, options.output_path)
        print(f"{audit.task}: {audit.n:,} items; {page}")
        for line in audit.findings[:FINDINGS] or (NOTHING,):
            print(f"  - {line}")
        if len(audit.findings) > FINDINGS:
            print(f"  and {len(audit.findings) - FINDINGS} more on the page")
    if failed == len(tasks):
        return EXIT_FAILED
    return EXIT_INCOMPLETE if skipped.count else EXIT_DONE
