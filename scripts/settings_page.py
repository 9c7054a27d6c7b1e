"""Writes docs/settings.md: every flag, every key of a recipe, every argument of a backend.

`python scripts/settings_page.py`; tests/unit/test_docs.py compares the page with what is here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vsr1_bench._util.keys import REQUIRED, keys_of
from vsr1_bench.cli.main import COMMANDS, parser_of
from vsr1_bench.generation.identity import BACKENDS, arguments_of
from vsr1_bench.train.recipe import Recipe
from vsr1_bench.train.sft_recipe import SftRecipe

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
EVERYWHERE = ("verbosity", "config")
KINDS = {
    "positive_int": "whole number ≥ 1",
    "_limit": "whole number ≥ 1",
    "int": "whole number",
    "float": "number",
    "user_path": "path",
    "_money": "amount",
    "shard": "i/n",
}
"""Function that reads a value -> what it reads."""
HEAD = """\
# Every setting

`python scripts/settings_page.py` writes this page. [commands.md](commands.md) explains the
commands, [training.md](training.md) the recipes, and [identity.md](identity.md) which arguments are
part of a run. In a file for `--config`, a flag is a key without its dashes.
"""


def page() -> str:
    """The page."""
    anywhere = [a for a in _actions(parser_of("ls")) if a.dest in EVERYWHERE]
    parts = [HEAD, "## Flags of every command\n", _flags(anywhere)]
    for name, what in COMMANDS.items():
        own = [action for action in _actions(parser_of(name)) if action.dest not in EVERYWHERE]
        parts += [f"## `vsr1-bench {name}`\n", f"{what[0].upper()}{what[1:]}.\n", _flags(own)]
    for kind in (Recipe, SftRecipe):
        parts += [f"## Keys of a recipe of `train {kind.trainer}`\n", _keys(kind)]
    for backend in BACKENDS:
        flags = "`--judge_args`, `--reader_args`" if backend == "gemini" else "`--model_args`"
        parts += [f"## Arguments of backend `{backend}` ({flags})\n", _keys(arguments_of(backend))]
    return "\n".join(parts)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = ("help",)
    return [a for a in parser._actions if a.dest not in hidden and a.help != argparse.SUPPRESS]


def _flags(actions: Iterable[argparse.Action]) -> str:
    rows = []
    for action in actions:
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{_place(action)}`"
        default, meaning = _default(action), (action.help or "").replace("%%", "%")
        if default:  # it has its own column
            meaning = re.sub(r" ?\(default: [^);]*\)", "", meaning)
        rows.append((names, _kind(action), default, meaning))
    return _table(("flag", "type", "default", "meaning"), rows)


def _place(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest


def _kind(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "switch"
    if action.choices is not None:
        return ", ".join(map(str, action.choices))
    kind = KINDS.get(getattr(action.type, "__name__", ""), "text")
    several = action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction)
    return f"{kind}, several" if several else kind


def _default(action: argparse.Action) -> str:
    if action.required and (action.option_strings or action.nargs not in ("*", "?")):
        return REQUIRED
    value = action.default
    if value is None or value is False or value == argparse.SUPPRESS or value in ("", [], ()):
        return ""
    if isinstance(value, tuple | list):
        value = ("/" if isinstance(value, tuple) else " ").join(map(str, value))
    return f"`{value}`"


def _keys(kind: type) -> str:
    keys = keys_of(kind)
    rows = [
        (f"`{k.name}`", k.type, k.default if k.default in ("", REQUIRED) else f"`{k.default}`",
         k.meaning)
        for k in keys
    ]  # fmt: skip
    return _table(("key", "type", "default", "meaning"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = (" | ".join(map(_escaped, line)) for line in lines)
    return "\n".join(f"| {line} |" for line in cells) + "\n"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
