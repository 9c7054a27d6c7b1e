"""Rules for explicit finals: a box, an `<answer>` block, a statement. They go before all others.

The first of them that is there decides, readable or not.
"""

from __future__ import annotations

import re

from vsr1_bench.answers.boxes import last_box
from vsr1_bench.answers.phrases import read_phrase
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, UNFINISHED, Found, Said
from vsr1_bench.answers.statements import statements, tries

_ANSWER_OPEN, _ANSWER_CLOSE = re.compile(r"<answer>", re.I), re.compile(r"</answer>", re.I)
_SPACE = re.compile(r"\s*")


def boxed(said: Said) -> Found | None:
    r"""The last `\boxed{…}` or `\fbox{…}`.

    A box that was never closed is an answer that was cut off: nothing is read then.

    Not: the first box of `\boxed{5}, or rather \boxed{6`.
    """
    box, unfinished = last_box(said.text)
    if unfinished:
        return Found(UNFINISHED, len(said.text), len(said.text))
    if box is None:
        return None
    return Found(read_phrase(said.text[slice(*box)].strip(), said.kind, said.choices), *box)


def answer_tag(said: Said) -> Found | None:
    """The last complete `<answer>` block that holds something.

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


def statement(said: Said) -> Found | None:
    """What the last readable statement says: `Answer: X`, `the answer is X`, `#### X`.

    Not: `the answer is not A`, `the answer depends on B`.
    """
    for start, line in statements(said.text):
        phrases = tries(line, said.kind)
        for words in phrases:
            reading = read_phrase(words, said.kind, said.choices)
            # Of several numbers, the one before the reasons is the answer.
            several = reading == AMBIGUOUS and said.kind == "number" and words is not phrases[-1]
            if reading != NOTHING and not several:
                return Found(reading, start, start + len(words))
    return None


def _answer_block(region: str) -> tuple[int, str] | None:
    """Start and content of the last complete block that holds something."""
    closings = [m.start() for m in _ANSWER_CLOSE.finditer(region)]
    openings = [m.end() for m in _ANSWER_OPEN.finditer(region)]
    while closings and openings:
        start = openings.pop()
        if start > closings[-1]:
            continue
        found = _SPACE.match(region, start)
        start = found.end() if found else start
        if start < closings[-1]:
            return start, region[start : closings[-1]].strip()
        closings.pop()
    return None
