"""Read yes or no."""

from __future__ import annotations

import re

from vsr1_bench.answers.normalize import MAX_ANSWER, fold, tidy
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, Found, Reading, Said

_MEANING = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
# `no` before a noun is not an answer: `there is no dog`, `no way to tell`.
_WORD = re.compile(
    r"(?<![\w'-])(yes|true|false|no(?=\s*(?:[^\w\s'-]|[-—](?!\w)|$|\b(?:it|its|it's|there|there's|"
    r"the|this|that|they|these|those|he|she|we|i|you|because|since|or|and)\b)))(?![\w-])",
    re.IGNORECASE,
)
_AND = r"\W{1,4}(?:or\W|and\W|but\W)?\s?(?:also\s)?"
_BOTH = re.compile(
    rf"\b(?:(?:yes|true){_AND}(?:no|false)|(?:no|false){_AND}(?:yes|true))\b", re.IGNORECASE
)
_OPENS = re.compile(r"(?:^\W*|[.!?:;,\n]\W*)$")
_NEGATED = re.compile(r"\b(?:can)?not\b|n't\b|\bneither\b|\bnever\b", re.IGNORECASE)


def read_yes_no(phrase: str) -> Reading:
    """Read a phrase in the place of an answer; true and false count here."""
    plain = tidy(phrase) if len(phrase) <= MAX_ANSWER else ""
    if _BOTH.search(plain):
        return AMBIGUOUS
    words = [(m.start(), _MEANING[m[1].lower()]) for m in _WORD.finditer(plain)]
    if not words:
        return NOTHING
    if not re.search(r"\w", plain[: words[0][0]]):
        return Reading(words[0][1])
    if len({meaning for _, meaning in words}) > 1:
        return AMBIGUOUS
    return NOTHING if _NEGATED.search(plain) else Reading(words[0][1])


def yes_no_in_region(said: Said) -> Found | None:
    """The words yes and no of the region, not both.

    Not: `I cannot say yes`, `there is no dog`.
    """
    reading = read_yes_no_in_region(said.text)
    return Found(reading, 0, len(said.text)) if reading != NOTHING else None


def read_yes_no_in_region(region: str) -> Reading:
    """Read a final region without an explicit final: the words yes and no, not both.

    A line that is nothing but yes or no decides, if all such lines agree.
    """
    region = fold(region)
    lines = [line for line in region.split("\n") if line.strip()]
    lines = lines[:20] + lines[-20:]
    alone = {
        word
        for line in lines
        if len(line) < 20 and (word := tidy(line).strip(" .,!()*").lower()) in _MEANING
    }
    named = {_MEANING[word] for word in alone}
    if not named:
        words = [m for m in _WORD.finditer(region) if m[1].lower() in ("yes", "no")]
        named = {m[1].lower() for m in words}
        # `I cannot say yes`: in a text with a negation the word must open a sentence or a clause.
        opens = any(_OPENS.search(region[max(0, m.start() - 8) : m.start()]) for m in words)
        if not opens and _NEGATED.search(region):
            return NOTHING
    if len(named) != 1:
        return AMBIGUOUS if named else NOTHING
    return Reading(named.pop())
