"""Flags that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench._util import flag_values
from vsr1_bench._util.columns import fit_markdown, terminal_width
from vsr1_bench._util.paths import user_path, user_text
from vsr1_bench.cli.stored import print_skipped

if TYPE_CHECKING:
    from vsr1_bench.data.dataset import DataOptions
    from vsr1_bench.generation.costs import Spending
    from vsr1_bench.generation.estimates import Estimate
    from vsr1_bench.judge import JudgeOptions
    from vsr1_bench.perception.reader import ReaderOptions
    from vsr1_bench.store.run_folder import RunFolder


DEFAULT_RUNS = [Path("runs")]
EstimateRow = tuple[str, str, str, "Estimate", bool]
"""A row of a dry run: model, task, who is asked, the estimate, whether its calls are a bound."""


def add_include_path(parser: argparse.ArgumentParser) -> None:
    """Add `--include_path`."""
    parser.add_argument(
        "--include_path",
        action="append",
        type=user_text,
        default=[],
        metavar="DIR",
        help="folder with your own task and judge files; their code is executed (repeatable; also: "
        "the environment variable VSR1_INCLUDE_PATH)",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where rows come from; read them with `data_options`."""
    parser.add_argument(
        "--data_root",
        type=user_text,
        metavar="DIR",
        help="folder with a local mirror: DIR/<hub id>/[<config>/]<split>*.{parquet,jsonl} "
        "(default: the environment variable VSR1_DATA_ROOT)",
    )
    parser.add_argument(
        "--source",
        metavar="NAME",
        help="read the rows from another publication (lmms_eval, paper), if the task has one "
        "(default: the official data set)",
    )
    parser.add_argument(
        "--dataset",
        type=user_text,
        metavar="PATH_OR_HUB_ID",
        help="rows of task custom: a parquet, jsonl or json file, a folder of splits, or a data "
        "set of the hub, with the columns problem, answer, images",
    )
    parser.add_argument("--split", help="split of --dataset (default: test)")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="never contact the hub; if data are missing, list them and fail at once",
    )


def data_options(options: argparse.Namespace) -> DataOptions:
    """Read the flags of `add_data`.

    Raises:
        TaskError: the data root is not a folder.
        UsageError: a split without a data set.
    """
    from vsr1_bench.data.dataset import DataOptions

    return DataOptions.from_flags(
        options.data_root, options.offline, options.source, options.dataset, options.split
    )


def with_golds(
    runs: Sequence[RunFolder], options: argparse.Namespace
) -> tuple[list[RunFolder], int]:
    """Restore the gold answers of runs that were published without them.

    Reads the flags of `add_data`. A run whose gold answers cannot be had is skipped, with a line.

    Returns:
        The runs that can be judged, and how many cannot.

    Raises:
        StoreError: the only run cannot get its gold answers.
    """
    if not any(run.withheld() for run in runs):
        return list(runs), 0
    from vsr1_bench.publish.gold_answers import runs_with_gold_answers

    shown = shows_progress(options)
    kept, missing = runs_with_gold_answers(
        runs, data_options(options), options.include_path, progress=shown
    )
    for line in missing:
        print_skipped(line)
    return kept, len(missing)


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add the judges' options, without `--judge` itself."""
    parser.add_argument(
        "--thinking_tags",
        type=thinking_tags,
        default=(),
        metavar="TAG,…",
        help="more tags around thinking, in which no answer is looked for: cot for <cot>…</cot>, "
        "or both marks: [[cot]]…[[/cot]]; the tags of known model families are built in",
    )
    group = parser.add_argument_group("judges that ask a model, and costs")
    group.add_argument("--judge_model", type=user_text, metavar="M", help="the model that judges")
    group.add_argument(
        "--judge_base_url",
        metavar="URL",
        help="endpoint of that model, whose key is in VSR1_JUDGE_API_KEY or OPENAI_API_KEY "
        "(default: OPENAI_BASE_URL, or OpenAI's own)",
    )
    group.add_argument(
        "--judge_all",
        action="store_true",
        help="with cascade: the model judges every response, also where the rule has decided",
    )
    group.add_argument(
        "--judge_concurrency", type=positive_int, metavar="N", help="calls at the same time"
    )
    group.add_argument("--judge_prompt", default="strict", help="strict (default), paper or graded")
    group.add_argument(
        "--judge_args",
        default="",
        help="temperature, max_tokens, seed; openai: reasoning_effort, extra_body={…}; and the "
        "backend's arguments, listed by vsr1-bench ls model_args (timeout, max_retries, safety, "
        "dtype, …): a=1,b=2",
    )
    group.add_argument(
        "--price_file",
        type=user_path,
        metavar="FILE.json",
        help='{"currency": "USD", "MODEL": {"input": PRICE, "output": PRICE}} with prices per '
        "million tokens (docs/judges.md)",
    )
    group.add_argument(
        "--max_cost",
        type=_money,
        metavar="C",
        help="stop before model, judges and readers together cost more than this",
    )
    group.add_argument(
        "--batch",
        action="store_true",
        help="ask the endpoints of OpenAI and Gemini by their batch service, which costs half: "
        "submit and exit with 75; the same command collects (docs/judges.md)",
    )
    group.add_argument(
        "--dry_run",
        action="store_true",
        help="print the number of calls, tokens and the cost; call no model",
    )


def add_stored_judging(parser: argparse.ArgumentParser, judge_help: str) -> None:
    """Add `--judge`, `--labels` and the judges' options, for commands that judge stored runs."""
    parser.add_argument("--judge", help=judge_help)
    parser.add_argument(
        "--labels",
        type=user_path,
        metavar="FILE.jsonl",
        help="for judge `labels`: {id or row, label}",
    )
    add_judging(parser)


def judge_options(options: argparse.Namespace) -> JudgeOptions:
    """Turn those flags into `JudgeOptions`.

    Raises:
        UsageError: a price file or a value that cannot be read.
    """
    from vsr1_bench.pipeline.judge_flags import JudgeFlags

    given = vars(options)
    flags = JudgeFlags.of_command(given)
    return flags.judge_options(given.get("labels"))


def add_seeing(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `run` that ask whether the model sees."""
    group = parser.add_argument_group("seeing or guessing (docs/seeing-or-guessing.md)")
    add_perception(group)
    group.add_argument(
        "--blind",
        metavar="V,…",
        help="also run each task blind: drop (no image), guess (no image, and told to "
        "guess), noise or swap (another sample's image); the table shows how much the image adds",
    )
    group.add_argument(
        "--variant",
        choices=("circular",),
        help="also ask multiple-choice questions with their options in every other order "
        "(CircularEval): circular_accuracy and position_bias",
    )
    group.add_argument(
        "--visual_dependence",
        action="store_true",
        help="also score each response with masked images (patches of 14 x 14 pixels black): how "
        "much its tokens depend on the image, in nats; backends vllm and transformers",
    )
    add_reader(group)


def add_perception(group: argparse._ArgumentGroup) -> None:
    """Add `--perception`."""
    group.add_argument(
        "--perception",
        nargs="?",
        const="self",
        choices=["self", "caption"],
        help="second pass: ask each question again with the description instead of the image. "
        "self (default): the description is part of the response; caption: ask for it in a "
        "separate call, for models that write none",
    )


def add_reader(group: argparse._ArgumentGroup) -> None:
    """Add the flags about the reader; read them with `reader_options`."""
    group.add_argument(
        "--reader",
        metavar="R",
        help="who answers from the descriptions: self (default: the evaluated model), openai, "
        "gemini (as in the paper) or vllm",
    )
    group.add_argument("--reader_model", type=user_text, metavar="M", help="the model that reads")
    group.add_argument(
        "--reader_base_url",
        metavar="URL",
        help="endpoint of that model, whose key is in VSR1_READER_API_KEY or OPENAI_API_KEY "
        "(default: OPENAI_BASE_URL, or OpenAI's own)",
    )
    group.add_argument(
        "--reader_args",
        default="",
        help="max_tokens, seed, temperature (0 unless given; self takes only this one); openai: "
        "reasoning_effort, extra_body={…}; and arguments of the backend, listed by "
        "vsr1-bench ls model_args (concurrency, timeout, …): a=1,b=2",
    )


def reader_options(options: argparse.Namespace, spending: Spending | None = None) -> ReaderOptions:
    """Turn those flags into `ReaderOptions`; `spending` is shared with the judges.

    Raises:
        UsageError: the flags do not fit this reader, or it cannot be used.
    """
    from vsr1_bench.pipeline.flags import ReaderFlags

    return ReaderFlags.of_command(vars(options)).reader_options(spending)


def print_scores(documents: Sequence[dict[str, Any]]) -> None:
    """Print the table of score documents."""
    from vsr1_bench.leaderboard import render

    print(fit_markdown(render(list(documents), "markdown"), terminal_width()))


def print_estimates(rows: Sequence[EstimateRow], currency: str) -> None:
    """Print the table of a dry run, with the sum if it has several rows."""
    from tabulate import tabulate

    from vsr1_bench.generation.estimates import HEADERS, LEGEND, Estimate

    lines = [
        (model, task, what, *estimate.cells(currency, at_most=at_most))
        for model, task, what, estimate, at_most in rows
    ]
    if len(rows) > 1:
        total = sum((estimate for *_, estimate, _ in rows), Estimate())
        most = any(at_most for *_, at_most in rows)
        lines.append(("all", "", "", *total.cells(currency, at_most=most)))
    headers = ("model", "task", "who is asked", *HEADERS)
    print(tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True))
    print(f"\n{LEGEND}", file=sys.stderr)


def print_unread(documents: Sequence[dict[str, Any]]) -> None:
    """Say which samples have no verdict because no reader has read their description."""
    from vsr1_bench.scoring.runs import unread_notices

    for line in unread_notices(documents):
        print(f"vsr1-bench: {line}", file=sys.stderr)


def _money(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted an amount of at least 0")
    return amount


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add the positional run folders."""
    parser.add_argument(
        "runs",
        nargs="*",
        type=user_path,
        default=DEFAULT_RUNS,
        metavar="RUNS",
        help="run folders, or folders that contain run folders (default: runs)",
    )


def shows_progress(options: argparse.Namespace) -> bool:
    """Whether progress bars are shown: with `--verbosity` INFO or DEBUG."""
    return options.verbosity in ("DEBUG", "INFO")


def add_output_path(
    parser: argparse.ArgumentParser,
    what: str = "folder for the runs (default: runs)",
    default: str = "runs",
) -> None:
    """Add `--output_path`."""
    parser.add_argument(
        "--output_path", "-o", type=user_path, default=Path(default), metavar="DIR", help=what
    )


def add_trust_remote_code(parser: argparse._ActionsContainer) -> None:
    """Add `--trust_remote_code`."""
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="execute code that comes with the model"
    )


def add_force_unlock(parser: argparse._ActionsContainer) -> None:
    """Add `--force_unlock`."""
    parser.add_argument(
        "--force_unlock",
        action="store_true",
        help="take over the lock of a run whose host is dead",
    )


def positive_int(text: str) -> int:
    """Read a whole number above zero (argparse type); 0.1 is an error, not a fraction."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a whole number of at least 1")
    return number


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add `--limit`."""
    parser.add_argument("--limit", "-L", type=_limit, metavar="N", help="first N samples per task")


def _limit(text: str) -> int | float:
    """A count; a share is passed on, to be refused where the tasks are known (argparse type)."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    return share if 0 < share < 1 else positive_int(text)


def thinking_tags(text: str) -> tuple[str, ...]:
    """Read `cot,[[note]]…[[/note]]` (argparse type)."""
    from vsr1_bench.pipeline.judge_flags import read_tags

    try:
        return read_tags(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def shard(text: str) -> tuple[int, int]:
    """Read `i/n` with 0 <= i < n (argparse type)."""
    try:
        return flag_values.read_shard(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
