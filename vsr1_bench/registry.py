"""Find tasks and judges: built-in files, `--include_path` folders, installed plug-ins.

A plug-in object never crosses a process border: another process gets (kind, name, include_path)
and looks the object up again here.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib
import importlib.util
import logging
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.harness import harness_of
from vsr1_bench.judge import Judge, ModelJudge, RuleJudge
from vsr1_bench.store.environment import INCLUDE_PATH_VARIABLE, included_folders
from vsr1_bench.task import Group, Task, UserDataset

log = logging.getLogger(__name__)

# Packages are named by strings: the engine imports neither tasks nor judges, it lists them.
TASKS = "vsr1_bench.tasks"
JUDGES = "vsr1_bench.judges"

ALL = "all"
PUBLISHED = {
    "paper": (
        *("mmmu_pro_4", "mmmu_pro_10", "mmmu_pro_vision", "mmmu", "realworldqa", "visnumbench"),
        *("mathverse", "mathvision", "hallusionbench_image", "hallusionbench_non_image"),
    ),
}
"""Suites whose tasks have an order: that of the columns of table 2 of the Vision-SR1 paper. A task
that states such a suite but is not named here follows by name."""
SPLITS = ("val", "validation", "test", "testmini", "mini", "dev", "full", "standard", "image")
"""Ends of the names that other harnesses give to tasks."""


@dataclass
class Registry:
    """Every known task and judge, with the file that each came from."""

    tasks: dict[str, Task] = field(default_factory=dict)
    judges: dict[str, Judge] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    homes: dict[str, ModuleType] = field(default_factory=dict)
    """Judge's name -> the module that defines it."""
    _held: dict[tuple[str, str], tuple[Task | Group | Judge, str]] = field(default_factory=dict)

    def add(self, module: ModuleType) -> None:
        """Register every module-level `Task`, `Group` and judge of a module.

        Raises:
            UsageError: a name is taken already; replacing a benchmark silently would change
                numbers.
        """
        where = module.__file__ or module.__name__
        for value in vars(module).values():
            if isinstance(value, Task):
                self._claim("task", value, where)
                self.tasks[value.name] = value
            elif isinstance(value, Group):
                self._claim("task", value, where)
                self.groups[value.name] = value
            elif isinstance(value, RuleJudge | ModelJudge):
                self._claim("judge", value, where)
                self.judges[value.name] = value
                self.homes.setdefault(value.name, module)

    def _claim(self, kind: str, value: Task | Group | Judge, where: str) -> None:
        held, origin = self._held.setdefault((kind, value.name), (value, where))
        if held is not value:  # the same object again is only an import of it
            raise UsageError(
                f"{kind} {value.name!r} of {where} is defined already in {origin}; rename it"
            )

    def suites(self) -> dict[str, list[str]]:
        """Suite name -> names of its tasks, in order (`PUBLISHED`, else by name).

        `all` has every task of `with_rows`.
        """
        suites: dict[str, list[str]] = {ALL: self.with_rows()}
        suites |= {name: list(group.tasks) for name, group in self.groups.items()}
        for name, task in sorted(self.tasks.items()):
            for suite in task.suites:
                suites.setdefault(suite, []).append(name)
        return suites | {name: in_suite_order(suites[name]) for name in PUBLISHED if name in suites}

    def with_rows(self) -> list[str]:
        """Names of the tasks that need no `--dataset`."""
        return sorted(
            n for n, task in self.tasks.items() if not isinstance(task.source, UserDataset)
        )


def in_suite_order(tasks: Iterable[str]) -> list[str]:
    """Tasks of `PUBLISHED` suites in their order, then the others by name."""
    places = {task: i for i, task in enumerate(n for names in PUBLISHED.values() for n in names)}
    return sorted(tasks, key=lambda task: (places.get(task, len(places)), task))


def load_registry(include_path: Sequence[str | Path] = (), *, judges: bool = True) -> Registry:
    """Load built-in files, then installed plug-ins, then the files of `include_path` folders.

    Without `judges` only files of tasks and those of `include_path` are loaded, which is quicker.
    The folders of VSR1_INCLUDE_PATH come before those of `include_path`. The Python files in them
    are executed: name only folders you trust.

    Raises:
        UsageError: a folder is missing, a file does not import, or a name is taken.
    """
    # Each folder once, however it is spelled: a second import would be another object.
    places = tuple(dict.fromkeys(str(Path(p).resolve()) for p in _folders(include_path)))
    return _load(places, (TASKS, JUDGES) if judges else (TASKS,))


def _folders(include_path: Sequence[str | Path]) -> list[str]:
    """The folders of plug-ins that the environment and the flag name."""
    return [*included_folders(), *map(str, include_path)]


@lru_cache(maxsize=8)
def _load(include_path: tuple[str, ...], groups: tuple[str, ...]) -> Registry:
    registry = Registry()
    for module in _modules(include_path, groups):
        registry.add(module)
    return registry


def _modules(include_path: tuple[str, ...], groups: tuple[str, ...]) -> Iterator[ModuleType]:
    for package_name in groups:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                yield importlib.import_module(f"{package_name}.{module.name}")
    for group in groups:
        for entry in entry_points(group=group):
            try:
                yield importlib.import_module(entry.module)
            except Exception as error:  # a broken plug-in must not break every command
                log.warning(
                    "plug-in %s (%s) does not import and is skipped: %s: %s",
                    *(entry.name, entry.value, type(error).__name__, error),
                )
    for folder in include_path:
        yield from _folder_modules(Path(folder))


def _folder_modules(folder: Path) -> Iterator[ModuleType]:
    if not folder.is_dir():
        named = [str(Path(p).resolve()) for p in included_folders()]
        source = INCLUDE_PATH_VARIABLE if str(folder) in named else "--include_path"
        raise UsageError(f"{source} {folder}: not a folder; give one that holds *.py files")
    for file in sorted(folder.glob("*.py")):
        if file.name.startswith("_"):
            continue
        digest = hashlib.sha256(str(file).encode()).hexdigest()[:8]
        name = f"vsr1_include_{digest}_{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise UsageError(f"--include_path: {file} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise UsageError(
                f"--include_path: {file} does not import: {type(error).__name__}: {error}"
            ) from error
        yield module


def get_task(name: str, include_path: Sequence[str | Path] = ()) -> Task:
    """Look a task up by its exact name.

    Raises:
        UsageError: no task has this name; the nearest ones are offered.
    """
    if (harness := harness_of(name)) is not None:
        return harness.task(name, _folders(include_path))
    registry = load_registry(include_path)
    if name not in registry.tasks:
        close = _known_as(name, registry)
        raise UsageError(f"unknown task {name!r}; {close} (one of your own: --include_path DIR)")
    return registry.tasks[name]


def find_judge(name: str, include_path: Sequence[str | Path] = ()) -> Judge:
    """Look a judge of any kind up by its exact name.

    Raises:
        UsageError: no judge has this name; the nearest ones are offered.
    """
    registry = load_registry(include_path)
    if name not in registry.judges:
        raise UsageError(f"unknown judge {name!r}; {nearest(name, tuple(registry.judges))}")
    return registry.judges[name]


def get_judge(name: str, include_path: Sequence[str | Path] = ()) -> RuleJudge:
    """Look a rule judge up by its exact name.

    Raises:
        UsageError: no judge has this name (the nearest ones are offered), or it is no rule judge.
    """
    judge = find_judge(name, include_path)
    if isinstance(judge, ModelJudge):
        raise UsageError(f"judge {name!r} takes options; wanted one that decides by rule")
    return judge


def _known_as(name: str, registry: Registry) -> str:
    """What to type instead of an unknown task, worded as the end of an error line."""
    every = "all of them: vsr1-bench ls tasks"
    if name.lower() in ("list", "list_tasks", "help", "?"):
        return every
    known = {_plain(one): one for one in (*registry.suites(), *registry.tasks)}
    if ours := known.get(_plain(name)):
        return f"here it is {ours} ({every})"
    # `mmmu_val`, `MathVista_MINI`, `pope_full`: other harnesses name the split, too.
    stem, _, split = name.rpartition("_")
    if split.lower() in SPLITS and (ours := known.get(_plain(stem))):
        return f"here it is {ours}, whose split is fixed; lmms-eval's own is lmms_eval/{name}"
    return f"{nearest(name, tuple(known.values()))} ({every})"


def _plain(name: str) -> str:
    """A name without what tools write differently: case, hyphens, underscores."""
    return re.sub(r"[\W_]+", "", name.lower())


def resolve_tasks(names: str, include_path: Sequence[str | Path] = ()) -> list[Task]:
    """Turn `a,suite,pattern*` into tasks, each once, in the order given.

    Raises:
        UsageError: a name is neither a task, a suite nor a pattern that matches.
    """
    registry = load_registry(include_path)
    suites = registry.suites()
    chosen: dict[str, Task] = {}
    for name in (part.strip() for part in names.split(",")):
        if not name:
            continue
        if (harness := harness_of(name)) is not None:
            external = harness.tasks(name, _folders(include_path))
            chosen.update({task.name: task for task in external})
            continue
        if name in registry.tasks:
            matches = [name]
        elif name in suites:
            matches = suites[name]
        else:
            matches = fnmatch.filter(registry.with_rows(), name)
        if not matches:
            raise UsageError(f"unknown task {name!r}; {_known_as(name, registry)}")
        chosen.update({n: registry.tasks[n] for n in matches})
    if not chosen:
        raise UsageError("no task given; name some with --tasks a,b (vsr1-bench ls tasks)")
    return list(chosen.values())
