"""List the tasks of lmms-eval from the names in its YAML files, without importing it.

Its own index parses all files and imports torch: ten seconds and more. A name is known by a line of
its file, so a pattern over the lines finds it in a fraction of a second.
"""

from __future__ import annotations

import codecs
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vsr1_bench import harness
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.lmms_eval import NAME

_FIELD = re.compile(
    rb"^[\"']?(task|group|tag|include|class)[\"']?[ \t]*:[ \t]*([^\r\n]*)"
    rb"((?:\r?\n(?:[ \t]*#[^\r\n]*|[ \t]*-[ \t][^\r\n]*|[ \t]+[^\r\n]*|[ \t]*))*)",
    re.MULTILINE,
)
_ITEM = re.compile(rb"^[ \t]*-[ \t]+([^\r\n]*)", re.MULTILINE)
_KEPT_OUT = {"__pycache__", ".ipynb_checkpoints"}
MISSING = (
    "lmms-eval is not installed here; it wants an environment of its own: "
    "uv pip install --override overrides-lmms.txt 'vsr1-bench[lmms-eval]' (docs/lmms-eval.md)"
)


@dataclass(frozen=True, slots=True)
class Entry(harness.Entry):
    """A name that lmms-eval knows."""

    file: Path | None = None
    """Its YAML file; None for tags."""


def installed() -> bool:
    """Whether lmms-eval can be imported; it is not."""
    return importlib.util.find_spec("lmms_eval") is not None


def package_version() -> str:
    """Version of the package, which every one of its numbers is marked with.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return version("lmms-eval")
    except PackageNotFoundError:
        raise UsageError(MISSING) from None


def defaults_folder() -> Path:
    """Where lmms-eval keeps its tasks.

    Raises:
        UsageError: it is not installed.
    """
    found = importlib.util.find_spec("lmms_eval")
    if found is None or not found.submodule_search_locations:
        raise UsageError(MISSING)
    return Path(next(iter(found.submodule_search_locations))) / "tasks"


def list_entries(include_path: Sequence[str] = ()) -> dict[str, Entry]:
    """Every task, group and tag by its name, sorted; files of `include_path` take precedence.

    Raises:
        UsageError: lmms-eval is not installed.
    """
    found = dict(_defaults(defaults_folder()))
    for folder in reversed(include_path):
        found |= _entries(Path(folder).resolve())
    return dict(sorted(found.items()))


def find_entry(name: str, include_path: Sequence[str] = ()) -> Entry:
    """Look a name up.

    Raises:
        UsageError: lmms-eval is not installed, or has no such name.
    """
    entries = list_entries(include_path)
    if name not in entries:
        close = nearest(name, tuple(entries))
        close = close if len(close) < 300 else "none comes near it"
        raise UsageError(
            f"lmms-eval {package_version()} has no task {name!r}; {close} (all of them: "
            f"vsr1-bench ls tasks --source {NAME}; YAML files of your own: --include_path DIR)"
        )
    return entries[name]


@lru_cache(maxsize=1)
def _defaults(folder: Path) -> dict[str, Entry]:
    return _entries(folder)


def _entries(folder: Path) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    tags: dict[str, list[str]] = {}
    for file in _yaml_files(folder):
        fields = _fields(file)
        task, group = fields.get("task"), fields.get("group", [])
        if isinstance(task, str):
            found[task] = Entry(task, "task", file=file)
            if "class" not in fields:
                for tag in (*_listed(fields.get("tag")), *_listed(group)):
                    tags.setdefault(tag, []).append(task)
        elif task is not None and isinstance(group, str):
            found[group] = Entry(group, "group", file=file)
    for tag, members in tags.items():
        found.setdefault(tag, Entry(tag, "tag", tuple(members)))
    return found


def _fields(file: Path) -> dict[str, str | list[str]]:
    """The fields of a file that name it, with those of the files that it includes."""
    found: dict[str, str | list[str]] = {}
    try:
        content = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError:
        return found
    for key, value, items in _FIELD.findall(content):
        text = _plain(value)
        listed = [_plain(item) for item in _ITEM.findall(items)]
        if text.startswith("["):
            listed = [_plain(one.encode()) for one in text.strip("[]").split(",")]
        found[key.decode()] = text if text and not text.startswith("[") else listed
    included: dict[str, str | list[str]] = {}
    for name in reversed(_listed(found.pop("include", None))):
        included |= _fields(file.parent / name)
    return included | found


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _yaml_files(folder: Path) -> Iterator[Path]:
    # In the order in which lmms-eval walks: of files with the same name in them the last counts.
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _KEPT_OUT]
        for name in names:
            if name.endswith(".yaml"):
                yield Path(root, name)


def _plain(value: bytes) -> str:
    text = re.sub(r"\s+#.*", "", value.decode("utf-8", "replace")).strip()
    return text.strip("\"'")
