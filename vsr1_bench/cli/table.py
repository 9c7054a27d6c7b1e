"""`vsr1-bench table`: the stored scores of many runs, side by side."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench._util.columns import fit_markdown, terminal_width
from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.cli.stored import show_sound
from vsr1_bench.errors import EXIT_DONE, StoreError, UsageError, nearest

if TYPE_CHECKING:
    from vsr1_bench.leaderboard.collect import Scored
    from vsr1_bench.leaderboard.mixups import MixUp
    from vsr1_bench.leaderboard.reported import ReportedTable
    from vsr1_bench.leaderboard.wide import Grid, Wanted
    from vsr1_bench.registry import Registry
    from vsr1_bench.store.run_folder import RunFolder

FORMATS = ("markdown", "csv", "latex", "html", "json")
HERE = Path()
"""Value of `--results` without a folder: it is searched beside the checkout."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    parser.add_argument(
        "--format", default="markdown", choices=FORMATS, help="how to print it (default: markdown)"
    )
    parser.add_argument(
        "--layout",
        default="wide",
        choices=["wide", "long"],
        help="wide: one row per model or setting; long: one row per run, judge and metric",
    )
    parser.add_argument(
        "--columns",
        default="task",
        metavar="WHAT[,WHAT]",
        help="task (default): one column per task with its main metric; metric: one row per task "
        "and one column per metric; or names of metrics, with one column per task and name: "
        "task,lsr",
    )
    parser.add_argument("--tasks", "-t", help="only these tasks, suites, groups or patterns")
    parser.add_argument(
        "--by", metavar="GROUP", help="one column per category, e.g. kind or subject"
    )
    parser.add_argument("--intervals", action="store_true", help="also show 95 %% intervals")
    parser.add_argument("--judge", help="only this judge's scores")
    add_results(parser)
    parser.add_argument(
        "--explain_diff",
        nargs=2,
        type=user_path,
        metavar=("A", "B"),
        help="instead of a table: list the differences between the settings of two runs",
    )
    parser.add_argument(
        "--delta",
        metavar="OLD",
        nargs="?",
        const="auto",
        help="instead of a table: compare an old judge's scores (published, legacy_vsr1, …; "
        "default: the first that exists) with those of --judge or the task's own, and explain the "
        "change",
    )
    parser.add_argument(
        "--clean",
        metavar="VARIANT",
        nargs="?",
        const="drop",
        help="instead of a table of all items: accuracy on those that no compared model answers "
        "right in its blind run (drop, the default, guess, noise or swap), mirage score and "
        "ranking (docs/audit.md)",
    )
    parser.add_argument(
        "--calibrated",
        metavar="FILE",
        action="append",
        type=user_path,
        default=[],
        help="correct accuracy, lsr and self_contained by this labelling sheet of `calibrate`, "
        "which people have filled in; can be repeated (docs/judges.md)",
    )
    add_paper(parser)
    common.add_include_path(parser)


def add_paper(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a table for a paper."""
    group = parser.add_argument_group("a table for a paper (--format latex)")
    group.add_argument(
        "--names",
        type=user_path,
        metavar="FILE.toml",
        help="names to show, in any format but json: sections [models], [tasks], [metrics], "
        '[settings] with lines NAME = "name to show"',
    )
    group.add_argument("--caption", default="", metavar="TEXT", help="caption of the table")
    group.add_argument("--label", default="", metavar="NAME", help="label to refer to the table")
    group.add_argument("--source", action="store_true", help="also the column source")
    group.add_argument(
        "--members", action="store_true", help="also the columns of tasks whose group has one"
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add `--results`."""
    parser.add_argument(
        "--results",
        nargs="?",
        type=user_path,
        const=HERE,
        metavar="DIR",
        help="also show reported rows, from the JSON files below DIR (without DIR: the folder "
        "results/ here or in vsr1-bench's checkout)",
    )


def execute(options: argparse.Namespace) -> int:
    """Read score files and print them; nothing is judged or scored again."""
    _refuse_paper_flags(options)
    _refuse_calibrated(options)
    if options.explain_diff:
        return _explain(*options.explain_diff, judge=options.judge)
    if options.clean:
        return show_scores(options, _clean)
    show = _delta if options.delta else _print_long if options.layout == "long" else _print_wide
    return show_scores(options, show)


def show_scores(
    options: argparse.Namespace, show: Callable[[argparse.Namespace, list[RunFolder]], None]
) -> int:
    """Show the named runs without the damaged ones; return the exit code."""
    paths = options.runs
    # Reported rows can be looked at before anything was run.
    may_be_empty = options.results is not None and show is not _delta
    if may_be_empty and paths == common.DEFAULT_RUNS and not paths[0].exists():
        paths = []
    return show_sound(
        paths, lambda by_path, _: show(options, [run for runs in by_path for run in runs])
    )


def stored_scores(options: argparse.Namespace, runs: list[RunFolder]) -> list[Scored]:
    """The score documents of runs; with `--results` there may be none.

    Raises:
        StoreError: none of the runs is scored.
    """
    from vsr1_bench.leaderboard.collect import collect
    from vsr1_bench.store.run_folder import stored_judge

    options.judge = stored_judge(options.judge, runs)
    scored = collect(runs, options.include_path, options.judge)
    if not scored and options.results is None:
        where = shlex.join(str(path) for path in options.runs)
        if options.judge is not None and (known := {name for run in runs for name in run.judged()}):
            names = ", ".join(sorted(known))
            raise StoreError(f"{where}: no scores by {options.judge!r}; judged by: {names}")
        raise StoreError(f"{where}: no scores yet; run: vsr1-bench judge {where}")
    return scored


def reported_tables(options: argparse.Namespace) -> list[ReportedTable]:
    """The reported tables that `--results` asks for."""
    from vsr1_bench.leaderboard.reported import load_reported, results_folder

    if options.results is None:
        return []
    return load_reported(results_folder() if options.results is HERE else options.results)


def _print_long(options: argparse.Namespace, runs: list[RunFolder]) -> None:
    from vsr1_bench.leaderboard import render

    if options.results is not None:
        raise UsageError("--results: reported rows have no samples; use --layout wide")
    documents = [one.document for one in _chosen(options, stored_scores(options, runs))]
    documents.sort(key=lambda d: (d["task"], d["model"], d["judge"], d["spec_hash"]))
    _print(options, render(documents, options.format, by=options.by))


def _print_wide(options: argparse.Namespace, runs: list[RunFolder]) -> None:
    from vsr1_bench.leaderboard.averages import add_averages
    from vsr1_bench.leaderboard.marking import mark_best
    from vsr1_bench.leaderboard.order import column_order
    from vsr1_bench.leaderboard.wide import Wanted, build_grid
    from vsr1_bench.registry import load_registry

    scored = stored_scores(options, runs)
    words = tuple(word.strip() for word in options.columns.split(",") if word.strip())
    registry = load_registry(options.include_path, judges=False)
    order = column_order(scored, registry, options.include_path)
    wanted = Wanted(words, options.by, task_names(options), own_judges(options), order)
    reported = reported_tables(options)
    grid = build_grid(scored, wanted, reported)
    if not grid.rows:
        what = f"--by {options.by}" if options.by else f"--columns {options.columns}"
        if options.tasks is not None:
            what += f" --tasks {options.tasks}"
        raise UsageError(f"{what}: no score has that; available: {_available(options, scored)}")
    if options.calibrated:
        from vsr1_bench.calibration.cells import calibrate_grid
        from vsr1_bench.calibration.sheet import read_labels

        calibrate_grid(grid, read_labels(options.calibrated), options.include_path)
    groups = {name: group.tasks for name, group in registry.groups.items()}
    add_averages(grid, wanted, reported, groups)
    for line in _not_shown(options, scored, wanted, grid):
        print(f"vsr1-bench: not shown: {line}", file=sys.stderr)
    if not wanted.row_per_task:
        mark_best(grid, options.include_path, progress=common.shows_progress(options))
    _print(options, _written(options, grid, wanted, registry))


def _print(options: argparse.Namespace, text: str) -> None:
    print(fit_markdown(text, terminal_width()) if options.format == "markdown" else text)


def _written(options: argparse.Namespace, grid: Grid, wanted: Wanted, registry: Registry) -> str:
    """The wide table in its format; LaTeX is laid out for a paper.

    Raises:
        UsageError: a file of names that cannot be used.
    """
    from vsr1_bench.leaderboard.names import Names, load_names, renamed, unused
    from vsr1_bench.leaderboard.paper import PaperOptions, paper_sheet
    from vsr1_bench.leaderboard.rendering import latex
    from vsr1_bench.leaderboard.writing import write_grid

    names = load_names(options.names) if options.names else Names()
    if missing := unused(names, grid):
        shown = ", ".join(sorted(missing))
        print(f"vsr1-bench: {options.names}: not in this table: {shown}", file=sys.stderr)
    if options.format != "latex":
        named = renamed(grid, wanted, names) if options.names and options.format != "json" else grid
        return write_grid(named, wanted, options.format, intervals=options.intervals)
    titles = {name: task.title for name, task in registry.tasks.items()}
    titles |= {name: group.title for name, group in registry.groups.items()}
    paper = PaperOptions(
        options.caption,
        options.label,
        options.source,
        options.members,
        names,
        {name: title for name, title in titles.items() if title},
        {name: group.tasks for name, group in registry.groups.items()},
    )
    return latex(paper_sheet(grid, wanted, paper, intervals=options.intervals))


def _refuse_paper_flags(options: argparse.Namespace) -> None:
    """Refuse flags of a paper's table where they would do nothing.

    Raises:
        UsageError: names the first of them.
    """
    latex_only = options.format != "latex" or options.layout == "long"
    for name in ("caption", "label", "source", "members"):
        if getattr(options, name) and latex_only:
            raise UsageError(f"--{name} goes with --format latex and --layout wide")
    if options.names and options.layout == "long":
        raise UsageError("--names goes with --layout wide")
    if options.label and not options.caption:
        raise UsageError(f"--label {options.label}: a label refers to a caption; give --caption")
    if not re.fullmatch(r"[\w:.+/-]*", options.label):
        raise UsageError(f"--label {options.label!r}: wanted letters, digits and : . + / -")


def _refuse_calibrated(options: argparse.Namespace) -> None:
    """Refuse labels where no number would be corrected by them.

    Raises:
        UsageError: names the flag that they do not go with.
    """
    if not options.calibrated:
        return
    for name in ("by", "delta", "clean", "explain_diff"):
        if getattr(options, name):
            raise UsageError(f"--calibrated: does not go with --{name}")
    if options.layout == "long":
        raise UsageError("--calibrated goes with --layout wide")


def _not_shown(
    options: argparse.Namespace, scored: list[Scored], wanted: Wanted, grid: Grid
) -> Iterator[str]:
    """Wanted columns that no score fills, and tasks that are named and have none."""
    filled = {column.metric for column in grid.columns}
    filled |= {name for one in scored for name in one.document["metrics"]}
    empty = [word for word in wanted.columns if word not in {"task", "metric", *filled}]
    if empty:
        there = _available(options, scored)
        yield f"column {', '.join(empty)}: no score has it; available: {there}"
    if options.tasks is not None and not wanted.row_per_task:
        named = [word.strip() for word in options.tasks.split(",") if word.strip()]
        shown = {column.task for column in grid.columns}
        absent = [task for task in wanted.tasks or () if task in named and task not in shown]
        if absent:
            yield f"{', '.join(absent)}: no scores"


def _available(options: argparse.Namespace, scored: list[Scored]) -> str:
    field = "by" if options.by else "metrics"
    names = sorted({name for one in scored for name in one.document[field]})
    return ", ".join(names) or "nothing"


def own_judges(options: argparse.Namespace) -> dict[str, str]:
    """Task -> its own judge."""
    from vsr1_bench.registry import load_registry

    tasks = load_registry(options.include_path, judges=False).tasks
    return {name: task.judge for name, task in tasks.items()}


def task_names(options: argparse.Namespace) -> tuple[str, ...] | None:
    """The tasks of `--tasks` in order, with groups that are named or whose tasks all are."""
    if options.tasks is None:
        return None
    from vsr1_bench.leaderboard.order import with_groups
    from vsr1_bench.registry import load_registry, resolve_tasks

    registry = load_registry(options.include_path, judges=False)
    names: dict[str, None] = {}
    for word in (word.strip() for word in options.tasks.split(",") if word.strip()):
        if word in registry.groups:
            names[word] = None
        else:
            tasks = resolve_tasks(word, options.include_path)
            names.update(dict.fromkeys(task.name for task in tasks))
    whole = {
        name: group.tasks
        for name, group in registry.groups.items()
        if name not in names and all(task in names for task in group.tasks)
    }
    return with_groups(names, whole)


def _chosen(options: argparse.Namespace, scored: list[Scored]) -> list[Scored]:
    names = task_names(options)
    return [one for one in scored if names is None or one.task in names]


def _explain(first: Path, second: Path, *, judge: str | None) -> int:
    from vsr1_bench.compare.explain import explain

    print(explain(first, second, judge))
    return EXIT_DONE


def _clean(options: argparse.Namespace, runs: list[RunFolder]) -> None:
    from vsr1_bench.audit.blind import b_clean
    from vsr1_bench.audit.clean_table import write_clean
    from vsr1_bench.data.blind import VARIANTS
    from vsr1_bench.registry import load_registry
    from vsr1_bench.store.run_folder import stored_judge

    if options.clean not in VARIANTS:
        raise UsageError(f"--clean {options.clean}: {nearest(options.clean, VARIANTS)}")
    judge = stored_judge(options.judge, runs)
    tasks = load_registry(options.include_path, judges=False).tasks
    named = task_names(options)
    names = sorted({run.spec().task.name for run in runs} & {*tasks})
    found = [
        table
        for name in names
        if (named is None or name in named)
        and (table := b_clean(tasks[name], runs, options.clean, judge)) is not None
    ]
    if not found:
        raise StoreError(
            f"--clean: no run has a judged blind run ({options.clean}); add --blind "
            f"{options.clean} to the command of the runs, or run: vsr1-bench judge RUNS"
        )
    _print(options, write_clean(found, options.format))


def _delta(options: argparse.Namespace, runs: list[RunFolder]) -> None:
    from vsr1_bench.compare.delta import compare_judges, note_mixups, render_delta

    if options.format not in ("markdown", "json"):
        raise UsageError(f"--delta: wanted --format markdown or json, not {options.format}")
    cells = compare_judges(
        runs, options.delta, options.judge, by=options.by, include_path=options.include_path
    )
    results = None if options.results in (None, HERE) else options.results
    note_mixups(cells, warn_of_mixups(runs, options.include_path, results), options.include_path)
    print(render_delta(cells, options.format))


def warn_of_mixups(
    runs: Sequence[RunFolder], include_path: Sequence[str], results: Path | None = None
) -> list[MixUp]:
    """Warn of published responses that seem to belong to another run, one line each."""
    from vsr1_bench.imports.vision_sr1 import RUNS
    from vsr1_bench.leaderboard.mixups import ISSUE, check_runs

    if not any(run.spec().model.id in RUNS for run in runs):
        return []
    mixups, unchecked = check_runs(runs, include_path, results)
    for mixup in mixups:
        print(f"vsr1-bench: warning: {mixup.text} (see {ISSUE})", file=sys.stderr)
    if unchecked:
        print(f"vsr1-bench: not checked for mixed-up files: {unchecked}", file=sys.stderr)
    return mixups
