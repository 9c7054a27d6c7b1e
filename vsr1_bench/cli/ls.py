"""`vsr1-bench ls`: list tasks, judges, prompts, recipes, runs and the like."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench._util.columns import columns, terminal_width
from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.errors import UsageError
from vsr1_bench.harness import find_harness, harness_names
from vsr1_bench.registry import Registry, load_registry
from vsr1_bench.store.environment import included_folders

if TYPE_CHECKING:
    from vsr1_bench.task import Task

Table = tuple[Sequence[str], Iterable[Sequence[Any]]]
"""Headings and rows; a cell is a text, a number, a list of texts or None."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "kind",
        choices=tuple(KINDS),
        nargs="?",
        default="tasks",
        help="what to list (default: tasks)",
    )
    parser.add_argument(
        "path",
        nargs="?",
        type=user_path,
        default=Path("runs"),
        help="folder for `ls runs` (default: runs)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON list of objects")
    common.add_include_path(parser)
    parser.add_argument(
        "--source",
        choices=harness_names(),
        help="list the tasks of another harness; if it is installed, they run as HARNESS/NAME",
    )


def execute(options: argparse.Namespace) -> int:
    """Print the list."""
    if options.source is not None and options.kind != "tasks":
        raise UsageError(f"--source {options.source} is for `ls tasks`, not {options.kind}")
    headers, rows = KINDS[options.kind](options)
    if options.json:
        names = [header.rstrip("?").replace(" ", "_") for header in headers]
        listed = [dict(zip(names, row, strict=True)) for row in rows]
        print(json.dumps(listed, indent=1, ensure_ascii=False))
    else:
        texts = ([_text(cell) for cell in row] for row in rows)
        print(columns(headers, texts, terminal_width()))
    return 0


def _text(cell: Any) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    return (cell if isinstance(cell, str) else " ".join(cell or ())) or "–"


def _known(options: argparse.Namespace) -> Registry:
    return load_registry(options.include_path, judges=False)


def _tasks(options: argparse.Namespace) -> Table:
    if options.source is not None:
        harness = find_harness(options.source)
        entries = harness.entries([*included_folders(), *map(str, options.include_path)])
        names = [(f"{harness.name}/{e.name}", e.kind, list(e.members)) for e in entries]
        return ("task", "kind", "tasks of a tag"), names
    headers = ("task", "version", "n", "answers", "judge", "suites", "license", "what")
    tasks = sorted(_known(options).tasks.items())
    return headers, [
        (
            *(t.name, str(t.version), _rows(t), t.answer_type or "mixed", t.judge),
            *(list(t.suites), t.license, t.description),
        )
        for _, t in tasks
    ]


def _suites(options: argparse.Namespace) -> Table:
    registry = _known(options)
    suites = {n: names for n, names in registry.suites().items() if n not in registry.groups}
    return ("suite", "n", "tasks"), [(name, len(names), names) for name, names in suites.items()]


def _groups(options: argparse.Namespace) -> Table:
    groups = sorted(_known(options).groups.items())
    rows = [(n, list(g.tasks), [mean.name for mean in g.means]) for n, g in groups]
    return ("group", "tasks", "overall numbers"), rows


def _judges(options: argparse.Namespace) -> Table:
    judges = sorted(load_registry(options.include_path).judges.items())
    return ("judge", "version", "what"), [
        (j.name, str(j.version), j.description) for _, j in judges
    ]


def _prompts(_: argparse.Namespace) -> Table:
    from vsr1_bench.prompts.formats import FORMATS

    places = {"mark": "at its mark", "end": "at the end"}
    formats = [
        (f.name, str(f.version), places[f.images], f.fits, f.description) for f in FORMATS.values()
    ]
    return ("prompt", "version", "image", "trained with it", "what"), formats


def _recipes(_: argparse.Namespace) -> Table:
    from vsr1_bench.cli.train import recipe_rows

    return ("recipe", "objective", "what"), recipe_rows()


def _model_args(_: argparse.Namespace) -> Table:
    from vsr1_bench._util.keys import keys_of
    from vsr1_bench.generation.identity import BACKENDS, arguments_of

    arguments = [
        (backend, key.name, key.type, key.default or None, key.meaning)
        for backend in BACKENDS
        for key in keys_of(arguments_of(backend))
    ]
    return ("backend", "argument", "type", "default", "what"), arguments


def _rows(task: Task) -> int | None:
    """Number of samples as published; None if it is not stated."""
    from vsr1_bench.task import UserDataset

    stated = None if isinstance(task.source, UserDataset) else task.source.n
    return stated * task.per_row if stated else None


def _runs(options: argparse.Namespace) -> Table:
    from vsr1_bench.data.blind import NONE
    from vsr1_bench.store.provenance import precision_of
    from vsr1_bench.store.run_folder import find_runs

    rows: list[tuple[Any, ...]] = []
    for run in find_runs(options.path):
        spec = run.spec()
        blind = spec.variant if spec.variant != NONE else None
        names = (spec.model.id, spec.task.name, spec.prompt.format, blind, precision_of(run))
        rows.append((*names, len(run.finished()), sorted(run.judged()), str(run.path)))
    headers = ("model", "task", "prompt", "blind", "precision", "generated", "judges", "folder")
    return headers, rows


KINDS: dict[str, Callable[[argparse.Namespace], Table]] = {
    "tasks": _tasks,
    "suites": _suites,
    "groups": _groups,
    "judges": _judges,
    "prompts": _prompts,
    "recipes": _recipes,
    "runs": _runs,
    "model_args": _model_args,
}
