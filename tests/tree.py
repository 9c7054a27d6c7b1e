"""The repository as the border and packaging tests see it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
MAPPED = ("tasks", "judges", "train")
# What is never part of the repository, for a copy of it without git: at its root, or anywhere.
_FOREIGN_TOP = {".git", ".venv", ".tool", ".lint", "build", "dist", "runs", "outputs"}
_FOREIGN = {"__pycache__", "node_modules"}


def repository_files() -> list[Path]:
    """Files that are tracked or about to be, relative to the root, without the ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.split("\0") if name]
    else:
        names = [
            path
            for path in (found.relative_to(ROOT) for found in ROOT.rglob("*"))
            if path.parts[0] not in _FOREIGN_TOP
            and not any(p in _FOREIGN or p.endswith(("_cache", ".egg-info")) for p in path.parts)
        ]
    return sorted(name for name in names if (ROOT / name).is_file())


def python_files(*folders: str) -> list[Path]:
    """Python files under these folders of the root, relative to the root."""
    return [p for p in repository_files() if p.suffix == ".py" and p.parts[0] in folders]


def module_name(path: Path) -> str:
    """The name under which a file of a code folder is imported."""
    parts = path.with_suffix("").parts
    if parts[0] in MAPPED:
        parts = ("vsr1_bench", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def load_script(name: str) -> ModuleType:
    """Import a file of `scripts/`, which is no package; it finds what is beside it."""
    path = ROOT / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
