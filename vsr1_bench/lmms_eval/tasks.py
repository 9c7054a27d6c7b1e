"""`lmms_eval/NAME` as a `Task`; lmms-eval itself is imported only to open its rows."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import NoReturn

from vsr1_bench.errors import TaskError, UsageError
from vsr1_bench.lmms_eval.index import find_entry, list_entries, package_version
from vsr1_bench.task import BORROWED, Borrowed, Row, Task

VERSION = 1
"""Of how we borrow: messages, sampling, the call of its scorer. Its own version is in the prompt's
hash and in the score."""


def borrowed_task(name: str, include_path: Sequence[str] = ()) -> Task:
    """The task of this full name (`lmms_eval/NAME` or `lmms_eval/GROUP/NAME`), not looked up yet.

    Stored runs are shown by it where lmms-eval is not installed.
    """
    return Task(
        name=name,
        version=VERSION,
        source=Borrowed(name.removeprefix(f"{BORROWED}/"), tuple(map(str, include_path))),
        to_sample=_unopened,
        answer_type="text",
        license="see lmms-eval",
        description=f"task {name.removeprefix(f'{BORROWED}/')} of lmms-eval",
        judge=BORROWED,
    )


def borrowed_tasks(name: str, include_path: Sequence[str] = ()) -> list[Task]:
    """The tasks that `lmms_eval/NAME` stands for: itself, or the members of a group or tag.

    A member of a group is `lmms_eval/GROUP/MEMBER`: the group may change its settings, and a run
    of it alone is then another run. The names may be a pattern (`lmms_eval/mmmu*`).

    Raises:
        UsageError: lmms-eval is not installed, or has no such name.
        TaskError: it cannot load the group.
    """
    wanted = name.removeprefix(f"{BORROWED}/")
    if "*" in wanted or "?" in wanted:
        found = [
            entry.name
            for entry in list_entries(include_path).values()
            if entry.kind == "task" and fnmatch.fnmatch(entry.name, wanted)
        ]
        if not found:
            raise UsageError(
                f"lmms-eval {package_version()} has no task like {wanted!r} (all of them: "
                f"vsr1-bench ls tasks --source {BORROWED})"
            )
        return [borrowed_task(f"{BORROWED}/{one}", include_path) for one in found]
    if "/" in wanted:
        find_entry(wanted.split("/", 1)[0], include_path)
        return [borrowed_task(name, include_path)]
    entry = find_entry(wanted, include_path)
    if entry.kind == "task":
        return [borrowed_task(name, include_path)]
    if entry.kind == "tag":
        return [borrowed_task(f"{BORROWED}/{one}", include_path) for one in entry.members]
    from vsr1_bench.lmms_eval.loading import group_members

    members = group_members(wanted, include_path)
    return [borrowed_task(f"{BORROWED}/{wanted}/{member}", include_path) for member in members]


def _unopened(row: Row) -> NoReturn:
    raise TaskError("a borrowed task makes its samples when its rows are open (`open_data`)")
