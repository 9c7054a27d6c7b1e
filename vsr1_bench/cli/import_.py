"""`vsr1-bench import`: responses made elsewhere become a run."""

from __future__ import annotations

import argparse
import sys

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--task", required=True, help="the task that they answer")
    parser.add_argument(
        "--responses",
        type=user_path,
        required=True,
        metavar="FILE.jsonl",
        help="one response per line",
    )
    parser.add_argument("--model", "-m", required=True, help="name of the model that wrote them")
    parser.add_argument(
        "--by",
        choices=["id", "row"],
        default="id",
        help="match a line with its sample by id (default), or by its row in the file",
    )
    parser.add_argument(
        "--field", default="response", help="field of the response (default: response)"
    )
    common.add_output_path(parser)
    common.add_data(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Import, and print how to judge."""
    from vsr1_bench.imports.responses import ImportOptions, import_responses

    folder = import_responses(
        ImportOptions(
            task=options.task,
            responses=options.responses,
            model=options.model,
            by=options.by,
            response_field=options.field,
            output_path=options.output_path,
            data=common.data_options(options),
            include_path=tuple(options.include_path),
            progress=common.shows_progress(options),
        )
    )
    samples = sum(place.id is not None for place in folder.places())
    print(f"{folder.path}: {folder.count()} responses for {samples} samples", file=sys.stderr)
    print(f"judge and score with: vsr1-bench judge {folder.path}", file=sys.stderr)
    return 0
