"""The command that installs an optional part: every message and `doctor` take it from here."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

PACKAGE = "vsr1-bench"
CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder of the repository, if the package is imported from one."""
_LMMS = "uv pip install --override overrides-lmms.txt '.[lmms-eval]' (docs/lmms-eval.md)"


def install_command(extra: str) -> str:
    """A command that installs an extra into this environment, and works in any folder.

    The package is on no registry yet, so it names the checkout, or what the extra consists of.
    """
    if extra == "lmms-eval":  # does not fit into an environment with the rest
        return _LMMS
    if not (CHECKOUT / "pyproject.toml").is_file():
        return shlex.join(["pip", "install", *_requirements(extra)])
    if Path(sys.prefix).resolve() == CHECKOUT / ".venv" and (CHECKOUT / ".tool").is_dir():
        return f"make -C {shlex.quote(str(CHECKOUT))} setup"
    return f"pip install {shlex.quote(f'{CHECKOUT}[{extra}]')}"


def _requirements(extra: str) -> list[str]:
    """What the installed package's metadata ask for an extra, its own other extras resolved."""
    try:
        declared = requires(PACKAGE) or []
    except PackageNotFoundError:
        declared = []
    names: list[str] = []
    for line in declared:
        requirement, _, marker = line.partition(";")
        if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", marker):
            own = re.fullmatch(rf"{PACKAGE}\[([\w-]+)\]", requirement.strip())
            names += _requirements(own.group(1)) if own else [requirement.strip()]
    return names
