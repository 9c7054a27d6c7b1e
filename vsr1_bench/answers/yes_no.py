"""Read yes or no."""

from __future__ import annotations

import re

from vsr1_bench.answers.normalize import MAX_ANSWER, fold, tidy
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, Found, Reading, Said

_MEANING = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
# Read where they are the whole answer, or its first words before a comma: Chinese, Japanese,
# Korean, German, French, Spanish, Italian, Portuguese, Russian, Arabic, and what people say.
_WORDS_ABROAD = {
    "yes": "是 是的 对 对的 對 對的 有 有的 正确 正確 没错 はい ええ 예 네 "
    "ja oui sí si sì sim да نعم yep yeah yup correct",
    "no": "否 不 不是 不是的 不对 不對 没有 沒有 没 错 错误 錯誤 不正确 不正確 "
    "いいえ 아니요 아니오 nein non não нет لا nope nah incorrect",
}
_ABROAD = {word: meaning for meaning, words in _WORDS_ABROAD.items() for word in words.split()}
_HEAD = re.compile(
    r"[\W_]*([^\W\d_]{1,12})[\"'*_)\]]{0,4}(?:です|である|だ|입니다|이다)?\s*(?:[.,;!、،।\n]|-\s|$)"
)
# `no` before a noun is not an answer: `there is no dog`, `no way to tell`.
_WORD = re.compile(
    r"(?<![\w'-])(yes|true|false|no(?!\.\s?\d)(?=\s*(?:[^\w\s'-]|[-—](?!\w)|$|\b(?:it|its|it's|there|there's|"
    r"the|this|that|they|these|those|he|she|we|i|you|because|since|or|and)\b)))(?![\w-])",
    re.IGNORECASE,
)
_AND = r"\W{1,4}(?:or\W|and\W|but\W)?\s?(?:also\s)?"
_BOTH = re.compile(
    rf"\b(?:(?:yes|true){_AND}(?:no|false)|(?:no|false){_AND}(?:yes|true))\b", re.IGNORECASE
)
_OPENS = re.compile(r"(?:^\W*|[.!?:;,\n]\W*)(?:(?:so|thus|hence|therefore),?\s)?$", re.IGNORECASE)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|unless|(?:could|might|may)\sbe|(?:is|be)\s(?:the|your)\sanswer)\s$",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:can)?not\b|n't\b|\bneither\b|\bnever\b", re.IGNORECASE)


def read_yes_no(phrase: str) -> Reading:
    """Read a phrase in the place of an answer; true and false count here."""
    plain = tidy(phrase) if len(phrase) <= MAX_ANSWER else ""
    if _BOTH.search(plain):
        return AMBIGUOUS
    words = [(m.start(), _MEANING[m[1].lower()]) for m in _WORD.finditer(plain)]
    if not words:
        return read_abroad(plain)
    if not re.search(r"\w", plain[: words[0][0]]):
        return Reading(words[0][1])
    if len({meaning for _, meaning in words}) > 1:
        return AMBIGUOUS
    return NOTHING if _NEGATED.search(plain) else Reading(words[0][1])


def read_abroad(plain: str) -> Reading:
    """The first word, where it is yes or no in another language; `ja oder nein` is neither."""
    head = _HEAD.match(plain)
    meaning = _ABROAD.get(head[1].lower()) if head else None
    return Reading(meaning) if meaning else NOTHING


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
        if (abroad := read_abroad(region)) != NOTHING:
            return abroad
        words = [m for m in _WORD.finditer(region) if m[1].lower() in ("yes", "no")]
        words = [
            m for m in words if not _SUPPOSED.search(region[max(0, m.start() - 16) : m.start()])
        ]
        named = {m[1].lower() for m in words}
        # `I cannot say yes`: in a text with a negation the word must open a sentence or a clause.
        opens = any(_OPENS.search(region[max(0, m.start() - 16) : m.start()]) for m in words)
        if not opens and _NEGATED.search(region):
            return NOTHING
    if len(named) != 1:
        return AMBIGUOUS if named else NOTHING
    return Reading(named.pop())
