"""`--config FILE.yaml`: the flags of a command in a file; flags that are typed take precedence.

The file is turned into words of a command line, so that both are read, refused and recorded in the
same way. `as_yaml` goes the other way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vsr1_bench._util.flag_values import pieces, text_of
from vsr1_bench._util.paths import user_path
from vsr1_bench.errors import UsageError, nearest

FLAG = "--config"
_LIST = ("*", "+")
Typed = tuple[argparse.Action, list[str]]
"""A flag with its values, as typed."""


def with_config(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Replace `--config FILE` by the flags of that file.

    A flag that is typed, too, replaces the file's. `--no_NAME` unsets a switch of the file.

    Args:
        parser: The command's parser.
        words: Its command line, without the command's name.

    Returns:
        The command line without `--config`; the same words if it has none.

    Raises:
        UsageError: the file cannot be read, or has an unknown key or a value of the wrong kind.
    """
    typed, positionals = split_words(parser, words)
    files = [value for action, values in typed if action.dest == "config" for value in values]
    if not files:
        return list(words)
    if len(files) > 1:
        raise UsageError(f"{FLAG} {' and '.join(files)}: wanted one file")
    source = files[0]
    keys = {action.dest: action for action in parser._actions if action.dest != "help"}
    given = _read(source, [name for name in keys if name != "config"])
    unset = {f"--no_{name}" for name, value in given.items() if value is True}
    kept = [word for word in words if word not in unset]
    if len(kept) < len(words):
        typed, positionals = split_words(parser, kept)
        for name in [name for name in given if f"--no_{name}" in words]:
            del given[name]
    named = {action.dest for action, _ in typed}
    flags: list[str] = []
    for name, value in given.items():
        if keys[name].option_strings and name not in named:
            flags += _words(keys[name], value, f"{source}: {name}")
    for action, values in typed:
        if action.dest != "config":
            flags += _typed_again(action, values)
    places = _positionals(parser, given, positionals, source)
    if any(word.startswith("-") for word in places):
        return [*flags, "--", *places]
    return [*places, *flags]


def as_yaml(parser: argparse.ArgumentParser, words: Sequence[str], comments: Iterable[str]) -> str:
    """Write a command line as a file for `--config`.

    Args:
        parser: The command's parser.
        words: The command line, without the command's name and without positional words.
        comments: Lines at the top.
    """
    import yaml

    values: dict[str, Any] = {}
    for action, found in split_words(parser, words)[0]:
        if action.nargs == 0:
            values[action.dest] = True
        elif isinstance(action, argparse._AppendAction):
            values.setdefault(action.dest, []).extend(found)
        elif len(found) != 1:
            values[action.dest] = found or True  # without a value: `--perception`
        elif action.dest.endswith(("_args", "_kwargs")):
            values[action.dest] = _mapping(found[0])
        else:
            values[action.dest] = _plain(found[0])
    head = "".join(f"# {line}\n" for line in comments)
    body: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    return head + body


def split_words(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> tuple[list[Typed], list[str]]:
    """Split a command line into flags with their values, and positional words.

    An unknown flag is kept as a flag without a value, for argparse to refuse.
    """
    known = {flag: action for action in parser._actions for flag in action.option_strings}
    typed: list[Typed] = []
    positionals: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return typed, [*positionals, *rest]
        if not word.startswith("-") or word == "-":
            positionals.append(word)
            continue
        name, equals, value = word.partition("=")
        if name not in known and word[:2] in known and len(word) > 2:
            name, equals, value = word[:2], "=", word[2:]  # `-L5`
        if name not in known:
            typed.append((argparse.Action([word], "", nargs=0), []))
            continue
        action = known[name]
        typed.append((action, [value] if equals else _following(action, rest)))
    return typed, positionals


def _following(action: argparse.Action, rest: list[str]) -> list[str]:
    """Take a flag's values from the words after it."""
    if action.nargs == 0:
        return []
    if action.nargs is None or isinstance(action.nargs, int):
        count = action.nargs or 1
    else:
        ends = (place for place, word in enumerate(rest) if word.startswith("-"))
        count = next(ends, len(rest))
        count = min(count, 1) if action.nargs == "?" else count
    taken, rest[:] = rest[:count], rest[count:]
    return taken


def _typed_again(action: argparse.Action, values: list[str]) -> list[str]:
    flag = _long(action)
    if len(values) == 1 and not isinstance(action.nargs, int):
        return [f"{flag}={values[0]}"]
    return [flag, *values]


def _long(action: argparse.Action) -> str:
    return max(action.option_strings, key=len)


def _read(source: str, known: list[str]) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that is given twice, of which YAML would take the last."""

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        pairs = [(loader.construct_object(k, deep=True), v) for k, v in node.value]
        for place, (key, _) in enumerate(pairs):
            if key in [other for other, _ in pairs[:place]]:
                raise UsageError(f"{FLAG} {source}: {key!r} is given twice; drop one")
        return {key: loader.construct_object(value, deep=True) for key, value in pairs}

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        text = user_path(source).read_text("utf-8")
        values = yaml.load(text, Loader)
    except OSError as error:
        raise UsageError(f"{FLAG} {source}: not readable: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{FLAG} {source}: not readable as YAML: {reason}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{FLAG} {source}: wanted lines NAME: VALUE with the names of flags")
    flags: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise UsageError(f"{FLAG} {source}: unknown key {key!r}; {nearest(name, known)}")
        if value is not None:
            flags[name] = value
    return flags


def _words(action: argparse.Action, value: Any, where: str) -> list[str]:
    """The words of a flag of the file.

    Raises:
        UsageError: a value that this flag cannot have.
    """
    flag = _long(action)
    if value is True and action.nargs == "?":
        return [flag]
    if action.nargs == 0 or isinstance(value, bool):
        if action.nargs not in (0, "?") or not isinstance(value, bool):
            wanted = "true or false" if action.nargs == 0 else 'a number or a text (quoted: "…")'
            raise UsageError(f"{where}: {value!r}: wanted {wanted}")
        return [flag] if value else []
    if isinstance(action, argparse._AppendAction):
        return [f"{flag}={text}" for text in _texts(value, where)]
    if isinstance(action.nargs, int):
        return [flag, *_texts(value, where)]
    if isinstance(value, Mapping):
        return [f"{flag}={','.join(f'{name}={text_of(one)}' for name, one in value.items())}"]
    return [f"{flag}={','.join(_texts(value, where))}"]


def _positionals(
    parser: argparse.ArgumentParser, given: Mapping[str, Any], words: list[str], source: str
) -> list[str]:
    """Fill the places of positional words: what is typed first, then what the file has."""
    rest = list(words)
    filled: list[str] = []
    for action in (a for a in parser._actions if not a.option_strings):
        where = f"{source}: {action.dest}"
        value = given.get(action.dest)
        if action.nargs not in _LIST:
            # A typed `key=value` is no recipe, if the file names one.
            if rest and (value is None or "=" not in rest[0]):
                filled.append(rest.pop(0))
            elif value is not None:
                filled += _texts(value, where)
        elif isinstance(value, Mapping):  # `settings: {lr: 1e-6}`; what is typed comes later, wins
            filled += [f"{key}={text_of(one)}" for key, one in value.items()]
        elif value is not None and not rest:
            filled += _texts(value, where)
    return [*filled, *rest]


def _texts(value: Any, where: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise UsageError(f"{where}: {one!r}: wanted a text or a number, or a list of them")
    return [str(one) for one in values]


def _mapping(text: str) -> Any:
    """`a=1,b=x` as a mapping, if that gives the same text back."""
    named = [piece.partition("=") for piece in pieces(text)]
    values = {name.strip(): _plain(value) for name, _, value in named}
    same = ",".join(f"{name}={text_of(value)}" for name, value in values.items()) == text
    return values if same else text


def _plain(text: str) -> Any:
    """A number or a list, if it is written as one writes it; else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if text_of(value) == text and not isinstance(value, str) else text
