"""`vsr1-bench agreement`: how well judges agree on the same responses."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from vsr1_bench.cli import common
from vsr1_bench.cli.stored import Skipped, sound_runs
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE, StoreError

if TYPE_CHECKING:
    from vsr1_bench.scoring.agreement import Agreement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    parser.add_argument(
        "--judges",
        required=True,
        metavar="A,B[,C]",
        help="judges to compare; they have judged these runs already",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument(
        "--show",
        type=common.positive_int,
        default=20,
        metavar="N",
        help="list at most N disagreements (default: 20)",
    )


def execute(options: argparse.Namespace) -> int:
    """Compare each pair of judges, and print."""
    import json
    from itertools import combinations

    from vsr1_bench.scoring.agreement import compare, document, named_judges
    from vsr1_bench.store.environment import COMMAND
    from vsr1_bench.store.judge_names import LABELS, label_file, name_in_run

    skipped = Skipped()
    runs = sound_runs(options.runs, skipped, deep=True)
    judged = [run.judged() for run in runs]
    known = {name for names in judged for name in names}
    if len(runs) > 1 and all(label_file(names) for names in judged):
        known.add(LABELS)  # each run's own file
    names = named_judges(options.judges, known)
    complete = []
    for run, stored in zip(runs, judged, strict=True):
        lacking = [name for name in names if name_in_run(name, stored) not in stored]
        if not lacking:
            complete.append(run)
            continue
        again = shlex.join([COMMAND, "judge", str(run.path), "--judge", lacking[0]])
        skipped.note(f"{run.path}: not judged by {', '.join(lacking)}; run: {again}")
    if not complete:
        raise StoreError(f"no run is judged by all of {', '.join(names)}")
    agreements = [compare(complete, first, second) for first, second in combinations(names, 2)]
    if options.json:
        print(json.dumps([document(one) for one in agreements], indent=1))
    else:
        print("\n\n".join(_text(one, options.show) for one in agreements))
    return EXIT_INCOMPLETE if skipped.count else EXIT_DONE


def _text(agreement: Agreement, show: int) -> str:
    from tabulate import tabulate

    from vsr1_bench.scoring.agreement import OUTCOMES

    def cells(rows: list[list[object]], headers: list[str]) -> str:
        safe = [[_cell(value) for value in row] for row in rows]
        return tabulate(safe, headers=headers, tablefmt="pipe", disable_numparse=True)

    first, second = agreement.judges
    value = (
        "undefined (one verdict throughout)"
        if agreement.kappa is None
        else f"{agreement.kappa:.3f}"
    )
    if agreement.low is not None and agreement.high is not None:
        value += f" (95 % {agreement.low:.3f} to {agreement.high:.3f})"
    share = "–" if agreement.observed is None else f"{100 * agreement.observed:.1f} %"
    lines = [
        f"{first} and {second}: kappa {value}; equal {share} of {agreement.n}, "
        f"{agreement.unscored} without both verdicts excluded",
        cells(
            [
                [f"{first}: {word}", *row]
                for word, row in zip(OUTCOMES, agreement.table, strict=True)
            ],
            ["", f"{second}: correct", f"{second}: incorrect"],
        ),
    ]
    if agreement.disagreements:
        rows: list[list[object]] = [
            [d.model, d.task, d.sample_id, d.gold, d.extracted, d.first, d.second]
            for d in agreement.disagreements[:show]
        ]
        lines.append(cells(rows, ["model", "task", "sample", "gold", "answer", first, second]))
    if len(agreement.disagreements) > show:
        lines.append(f"{len(agreement.disagreements) - show} more: --show N, or --json for all")
    return "\n\n".join(lines)


def _cell(value: object) -> str:
    """One short line that stays in its cell."""
    text = "–" if value is None else str(value)
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())[:120]
