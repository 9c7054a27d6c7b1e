"""Tasks of other harnesses: their rows, prompts and scorers, with our generation and store.

`NAME/TASK` names a task of harness NAME, and NAME is where a judge's name is: it is the
harness's own scorer. A harness is found by its name, and imported when a task of it is named: a
room of this package with a `harness.py`, whose `HARNESS` it is, or an entry point of group
`vsr1_bench.harnesses` (`NAME = "module:object"`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.records import Sample
from vsr1_bench.task import ExternalTask, Task

if TYPE_CHECKING:
    from vsr1_bench.store.run_folder import RunFolder
    from vsr1_bench.store.spec import DataSpec

HARNESSES = "vsr1_bench.harnesses"


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that a harness knows, without the harness's own name before it."""

    name: str
    kind: str
    """`task`, `group` (has its own overall numbers, perhaps) or `tag` (a list of tasks)."""
    members: tuple[str, ...] = ()
    """Tasks of a tag."""


@dataclass(frozen=True, slots=True)
class TaskOverrides:
    """What an external task decides by itself, where other tasks leave it to the run."""

    prompt_hash: str
    """Of everything that makes its prompts and its score."""
    sampling: Mapping[str, Any]
    """Fields of `Sampling` that it sets."""


@dataclass(frozen=True, slots=True)
class ExternalData:
    """The samples of an external task."""

    spec: DataSpec
    """What a run's spec says of its rows."""
    n: int
    """Number of rows."""
    sample: Callable[[int], Sample]
    """The sample of a row's number, from 0. Its messages are asked as they are: the question, or
    `extra["turns"]` where they are more (`prompts.formats.own_messages`)."""
    overrides: TaskOverrides


@runtime_checkable
class Harness(Protocol):
    """What another harness can be asked. Only `open`, `score` and the lists may need its package.

    Each method that does raises `UsageError` where it is not installed.
    """

    @property
    def name(self) -> str:
        """What comes before the `/` of its tasks' names, and in a judge's place."""

    def task(self, name: str, include_path: Sequence[str] = ()) -> Task:
        """The task of this full name, not looked up: stored runs are shown by it."""

    def tasks(self, pattern: str, include_path: Sequence[str] = ()) -> list[Task]:
        """The tasks that a full name stands for: a task, the members of a group, a pattern's.

        Raises:
            UsageError: it has no such name.
        """

    def entries(self, include_path: Sequence[str] = ()) -> Iterable[Entry]:
        """Every name that it knows."""

    def missing(self) -> str | None:
        """What it lacks here to score a run, in one line; None = nothing."""

    def open(self, source: ExternalTask, *, offline: bool = False) -> ExternalData:
        """Open a task's rows.

        Raises:
            TaskError: the task does not load.
        """

    def score(self, run: RunFolder, task: Task, *, progress: bool = True) -> dict[str, Any]:
        """Have its own scorer score a run; write and return the score document.

        Raises:
            JudgeError: the scorer cannot continue.
        """

    def groups(
        self, runs: Sequence[RunFolder], judges: Collection[str] | None = None
    ) -> list[tuple[dict[str, Any], tuple[RunFolder, ...]]]:
        """Overall numbers of its groups, from stored scores: documents with the runs behind them.

        With `judges`, only where it is one of them.
        """


@lru_cache(maxsize=1)
def _known() -> dict[str, EntryPoint]:
    """Where each harness is, by its name; none is imported."""
    found = {
        room: EntryPoint(room, f"vsr1_bench.{room}.harness:HARNESS", HARNESSES)
        for room in sorted(file.parent.name for file in Path(__file__).parent.glob("*/harness.py"))
    }
    for entry in entry_points(group=HARNESSES):
        if (held := found.setdefault(entry.name, entry)) != entry:
            raise UsageError(
                f"harness {entry.name!r} ({entry.value}) is defined already by {held.value}; "
                "rename it, or uninstall its package"
            )
    return found


def harness_names() -> tuple[str, ...]:
    """Names of the harnesses that there are; whether they are installed is another question."""
    return tuple(_known())


@cache
def find_harness(name: str) -> Harness:
    """Look a harness up by its name.

    Raises:
        UsageError: there is none, or it does not import.
    """
    if name not in _known():
        raise UsageError(f"unknown harness {name!r}; {nearest(name, harness_names())}")
    where = _known()[name]
    try:
        found = where.load()
    except Exception as error:  # somebody's package
        raise UsageError(
            f"harness {name!r} ({where.value}) does not import: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Harness) or found.name != name:
        raise UsageError(
            f"harness {name!r}: {where.value} is none; wanted an object like "
            f"vsr1_bench.harness.Harness whose name is {name!r}"
        )
    return found


def harness_of(task_name: str) -> Harness | None:
    """The harness that a task's name (`HARNESS/TASK`) is of; None = a task of our own kind.

    Raises:
        UsageError: the harness does not import.
    """
    name, slash, _ = task_name.partition("/")
    return find_harness(name) if slash and name in _known() else None


def scorer_of(task: Task, judge: str | None = None) -> Harness | None:
    """The harness that scores a task itself where this judge is wanted; None = a judge does.

    Args:
        task: What is scored.
        judge: The judge's name; None = the task's own.

    Raises:
        UsageError: the judge is the scorer of another harness's tasks, or does not import.
    """
    name = judge or task.judge
    if name not in _known():
        return None
    if not isinstance(task.source, ExternalTask) or task.source.harness != name:
        raise UsageError(f"judge {name!r} scores tasks named {name}/…, not {task.name!r}")
    return find_harness(name)
