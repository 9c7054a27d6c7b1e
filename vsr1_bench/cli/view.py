"""`vsr1-bench view`: every sample of stored runs, as web pages that open from disk."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench._util.paths import user_path, user_text
from vsr1_bench.cli import common, table
from vsr1_bench.cli.stored import show_sound
from vsr1_bench.errors import DamagedRunError, StoreError, UsageError

if TYPE_CHECKING:
    from vsr1_bench.data.dataset import DataOptions
    from vsr1_bench.leaderboard.reported import ReportedTable
    from vsr1_bench.report.report import Report
    from vsr1_bench.store.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "runs",
        nargs="*",
        type=user_path,
        default=common.DEFAULT_RUNS,
        metavar="RUNS",
        help="run folders, output folders of `train`, or folders that hold some (default: runs)",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=user_path,
        metavar="DIR",
        help="the folder to write (default: report; with --labels: labelling); an earlier report "
        "there is replaced",
    )
    parser.add_argument("--open", action="store_true", help="open the report in the browser")
    parser.add_argument("--title", type=user_text, default="", help="the report's heading")
    parser.add_argument("--judge", help="whose verdicts come first (default: those of the table)")
    parser.add_argument(
        "--labels",
        type=user_path,
        metavar="FILE",
        help="instead of a report: the labelling sheet that `calibrate` drew from these runs, as a "
        "page on which people fill it in, without models and verdicts (docs/judges.md)",
    )
    parser.add_argument(
        "--no_images", action="store_true", help="leave images out, which makes a smaller folder"
    )
    parser.add_argument(
        "--data_root",
        type=user_text,
        metavar="DIR",
        help="local mirror with the images (default: VSR1_DATA_ROOT, then the hub's cache); "
        "nothing is downloaded",
    )
    table.add_results(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Write the report and say where it is."""
    # Paths are looked through here: a trainer's folder holds no runs to find.
    return show_sound([], lambda _, damaged: _view(options, damaged), least=0)


def _view(options: argparse.Namespace, damaged: Mapping[Path, DamagedRunError]) -> None:
    from vsr1_bench.data.dataset import DataOptions
    from vsr1_bench.report.folder import check_target

    output = options.output or Path("labelling" if options.labels else "report")
    check_target(output)
    runs, trainings = found_folders(options.runs, damaged)
    data = None if options.no_images else DataOptions.from_flags(options.data_root, True)
    if options.labels:
        written = _labelling(options, runs, output, data)
    else:
        written = _report(options, runs, trainings, output, data, damaged)
    for line in written.notices:
        if not line.startswith("skipped: "):  # the command names these at its end
            print(f"vsr1-bench: {line}", file=sys.stderr)
    print(f"{'labelling' if options.labels else 'report'}: {written.index}")
    if options.open:
        import webbrowser

        webbrowser.open(written.index.resolve().as_uri())


def _labelling(
    options: argparse.Namespace, runs: list[RunFolder], output: Path, data: DataOptions | None
) -> Report:
    from vsr1_bench.report.labelling import LabellingOptions, write_labelling

    for name in ("judge", "results"):
        if getattr(options, name) is not None:
            raise UsageError(f"--labels: does not go with --{name}; the page shows no verdicts")
    wanted = LabellingOptions(output, data, options.include_path, options.title)
    return write_labelling(runs, options.labels, wanted)


def _report(
    options: argparse.Namespace,
    runs: list[RunFolder],
    trainings: list[Path],
    output: Path,
    data: DataOptions | None,
    damaged: Mapping[Path, DamagedRunError],
) -> Report:
    from vsr1_bench.report.report import ReportOptions, write_report

    return write_report(
        runs,
        trainings,
        ReportOptions(
            output=output,
            judge=options.judge,
            reported=_reported(options),
            data=data,
            include_path=options.include_path,
            ask_again=_ask_again,
            title=options.title,
            progress=common.shows_progress(options),
            notices=[f"skipped: {error}" for error in damaged.values()],
        ),
    )


def found_folders(
    paths: Sequence[Path], damaged: Mapping[Path, DamagedRunError]
) -> tuple[list[RunFolder], list[Path]]:
    """The runs and the trainers' folders at or below paths; a trainer's own validations are not.

    Raises:
        StoreError: a path has neither.
        DamagedRunError: nothing is left.
    """
    from vsr1_bench.report.training import training_folders
    from vsr1_bench.store.run_folder import RunFolder, run_folders

    runs: dict[Path, RunFolder] = {}
    trainings: dict[Path, None] = {}
    for path in paths:
        trained = list(training_folders(path))
        inside = [os.path.realpath(folder) + os.sep for folder in trained]
        found = [
            folder
            for folder in sorted(run_folders(path))
            if not os.path.realpath(folder).startswith(tuple(inside))
        ]
        if not found and not trained:
            raise StoreError(
                f"{path}: no run there; give a folder that `vsr1-bench run` or `train` has written"
            )
        runs |= {folder.resolve(): RunFolder(folder) for folder in found if folder not in damaged}
        trainings |= dict.fromkeys(folder for folder in trained if folder not in damaged)
    if damaged and not runs and not trainings:
        raise next(iter(damaged.values()))
    return list(runs.values()), list(trainings)


def _reported(options: argparse.Namespace) -> list[ReportedTable]:
    """The reported tables; without `--results` those of the checkout, if they are there."""
    from vsr1_bench.leaderboard.reported import load_reported, results_folder

    if options.results is not None:
        return table.reported_tables(options)
    try:
        return load_reported(results_folder())
    except UsageError:
        return []


def _ask_again(run: RunFolder) -> Callable[[int], str]:
    """From a place in a run's data to the command that asks again: one shard of one sample."""
    from vsr1_bench.cli.rerun import rerun_arguments
    from vsr1_bench.store.environment import COMMAND

    try:
        arguments, _ = rerun_arguments(run, Path("reruns"))
    except UsageError:  # its responses were made elsewhere, or its command is not recorded
        return lambda row: ""
    again, wanted = shlex.join([COMMAND, *arguments]), run.wanted()
    return lambda row: f"{again} --shard {row}/{wanted}"
