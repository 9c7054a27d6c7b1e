"""Parse a judge's reply: an explicit verdict, or none."""

from __future__ import annotations

import json
import re
from typing import Any

from vsr1_bench.answers import final_region
from vsr1_bench.records import Verdict

VERSION = 3
"""Raised whenever replies are parsed differently; part of the judge's identity."""

_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n\s*```\Z", re.DOTALL | re.IGNORECASE)
_TAGGED = re.compile(r"<judgment>([^<]*)</judgment>", re.IGNORECASE)
_TAG_FIRST = re.compile(_TAGGED.pattern, re.IGNORECASE)
_TAG_LAST = re.compile(rf"{_TAGGED.pattern}[\s.]*\Z", re.IGNORECASE)
_SCORE = re.compile(r"(?:0|1)(?:\.\d{1,6})?|\.\d{1,6}")
_SHOWN = 80


def read_reply(text: str, *, graded: bool = False) -> Verdict:
    """Parse the JSON reply, else the `<judgment>` tag at its start or end, outside the thinking.

    Only the word `correct` or `incorrect` is a verdict (if graded, a number from 0 to 1).
    Everything else is `unscored` with a reason. The meaning of "wrong", "not correct" or "The
    answer is not incorrect" is not guessed.
    """
    region = final_region(text).strip()
    if not region:
        return _unread("the judge's reply is empty")
    value = _value(region, "score" if graded else "verdict")
    if value is None:
        return _unread(f"no verdict in the judge's reply {_quoted(region)}")
    if graded:
        return _read_score(value)
    word = value.strip().lower() if isinstance(value, str) else value
    if word == "correct":
        return Verdict("correct")
    if word == "incorrect":
        return Verdict("incorrect")
    return _unread(f"the judge's verdict is {_quoted(str(value))}")


def _value(region: str, field: str) -> Any:
    fenced = _FENCE.match(region)
    try:
        reply = json.loads(fenced.group(1) if fenced else region, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        reply = None
    if isinstance(reply, dict):
        return reply.get(field)
    # A tag inside a sentence may be a quotation, and two different tags are no verdict.
    values = {word.strip().lower() for word in _TAGGED.findall(region)}
    alone = _TAG_FIRST.match(region) or _TAG_LAST.search(region)
    return values.pop() if len(values) == 1 and alone else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object with a repeated name."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is repeated")
    return values


def _read_score(value: Any) -> Verdict:
    number = None
    small = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    if small or (isinstance(value, str) and _SCORE.fullmatch(value.strip())):
        number = float(value)
    if number is None or not 0 <= number <= 1:
        return _unread(f"the judge's score is {_quoted(str(value))}, not a number from 0 to 1")
    return Verdict("correct" if number == 1 else "incorrect", score=number)


def _unread(reason: str) -> Verdict:
    return Verdict("unscored", reason=reason)


def _quoted(text: str) -> str:
    line = " ".join(text[: 4 * _SHOWN].split())
    return repr(line if len(line) <= _SHOWN else line[:_SHOWN] + "…")
