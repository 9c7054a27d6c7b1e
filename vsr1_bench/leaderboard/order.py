"""The order of the tasks' columns, where `table` names none."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from vsr1_bench.errors import BenchError
from vsr1_bench.leaderboard.collect import Scored
from vsr1_bench.registry import Registry, in_suite_order, resolve_tasks
from vsr1_bench.store.provenance import makers

_FLAGS = ("--tasks", "-t")


def column_order(
    scored: Sequence[Scored], registry: Registry, include_path: Sequence[str] = ()
) -> tuple[str, ...]:
    """The tasks and groups of scores, in the order of their columns.

    If one command named all of the tasks, it is the order of its `--tasks`, where a suite stands
    for its tasks. Otherwise tasks of published suites come first, as the suite lists them, and the
    others follow by name. A group follows the last of its tasks.
    """
    names = {one.task for one in scored}
    groups = {name: registry.groups[name].tasks for name in sorted(names & {*registry.groups})}
    tasks = sorted(names - {*groups})
    order = next(_of_commands(scored, {*tasks}, include_path), in_suite_order(tasks))
    return with_groups([task for task in order if task in names], groups)


def with_groups(tasks: Iterable[str], groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Put each group behind the last of its tasks."""
    order = list(tasks)
    for group, members in groups.items():
        last = max((order.index(task) for task in members if task in order), default=len(order))
        order.insert(last + 1, group)
    return tuple(dict.fromkeys(order))


def _of_commands(
    scored: Sequence[Scored], tasks: set[str], include_path: Sequence[str]
) -> Iterator[list[str]]:
    """The tasks of each command that named all of these, oldest command first."""
    runs = {run.path: run for one in scored for run in one.runs}
    found = {maker.command: maker.started for run in runs.values() for maker in makers(run)}
    for command in sorted(found, key=lambda command: (found[command], command)):
        for words in _named(command):
            try:
                named = [task.name for task in resolve_tasks(words, include_path)]
            except BenchError:  # a task or a folder of plug-ins that is not here any more
                continue
            if tasks <= {*named}:
                yield named


def _named(command: str) -> Iterator[str]:
    """The value of `--tasks` in a command as run.json has it."""
    try:
        words = shlex.split(command)
    except ValueError:  # edited by hand
        return
    for i, word in enumerate(words):
        flag, given, value = word.partition("=")
        if flag in _FLAGS and (given or i + 1 < len(words)):
            yield value if given else words[i + 1]
