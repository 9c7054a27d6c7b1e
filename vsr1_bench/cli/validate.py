"""`vsr1-bench validate`: do rows map, do images open, is only the gold answer accepted?"""

from __future__ import annotations

import argparse

from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, EXIT_FAILED, TaskError

SHOWN = 5
"""How many faults of a task are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("tasks", help="tasks, suites or patterns; `all` for every task")
    parser.add_argument(
        "--prompt", default="see_think", help="prompt format to show (default: see_think)"
    )
    number = parser.add_mutually_exclusive_group()
    number.add_argument(
        "--limit", type=common.positive_int, default=50, help="samples per task (default: 50)"
    )
    number.add_argument("--all", action="store_true", help="check every sample, images included")
    parser.add_argument(
        "--show_prompt", action="store_true", help="print the first sample's prompt"
    )
    common.add_data(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Validate each task; print one line per task and one per fault."""
    from vsr1_bench.registry import resolve_tasks
    from vsr1_bench.tools.validate import validate_task

    data = common.data_options(options)
    tasks = resolve_tasks(options.tasks, options.include_path)
    unsound = generated = unread = 0
    for task in tasks:
        try:
            result = validate_task(
                task,
                data,
                prompt=options.prompt,
                limit=None if options.all else options.limit,
                include_path=options.include_path,
            )
        except TaskError as error:
            unsound += 1
            unread += 1
            print(f"FAIL {task.name}: {error}")
            continue
        unsound += bool(result.faults)
        generated += result.generated
        if result.faults:
            print(f"FAIL {task.name}: {len(result.faults)} faults ({result.source})")
        else:
            proof = "gold 1, empty 0" if result.judged else "rows map; a model judges, not tried"
            print(f"ok   {task.name}: {proof} on {result.rows} rows ({result.source})")
        for fault in result.faults[:SHOWN]:
            print(f"     {fault}")
        if len(result.faults) > SHOWN:
            print(f"     and {len(result.faults) - SHOWN} more")
        if result.prompt and (options.show_prompt or len(tasks) == 1):
            for line in result.reading:
                print(f"     {line}")
            print("\n".join(f"     | {line}" for line in result.prompt.splitlines()))
            print("     with the chat template of Qwen2.5-VL:")
            print("\n".join(f"     | {line}" for line in result.chat.split("\n")))
    real = len(tasks) - generated - unread
    where = f"{real} on rows of their data sets, {generated} on a generated row"
    where += f", {unread} not read" if unread else ""
    print(f"{len(tasks) - unsound} of {len(tasks)} tasks are sound ({where})")
    return EXIT_FAILED if unsound else EXIT_DONE
