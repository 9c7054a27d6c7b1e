"""List the tasks of lmms-eval from the names in its YAML files, without importing it.

lmms-eval's own index parses all files and imports torch, which takes ten seconds and more. Each
name is on a line of its file, so a pattern over the lines finds all of them in a fraction of a
second.
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
from vsr1_bench._util.installing import install_command
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.lmms_eval import NAME

_FIELD = re.compile(
    rb"^[\"']?(task|group|tag|include|class)[\"']?[ \t]*:[ \t]*([^\r\n]*)"
    rb"((?:\r?\n(?:[ \t]*#[^\r\n]*|[ \t]*-[ \t][^\r\n]*|[ \t]+[^\r\n]*|[ \t]*))*)",
    re.MULTILINE,
)
_ITEM = re.compile(rb"^[ \t]*-[ \t]+([^\r\n]*)", re.MULTILINE)
_KEPT_OUT = {"__pycache__", ".ipynb_checkpoints"}
MISSING = "lmms-eval is not installed here; it needs a separate environment: " + install_command(
    "lmms-eval"
)


@dataclass(frozen=True, slots=True)
class Entry(harness.Entry):
    """A name that lmms-eval knows."""

    file: Path | None = None
    """Its YAML file; None for tags."""


def installed() -> bool:
    """Whether lmms-eval can be imported; this does not import it."""
    return importlib.util.find_spec("lmms_eval") is not None


def package_version() -> str:
    """Version of the package; tables show it beside every number.

    Raises:
        UsageError: lmms-eval is not installed.
    """
    try:
        return version("lmms-eval")
    except PackageNotFoundError:
        raise UsageError(MISSING) from None


def list_entries(include_path: Sequence[str] = ()) -> dict[str, Entry]:
    """Every task, group and tag by its name, sorted; files of `include_path` take precedence.

    Raises:
        UsageError: lmms-eval is not installed.
    """
    package = importlib.util.find_spec("lmms_eval")
    if package is None or not package.submodule_search_locations:
        raise UsageError(MISSING)
    entries = dict(_defaults(Path(next(iter(package.submodule_search_locations))) / "tasks"))
    for folder in reversed(include_path):
        entries |= _entries(Path(folder).resolve())
    return dict(sorted(entries.items()))


def find_entry(name: str, include_path: Sequence[str] = ()) -> Entry:
    """Look a name up.

    Raises:
        UsageError: lmms-eval is not installed, or has no such name.
    """
    entries = list_entries(include_path)
    if name not in entries:
        close = nearest(name, tuple(entries))
        close = close if len(close) < 300 else "no name is similar"
        raise UsageError(
            f"lmms-eval {package_version()} has no task {name!r}; {close} (all of them: "
            f"vsr1-bench ls tasks --source {NAME}; your own YAML files: --include_path DIR)"
        )
    return entries[name]


@lru_cache(maxsize=1)
def _defaults(folder: Path) -> dict[str, Entry]:
    return _entries(folder)


def _entries(folder: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    tags: dict[str, list[str]] = {}
    for file in _yaml_files(folder):
        fields = _fields(file)
        task, group = fields.get("task"), fields.get("group", [])
        if isinstance(task, str):
            entries[task] = Entry(task, "task", file=file)
            if "class" not in fields:
                for tag in (*_listed(fields.get("tag")), *_listed(group)):
                    tags.setdefault(tag, []).append(task)
        elif task is not None and isinstance(group, str):
            entries[group] = Entry(group, "group", file=file)
    for tag, members in tags.items():
        entries.setdefault(tag, Entry(tag, "tag", tuple(members)))
    return entries


def _fields(file: Path) -> dict[str, str | list[str]]:
    """The fields that name a file's task, with those of the files that it includes."""
    fields: dict[str, str | list[str]] = {}
    try:
        content = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError:
        return fields
    for key, value, items in _FIELD.findall(content):
        text = _plain(value)
        listed = [_plain(item) for item in _ITEM.findall(items)]
        if text.startswith("["):
            listed = [_plain(one.encode()) for one in text.strip("[]").split(",")]
        fields[key.decode()] = text if text and not text.startswith("[") else listed
    included: dict[str, str | list[str]] = {}
    for name in reversed(_listed(fields.pop("include", None))):
        included |= _fields(file.parent / name)
    return included | fields


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _yaml_files(folder: Path) -> Iterator[Path]:
    # In lmms-eval's order: if two files define the same name, the last one counts.
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _KEPT_OUT]
        for name in names:
            if name.endswith(".yaml"):
                yield Path(root, name)


def _plain(value: bytes) -> str:
    text = re.sub(r"\s+#.*", "", value.decode("utf-8", "replace")).strip()
    return text.strip("\"'")
