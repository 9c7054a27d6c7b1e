"""`vsr1-bench ls`: list tasks, judges, prompts, recipes, runs and backend arguments."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.errors import UsageError
from vsr1_bench.harness import find_harness, harness_names

if TYPE_CHECKING:
    from vsr1_bench.task import Task

KINDS = ("tasks", "judges", "prompts", "recipes", "runs", "model_args")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "kind", choices=KINDS, nargs="?", default="tasks", help="what to list (default: tasks)"
    )
    parser.add_argument(
        "path",
        nargs="?",
        type=user_path,
        default=Path("runs"),
        help="folder for `ls runs` (default: runs)",
    )
    common.add_include_path(parser)
    parser.add_argument(
        "--source",
        choices=harness_names(),
        help="list the tasks of another harness; if it is installed, they run as HARNESS/NAME",
    )


def execute(options: argparse.Namespace) -> int:
    """Print the list."""
    if options.source is not None:
        if options.kind != "tasks":
            raise UsageError(f"--source {options.source} is for `ls tasks`, not {options.kind}")
        harness = find_harness(options.source)
        entries = harness.entries([*map(str, options.include_path)])
        rows = [(f"{harness.name}/{e.name}", e.kind, " ".join(e.members) or "–") for e in entries]
        print(_columns(("task", "kind", "tasks of a tag"), rows))
        return 0
    if options.kind == "runs":
        names = ("model", "task", "prompt", "blind", "precision", "generated", "judges", "folder")
        print(_columns(names, _runs(options.path)))
        return 0
    if options.kind == "model_args":
        from vsr1_bench._util.keys import keys_of
        from vsr1_bench.generation.identity import BACKENDS, arguments_of

        arguments = [
            (backend, key.name, key.type, key.default or "–", key.meaning)
            for backend in BACKENDS
            for key in keys_of(arguments_of(backend))
        ]
        print(_columns(("backend", "argument", "type", "default", "what"), arguments))
        return 0
    if options.kind == "prompts":
        from vsr1_bench.prompts.formats import FORMATS

        places = {"mark": "at its mark", "end": "at the end"}
        formats = [
            (f.name, str(f.version), places[f.images], f.fits, f.description)
            for f in FORMATS.values()
        ]
        print(_columns(("prompt", "version", "image", "trained with it", "what"), formats))
        return 0
    if options.kind == "recipes":
        from vsr1_bench.cli.train import recipe_rows

        print(_columns(("recipe", "objective", "what"), recipe_rows()))
        return 0
    from vsr1_bench.registry import load_registry

    registry = load_registry(options.include_path)
    if options.kind == "judges":
        rows = [(j.name, str(j.version), j.description) for _, j in sorted(registry.judges.items())]
        print(_columns(("judge", "version", "what"), rows))
        return 0
    tasks = [
        (
            t.name,
            str(t.version),
            f"{_rows(t):,}" if _rows(t) else "–",
            t.answer_type or "mixed",
            t.judge,
            ",".join(t.suites) or "–",
            t.license,
            t.description,
        )
        for _, t in sorted(registry.tasks.items())
    ]
    headers = ("task", "version", "n", "answers", "judge", "suites", "license", "what")
    print(_columns(headers, tasks))
    return 0


def _rows(task: Task) -> int | None:
    """Number of samples as published; None if it is not stated."""
    from vsr1_bench.task import UserDataset

    stated = None if isinstance(task.source, UserDataset) else task.source.n
    return stated * task.per_row if stated else None


def _runs(path: Path) -> Iterable[tuple[str, ...]]:
    from vsr1_bench.data.blind import NONE
    from vsr1_bench.store.provenance import precision_of
    from vsr1_bench.store.run_folder import find_runs

    for run in find_runs(path):
        spec = run.spec()
        done = len(run.finished())
        judges = " ".join(sorted(run.judged())) or "–"
        blind = spec.variant if spec.variant != NONE else "–"
        names = (spec.model.id, spec.task.name, spec.prompt.format, blind, precision_of(run))
        yield (*names, str(done), judges, str(run.path))


def _columns(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align all columns but the last."""
    table = [list(headers), *map(list, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(headers) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]])
        for row in table
    )
