"""`vsr1-bench publish`: pack stored runs and upload them to the hub or a folder."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from vsr1_bench._util.paths import user_text
from vsr1_bench.cli import common
from vsr1_bench.cli.stored import Skipped, sound_runs
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    parser.add_argument(
        "--to",
        type=user_text,
        required=True,
        metavar="TARGET",
        help="hf://datasets/ORG/NAME[@BRANCH] (with HF_TOKEN, or after `hf auth login`), "
        "file://FOLDER, or a folder; runs that are there already are kept",
    )
    parser.add_argument(
        "--with_golds",
        action="store_true",
        help="include gold answers and judges' texts, if the license allows it",
    )
    parser.add_argument(
        "--with_images",
        action="store_true",
        help="include the images of the questions, if the license allows it",
    )
    parser.add_argument(
        "--parquet",
        action="store_true",
        help="also put what is published beside it as parquet, which the hub's viewer shows",
    )
    parser.add_argument(
        "--remove",
        metavar="RUN,…",
        help="instead of publishing, take these runs out of TARGET; the others stay. On the hub, "
        "earlier commits still have them",
    )
    parser.add_argument("--model", metavar="NAME", help="publish the runs under this model name")
    common.add_data(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Publish, and print how to download."""
    from vsr1_bench.data.dataset import DataOptions
    from vsr1_bench.publish.pack import PackOptions
    from vsr1_bench.publish.publishing import publish, unpublish

    if options.remove is not None:
        names = [name.strip() for name in options.remove.split(",") if name.strip()]
        if not names or options.runs != common.DEFAULT_RUNS:
            raise UsageError("--remove RUN,…: wanted names of published runs, and no other RUNS")
        target, gone = unpublish(names, options.to)
        print(f"{target}: without {', '.join(gone)}", file=sys.stderr)
        return EXIT_DONE
    skipped = Skipped()
    runs = sound_runs(options.runs, skipped, deep=True)
    packing = PackOptions(
        with_golds=options.with_golds,
        with_images=options.with_images,
        model=options.model,
        data=common.data_options(options) if options.with_images else DataOptions(),
        include_path=tuple(options.include_path),
        progress=common.shows_progress(options),
    )
    beside = None
    if options.parquet:
        from vsr1_bench.export.published import write_parquet

        beside = partial(
            write_parquet, include_path=packing.include_path, progress=packing.progress
        )
    target, manifest = publish(runs, options.to, packing, beside)
    size = sum(file.size for file in manifest.files)
    print(
        f"{target}: {len(manifest.runs)} runs, {len(manifest.files)} files, {size:,} bytes",
        file=sys.stderr,
    )
    print(f"fetch with: vsr1-bench download {target}", file=sys.stderr)
    return EXIT_INCOMPLETE if skipped.count else EXIT_DONE
