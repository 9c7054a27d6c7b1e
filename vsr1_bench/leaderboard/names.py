"""Names of models, tasks and metrics as a paper shows them: `--names names.toml`, or defaults.

[models]
"Qwen/Qwen2.5-VL-7B-Instruct" = "Qwen2.5-VL (7B)"
[tasks]
mmmu_pro = "MMMU-Pro"
[metrics]
lsr = "LSR"
[settings]
see_think = "See-Think"
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.leaderboard.settings import arrow
from vsr1_bench.leaderboard.wide import Column, Grid, Wanted

SECTIONS = ("models", "tasks", "metrics", "settings")
METRICS = {
    "accuracy": "accuracy",
    "lsr": "LSR",
    "self_contained": "self-contained",
    "saw_but_wrong": "saw, but wrong",
    "no_description": "no description",
    "leakage": "leakage",
    "visual_dependence": "visual dependence",
}
"""Default names of metrics; others are shown as they are called."""


@dataclass(frozen=True, slots=True)
class Names:
    """Name -> name to show, of each sort."""

    models: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


def load_names(path: Path) -> Names:
    """Read a file of names.

    Raises:
        UsageError: it cannot be read, or has another section or another kind of value.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--names {path}: not readable as TOML: {error}") from None
    for section, names in document.items():
        if section not in SECTIONS:
            raise UsageError(
                f"--names {path}: unknown section [{section}]; {nearest(section, SECTIONS)}"
            )
        if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
            raise UsageError(f'--names {path}: [{section}]: wanted lines NAME = "name to show"')
    return Names(**document)


def default_names(grid: Grid, titles: Mapping[str, str]) -> Names:
    """The titles of tasks, and models without their organisation where that stays clear.

    Args:
        grid: The table.
        titles: Task or group -> its title.
    """
    models = dict.fromkeys(row.model for row in grid.rows)
    short = {model: model.rpartition("/")[2] or model for model in models}
    seen = Counter(short.values())
    clear = {model: name for model, name in short.items() if seen[name] == 1}
    return Names(clear, titles, METRICS)


def renamed(grid: Grid, wanted: Wanted, names: Names, defaults: Names | None = None) -> Grid:
    """The same table with other names.

    With `defaults`, a column is called by its task alone where that tells it apart, and a remark
    says which metric such a column has.
    """
    models = {**(defaults.models if defaults else {}), **names.models}
    tasks = {**(defaults.tasks if defaults else {}), **names.tasks}
    metrics = {**(defaults.metrics if defaults else {}), **names.metrics}
    of_task = Counter(column.task for column in grid.columns)
    new: dict[Column, Column] = {}
    told = []
    for column in grid.columns:
        task, metric = tasks.get(column.task, column.task), metrics.get(column.metric)
        plain = column.title == column.task
        if wanted.row_per_task:
            title = metrics.get(column.metric, column.title.removesuffix(arrow(column.metric)))
            title += arrow(column.metric)
        elif plain or (defaults and column.headline and of_task[column.task] == 1):
            title = task
            told += [] if plain else [f"{task}: {metric or column.metric}"]
        else:
            title = f"{task} {metric or column.metric}{arrow(column.metric)}"
        new[column] = replace(column, title=title)
    rows = [
        replace(
            row,
            model=models.get(row.model, row.model),
            setting=names.settings.get(row.setting, row.setting),
            task=tasks.get(row.task, row.task),
            cells={new[column]: cell for column, cell in row.cells.items()},
        )
        for row in grid.rows
    ]
    words = {old.title: column.title for old, column in new.items()} | models | tasks
    remarks = [_replaced(remark, words) for remark in grid.remarks]
    if told:
        remarks.append(f"Metrics other than accuracy: {', '.join(told)}.")
    return Grid([*new.values()], grid.averages, rows, remarks)


def unused(names: Names, grid: Grid) -> list[str]:
    """Names of the file that the table does not have."""
    known = (
        {row.model for row in grid.rows},
        {column.task for column in grid.columns} | {row.task for row in grid.rows},
        {column.metric for column in grid.columns},
        {row.setting for row in grid.rows},
    )
    given = (names.models, names.tasks, names.metrics, names.settings)
    return [name for here, found in zip(given, known, strict=True) for name in here.keys() - found]


def _replaced(text: str, words: Mapping[str, str]) -> str:
    """Replace whole names in a text, the longest first."""
    known: Sequence[str] = sorted((w for w in words if w), key=len, reverse=True)
    if not known:
        return text
    pattern = r"(?<![\w/.-])(?:" + "|".join(map(re.escape, known)) + r")(?![\w/]|-\w)"
    return re.sub(pattern, lambda match: words[match[0]], text)
