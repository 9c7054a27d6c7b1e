"""What makes a task's prompts and score, as one hash: of its definition, not of its files.

The configuration is hashed as its TaskManager resolves it, with what its file includes and what a
group says, and so is the code of every function in it, in whatever folder. Comments, and tasks that
happen to be in the same folder, are not part of it; nor is the place where the files lie.
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
    """Hash of what decides a task's prompts and score: the package's version and its definition.

    Args:
        name: Its name, or `GROUP/NAME`.
        plan: As `load_task` resolved it.
    """
    told: Any = plan.config
    if told is None:
        told = {**vars(plan.ready.config), "class": type(plan.ready)}
    reader = _Reader()
    definition = json.dumps(reader.read(told), sort_keys=True)
    parts = [package_version().encode(), name.encode(), definition.encode()]
    parts += sorted(_code(reader.files))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _code(files: set[Path]) -> Iterator[bytes]:
    """Names and hashes of code files and of those beside them, which they may import."""
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
            # Local rows: what is in them has its own fingerprint, wherever they lie.
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
        """A function or class by its name and, of one that another has made, what it was given."""
        self.files.update(_files(value))
        plain = inspect.unwrap(value)
        named = plain if isinstance(plain, _NAMED) else type(plain)
        given: Any = None
        if isinstance(plain, FunctionType) and plain.__closure__ and id(plain) not in self._inside:
            self._inside.add(id(plain))
            given = [self.read(inspect.getclosurevars(plain).nonlocals)]
        return [named.__module__, named.__qualname__, given]


def _files(value: Any) -> Iterator[Path]:
    """The files that the code of a function, a class or a callable object is in."""
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
