"""`vsr1-bench perceive`: let another model answer from stored descriptions."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from vsr1_bench.cli import common
from vsr1_bench.cli.stored import Skipped, sound_runs
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vsr1_bench.judging.choose import JudgeChoice
    from vsr1_bench.judging.open import JudgePool
    from vsr1_bench.perception.reader import Descriptions, ReaderSpec
    from vsr1_bench.store.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    common.add_runs(parser)
    group = parser.add_argument_group("second pass (docs/seeing-or-guessing.md)")
    common.add_reader(group)
    common.add_perception(group)
    common.add_stored_judging(parser, "the judge of both passes (default: each task's own)")
    common.add_include_path(parser)
    common.add_force_unlock(parser)


def execute(options: argparse.Namespace) -> int:
    """Have the reader answer what it has not answered yet, judge, score, and print the table."""
    from vsr1_bench.cli.judge import judge_and_print
    from vsr1_bench.generation.connect import together
    from vsr1_bench.judging.open import JudgePool
    from vsr1_bench.perception.reader import SELF, external_reader
    from vsr1_bench.perception.second_pass import read_runs
    from vsr1_bench.pipeline.report import closing_account, report_failures
    from vsr1_bench.scoring.seeing import seeing_runs

    judging = common.judge_options(options)
    reading = common.reader_options(options, judging.spending)
    if reading.name == SELF:
        raise UsageError(
            "perceive needs another model as reader: --reader openai, gemini or vllm; for the "
            "model's own second pass use the `run` command with --perception"
        )
    descriptions: Descriptions = "caption" if options.perception == "caption" else "response"
    skipped = Skipped()
    with closing_account(judging.spending), JudgePool(options.include_path, judging) as pool:
        (reader, connection), (runs, unknown, chosen) = together(
            partial(external_reader, reading, descriptions),
            partial(_read_and_judged, options, descriptions, pool, skipped),
        )
        read = seeing_runs(runs)
        if options.dry_run:
            return _dry_run(runs, reader, options, pool, chosen)
        progress = common.shows_progress(options)
        tallies = read_runs(
            read,
            reader,
            connection,
            reading.spending,
            force_unlock=options.force_unlock,
            progress=progress,
        )
        for run, tally in zip(read, tallies, strict=True):
            report_failures(run.spec().task.name, tally)
        code = judge_and_print(runs, options, pool, chosen, skipped)
    failed = any(tally.failed for tally in tallies)
    return EXIT_INCOMPLETE if failed or unknown or skipped.count else code


def _read_and_judged(
    options: argparse.Namespace, descriptions: Descriptions, pool: JudgePool, skipped: Skipped
) -> tuple[list[RunFolder], int, dict[str, JudgeChoice]]:
    """The runs, how many are of unknown tasks, and the judge of each task.

    Raises:
        StoreError, UsageError: no run, or none with descriptions; a judge that cannot be used.
    """
    from vsr1_bench.cli.judge import choose, known_runs
    from vsr1_bench.perception.reader import PAID
    from vsr1_bench.scoring.seeing import seeing_runs

    runs, unknown = known_runs(sound_runs(options.runs, skipped, deep=True), options.include_path)
    read = seeing_runs(runs)
    if not read:
        raise UsageError("all of these are blind runs: their descriptions describe no image")
    for run in read:
        if descriptions == "caption" and not run.captions():
            raise StoreError(
                f"{run.path}: no captions; the evaluated model writes them with: "
                "vsr1-bench run … --perception caption"
            )
    asked = {f"reader {options.reader}": options.reader in PAID}
    return runs, unknown, choose(runs, options, pool, asked)


def _dry_run(
    runs: Sequence[RunFolder],
    reader: ReaderSpec,
    options: argparse.Namespace,
    pool: JudgePool,
    chosen: Mapping[str, JudgeChoice],
) -> int:
    """Print what reading and judging would cost."""
    from vsr1_bench.judging.runs import estimate_items, estimate_run
    from vsr1_bench.pipeline.estimate import RunParts, estimate_readings, longest_text, usual_text
    from vsr1_bench.registry import get_task
    from vsr1_bench.scoring.seeing import seeing_runs

    rows: list[common.EstimateRow] = []
    seeing = {run.path for run in seeing_runs(runs)}
    for run in runs:
        spec = run.spec()
        parts = RunParts(run, spec.model.id, spec.task.name)
        if run.path in seeing:
            readings = estimate_readings(run, reader, pool.options.spending)
            parts.unjudged = readings.unjudged
            rows.append(
                (parts.model, parts.task, f"reader {reader.label}", readings.estimate, False)
            )
        choice = chosen[parts.task]
        if choice.usable:
            task = get_task(parts.task, options.include_path)
            stored = estimate_run(run, choice.spec, pool)[1]
            items = parts.items(usual_text), parts.items(longest_text)
            name, estimate = estimate_items(task, choice.spec, pool, *items)
            total = stored + estimate
            rows.append((parts.model, parts.task, f"judge {name}", total, bool(estimate.calls)))
    common.print_estimates(rows, pool.options.spending.currency)
    return EXIT_DONE
