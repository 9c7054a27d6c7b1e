"""Parse a judge's reply: an explicit verdict, or none."""

from __future__ import annotations

import json
import re
from typing import Any

from vsr1_bench.answers import final_region
from vsr1_bench.records import Verdict

VERSION = 3
"""Raised whenever a reply is read in another way; part of the judge's identity."""

_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n\s*```\Z", re.DOTALL | re.IGNORECASE)
_TAGGED = re.compile(r"<judgment>([^<]*)</judgment>", re.IGNORECASE)
_TAG_FIRST = re.compile(_TAGGED.pattern, re.IGNORECASE)
_TAG_LAST = re.compile(rf"{_TAGGED.pattern}[\s.]*\Z", re.IGNORECASE)
_SCORE = re.compile(r"(?:0|1)(?:\.\d{1,6})?|\.\d{1,6}")
_SHOWN = 80


def read_reply(text: str, *, graded: bool = False) -> Verdict:
    """Read the JSON reply, else the `<judgment>` tag that begins or ends it, outside the thinking.

    Only `correct` or `incorrect` by itself is a verdict (a number from 0 to 1 where graded). All
    else is `unscored` with a reason: "wrong", "not correct" and "The answer is not incorrect" are
    sentences, and nobody guesses what they were to mean.
    """
    region = final_region(text).strip()
    if not region:
        return _unread("the judge's reply is empty")
    said = _said(region, "score" if graded else "verdict")
    if said is None:
        return _unread(f"no verdict in the judge's reply {_quoted(region)}")
    if graded:
        return _read_score(said)
    word = said.strip().lower() if isinstance(said, str) else said
    if word == "correct":
        return Verdict("correct")
    if word == "incorrect":
        return Verdict("incorrect")
    return _unread(f"the judge's verdict is {_quoted(str(said))}")


def _said(region: str, field: str) -> Any:
    fenced = _FENCE.match(region)
    try:
        reply = json.loads(fenced.group(1) if fenced else region, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        reply = None
    if isinstance(reply, dict):
        return reply.get(field)
    # A tag inside a sentence may be quoted, and two that differ are none.
    found = {word.strip().lower() for word in _TAGGED.findall(region)}
    alone = _TAG_FIRST.match(region) or _TAG_LAST.search(region)
    return found.pop() if len(found) == 1 and alone else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says the same thing twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _read_score(said: Any) -> Verdict:
    number = None
    small = isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= 1
    if small or (isinstance(said, str) and _SCORE.fullmatch(said.strip())):
        number = float(said)
    if number is None or not 0 <= number <= 1:
        return _unread(f"the judge's score is {_quoted(str(said))}, not a number from 0 to 1")
    return Verdict("correct" if number == 1 else "incorrect", score=number)


def _unread(reason: str) -> Verdict:
    return Verdict("unscored", reason=reason)


def _quoted(text: str) -> str:
    line = " ".join(text[: 4 * _SHOWN].split())
    return repr(line if len(line) <= _SHOWN else line[:_SHOWN] + "…")
