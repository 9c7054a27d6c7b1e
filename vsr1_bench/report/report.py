"""Write the report of stored runs and training runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vsr1_bench._util.version import __version__
from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.leaderboard.collect import collect
from vsr1_bench.leaderboard.reported import ReportedTable
from vsr1_bench.registry import load_registry
from vsr1_bench.report.details import AskAgain
from vsr1_bench.report.folder import SCHEMA, ReportFolder
from vsr1_bench.report.images import Images
from vsr1_bench.report.next_steps import next_steps
from vsr1_bench.report.overview import table_document, task_summary
from vsr1_bench.report.page import index_page
from vsr1_bench.report.pairs import pairs_of
from vsr1_bench.report.task_page import write_task
from vsr1_bench.report.task_runs import TaskRun, runs_by_task
from vsr1_bench.report.training import write_training
from vsr1_bench.store.environment import command_line
from vsr1_bench.store.run_folder import RunFolder, stored_judge


def _no_command(run: RunFolder) -> AskAgain:
    return lambda row: ""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What goes into a report, and how it is written."""

    output: Path
    judge: str | None = None
    """Whose verdicts come first; None = those of the table."""
    reported: Sequence[ReportedTable] = ()
    data: DataOptions | None = None
    """Where images come from; None = no images."""
    include_path: Sequence[str] = ()
    ask_again: Callable[[RunFolder], AskAgain] = _no_command
    """How the command line asks a sample of a run again."""
    title: str = ""
    progress: bool = True
    notices: Sequence[str] = field(default=())
    """What was left out, a line each."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written."""

    index: Path
    samples: int
    bytes: int
    notices: Sequence[str]


def write_report(
    runs: Sequence[RunFolder], trainings: Sequence[Path], options: ReportOptions
) -> Report:
    """Write a report folder; it appears only complete, and replaces an earlier report.

    Args:
        runs: Stored runs.
        trainings: Output folders of trainers.
        options: What else.

    Raises:
        UsageError: the output folder holds something that is no report.
        DamagedRunError: a run cannot be read; names its folder.
        StoreError: the report cannot be written.
    """
    registry = load_registry(options.include_path)
    own = {name: task.judge for name, task in registry.tasks.items()}
    judge = stored_judge(options.judge, runs)
    scored = collect(runs, options.include_path)
    tasks = runs_by_task(runs, scored, own, judge)
    with ReportFolder(options.output) as folder:
        folder.write("index.html", index_page())
        images = Images(folder)
        summaries: list[dict[str, Any]] = []
        samples = 0
        for number, members in enumerate(tasks.values()):
            if options.data is not None:
                images.add_run(_seeing(members), options.data, options.include_path)
            ask = [options.ask_again(one.folder) for one in members]
            written = write_task(folder, number, members, images, ask, progress=options.progress)
            samples += written.samples
            pairs = pairs_of(members, options.include_path)
            summaries.append(task_summary(number, members, written, pairs, options.include_path))
        trained = [write_training(folder, i, path) for i, path in enumerate(trainings)]
        shown = [one for one in scored if judge is None or one.judge == judge]
        notices = [*options.notices, *images.notices, *_withheld(tasks)]
        folder.write_data(
            "overview",
            {
                "schema": SCHEMA,
                "title": options.title or _title(tasks, trained),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "version": __version__,
                "command": command_line(),
                "table": table_document(
                    shown,
                    options.reported,
                    tasks,
                    options.include_path,
                    progress=options.progress,
                ),
                "tasks": summaries,
                "trainings": trained,
                "notices": notices,
                "next": [
                    step
                    for number, members in enumerate(tasks.values())
                    for step in next_steps(number, members)
                ],
            },
        )
    return Report(options.output / "index.html", samples, folder.bytes, notices)


def _seeing(members: Sequence[TaskRun]) -> RunFolder:
    """The run whose images are shown: the first, since runs with images come first."""
    return members[0].folder


def _withheld(tasks: Mapping[str, Sequence[TaskRun]]) -> list[str]:
    return [
        f"{one.task}, {one.label}: published without {' and '.join(missing)}; put back by: "
        f"vsr1-bench judge {shlex.quote(str(one.folder.path))} --data_root DIR"
        for members in tasks.values()
        for one in members
        if (missing := one.folder.withheld())
    ]


def _title(tasks: Mapping[str, Sequence[TaskRun]], trained: Sequence[Mapping[str, Any]]) -> str:
    models = dict.fromkeys(one.spec.model.id for members in tasks.values() for one in members)
    names = [*list(models)[:3], *(str(one["model"]) for one in trained)][:3]
    shown = list(tasks)[:3]
    return f"{', '.join(filter(None, names)) or 'runs'}: {', '.join(shown) or 'training'}"
