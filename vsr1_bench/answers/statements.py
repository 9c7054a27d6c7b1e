"""Statements of a final answer (`Answer: X`, `the answer is X`, `#### X`), and where they end.

A statement ends with its sentence, or where its words turn to reasons (`12, as 3 groups show`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from vsr1_bench.answers.lines import SENTENCE_END
from vsr1_bench.answers.mentions import doubted
from vsr1_bench.answers.normalize import MAX_ANSWER
from vsr1_bench.records import AnswerType

_NOUN = (
    r"(?:\b(?:answer|ans\b\.?(?=[ *_]{0,4}[:=]))(?:[ ](?:option|choice|letter|value))?"
    r"|\b(?:final|correct|right|best|my|likely)[ ](?:option|choice|letter|alternative|conclusion)"
    r"(?:[ ]letter)?)"
)
_ABROAD = (
    r"\[答案\][ ]?:?|(?<![回解])答:|而是[ ]?(?=[(]?[A-Z](?![A-Za-z]))",
    r"(?:最终|最終|最后)?(?:的)?(?:答案|(?:正确|正確)(?:的)?(?:答案|选项|選項))[ ]?"
    r"(?:应该|應該|应|應)?(?:是|为|為|选|選|:)[ ]?:?",
    r"(?:故|应|應|所以|因此|我)(?:选择|選擇|选|選)(?:项|項|:)?[ ]?(?=[(]?[A-Z](?![A-Za-z]))",
    r"^(?:选择|選擇|选|選)(?:项|項|:)?[ ]?(?=[(]?[A-Z](?![A-Za-z]))",
    r"(?:答え|正解|解答|回答)[ ]?(?:は|:|=)[ ]?:?",
    r"(?:정답|답변|답)[ ]?(?:은|는|:)[ ]?:?",
    r"\b(?:antwort|lösung)[ ]?(?:(?:ist|lautet|wäre)\b[ ]?:?|:)",
    r"\bréponse(?:[ ](?:correcte|finale|juste|exacte))?[ ]?(?:est\b[ ]?:?|:)",
    r"\b(?:respuesta(?:[ ](?:correcta|final))?|(?:opción|alternativa|letra)[ ]correcta)[ ]?"
    r"(?:es\b[ ]?:?|:)",
    r"\b(?:resposta(?:[ ](?:correta|certa|final))?|(?:opção|alternativa|letra)[ ](?:correta|certa))"
    r"[ ]?(?:é\b(?:[ ]a(?=[ ][A-Z]\b))?[ ]?:?|:)",
    r"\brisposta(?:[ ](?:corretta|esatta|finale))?[ ]?(?:è\b[ ]?:?|:)",
    r"\bответ(?:ом)?[ ]?(?::|-|это\b|является\b|будет\b|(?=[ ]?[A-Z](?![A-Za-z])))",  # noqa: RUF001
    r"(?:الإجابة|الاجابة|الجواب)(?:[ ](?:الصحيحة|الصحيح|النهائية|النهائي))?[ ]?"
    r"(?:(?:هي|هو)\b[ ]?:?|:)",
)
"""Words for an answer: Chinese, Japanese, Korean, German, French, Spanish, Portuguese, Italian,
Russian, Arabic."""
_STATEMENT = re.compile(
    rf"{_NOUN}(?:[ ](?:to|for|of)[ ][^\n.:;?!]{{1,80}}?)?[*_\"]{{0,3}},?[ ]?"
    r"(?:(?:therefore|thus|then|hence|clearly|so)[, ]{1,2})?"
    r"(?:\b(?:is|was|would[ ](?:then[ ])?be|should[ ]be|must[ ]be|will[ ]be)\b[*_]{0,3}[ ]?:?"
    r"|:|=(?!=)|(?:->|→|⇒)"
    r"|(?=(?:cannot|can't|can[ ]not)[ ]be[ ]|(?:does[ ]not|doesn't)[ ]exist))"
    r"|^[ \t#*_>]{0,8}(?:final[ ]|correct[ ])?answer[ \t*_#]{0,6}$"
    r"|^[ \t#*_>]{0,8}(?:final[ ])?answer[*_]{0,3}[ ]-{1,2}(?=[ ])"
    r"|^####(?=[ \t]?[^#\s])",
    re.IGNORECASE | re.MULTILINE,
)
_STATEMENT_ABROAD = re.compile("|".join(_ABROAD), re.IGNORECASE | re.MULTILINE)
_PLAIN_ABROAD = re.compile(r"antwort|respuesta|resposta|risposta", re.IGNORECASE)
_REASONS = r",\s(?:as(?!\s\w+\sas\b)|because|since|which)\b"
_BECAUSE = r"\s\(?(?:because|since)\b"
# What goes on with the answer, or takes it back, is part of it: `5, or maybe 6`, `3, if x = 2`.
_GOES_ON = (
    "and|or|nor|but|then|so|for|if|when|where|with|without|unless|except|excluding|otherwise|else|"
    "maybe|perhaps|possibly|probably|plus|minus|times|over|to|than|making|giving|leaving|rather|"
    "either|depending|while|whereas|although|though|however|namely|"
    "sin|cos|tan|log|ln|exp|sqrt|pi|alpha|beta|theta|"
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|half"
)
_PROSE_AFTER = (
    r"(?P<compared>,?\sas\s\w+\sas\b)|\sas\s"
    rf"|(?<!\\),\s(?!(?:{_GOES_ON})\b)(?=not\s|[a-z]{{2,}}\s[a-z])"
    r"|(?<=[\d)}\]$%*])\.\s(?=[a-z]{2,}\s)"
)
_REASONED = {
    "text": re.compile(_REASONS),  # any other comma may be the answer's own: `Paris, France`
    "choice": re.compile(f"{_REASONS}|{_BECAUSE}"),
    "number": re.compile(f"{_REASONS}|{_BECAUSE}|{_PROSE_AFTER}"),
}
_REASONED["math"] = _REASONED["number"]
_MARKS = " \t*_`:"
"""Around a statement's words."""
# `2 bars have values over 4` is 2.
COUNTED = re.compile(
    r"(?:there (?:is|are|were|will be) )?([-+$]{0,2}[\d.,]+%?(?:\s[a-z]+){1,3}?)"
    r"\s(?:have|has|had|are|were|that|who|left|remaining|remain|in)\b",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"[\d\\$=^]")


def statements(region: str) -> Iterator[tuple[int, str]]:
    """What follows each of the last markers, last first: the rest of its line, else the next.

    Yields:
        Where the words start, and the words.
    """
    marks = [*deque(_STATEMENT.finditer(region), maxlen=16)]
    if not region.isascii() or _PLAIN_ABROAD.search(region):
        marks += deque(_STATEMENT_ABROAD.finditer(region), maxlen=16)
        marks.sort(key=lambda found: found.end())
    for found in reversed(marks):
        if doubted(region[max(0, found.start() - 80) : found.start()]):
            continue
        line, start = "", found.end()
        for _ in range(4):  # a heading, or the `$$` of a display, is on separate lines
            end = region.find("\n", start, start + MAX_ANSWER)
            line = region[start : end if end >= 0 else start + MAX_ANSWER]
            if line.strip(_MARKS + "$-=[]\\") or end < 0:
                break
            start = end + 1
        if words := line.strip(_MARKS):
            yield start + line.index(words), words


def tries(line: str, answer_type: AnswerType) -> list[str]:
    """What of a statement's line is read, in this order."""
    sentence = _first_sentence(line)
    head = before_reasons(sentence, answer_type)
    if answer_type in ("math", "text"):  # any words can be read as one
        return [head or sentence]
    counted = COUNTED.match(sentence) if answer_type == "number" else None
    return [sentence, *([head] if head else []), *([counted[1]] if counted else [])]


def _first_sentence(line: str) -> str:
    found = SENTENCE_END.search(line)
    return line[: found.start()] if found else line


def before_reasons(sentence: str, answer_type: AnswerType) -> str | None:
    """The answer of a statement that goes on with its reasons; None if it does not."""
    if answer_type not in _REASONED:
        return None
    for cut in _REASONED[answer_type].finditer(sentence[:MAX_ANSWER]):
        head, rest = sentence[: cut.start()].strip(), sentence[cut.end() :]
        # Half-open intervals open with one bracket and close with another.
        depth = sum(map(head.count, "([")) - sum(map(head.count, ")]"))
        in_formula = depth > 0 or head.count("{") != head.count("}")
        if answer_type == "math" and head.count("$") % 2 and "$" in rest:
            in_formula = True
        if in_formula or not head or cut.lastgroup == "compared":
            continue
        # `therefore, as above, 12`: what comes first need not be the answer.
        if answer_type in ("choice", "text") or _FORMULA.search(head):
            return head
    return None
