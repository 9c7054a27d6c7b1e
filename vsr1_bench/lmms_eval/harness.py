"""lmms-eval as a `Harness`; the package is imported only to open a task or list a group."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

from vsr1_bench.errors import TaskError, UsageError
from vsr1_bench.harness import Entry, ExternalData, Harness
from vsr1_bench.lmms_eval import NAME, index
from vsr1_bench.lmms_eval.groups import score_groups
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import ExternalTask, Row, Task

VERSION = 1
"""Version of our side: messages, sampling, how the scorer is called. The version of lmms-eval is in
the prompt's hash and in the score."""


class LmmsEval:
    """Tasks named `lmms_eval/NAME`, and those of its groups, `lmms_eval/GROUP/NAME`."""

    name = NAME

    def task(self, name: str, include_path: Sequence[str] = ()) -> Task:
        """The task of this full name, not looked up yet, so that tables need no lmms-eval."""
        theirs = name.removeprefix(f"{NAME}/")
        return Task(
            name=name,
            version=VERSION,
            source=ExternalTask(NAME, theirs, tuple(map(str, include_path))),
            to_sample=_unopened,
            answer_type="text",
            license="see lmms-eval",
            description=f"task {theirs} of lmms-eval",
            judge=NAME,
        )

    def tasks(self, pattern: str, include_path: Sequence[str] = ()) -> list[Task]:
        """The tasks that `lmms_eval/NAME` means: a task, or the members of a group, tag or pattern.

        A member of a group is `lmms_eval/GROUP/MEMBER`, because the group may change its settings;
        a run of the member alone is then another run. A pattern is `lmms_eval/mmmu*`, for example.

        Raises:
            UsageError: lmms-eval is not installed, or has no such name.
            TaskError: it cannot load the group.
        """
        wanted = pattern.removeprefix(f"{NAME}/")
        names = [f"{NAME}/{one}" for one in _members(wanted, include_path)]
        return [self.task(name, include_path) for name in names]

    def entries(self, include_path: Sequence[str] = ()) -> Iterable[Entry]:
        """Every task, group and tag, sorted by name."""
        return index.list_entries(include_path).values()

    def missing(self) -> str | None:
        """What is missing here to score a run, in one line; None = nothing."""
        return None if index.installed() else index.MISSING

    def open(self, source: ExternalTask, *, offline: bool = False) -> ExternalData:
        """Open a task's documents."""
        from vsr1_bench.lmms_eval.data import open_documents

        return open_documents(source, offline=offline)

    def score(self, run: RunFolder, task: Task, *, progress: bool = True) -> dict[str, Any]:
        """Have lmms-eval score a run."""
        from vsr1_bench.lmms_eval.scoring import score_run

        return score_run(run, task, progress=progress)

    def groups(
        self, runs: Sequence[RunFolder], judges: Collection[str] | None = None
    ) -> list[tuple[dict[str, Any], tuple[RunFolder, ...]]]:
        """Score every group whose tasks were all run with the same settings."""
        return score_groups(runs, judges)


HARNESS: Harness = LmmsEval()


def _members(wanted: str, include_path: Sequence[str]) -> Sequence[str]:
    """The names of the tasks that a name or a pattern means."""
    if "*" in wanted or "?" in wanted:
        entries = index.list_entries(include_path).values()
        tasks = [entry.name for entry in entries if entry.kind == "task"]
        if not (names := [name for name in tasks if fnmatch.fnmatch(name, wanted)]):
            raise UsageError(
                f"lmms-eval {index.package_version()} has no task like {wanted!r} (all of them: "
                f"vsr1-bench ls tasks --source {NAME})"
            )
        return names
    group, slash, _ = wanted.partition("/")
    entry = index.find_entry(group, include_path)
    if slash or entry.kind == "task":
        return [wanted]
    if entry.kind == "tag":
        return entry.members
    from vsr1_bench.lmms_eval.loading import plans_of

    return [f"{wanted}/{plan.name}" for plan in plans_of(wanted, include_path)]


def _unopened(row: Row) -> NoReturn:
    raise TaskError("an external task has samples only after its rows are opened (`open_data`)")
