"""`vsr1-bench export`: stored runs as files that other tools open."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench._util.paths import user_path, user_text
from vsr1_bench.cli import common
from vsr1_bench.cli.stored import Skipped, sound_runs
from vsr1_bench.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    DamagedRunError,
    StoreError,
    UsageError,
)

if TYPE_CHECKING:
    from vsr1_bench.export.samples import ExportedRun
    from vsr1_bench.store.run_folder import RunFolder

FORMATS = ("inspect", "parquet", "hub")
ONLY_HUB = ("source", "task_ids")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        help="inspect: a log per run (.eval) for inspect_ai's viewer; parquet: samples and scores, "
        "as `datasets` and the hub's viewer read them; hub: .eval_results/*.yaml for the page of a "
        "model",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=user_path,
        default=Path("export"),
        metavar="DIR",
        help="the folder to write to (default: export); files of the same runs are replaced",
    )
    parser.add_argument("--judge", help="whose verdicts come first (default: the task's own judge)")
    parser.add_argument("--no_images", action="store_true", help="export no images")
    parser.add_argument(
        "--data_root",
        type=user_text,
        metavar="DIR",
        help="local mirror with the images (default: VSR1_DATA_ROOT, then the hub's cache); "
        "nothing is downloaded",
    )
    parser.add_argument(
        "--source",
        metavar="URL",
        help="for hub: where `publish` put these runs, hf://datasets/ORG/NAME@COMMIT or https://…",
    )
    parser.add_argument(
        "--task_ids",
        type=_task_ids,
        metavar="TASK=ID,…",
        help="for hub: ids of the tasks in the eval.yaml of their data sets (default: `default`)",
    )
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Write the files of each run, and say where they are."""
    from vsr1_bench.export.text import file_names
    from vsr1_bench.store.run_folder import stored_judge

    for flag in ONLY_HUB:
        if options.format != "hub" and getattr(options, flag) is not None:
            raise UsageError(f"--{flag} is only for --format hub")
    skipped = Skipped()
    runs = sound_runs(options.runs, skipped, deep=options.format != "hub")
    tasks = sorted({run.spec().task.name for run in runs})
    if unknown := sorted(set(options.task_ids or ()) - set(tasks)):
        raise UsageError(f"--task_ids {unknown[0]}: no run of this task; here: {', '.join(tasks)}")
    write = _WRITERS[options.format](options, stored_judge(options.judge, runs))
    written: list[str] = []
    for run, name in zip(runs, file_names(run.spec() for run in runs), strict=True):
        try:
            written += write(run, name)
        except UsageError as error:
            if len(runs) == 1:
                raise
            skipped.note(error)
        except DamagedRunError:
            raise
        except StoreError as error:
            raise type(error)(str(error).replace("--output_path", "-o")) from error
    for path in written:
        print(options.output / path)
    if not written:
        return EXIT_FAILED
    return EXIT_INCOMPLETE if skipped.count else EXIT_DONE


Write = Callable[["RunFolder", str], list[str]]
"""Writes a run under a name; returns the paths below the output folder."""


def _samples(
    options: argparse.Namespace, judge: str | None, write: Callable[[ExportedRun, str], list[str]]
) -> Write:
    """Open each run with its images, and write it."""
    from vsr1_bench.data.dataset import DataOptions
    from vsr1_bench.export.images import open_images
    from vsr1_bench.export.samples import ExportedRun

    data = None if options.no_images else DataOptions.from_flags(options.data_root, True)

    def write_one(run: RunFolder, name: str) -> list[str]:
        images, notice = open_images(run, data, options.include_path)
        if notice:
            print(f"vsr1-bench: {notice}", file=sys.stderr)
        with ExportedRun(run, images, judge, options.include_path) as opened:
            return write(opened, name)

    return write_one


def _parquet(options: argparse.Namespace, judge: str | None) -> Write:
    from vsr1_bench.export.parquet import write_run

    progress = common.shows_progress(options)
    return _samples(
        options, judge, lambda run, name: write_run(run, options.output, name, progress=progress)
    )


def _inspect(options: argparse.Namespace, judge: str | None) -> Write:
    from vsr1_bench.export.inspect_log import check_package, write_log

    check_package()

    def write(run: ExportedRun, name: str) -> list[str]:
        path = f"{name}.eval"
        write_log(run, options.output / path, progress=common.shows_progress(options))
        return [path]

    return _samples(options, judge, write)


def _hub(options: argparse.Namespace, judge: str | None) -> Write:
    from vsr1_bench.export.hub import WANTED, HubOptions, source_url, write_results

    if options.source is None:
        raise UsageError(f"--format hub: say where the runs are published: --source URL; {WANTED}")
    about = HubOptions(
        source_url(options.source), options.task_ids or {}, judge, options.include_path
    )
    return lambda run, name: [write_results(run, options.output, name, about)]


_WRITERS: Mapping[str, Callable[[argparse.Namespace, str | None], Write]] = {
    "inspect": _inspect,
    "parquet": _parquet,
    "hub": _hub,
}


def _task_ids(text: str) -> dict[str, str]:
    pairs = [pair.partition("=")[::2] for pair in text.split(",")]
    if not all(task.strip() and name.strip() for task, name in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted TASK=ID,…")
    return {task.strip(): name.strip() for task, name in pairs}
