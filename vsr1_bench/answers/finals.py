"""Rules for explicit finals: a box, an `<answer>` block, a statement. They are tried first.

The first of them that is there decides, readable or not.
"""

from __future__ import annotations

import json
import re
from collections import deque
from contextlib import suppress

from vsr1_bench.answers.boxes import last_box
from vsr1_bench.answers.conclusions import number_of
from vsr1_bench.answers.lines import lines_of
from vsr1_bench.answers.phrases import read_phrase
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, UNFINISHED, Found, Said
from vsr1_bench.answers.statements import statements, tries

_ANSWER_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_SPACE = re.compile(r"\s*")
_JSON = re.compile(
    r"[\"'](?:final[_ ]?|correct[_ ]?)?(?:answer|choice|option|prediction)"
    r"(?:[_ ](?:letter|choice|option))?[\"']\s{0,4}:\s{0,4}\[?\s{0,4}"
    r"(?:\{\s{0,9}[\"'](?:letter|option|choice|value|label|answer)[\"']\s{0,4}:\s{0,4})?"
    r"(?:\"(?P<text>(?:[^\"\\\n]|\\.){0,400})\"|(?P<bare>[^\s\",\[\]{}][^\",\[\]{}\n]{0,60}))"
    r"\s{0,4}(?!\s{0,9},\s{0,9}\"[^\"]{0,400}\"\s{0,9}[,\]])",
    re.IGNORECASE,
)
_A_LINE = re.compile(r"[ \t>*_#]{0,6}A[*_]{0,2}:[*_]{0,2}[ \t]*(\S.*)")
_NUMERIC = re.compile(r"[-+$€£.\d*\\(]|[a-zA-Z] ?=|about\b|approximately\b")
_TAKEN_BACK = re.compile(r"not\b", re.IGNORECASE)
_SHORT = 200
"""Characters of an answer on a separate line."""


def boxed(said: Said) -> Found | None:
    r"""The last `\boxed{…}` or `\fbox{…}`; `Answer: X` after a box without an answer wins.

    A box that was never closed is an answer that was cut off: nothing is read then.

    Not: the first box of `\boxed{5}, or rather \boxed{6`.
    """
    box, unfinished = last_box(said.text)
    if unfinished:
        return Found(UNFINISHED, len(said.text), len(said.text))
    if box is None:
        return None
    reading = read_phrase(said.text[slice(*box)].strip(), said.kind, said.choices)
    if reading.value is None and _after(said, box[1]):
        return None
    return Found(reading, *box)


def answer_tag(said: Said) -> Found | None:
    """The last complete `<answer>` block that is not empty.

    Not: what follows an `<answer>` that is never closed.
    """
    block = _answer_block(said.text)
    if block is None:
        return None
    start, words = block
    for at, line in statements(words):
        start, words = start + at, line
        break
    return Found(read_phrase(words, said.kind, said.choices), start, start + len(words))


def json_answer(said: Said) -> Found | None:
    """The value of the last `"answer"` of a JSON object, fenced or not, complete or cut off.

    Not: an object without such a key; a list of several answers.
    """
    last = deque(_JSON.finditer(said.text), maxlen=1)
    if not last:
        return None
    found = last[0]
    words = found["text"] if found["text"] is not None else found["bare"]
    start = found.start("text") if found["text"] is not None else found.start("bare")
    with suppress(ValueError):
        value = json.loads(f'"{words}"')
        if isinstance(value, str) and found["text"] is not None:
            return Found(read_phrase(value, said.kind, said.choices), start, start + len(words))
    return Found(read_phrase(words, said.kind, said.choices), start, start + len(words))


def statement(said: Said) -> Found | None:
    """What the last readable statement says: `Answer: X`, `the answer is X`, `#### X`.

    The word for an answer may be Chinese, Japanese, Korean, German, French, Spanish, Portuguese,
    Italian, Russian or Arabic.

    Not: `the answer is not A`, `the answer depends on B`.
    """
    return _stated(said, 0)


def answer_line(said: Said) -> Found | None:
    """A last line `A: X`, where A is short for Answer; for choices see `answer_or_option_a`.

    Not: `A: First we count the dots`; `A: 5` before other lines.
    """
    for start, line in reversed(list(lines_of(said.text))[-3:]):
        found = _A_LINE.match(line)
        if found is None:
            continue
        for words in tries(found[1], said.kind):
            reading = read_phrase(words, said.kind, said.choices)
            if reading.value is None or len(words) > _SHORT:
                continue
            if said.kind != "number" or _NUMERIC.match(words) or number_of(words):
                at = start + found.start(1)
                return Found(reading, at, at + len(words))
    return None


def _stated(said: Said, after: int) -> Found | None:
    """The last readable statement that begins at or after a place."""
    for start, line in statements(said.text):
        if start < after:
            break
        phrases = tries(line, said.kind)
        for words in phrases:
            reading = read_phrase(words, said.kind, said.choices)
            # Of several numbers, the one before the reasons is the answer.
            several = reading == AMBIGUOUS and said.kind == "number" and words is not phrases[-1]
            if reading != NOTHING and not several:
                return Found(reading, start, start + len(words))
        if _TAKEN_BACK.match(line):  # `the answer is not A`: what was said before does not hold
            return Found(NOTHING, start, start + len(line))
    return None


def _after(said: Said, box_end: int) -> bool:
    found = _stated(said, box_end)
    return found is not None and found.reading.value is not None


def _answer_block(region: str) -> tuple[int, str] | None:
    """Start and content of the last complete block that is not empty, the innermost one."""
    opened: list[int] = []
    last: tuple[int, int] | None = None
    for tag in _ANSWER_TAG.finditer(region):
        if not tag[1]:
            opened.append(tag.end())
        elif opened:
            start = opened.pop()
            content = _SPACE.match(region, start)
            start = content.end() if content else start
            inside = last is not None and start <= last[0] and last[1] <= tag.start()
            if start < tag.start() and not inside:
                last = (start, tag.start())
    return (last[0], region[slice(*last)].strip()) if last else None
