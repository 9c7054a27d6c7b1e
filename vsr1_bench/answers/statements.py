"""Statements of a final answer (`Answer: X`, `the answer is X`, `#### X`), and where they end.

A statement ends with its sentence, or where its words turn to reasons (`12, as 3 groups show`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from vsr1_bench.answers.normalize import MAX_ANSWER
from vsr1_bench.records import AnswerType

_ANSWER_NOUN = r"(?:(?:final|correct|right|best|my)[ ])?answer|(?:final|correct|right|best|my)[ ]"
_STATEMENT = re.compile(
    rf"\b(?:{_ANSWER_NOUN}(?:option|choice))\b(?:[ ]to[ ](?:the|this)[ ](?:question|problem))?"
    r"[*_]{0,3}[ ]?(?:(?:is|would[ ]be|should[ ]be|must[ ]be)\b[*_]{0,3}[ ]?:?|:|=)"
    r"|^[ \t#*_>]{0,8}(?:final[ ])?answer[ \t*_#]{0,6}$"
    r"|^####(?=[ \t]?[^#\s])",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"(?<!\b[A-Z])(?<!St)(?<!Mt)(?<!Dr)(?<!Mr)(?<!No)[.!?](?=\s+[A-Z(*])")
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
_FORMULA = re.compile(r"[\d\\$=^]")


def statements(region: str) -> Iterator[tuple[int, str]]:
    """What follows each of the last markers, last first: the rest of its line, else the next.

    Yields:
        Where the words start, and the words.
    """
    for found in reversed(deque(_STATEMENT.finditer(region), maxlen=16)):
        line, start = "", found.end()
        for _ in range(4):  # a heading, or the `$$` of a display, stands on lines of its own
            end = region.find("\n", start, start + MAX_ANSWER)
            line = region[start : end if end >= 0 else start + MAX_ANSWER]
            if line.strip(_MARKS + "$-=[]\\") or end < 0:
                break
            start = end + 1
        if words := line.strip(_MARKS):
            yield start + line.index(words), words


def tries(line: str, answer_type: AnswerType) -> list[str]:
    """What of a statement's line is read, in this order."""
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0]
    head = before_reasons(sentence, answer_type)
    if answer_type in ("math", "text"):  # any words can be read as one
        return [head or sentence]
    # A choice's whole line first: its rest may hold another letter, or another option's text.
    whole = [line] if answer_type in ("choice", "yes_no") else []
    return [*whole, sentence, *([head] if head else [])]


def before_reasons(sentence: str, answer_type: AnswerType) -> str | None:
    """The answer of a statement that goes on with its reasons; None where it does not."""
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
