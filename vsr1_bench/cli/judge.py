"""`vsr1-bench judge`: judge stored runs, then score them; nothing is generated."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vsr1_bench.cli import common
from vsr1_bench.cli.stored import Skipped, print_skipped, sound_runs
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE, UsageError

if TYPE_CHECKING:
    from vsr1_bench.judging.choose import JudgeChoice
    from vsr1_bench.judging.open import JudgePool
    from vsr1_bench.store.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    common.add_stored_judging(parser, "the judge (default: each task's own)")
    common.add_data(parser)
    common.add_include_path(parser)


def execute(options: argparse.Namespace) -> int:
    """Judge responses without a verdict, score, and print the table."""
    from vsr1_bench.judging.open import JudgePool
    from vsr1_bench.pipeline.report import closing_account

    skipped = Skipped()
    sound = sound_runs(options.runs, skipped)
    judging = common.judge_options(options)
    with closing_account(judging.spending), JudgePool(options.include_path, judging) as pool:
        runs, unknown = known_runs(sound, options.include_path)
        runs, without_gold = common.with_golds(runs, options)
        unknown += without_gold
        if options.dry_run:
            if options.batch:
                choose(runs, options, pool)  # says what a batch would change
            return dry_run(runs, options.judge, pool, skipped)
        code = judge_and_print(runs, options, pool, choose(runs, options, pool), skipped)
    return EXIT_INCOMPLETE if unknown or skipped.count else code


def choose(
    runs: Sequence[RunFolder],
    options: argparse.Namespace,
    pool: JudgePool,
    reader: Mapping[str, bool | None] | None = None,
) -> dict[str, JudgeChoice]:
    """Choose each task's judge; warn about judges that cannot be used, or not by batch.

    Args:
        runs: What is judged.
        options: Of the command.
        pool: Opens judges.
        reader: The reader that the command asks, too, and whether it has a batch service.
    """
    from vsr1_bench.generation.connect import batch_note
    from vsr1_bench.judging.choose import batched_judges, choose_judges
    from vsr1_bench.registry import get_task

    names = dict.fromkeys(run.spec().task.name for run in runs)
    tasks = [get_task(name, options.include_path) for name in names]
    chosen = choose_judges(tasks, options.judge, pool)
    for one in chosen.values():
        if one.warning:
            print(f"vsr1-bench: {one.warning}", file=sys.stderr)
    if options.batch:
        asked = {**(reader or {}), **batched_judges(chosen)}
        if note := batch_note(asked, dry_run=options.dry_run):
            print(f"vsr1-bench: {note}", file=sys.stderr)
    return chosen


def judge_and_print(
    runs: Sequence[RunFolder],
    options: argparse.Namespace,
    pool: JudgePool,
    judges: dict[str, JudgeChoice],
    skipped: Skipped,
) -> int:
    """Judge and score runs, print the table, and return the exit code: 75 if any is unscored.

    Runs that turn out to be damaged are skipped.
    """
    from vsr1_bench.scoring.runs import judge_and_score_runs, unscored

    progress = common.shows_progress(options)
    documents = judge_and_score_runs(runs, judges, pool, progress=progress, skip=skipped.note)
    common.print_scores(documents)
    common.print_unread(documents)
    return EXIT_INCOMPLETE if unscored(documents) else EXIT_DONE


def known_runs(
    runs: Sequence[RunFolder], include_path: Sequence[str]
) -> tuple[list[RunFolder], int]:
    """Skip, with a line each, runs of unknown tasks and of other versions of their task.

    Nobody could score them, and they must not keep the others from being judged. A single run is
    not skipped: it is the error.

    Returns:
        The other runs, and how many were skipped.
    """
    from vsr1_bench.registry import get_task
    from vsr1_bench.scoring.runs import check_version
    from vsr1_bench.task import ExternalTask

    known = []
    for run in runs:
        try:
            spec = run.spec()
            task = get_task(spec.task.name, include_path)
            if not isinstance(task.source, ExternalTask):  # whose own scorer knows its version
                check_version(run, spec, task)
            known.append(run)
        except UsageError as error:
            if len(runs) == 1:
                raise
            print_skipped(f"{run.path}: {error}")
    return known, len(runs) - len(known)


def dry_run(runs: Sequence[RunFolder], judge: str | None, pool: JudgePool, skipped: Skipped) -> int:
    """Print what judging would cost."""
    from vsr1_bench.judging.runs import estimate_run
    from vsr1_bench.scoring.runs import each_run

    rows: list[common.EstimateRow] = []

    def work(run: RunFolder) -> None:
        name, estimate = estimate_run(run, judge, pool)
        spec = run.spec()
        rows.append((spec.model.id, spec.task.name, f"judge {name}", estimate, False))

    each_run(runs, work, skipped.note)
    common.print_estimates(rows, pool.options.spending.currency)
    return EXIT_INCOMPLETE if skipped.count else EXIT_DONE
