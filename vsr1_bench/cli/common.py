"""Flags that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vsr1_bench._util.paths import user_path, user_text
from vsr1_bench.errors import (
    EXIT_DONE,
    EXIT_INCOMPLETE,
    BenchError,
    DamagedRunError,
    UsageError,
)

if TYPE_CHECKING:
    from vsr1_bench.data.dataset import DataOptions
    from vsr1_bench.generation.costs import Spending
    from vsr1_bench.judge import JudgeOptions
    from vsr1_bench.perception.reader import ReaderOptions
    from vsr1_bench.perception.second_pass import Tally
    from vsr1_bench.store.run_folder import RunFolder


DEFAULT_RUNS = [Path("runs")]


def add_include_path(parser: argparse.ArgumentParser) -> None:
    """Add `--include_path`."""
    parser.add_argument(
        "--include_path",
        action="append",
        type=user_text,
        default=[],
        metavar="DIR",
        help="folder with your own task and judge files; their code is executed (repeatable)",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where rows come from; read them with `data_options`."""
    parser.add_argument(
        "--data_root",
        type=user_text,
        metavar="DIR",
        help="local mirror, DIR/<hub id>/[<config>/]<split>*.{parquet,jsonl} "
        "(default: the environment variable VSR1_DATA_ROOT)",
    )
    parser.add_argument(
        "--source",
        metavar="NAME",
        help="read another publication of the rows (lmms_eval, paper), if the task has one; "
        "default: the official data set",
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
        help="never contact the hub; fail at once and list what is missing",
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
    """Put golds back into runs that were published without; leave out, with a line each, the rest.

    Reads the flags of `add_data`. Returns the runs that can be judged, and how many cannot.

    Raises:
        StoreError: the only run has not got its golds.
    """
    if not any(run.withheld() for run in runs):
        return list(runs), 0
    from vsr1_bench.publish.golds import runs_with_golds

    shown = options.verbosity in ("DEBUG", "INFO")
    kept, lacking = runs_with_golds(
        runs, data_options(options), options.include_path, progress=shown
    )
    for line in lacking:
        print(f"vsr1-bench: left out: {line}", file=sys.stderr)
    return kept, len(lacking)


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add the judges' options, `--judge` itself left out."""
    parser.add_argument(
        "--thinking_tags",
        type=thinking_tags,
        default=(),
        metavar="TAG,…",
        help="more tags of thinking, whose content is never an answer: cot for <cot>…</cot>, or "
        "both marks, [[cot]]…[[/cot]]; tags of known model families need no flag",
    )
    group = parser.add_argument_group("judges that ask a model")
    group.add_argument("--judge_model", type=user_text, metavar="M", help="the model that judges")
    group.add_argument(
        "--judge_base_url", metavar="URL", help="its endpoint; the key: VSR1_JUDGE_API_KEY"
    )
    group.add_argument(
        "--judge_all", action="store_true", help="cascade: let the model judge every response"
    )
    group.add_argument(
        "--judge_concurrency", type=positive_int, metavar="N", help="calls at a time"
    )
    group.add_argument("--judge_prompt", default="strict", help="strict, paper or graded")
    group.add_argument(
        "--judge_args",
        default="",
        help="temperature, max_tokens, seed, and arguments of the backend (timeout, max_retries, "
        "safety, thinking_budget, dtype, …): a=1,b=2",
    )
    group.add_argument(
        "--price_file",
        type=user_path,
        metavar="FILE.json",
        help='{"MODEL": {"input": PRICE, "output": PRICE}}, prices per million tokens',
    )
    group.add_argument(
        "--max_cost", type=_money, metavar="C", help="stop before spending more than this"
    )


def judge_options(options: argparse.Namespace) -> JudgeOptions:
    """Turn those flags into `JudgeOptions`.

    Raises:
        UsageError: a price file or a value that cannot be read.
    """
    from vsr1_bench.generation.costs import Spending, read_prices
    from vsr1_bench.judge import JudgeOptions
    from vsr1_bench.prompts.judge_prompts import get_prompt

    get_prompt(options.judge_prompt)
    prices = read_prices(options.price_file) if options.price_file else {}
    if options.max_cost is not None and not prices:
        raise UsageError("--max_cost needs prices: give --price_file FILE.json, too")
    given = vars(options)
    if "@" in urlsplit(options.judge_base_url or "").netloc:
        raise UsageError(
            "--judge_base_url holds a user or password; give the key by VSR1_JUDGE_API_KEY"
        )
    if options.judge_all and "cascade" not in (given.get("judge") or ""):
        raise UsageError("--judge_all goes with --judge cascade:RULE,LLM; other judges see all")
    return JudgeOptions(
        labels=given.get("labels"),
        model=options.judge_model,
        base_url=options.judge_base_url,
        judge_all=options.judge_all,
        concurrency=options.judge_concurrency,
        prompt=options.judge_prompt,
        args=key_values(options.judge_args, "--judge_args"),
        spending=Spending(prices, options.max_cost),
        thinking_tags=options.thinking_tags,
        dry_run=given.get("dry_run", False),
    )


def add_seeing(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `run` that ask whether the model sees."""
    group = parser.add_argument_group("seeing or guessing (docs/seeing-or-guessing.md)")
    add_perception(group)
    group.add_argument(
        "--blind",
        metavar="V,…",
        help="also run each task blind: drop (no image), noise, swap (another sample's image); "
        "the table shows the gain over blind",
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
    """Add the flags about who reads; read them with `reader_options`."""
    group.add_argument(
        "--reader",
        metavar="R",
        help="who answers from the descriptions: self (the model itself, the default), openai, "
        "gemini (as in the paper) or vllm",
    )
    group.add_argument("--reader_model", type=user_text, metavar="M", help="the model that reads")
    group.add_argument(
        "--reader_base_url", metavar="URL", help="its endpoint; the key: VSR1_READER_API_KEY"
    )
    group.add_argument(
        "--reader_args",
        default="",
        help="max_tokens, seed, and arguments of the backend (concurrency, timeout, …): a=1,b=2",
    )


def reader_options(options: argparse.Namespace, spending: Spending | None = None) -> ReaderOptions:
    """Turn those flags into `ReaderOptions`; `spending` = that of the judges, which bounds both.

    Raises:
        UsageError: flags about a reader that is the model itself, or that cannot be used.
    """
    from vsr1_bench.generation.costs import Spending
    from vsr1_bench.perception.reader import SELF, ReaderOptions

    name = options.reader or SELF
    if name == SELF and any((options.reader_model, options.reader_base_url, options.reader_args)):
        raise UsageError(
            "--reader_model, --reader_base_url, --reader_args go with --reader openai, gemini or "
            "vllm; the reader `self` is the model itself"
        )
    if "@" in urlsplit(options.reader_base_url or "").netloc:
        raise UsageError(
            "--reader_base_url holds a user or password; give the key by VSR1_READER_API_KEY"
        )
    args = key_values(options.reader_args, "--reader_args")
    told = (options.reader_model, options.reader_base_url, args, spending or Spending())
    return ReaderOptions(name, *told, thinking_tags=options.thinking_tags)


def report_failures(name: str, tally: Tally, total: int | None = None) -> None:
    """Print the commonest reasons for which requests of one kind have failed."""
    count = tally.finished + tally.failed if total is None else total
    if tally.what == "readings" and count == 0:
        print(
            f"vsr1-bench: {name}: no description to read: it has no `lsr`; for models "
            "that write none: --perception caption",
            file=sys.stderr,
        )
    what = "" if tally.what == "responses" else f" {tally.what}"
    reasons = sorted(tally.reasons.items(), key=lambda pair: -pair[1])
    if rest := sum(failed for _, failed in reasons[3:]):
        reasons[3:] = [(f"for {len(reasons) - 3} other reasons", rest)]
    for reason, failed in reasons:
        print(
            f"vsr1-bench: {name}: {failed} of {count}{what} failed: {reason}; the same command "
            "tries them again",
            file=sys.stderr,
        )


def unscored(documents: Sequence[dict[str, Any]]) -> int:
    """How many verdicts are missing; says what no verdict can be given on: what nobody has read."""
    from vsr1_bench.store.judge_names import LABELS, bare

    answers: int = sum(
        d.get("left_unscored", d["rates"]["total"] - d["rates"]["scored"]) for d in documents
    )
    # People label responses, not what was read from their descriptions.
    read = [d for d in documents if "perception" in d and bare(d["judge"]) != LABELS]
    for document in read:
        part, rates = document["perception"], document["rates"]
        if "members" not in part and part["uncounted"] > rates["total"] - rates["scored"]:
            print(
                f"vsr1-bench: {document['task']}: {part['uncounted']} of {rates['total']} "
                f"responses have no place in the second pass by {part['reader']['label']} yet; "
                "`run` with --perception, or `perceive`, makes what is missing",
                file=sys.stderr,
            )
    return answers + sum(int(d["perception"]["uncounted"]) for d in read)


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
        help="run folders, or folders that hold some (default: runs)",
    )


Damaged = Mapping[Path, DamagedRunError]
"""Folder of a run -> why it cannot be read."""


def without_damaged(show: Callable[[Damaged], None]) -> int:
    """Show many runs: a damaged one is left out with a line, and must not hide the others.

    Args:
        show: Shows all but the given runs; is called anew with each damaged one that it comes upon,
            so it prints last.

    Returns:
        The exit code.

    Raises:
        DamagedRunError: there is nothing to show without a damaged run (`whole_runs`).
    """
    damaged: dict[Path, DamagedRunError] = {}
    while True:
        try:
            show(damaged)
        except DamagedRunError as error:
            if error.folder is None or error.folder in damaged:
                raise
            damaged[error.folder] = error
        except BenchError:
            _tell_damaged(damaged)
            raise
        else:
            _tell_damaged(damaged)
            return EXIT_INCOMPLETE if damaged else EXIT_DONE


def _tell_damaged(damaged: Damaged) -> None:
    for error in damaged.values():
        print(f"vsr1-bench: left out: {error}", file=sys.stderr)


def whole_runs(paths: Sequence[Path], damaged: Damaged, *, least: int = 1) -> list[list[RunFolder]]:
    """The runs at or below each path, the damaged ones left out.

    Raises:
        StoreError: a path has no runs.
        DamagedRunError: fewer than `least` paths have others.
    """
    from vsr1_bench.store.run_folder import find_runs

    found = [[run for run in find_runs(path) if run.path not in damaged] for path in paths]
    if damaged and sum(map(bool, found)) < least:
        raise next(iter(damaged.values()))
    return found


def key_values(text: str, flag: str) -> dict[str, Any]:
    """Read `a=1,b=x` with numbers, true, false and null as such.

    A value that begins with `~` is a path. Commas inside a value are not split where the next
    piece has no `=`.

    Raises:
        UsageError: a piece without a name.
    """
    found: dict[str, Any] = {}
    for piece in (p for p in pieces(text) if p.strip()):
        name, equals, value = piece.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{flag} {piece!r}: wanted name=value,name=value")
        found[name.strip()] = _value(value.strip())
    return found


def pieces(text: str) -> list[str]:
    """Split at commas, except where the next piece has no `=`: it belongs to the value before."""
    found: list[str] = []
    for piece in text.split(","):
        if "=" in piece or not found:
            found.append(piece)
        else:
            found[-1] += f",{piece}"
    return found


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return user_text(text)


def positive_int(text: str) -> int:
    """Read a whole number above zero (argparse type).

    `--limit 0.1` is refused rather than read as a share or as nothing.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a whole number of at least 1")
    return number


def thinking_tags(text: str) -> tuple[str, ...]:
    """Read `cot,[[note]]…[[/note]]` (argparse type)."""
    from vsr1_bench.answers import tag_pair

    names = tuple(sorted({name.strip() for name in text.split(",") if name.strip()}))
    for name in names:
        try:
            tag_pair(name)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return names


def shard(text: str) -> tuple[int, int]:
    """Read `i/n` with 0 <= i < n (argparse type)."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted i/n with i from 0 to n-1, e.g. 0/4")
    return int(index), int(count)
