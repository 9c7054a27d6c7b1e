"""`vsr1-bench calibrate`: a judge's errors from a few human labels, and numbers without them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.cli.stored import Skipped, sound_runs
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE

if TYPE_CHECKING:
    from vsr1_bench.store.run_folder import RunFolder

LABELS = 200
"""Labels that are drawn for each run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    parser.add_argument("--judge", required=True, metavar="J", help="a judge that has judged them")
    parser.add_argument(
        "--labels",
        required=True,
        type=user_path,
        metavar="FILE",
        help="the labelling sheet, .csv or .jsonl: if it does not exist, responses are drawn and "
        "it is written; once people have filled it in, the same command calibrates",
    )
    parser.add_argument(
        "--draw",
        type=common.positive_int,
        default=LABELS,
        metavar="N",
        help=f"responses to draw for each run (default: {LABELS}); at least 10 per stratum",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Write the sheet, or calibrate by it."""
    from vsr1_bench.errors import UsageError
    from vsr1_bench.store.judge_names import stored_name

    skipped = Skipped()
    runs = sound_runs(options.runs, skipped, deep=True)
    known = {name for run in runs for name in run.judged()}
    judge = stored_name(options.judge, known)
    if judge is None:
        raise UsageError(
            f"--judge {options.judge}: no verdicts; there are: "
            f"{', '.join(sorted(known)) or 'none'} "
            "(vsr1-bench judge RUNS --judge NAME)"
        )
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: wanted a whole number of at least 0")
    work = _calibrate if options.labels.exists() else _draw
    code = work(runs, judge, options)
    return EXIT_INCOMPLETE if skipped.count else code


def _draw(runs: Sequence[RunFolder], judge: str, options: argparse.Namespace) -> int:
    from vsr1_bench.calibration.sheet import make_sheet, write_sheet
    from vsr1_bench.calibration.units import judged

    seen = [judged(run, judge, options.include_path) for run in runs]
    rows = make_sheet(seen, options.draw, options.seed)
    write_sheet(options.labels, rows)
    both = " and `reading_label`" if "reading_label" in rows[0] else ""
    words = [str(path) for path in options.runs]
    words += [word for folder in options.include_path for word in ("--include_path", folder)]
    page = shlex.join(["vsr1-bench", "view", *words, "--labels", str(options.labels)])
    print(
        f"{options.labels}: {len(rows):,} responses of {len(runs)} runs to label. Write correct, "
        f"incorrect or unclear into `label`{both}; keep all columns; then run the same command.\n"
        f"As a page with images: {page}"
    )
    return EXIT_DONE


def _calibrate(runs: Sequence[RunFolder], judge: str, options: argparse.Namespace) -> int:
    import json

    from vsr1_bench.calibration.calibrate import calibrate
    from vsr1_bench.calibration.sheet import read_sheet
    from vsr1_bench.errors import UsageError

    labels = read_sheet(options.labels)
    if not any(label.answer is not None for label in labels):
        raise UsageError(
            f"--labels {options.labels}: no row has a label yet; write correct or incorrect into "
            "`label`, or name a file that does not exist to draw a new sheet"
        )
    documents = calibrate(runs, judge, labels, options.include_path)
    print(json.dumps(documents, indent=1) if options.json else _text(documents))
    return EXIT_DONE


def _text(documents: Sequence[dict[str, Any]]) -> str:
    from tabulate import tabulate

    from vsr1_bench._util.columns import fit_markdown, terminal_width
    from vsr1_bench.leaderboard.rendering import markdown_text

    pooled = len(documents) > 1
    rows = []
    for document in documents:
        for name, part in document["metrics"].items():
            values = [part[key] for key in ("judge", "ppi", "rogan_gladen")]
            values += [part["rogan_gladen_pooled"]] if pooled else []
            values += [part["sensitivity"], part["specificity"]]
            names = [markdown_text(document[key]) for key in ("model", "task")]
            rows.append([*names, name, f"{part['labels']:,} / {part['n']:,}", *map(_cell, values)])
    headers = ["model", "task", "metric", "labels / n", "judge", "PPI++", "Rogan-Gladen"]
    headers += ["Rogan-Gladen, pooled"] if pooled else []
    headers += ["sensitivity", "specificity"]
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    lines = [fit_markdown(table, terminal_width())]
    judge = documents[0]["judge"]
    lines.append(
        f"Judge: {judge}; % with 95 % intervals. `judge` takes its verdicts for the truth. "
        "docs/statistics.md#calibration says what each column assumes."
    )
    unclear = sum(document["unclear"] for document in documents)
    if unclear:
        lines.append(f"unclear: {unclear:,}; such labels count as missing, as if at random.")
    shown = [part for document in documents for part in document["metrics"].values()]
    if any(part["ppi"]["value"] is None for part in shown):
        lines.append("No PPI++: a stratum of the draw has no label yet.")
    if any(part["ppi"]["value"] is not None and part["rogan_gladen"]["value"] is None
           for part in shown):  # fmt: skip
        lines.append("No Rogan-Gladen: grades, or a judge not clearly better than chance.")
    return "\n\n".join(lines)


def _cell(value: dict[str, Any]) -> str:
    if value["value"] is None:
        return "–"
    text = f"{100 * value['value']:.1f}"
    if value["low"] is None:
        return text
    return f"{text} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"
