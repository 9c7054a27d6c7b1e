"""The identity of a rule judge: a hash of the code that decides.

Code is compared by its syntax tree, so comments, docstrings and layout do not matter. The hash
covers the judge's own module, the modules that it imports from the judges or from its own package
or folder, and the extraction of answers. It does not cover other judges that it does not import.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from vsr1_bench import answers
from vsr1_bench.judge import RuleJudge
from vsr1_bench.registry import JUDGES
from vsr1_bench.store.environment import GRADERS, package_versions

_INSTALLED = {"site-packages", "dist-packages"}

Scope = tuple[str, Path]
"""A package and its folder; the package "" is the files of a folder of plug-ins."""


def judge_digest(judge: RuleJudge, home: ModuleType | None = None) -> str:
    """Hash of what a rule judge does: name, version, configuration, and the code that decides.

    The versions of the comparing libraries are part of it. Rule judges cost nothing to repeat, so
    after a change of code everything is judged again. (Verdicts of models are paid for, so there
    the versions of the prompt, the judge and the parser of replies count.)

    Args:
        judge: The judge.
        home: The module that defines the judge, if `grade` comes from another one.
    """
    grade: Any = judge.grade
    while isinstance(grade, partial):
        grade = grade.func
    modules = {sys.modules[inspect.unwrap(grade).__module__], *([home] if home else [])}
    files = {file for module in modules for file in _own_files(module)}
    files.update(Path(answers.__file__).parent.glob("*.py"))
    installed = package_versions()
    versions = [f"{name} {installed.get(name)}" for name in GRADERS]
    words = [judge.name, str(judge.version), judge.identity, *versions]
    codes = sorted(code_digest(file.read_bytes()) for file in files)
    return hashlib.sha256("\0".join([*words, *codes]).encode()).hexdigest()


@lru_cache(maxsize=256)
def code_digest(source: bytes) -> str:
    """Hash of a module's syntax tree, or of its bytes if they are not Python.

    The format is this project's own, because that of `ast.dump` depends on the version of Python.
    """
    try:
        words: list[str] = []
        _write(ast.parse(source), words)
        written = "".join(words).encode()
    except (SyntaxError, ValueError, RecursionError):
        written = source
    return hashlib.sha256(written).hexdigest()


def _write(value: object, words: list[str]) -> None:
    """Write a syntax tree without positions, empty fields and docstrings."""
    if isinstance(value, ast.AST):
        words.append(f"{type(value).__name__}(")
        for name in value._fields:
            inner = getattr(value, name, None)
            if isinstance(value, ast.JoinedStr):  # Python 3.12 leaves empty pieces in f-strings
                inner = [
                    p for p in value.values if not (isinstance(p, ast.Constant) and not p.value)
                ]
            if inner is not None and inner != [] and name != "kind":
                words.append(f"{name}=")
                _write(inner, words)
        words.append(")")
    elif isinstance(value, list):
        words.append("[")
        for inner in value:
            if not _is_docstring(inner):
                _write(inner, words)
                words.append(",")
        words.append("]")
    else:
        words.append(repr(value))


def _is_docstring(node: object) -> bool:
    """Whether a statement is only a string: a docstring of a module, function, class or value."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _own_files(module: ModuleType) -> set[Path]:
    """The files of a module and of all modules in its scopes that it imports, also indirectly."""
    scopes = list(_scopes(module))
    package = module.__package__ or ""
    waiting = [(Path(inspect.getfile(module)).resolve(), package)]
    files: set[Path] = set()
    while waiting:
        file, package = waiting.pop()
        if file in files:
            continue
        files.add(file)
        waiting.extend(_found(_imported(file, package), scopes))
    return files


def _scopes(module: ModuleType) -> Iterator[Scope]:
    """The packages whose imports are followed: the judges, and the module's own."""
    yield from ((JUDGES, Path(folder)) for folder in import_module(JUDGES).__path__)
    top = module.__name__.partition(".")[0]
    if module.__package__:
        if top != JUDGES.partition(".")[0]:
            yield from ((top, Path(folder)) for folder in sys.modules[top].__path__)
        return
    folder = Path(inspect.getfile(module)).resolve().parent
    if folder.name not in _INSTALLED:
        yield "", folder


def _imported(file: Path, package: str) -> Iterator[str]:
    """Absolute names of all modules that a file's import statements may refer to."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            parts = above[: len(above) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _found(names: Iterable[str], scopes: list[Scope]) -> Iterator[tuple[Path, str]]:
    """The files of modules, given by name, with the package of each."""
    for name in names:
        for scope, folder in scopes:
            if scope and not f"{name}.".startswith(f"{scope}."):
                continue
            path = folder.joinpath(*name.removeprefix(scope).strip(".").split("."))
            if (file := path.parent / f"{path.name}.py").is_file():
                yield file.resolve(), name.rpartition(".")[0]
            elif (file := path / "__init__.py").is_file():
                yield file.resolve(), name
