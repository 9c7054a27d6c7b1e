"""Read flag values as typed (`a=1,b=x`, `0/4`), and write values as they would be typed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from vsr1_bench._util.paths import user_text
from vsr1_bench.errors import UsageError

_COMMA_OR_JSON = re.compile(r",|=(?=[\[{])")
_CONSTANTS = {"true": True, "false": False, "none": None, "null": None}


def key_values(text: str, flag: str) -> dict[str, Any]:
    """Read `a=1,b=x` with numbers, true, false and null as such.

    A value that begins with `~` is a path. A comma is part of a value if no `=` follows it before
    the next comma.

    Raises:
        UsageError: a piece without a name.
    """
    values: dict[str, Any] = {}
    for piece in (p for p in pieces(text) if p.strip()):
        name, equals, value = piece.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{flag} {piece!r}: wanted name=value,name=value")
        values[name.strip()] = scalar(value.strip())
    return values


def pieces(text: str) -> list[str]:
    """Split at commas; a piece without `=` belongs to the value before it, JSON stays whole."""
    parts: list[str] = []
    for piece in _at_commas(text):
        if "=" in piece or not parts:
            parts.append(piece)
        else:
            parts[-1] += f",{piece}"
    return parts


def _at_commas(text: str) -> Iterator[str]:
    """Split at the commas outside of JSON lists and objects."""
    start = place = 0
    while match := _COMMA_OR_JSON.search(text, place):
        place = match.end()
        if match[0] == ",":
            yield text[start : match.start()]
            start = place
        else:
            with suppress(ValueError):  # then it only looks like JSON
                place = json.JSONDecoder().raw_decode(text, place)[1]
    yield text[start:]


def scalar(text: str) -> Any:
    """Read a number, true, false or null; any other text stays a text."""
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return user_text(text)


def read_shard(text: str) -> tuple[int, int]:
    """Read `i/n` with 0 <= i < n.

    Raises:
        ValueError: it is not of this form.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ValueError(f"{text!r}: wanted i/n with i from 0 to n-1, e.g. 0/4")
    return int(index), int(count)


def command_words(flags: Mapping[str, Any]) -> list[str]:
    """Write flags as they would be typed, for the record of the command."""
    words = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        if value is True:
            words.append(f"--{name}")
        elif isinstance(value, Mapping):
            words.append(f"--{name}={','.join(f'{k}={text_of(v)}' for k, v in value.items())}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if name == "include_path":
                words += [f"--{name}={one}" for one in value]
            else:
                words.append(f"--{name}={('/' if name == 'shard' else ',').join(map(str, value))}")
        else:
            words.append(f"--{name}={value}")
    return words


def text_of(value: Any) -> str:
    """Write a value as it would be typed after `name=`."""
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
