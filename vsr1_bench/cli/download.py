"""`vsr1-bench download`: published runs, the paper's raw outputs, or data for offline work."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vsr1_bench._util.paths import user_path, user_text
from vsr1_bench.cli import common
from vsr1_bench.cli.stored import print_skipped
from vsr1_bench.errors import EXIT_DONE, EXIT_FAILED, EXIT_INCOMPLETE, UsageError

PAPER, DATA = "vision-sr1", "data"
ONLY_PAPER, ONLY_DATA = ("runs", "revision"), ("tasks",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "address",
        type=user_text,
        metavar="SOURCE",
        help="a bundle that `publish` made (hf://datasets/ORG/NAME[@REVISION], "
        f"https://HOST/FOLDER, file://FOLDER or a folder); {PAPER}: the raw outputs of the "
        f"Vision-SR1 paper; {DATA}: rows of --tasks, for --data_root",
    )
    parser.add_argument(
        "--to",
        type=user_path,
        metavar="DIR",
        help=f"target folder (default: runs; for {DATA}: data)",
    )
    parser.add_argument(
        "--runs", metavar="A,B", help=f"only for {PAPER}: these of its runs, e.g. 7B-Vision-SR1"
    )
    parser.add_argument(
        "--revision",
        metavar="COMMIT",
        help=f"only for {PAPER}: commit of its repository (default: the newest; it is printed)",
    )
    parser.add_argument("--tasks", "-t", help=f"only for {DATA}: tasks and suites, a,b")
    common.add_data(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Download, and print the next command."""
    for names, wanted in ((ONLY_PAPER, PAPER), (ONLY_DATA, DATA)):
        given = [name for name in names if getattr(options, name) is not None]
        if given and options.address != wanted:
            raise UsageError(f"--{given[0]} is only for `vsr1-bench download {wanted}`")
    progress = common.shows_progress(options)
    if options.address == DATA:
        return _data(options, progress)
    if options.address == PAPER:
        return _paper(options, progress)
    return _bundle(options, progress)


def _bundle(options: argparse.Namespace, progress: bool) -> int:
    from vsr1_bench.publish.unpack import download

    to = options.to or Path("runs")
    bundle = download(options.address, to, options.include_path, progress=progress)
    for run in bundle.known:
        print(f"{run.path}: exists already, not changed", file=sys.stderr)
    for run in bundle.new:
        withheld = run.withheld()
        without = f", without {' and '.join(withheld)}" if withheld else ""
        print(f"{run.path}: {run.count()} responses{without}", file=sys.stderr)
    print(f"from {bundle.origin}; every hash was checked", file=sys.stderr)
    print(f"look at it with: vsr1-bench table {to}", file=sys.stderr)
    return EXIT_DONE


def _paper(options: argparse.Namespace, progress: bool) -> int:
    from vsr1_bench.cli.table import warn_of_mixups
    from vsr1_bench.imports.vision_sr1 import RawOptions, download_raw_outputs

    names = tuple(name.strip() for name in (options.runs or "").split(",") if name.strip())
    to = options.to or Path("runs")
    report = download_raw_outputs(
        RawOptions(
            runs=names,
            revision=options.revision,
            to=to,
            data=common.data_options(options),
            include_path=tuple(options.include_path),
            progress=progress,
        )
    )
    for run in report.runs:
        print(f"{run.path}: {run.count()} responses", file=sys.stderr)
    for line in report.refused:
        print_skipped(line)
    if report.unknown:
        sets = sorted({Path(path).stem for path in report.unknown})
        print_skipped(f"no task reads {', '.join(sets)}")
    if not report.runs:
        return EXIT_FAILED
    warn_of_mixups(report.runs, options.include_path)
    print(f"from commit {report.commit}: again with --revision {report.commit}", file=sys.stderr)
    print(f"as published: vsr1-bench table {to} --judge published", file=sys.stderr)
    print(f"judge again: vsr1-bench judge {to}", file=sys.stderr)
    return EXIT_INCOMPLETE if report.refused else EXIT_DONE


def _data(options: argparse.Namespace, progress: bool) -> int:
    from vsr1_bench.imports.mirror import download_data
    from vsr1_bench.registry import resolve_tasks

    if not options.tasks:
        raise UsageError("download data: name the tasks: --tasks a,b (vsr1-bench ls tasks)")
    to = options.to or Path("data")
    tasks = resolve_tasks(options.tasks, options.include_path)
    report = download_data(tasks, to, options.source, progress=progress)
    for line in report.ready:
        print(line, file=sys.stderr)
    if report.made:
        print(f"generated, no download needed: {', '.join(report.made)}", file=sys.stderr)
    for line in report.missing:
        print_skipped(line)
    if report.missing and not report.ready:
        return EXIT_FAILED
    print(f"run from it with: --offline --data_root {to}", file=sys.stderr)
    return EXIT_INCOMPLETE if report.missing else EXIT_DONE
