"""One hash over everything that decides a task's prompts and score.

It covers the configuration as lmms-eval's TaskManager resolves it, including included files and the
settings of a group, and the code of every function in it, in any folder. Comments of the YAML file,
other tasks in the same folder and the location of the files are not part of it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from vsr1_bench.lmms_eval.index import package_version
from vsr1_bench.lmms_eval.loading import Plan

_NAMED = (type, FunctionType, MethodType, BuiltinFunctionType)


def digest_of(name: str, plan: Plan) -> str:
    """Hash the version of lmms-eval and the definition of a task.

    Args:
        name: The task's name, or `GROUP/NAME`.
        plan: What `load_task` resolved it to.
    """
    config: Any = plan.config
    if config is None:
        config = {**vars(plan.ready.config), "class": type(plan.ready)}
    reader = _Reader()
    definition = json.dumps(reader.read(config), sort_keys=True)
    parts = [package_version().encode(), name.encode(), definition.encode()]
    parts += sorted(_code(reader.files))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _code(files: set[Path]) -> Iterator[bytes]:
    """Names and hashes of code files and of the files beside them, which they may import."""
    near = {other for file in files for other in file.parent.glob("*.py")}
    for file in files | near:
        yield file.name.encode() + hashlib.sha256(file.read_bytes()).digest()


class _Reader:
    """Writes a configuration as JSON values, and notes where the code of its functions is."""

    def __init__(self) -> None:
        self.files: set[Path] = set()
        self._inside: set[int] = set()

    def read(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): self.read(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.read(inner) for inner in value]
        if isinstance(value, str):
            # Local rows: their content has a separate fingerprint, and the location is irrelevant.
            local = os.path.isabs(value) and os.path.exists(value)
            return Path(value).name if local else value
        if isinstance(value, int | float | None):
            return value
        if isinstance(value, date | bytes):
            return str(value)
        if isinstance(value, partial):
            return self.read([value.func, value.args, value.keywords])
        return self._function(value) if callable(value) else type(value).__qualname__

    def _function(self, value: Any) -> Any:
        """A function or class by its name; a closure also by the values that it holds."""
        self.files.update(_files(value))
        plain = inspect.unwrap(value)
        named = plain if isinstance(plain, _NAMED) else type(plain)
        given: Any = None
        if isinstance(plain, FunctionType) and plain.__closure__ and id(plain) not in self._inside:
            self._inside.add(id(plain))
            given = [self.read(inspect.getclosurevars(plain).nonlocals)]
        return [named.__module__, named.__qualname__, given]


def _files(value: Any) -> Iterator[Path]:
    """The files with the code of a function, a class or a callable object."""
    if isinstance(value, MethodType):
        value = value.__func__
    if isinstance(value, FunctionType):
        file = Path(value.__code__.co_filename)
        if file.is_file():
            yield file.resolve()
    wrapped = inspect.unwrap(value) if callable(value) else value
    if wrapped is not value:
        yield from _files(wrapped)
    elif not isinstance(value, FunctionType):
        kind = value if isinstance(value, type) else type(value)
        for base in kind.__mro__:
            for inner in vars(base).values():
                plain = inner.__func__ if isinstance(inner, classmethod | staticmethod) else inner
                if isinstance(plain, FunctionType):
                    yield from _files(plain)
