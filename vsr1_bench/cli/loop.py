"""`vsr1-bench loop`: evaluate, train, evaluate again, compare."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench._util.paths import user_path, user_text
from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE, UsageError

if TYPE_CHECKING:
    from vsr1_bench.train.loop import LoopOptions

OFF = "none"
SET_HERE = tuple("--model -m --tasks -t --limit -L --output_path -o --include_path".split())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "Evaluates the recipe's model, trains it, evaluates the result on the same samples, and\n"
        "writes DIR/summary.md and summary.json: scores before and after, paired differences,\n"
        "flips and curves. The same command resumes at any point, also with a larger --rounds."
    )
    parser.add_argument(
        "recipe", type=user_text, metavar="RECIPE", help="recipe of train grpo or train sft"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the recipe")
    parser.add_argument("--tasks", "-t", required=True, help="tasks to evaluate, as for `run`")
    parser.add_argument(
        "--rounds", type=common.positive_int, default=1, metavar="K", help="rounds (default: 1)"
    )
    parser.add_argument(
        "--start",
        type=user_text,
        metavar="RECIPE",
        help="recipe of train sft that makes the model of round 1",
    )
    common.add_limit(parser)
    parser.add_argument(
        "--output_path", "-o", type=user_path, metavar="DIR", help="default: outputs/loop-RECIPE"
    )
    common.add_include_path(parser)
    parser.add_argument(
        "--perception", default="self", help="second pass: self (default), caption or none"
    )
    parser.add_argument(
        "--blind", default="drop", help="blind run: drop (default), guess, noise, swap or none"
    )
    parser.add_argument(
        "--run_args", default="", help='more flags for every `run`, e.g. "--backend vllm"'
    )
    parser.add_argument(
        "--nproc", type=common.positive_int, help="training processes on this machine, one per GPU"
    )
    parser.add_argument(
        "--accept_changed_data", action="store_true", help="see `train`, for its resumes"
    )


def loop_options(options: argparse.Namespace) -> LoopOptions:
    """Turn flags into `LoopOptions`.

    Raises:
        UsageError: `--run_args` has flags that `run` does not take, or that `loop` sets itself.
    """
    from vsr1_bench.cli.main import parse
    from vsr1_bench.pipeline.flags import refuse_share
    from vsr1_bench.train.loop import LoopOptions

    refuse_share(options.limit, vars(options))
    run_args = shlex.split(options.run_args)
    for flag in run_args:
        if flag.partition("=")[0].replace("-", "_").replace("__", "--") in SET_HERE:
            raise UsageError(f"--run_args {flag}: give it to `loop` itself, or drop it")
    parse(
        ["run", "--model", "tiny", "--tasks", options.tasks, *run_args]
    )  # reports wrong flags now
    name = options.recipe.removesuffix(".toml").strip("/").replace("/", "-")
    return LoopOptions(
        recipe=options.recipe,
        tasks=options.tasks,
        output_path=options.output_path or Path("outputs") / f"loop-{name}",
        settings=tuple(options.settings),
        rounds=options.rounds,
        start=options.start,
        limit=options.limit,
        perception=None if options.perception == OFF else options.perception,
        blind=None if options.blind == OFF else options.blind,
        include_path=tuple(options.include_path),
        run_args=tuple(run_args),
        nproc=options.nproc,
        accept_changed_data=options.accept_changed_data,
    )


def execute(options: argparse.Namespace) -> int:
    """Run what is missing; print the summary."""
    from vsr1_bench.cli.train import check_installed
    from vsr1_bench.pipeline.plan import check_external
    from vsr1_bench.registry import resolve_tasks
    from vsr1_bench.train.loop import read, run_loop

    chosen = loop_options(options)
    tasks = resolve_tasks(chosen.tasks, chosen.include_path)
    check_external(tasks, changed=bool(chosen.blind or chosen.perception))
    for recipe in read(chosen):
        check_installed(recipe)
    summary, incomplete = run_loop(chosen)
    print(summary.read_text("utf-8"), end="")
    print(f"\nsummary: {summary}; models: {chosen.output_path / 'models'}", file=sys.stderr)
    if not incomplete:
        return EXIT_DONE
    print(
        f"incomplete: {', '.join(incomplete)}; the summary covers the samples with verdicts, and "
        "the same command evaluates the others",
        file=sys.stderr,
    )
    return EXIT_INCOMPLETE
