"""Tasks of other harnesses: their rows, prompts and scorers, with our generation and store.

`NAME/TASK` names a task of harness NAME. The judge NAME is the harness's own scorer. A harness is
found by its name and imported only when one of its tasks is named. It is the `HARNESS` of a room
with a `harness.py`, or an entry point of group `vsr1_bench.harnesses` (`NAME = "module:object"`).
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
    """A name that a harness knows, without the prefix `HARNESS/`."""

    name: str
    kind: str
    """`task`, `group` (it may have overall numbers of its own) or `tag` (a list of tasks)."""
    members: tuple[str, ...] = ()
    """Tasks of a tag."""


@dataclass(frozen=True, slots=True)
class TaskOverrides:
    """Settings that an external task decides itself; for other tasks the run decides them."""

    prompt_hash: str
    """Hash of everything that affects its prompts and its score."""
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
    """Row number, from 0 -> sample. Its messages are sent as they are: the question, or
    `extra["turns"]` if there are several (`prompts.formats.own_messages`)."""
    overrides: TaskOverrides


@runtime_checkable
class Harness(Protocol):
    """The interface of another harness. Only `open`, `score` and the lists may need its package.

    Each method that needs it raises `UsageError` if it is not installed.
    """

    @property
    def name(self) -> str:
        """The part of its tasks' names before the `/`; also the name of its scorer."""

    def task(self, name: str, include_path: Sequence[str] = ()) -> Task:
        """The task of this full name, without looking it up; tables of stored runs need it."""

    def tasks(self, pattern: str, include_path: Sequence[str] = ()) -> list[Task]:
        """The tasks that a full name means: one task, a group's members, or a pattern's matches.

        Raises:
            UsageError: it has no such name.
        """

    def entries(self, include_path: Sequence[str] = ()) -> Iterable[Entry]:
        """Every name that it knows."""

    def missing(self) -> str | None:
        """What is missing here for scoring a run, in one line; None = nothing."""

    def open(self, source: ExternalTask, *, offline: bool = False) -> ExternalData:
        """Open a task's rows.

        Raises:
            TaskError: the task does not load.
        """

    def score(self, run: RunFolder, task: Task, *, progress: bool = True) -> dict[str, Any]:
        """Score a run by its own scorer; write and return the score document.

        Raises:
            JudgeError: the scorer cannot continue.
        """

    def groups(
        self, runs: Sequence[RunFolder], judges: Collection[str] | None = None
    ) -> list[tuple[dict[str, Any], tuple[RunFolder, ...]]]:
        """Overall numbers of its groups, from stored scores: documents and the runs they are of.

        With `judges`, only if the harness is one of them.
        """


@lru_cache(maxsize=1)
def _known() -> dict[str, EntryPoint]:
    """Harness name -> entry point; nothing is imported."""
    entries = {
        room: EntryPoint(room, f"vsr1_bench.{room}.harness:HARNESS", HARNESSES)
        for room in sorted(file.parent.name for file in Path(__file__).parent.glob("*/harness.py"))
    }
    for entry in entry_points(group=HARNESSES):
        if (held := entries.setdefault(entry.name, entry)) != entry:
            raise UsageError(
                f"harness {entry.name!r} ({entry.value}) is defined already by {held.value}; "
                "rename it, or uninstall its package"
            )
    return entries


def harness_names() -> tuple[str, ...]:
    """Names of all known harnesses, whether or not their packages are installed."""
    return tuple(_known())


@cache
def find_harness(name: str) -> Harness:
    """Look a harness up by its name.

    Raises:
        UsageError: no harness has this name, or it does not import.
    """
    if name not in _known():
        raise UsageError(f"unknown harness {name!r}; {nearest(name, harness_names())}")
    where = _known()[name]
    try:
        harness = where.load()
    except Exception as error:  # a third party's package may raise anything
        raise UsageError(
            f"harness {name!r} ({where.value}) does not import: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(harness, Harness) or harness.name != name:
        raise UsageError(
            f"harness {name!r}: {where.value} is not a harness; wanted an object like "
            f"vsr1_bench.harness.Harness whose name is {name!r}"
        )
    return harness


def harness_of(task_name: str) -> Harness | None:
    """The harness of a task named `HARNESS/TASK`; None = a task of this project's kind.

    Raises:
        UsageError: the harness does not import.
    """
    name, slash, _ = task_name.partition("/")
    return find_harness(name) if slash and name in _known() else None


def scorer_of(task: Task, judge: str | None = None) -> Harness | None:
    """The harness whose scorer is this judge of a task; None = it is an ordinary judge.

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
