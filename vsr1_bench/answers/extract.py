"""Extract the final answer of a response by fixed rules, never by guessing (`rules.RULES`)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from vsr1_bench.answers.channels import final_span
from vsr1_bench.answers.normalize import INVISIBLE, MAX_ANSWER, plain_characters
from vsr1_bench.answers.phrases import read_phrase
from vsr1_bench.answers.reading import Extraction, Found, Said
from vsr1_bench.answers.rules import RULES
from vsr1_bench.records import AnswerType

LONGEST = 20_000
"""Only so many characters at the end of the final words are read."""
_VISIBLE = re.compile(rf"[^\s{INVISIBLE.pattern[1:]}")


def extract(
    text: str,
    answer_type: AnswerType,
    choices: Sequence[str] | None = None,
) -> Extraction:
    """Read the final answer of a response.

    Args:
        text: The whole response, thinking included.
        answer_type: What kind of answer is wanted.
        choices: The options' texts, first = A; without them a choice is a letter.
    """
    start, end = final_span(text)
    start = max(start, end - LONGEST)
    region = text[start:end]
    said = Said(
        plain_characters(region),
        answer_type,
        tuple(choices) if choices else None,
    )
    if not said.text.strip():
        return Extraction(None, problem="unfinished" if _VISIBLE.search(text) else "empty")
    for rule in RULES:
        if answer_type in rule.kinds and (found := rule.read(said)):
            return _extraction(rule.name, found, said, _Places(start, region))
    return Extraction(None, problem="no_answer")


def read_answer(
    phrase: str, answer_type: AnswerType, choices: Sequence[str] | None = None
) -> str | None:
    """Read a text that is nothing but an answer (a gold answer); None if it is not one."""
    return read_phrase(phrase, answer_type, tuple(choices) if choices else None).value


def _extraction(rule: str, found: Found, said: Said, places: _Places) -> Extraction:
    words = said.text[found.start : found.end].strip()
    start = said.text.find(words, found.start) if words else found.start
    return Extraction(
        found.reading.value,
        rule,
        found.reading.problem,
        words[:MAX_ANSWER],
        places.span(start, start + len(words)),
        found.reading.equal,
    )


class _Places:
    """Where characters of a region whose invisible marks are gone are in the response."""

    def __init__(self, start: int, region: str) -> None:
        self._start = start
        # The k-th mark was taken out before character `gone - k` of what is left.
        self._gone = [m.start() - k for k, m in enumerate(INVISIBLE.finditer(region))]

    def span(self, start: int, end: int) -> tuple[int, int]:
        return self._place(start), self._place(end - 1) + 1

    def _place(self, place: int) -> int:
        return self._start + place + bisect_right(self._gone, place)
