"""`vsr1-bench compare`: compare runs on the same samples."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.cli.stored import show_sound
from vsr1_bench.errors import DamagedRunError, UsageError

if TYPE_CHECKING:
    from vsr1_bench.calibration.difference import Difference
    from vsr1_bench.compare.compare import Comparison
    from vsr1_bench.store.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=user_path,
        metavar="RUN",
        help="two or more runs, or folders with one run per task; differences are the later "
        "minus the earlier",
    )
    parser.add_argument("--judge", help="compare by this judge (default: the task's own)")
    parser.add_argument(
        "--flips",
        type=common.positive_int,
        metavar="N",
        help="list the first N samples on which the runs of a comparison differ",
    )
    parser.add_argument(
        "--calibrated",
        metavar="FILE",
        action="append",
        type=user_path,
        default=[],
        help="also differences corrected by this labelling sheet of `calibrate`, which people have "
        "filled in for both runs; can be repeated (docs/judges.md)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document with every flip")
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Compare each pair, task by task, and print."""
    if len(options.runs) < 2:
        raise UsageError("compare: wanted at least two runs, e.g. vsr1-bench compare RUN_A RUN_B")
    return show_sound(options.runs, partial(_compare, options), least=2)


def _compare(
    options: argparse.Namespace,
    runs: list[list[RunFolder]],
    damaged: Mapping[Path, DamagedRunError],
) -> None:
    import json
    from dataclasses import asdict

    from vsr1_bench.compare.compare import compare_runs, document, tasks_left_out
    from vsr1_bench.compare.text import comparison_texts

    shown = common.shows_progress(options) and not options.json
    comparisons = compare_runs(
        options.runs, options.judge, options.include_path, left_out=damaged, progress=shown
    )
    missing = tasks_left_out(options.runs, damaged)
    corrected = _calibrated(options, comparisons)
    if options.json:
        listed = [document(one, options.flips) for one in comparisons]
        for values, found in zip(listed, corrected, strict=bool(corrected)):
            values["calibrated"] = found if isinstance(found, str) else asdict(found)
        print(json.dumps({"comparisons": listed, "tasks_left_out": missing}, indent=1))
        return
    texts = comparison_texts(comparisons, options.runs, missing, options.flips or 0)
    if corrected:
        texts[3:3] = _calibrated_texts(comparisons, corrected)
    print("\n\n".join(texts))


def _calibrated(
    options: argparse.Namespace, comparisons: Sequence[Comparison]
) -> list[Difference | str]:
    """The corrected difference of each comparison, or why there is none; empty if not wanted.

    Raises:
        UsageError: none of them can be corrected.
    """
    if not options.calibrated:
        return []
    from vsr1_bench.calibration.difference import calibrated_difference
    from vsr1_bench.calibration.sheet import read_labels
    from vsr1_bench.store.run_folder import RunFolder

    labels = read_labels(options.calibrated)
    found = []
    for one in comparisons:
        runs = [RunFolder(Path(folder)) for folder in (one.first_run, one.second_run)]
        found.append(
            calibrated_difference(runs[0], runs[1], one.judge, labels, options.include_path)
        )
    if all(isinstance(one, str) for one in found):
        raise UsageError(f"--calibrated: no difference can be corrected: {found[0]}")
    return found


CALIBRATED = ("task", "n", "difference", "from", "to", "points", "95 % interval", "p", "p (Holm)")


def _calibrated_texts(
    comparisons: Sequence[Comparison], corrected: Sequence[Difference | str]
) -> list[str]:
    """The corrected differences as a table, what they are, and which of them there are not."""
    from vsr1_bench.compare.text import p_text, pair_name, points_text
    from vsr1_bench.leaderboard.rendering import markdown
    from vsr1_bench.leaderboard.sheet import Sheet
    from vsr1_bench.scoring.paired import holm

    p_values = [
        one.p_value for one in corrected if not isinstance(one, str) and one.p_value is not None
    ]
    adjusted = iter(holm(p_values))
    rows, reasons = [], []
    for one, found in zip(comparisons, corrected, strict=True):
        if isinstance(found, str):
            reasons.append(f"Not calibrated: {one.task}, {pair_name(one)}: {found}.")
            continue
        bounds = (found.low, found.high)
        interval = " to ".join(points_text(bound) for bound in bounds if bound is not None)
        tested = ["–", "–"]
        if found.p_value is not None:
            tested = [p_text(found.p_value), p_text(next(adjusted))]
        shares = [f"{100 * share:.1f}" for share in (found.first, found.second)]
        points = points_text(found.difference)
        head = (one.task, f"{found.n:,}", pair_name(one))
        rows.append((*head, *shares, points, interval or "–", *tested, f"{found.labels:,}"))
    explained = (
        "Calibrated by human labels (PPI++; the t test that belongs to the interval): what people "
        "would say, estimated from the verdicts on both runs and their labels."
    )
    return [explained, markdown(Sheet((*CALIBRATED, "labels"), tuple(rows))), *reasons]
