"""Load lmms-eval's task objects, one at a time, exactly as their files define them."""

from __future__ import annotations

import copy
import inspect
import logging
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from vsr1_bench.errors import TaskError, UsageError
from vsr1_bench.lmms_eval import own_judge
from vsr1_bench.lmms_eval.index import MISSING, find_entry, installed

log = logging.getLogger(__name__)

_KEY = re.compile(r"[A-Z][A-Z0-9_]*(?:API_KEY|TOKEN|_KEY)\b")
FEWSHOT_SEED = 1234
"""Seed of lmms-eval's evaluator. Here it is set before each document, so that a document's examples
do not depend on which documents came before."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One task as its files describe it; its rows are not loaded."""

    name: str
    """As lmms-eval's evaluator prints it."""
    config: Mapping[str, Any] | None
    """Its YAML file with functions resolved; None for a task that is a Python class."""
    ready: Any
    """The task itself, if it is a Python class."""
    groups: tuple[dict[str, Any], ...]
    """Groups with overall numbers that it is part of (see `groups`)."""


def load_task(name: str, include_path: Sequence[str] = ()) -> tuple[Any, Plan]:
    """Load a task with its rows.

    Args:
        name: The task's name, or `GROUP/NAME`.
        include_path: Folders with more YAML files.

    Returns:
        The `ConfigurableMessagesTask`, and the plan it was made from.

    Raises:
        UsageError: lmms-eval is not installed, or has no such task.
        TaskError: the task does not load: a key or a package is missing, or its data.
    """
    group, _, member = name.rpartition("/")
    plans = {plan.name: plan for plan in plans_of(group or name, include_path)}
    plan = plans.get(member)
    if plan is None:
        raise UsageError(f"lmms-eval's group {group!r} has no task {member!r}; {sorted(plans)}")
    from lmms_eval.api.task import ConfigurableMessagesTask, ConfigurableTask

    class Once(ConfigurableMessagesTask):
        """Tries to load its rows once; `datasets` itself has retried already."""

        download = inspect.unwrap(ConfigurableTask.download)

    Once.__name__ = ConfigurableMessagesTask.__name__  # errors show the known name
    task = plan.ready
    if plan.config is not None:
        try:
            task = Once(config=copy.deepcopy(dict(plan.config)), model_name="vsr1")
        except (Exception, SystemExit) as error:  # its code, its data set, the hub: one line
            raise _not_loaded(name, error) from error
    if task.OUTPUT_TYPE != "generate_until":
        raise TaskError(
            f"lmms_eval/{name} asks for {task.OUTPUT_TYPE!r}; only tasks that ask for one answer "
            "(generate_until) run here; run this one with lmms-eval itself"
        )
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return task, plan


def plans_of(name: str, include_path: Sequence[str] = ()) -> list[Plan]:
    """A task, or all tasks of a group in its order, without rows; sub-groups are resolved.

    The code of the tasks is imported again in each call.

    Raises:
        UsageError, TaskError: as `load_task`.
    """
    if not installed():
        raise UsageError(MISSING)
    entry = find_entry(name, include_path)
    quiet()
    import lmms_eval.tasks as tasks
    from lmms_eval.api.task import ConfigurableTask

    class Unloaded(ConfigurableTask):
        """Stands in for a task while groups are resolved, so that no rows are loaded."""

        def __init__(self, config: dict[str, Any], model_name: str | None = None) -> None:
            self.settings = config
            self._config = SimpleNamespace(task=config["task"])

    kept = tasks.ConfigurableMessagesTask
    tasks.ConfigurableMessagesTask = Unloaded
    try:
        folder = str(entry.file.parent) if entry.file else None
        tree = _tree(name, folder, tuple(map(str, include_path)))
    except (Exception, SystemExit) as error:  # whatever its modules raise at import
        raise _not_loaded(name, error) from error
    finally:
        tasks.ConfigurableMessagesTask = kept
    groups = list(_groups(tree))
    return [
        Plan(
            leaf,
            task.settings if isinstance(task, Unloaded) else None,
            None if isinstance(task, Unloaded) else task,
            tuple(group for group in groups if leaf in group["members"]),
        )
        for leaf, task in _leaves(tree)
    ]


def _tree(name: str, folder: str | None, include_path: tuple[str, ...]) -> dict[Any, Any]:
    from lmms_eval.tasks import TaskManager, get_task_dict

    try:
        manager = TaskManager(include_path=folder, include_defaults=False, model_name="vsr1")
        tree: dict[Any, Any] = get_task_dict([name], manager, task_type="chat")
    except KeyError:  # a group with members in other folders needs the index of all: seconds
        manager = TaskManager(include_path=list(include_path), model_name="vsr1")
        tree = get_task_dict([name], manager, task_type="chat")
    return tree


def _leaves(tree: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield str(key), value


def _groups(tree: Mapping[Any, Any]) -> Iterator[dict[str, Any]]:
    """The settings of each group that has overall numbers, as JSON values."""
    for group, members in tree.items():
        if not isinstance(members, dict):
            continue
        yield from _groups(members)
        metrics = group.config["aggregate_metric_list"]
        if metrics:
            metadata = group.config.get("metadata") or {}
            yield {
                "name": group.group_name,
                "members": [leaf for leaf, _ in _leaves(members)],
                "version": metadata.get("version"),
                "metrics": [
                    {
                        "metric": one["metric"],
                        "mean": one["aggregation"] == "mean",
                        "weight_by_size": bool(one["weight_by_size"]),
                    }
                    for one in metrics
                ],
            }


def _not_loaded(name: str, error: BaseException) -> TaskError:
    """Why a task does not load, in one line, with the names of missing keys but no values."""
    from tenacity import RetryError

    while isinstance(error, RetryError):  # hides the error of its last attempt
        error = error.last_attempt.exception() or error.__cause__ or ValueError("no attempt")
    reason, shown = f"{type(error).__name__}: {error}", own_judge.one_line(error)
    keys = sorted({key for key in _KEY.findall(reason) if not os.environ.get(key)})
    keys.sort(key=lambda key: not key.endswith("API_KEY"))
    if not keys and "api_key" in reason:
        keys = ["OPENAI_API_KEY"]
    if keys:
        return TaskError(
            f"lmms_eval/{name} wants a key when it is loaded: set {' or '.join(keys)} (for the "
            f"judge that its scorer asks); the error: {shown[:200]}"
        )
    return TaskError(f"lmms_eval/{name} does not load: {shown}")


def seed_all() -> None:
    """Seed as lmms-eval's evaluator does: some tasks shuffle at loading, some scorers guess."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(1234)
    torch.manual_seed(1234)


@contextmanager
def seeded() -> Iterator[None]:
    """Seed as lmms-eval's evaluator does inside the block, so that documents are always equal."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        seed_all()
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def quiet() -> None:
    """Keep lmms-eval's log out of ours; it names files and tokens."""
    from loguru import logger

    logger.disable("lmms_eval")
