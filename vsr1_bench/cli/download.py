"""`vsr1-bench download`: published runs, the paper's raw outputs, or data to work offline with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE, UsageError

PAPER, DATA = "vision-sr1", "data"
ONLY_PAPER, ONLY_DATA = ("runs", "revision"), ("tasks",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="hf://datasets/ORG/NAME[@REVISION], https://HOST/FOLDER, file://FOLDER or a folder: a "
        f"bundle that `publish` made; {PAPER}: the raw outputs of the Vision-SR1 paper; {DATA}: "
        "rows of --tasks for --data_root",
    )
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="folder to fill (default: runs; for data: data)"
    )
    parser.add_argument(
        "--runs", metavar="A,B", help=f"{PAPER}: only these of its runs, e.g. 7B-Vision-SR1"
    )
    parser.add_argument(
        "--revision",
        metavar="COMMIT",
        help=f"{PAPER}: commit of its repository (default: the newest, whose commit is printed)",
    )
    parser.add_argument("--tasks", "-t", help=f"{DATA}: tasks and suites, a,b")
    common.add_data(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Download, and say what to do next."""
    for names, wanted in ((ONLY_PAPER, PAPER), (ONLY_DATA, DATA)):
        given = [name for name in names if getattr(options, name) is not None]
        if given and options.source != wanted:
            raise UsageError(f"--{given[0]} goes with `vsr1-bench download {wanted}`")
    progress = options.verbosity in ("DEBUG", "INFO")
    if options.source == DATA:
        return _data(options, progress)
    if options.source == PAPER:
        return _paper(options, progress)
    return _bundle(options, progress)


def _bundle(options: argparse.Namespace, progress: bool) -> int:
    from vsr1_bench.exchange.unpacking import download

    to = options.to or Path("runs")
    found = download(options.source, to, progress=progress)
    for run in found.known:
        print(f"{run.path}: there already, left as it is", file=sys.stderr)
    for run in found.new:
        without = run.withheld()
        said = f", without {' and '.join(without)}" if without else ""
        made = len(run.generations())
        print(f"{run.path}: {made} responses{said}", file=sys.stderr)
    print(f"from {found.origin}; every hash was checked", file=sys.stderr)
    print(f"look at it with: vsr1-bench table {to}", file=sys.stderr)
    return EXIT_DONE
