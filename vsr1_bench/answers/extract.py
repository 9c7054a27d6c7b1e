"""The final answer of a response, read by stated rules and never guessed.

Explicit finals come first, in this order: the last box, the last `<answer>` block, the last
statement (`Final answer: X`, `Answer: X`, `the answer is X`, `#### X`). The first of them that is
there decides, readable or not. Only then does the answer type's own rule look at the whole final
region. `None` means that no final answer could be read, and `how` says why.

A statement ends with its sentence, or where its words turn to reasons (`12, as 3 groups show`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vsr1_bench.answers.channels import final_region
from vsr1_bench.answers.choice import (
    AMBIGUOUS,
    NOTHING,
    Reading,
    read_choice,
    read_choice_in_region,
)
from vsr1_bench.answers.normalize import MAX_ANSWER, fold, tidy
from vsr1_bench.answers.numbers import read_number
from vsr1_bench.answers.yes_no import read_yes_no, read_yes_no_in_region
from vsr1_bench.records import AnswerType

SHORT = 200
"""Characters of a line that may be an answer by itself."""
_PROSE = 400
"""Characters of a region in which a single number is taken for the answer."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """A final answer, or the reason why there is none."""

    value: str | None
    """Normalised: a letter, `yes` or `no`, a bare number, or the string."""
    how: str
    """Where it was found: `boxed`, `answer_tag`, `statement`, `text`. Without a value the reason:
    `empty`, `unfinished` (the box or the thinking was cut off), `no_answer`, `ambiguous`,
    `not_an_option`, `conflict` (a letter beside another option's text)."""
    raw: str | None = None
    """The words that the value was read from, with their unit."""


_BOX = re.compile(r"\\{1,2}(boxed|fbox)(?![a-zA-Z])(?:[ ]?(\{))?|\\.|[{}]", re.DOTALL)
_TOKEN_BOX = ("<|begin_of_box|>", "<|end_of_box|>")
"""What GLM's vision models put every final answer between."""
_SPACE = re.compile(r"\s*")
_BARE_BOX = re.compile(r"\s{1,4}([^\s{}$\\]{1,64})")
_ANSWER_OPEN, _ANSWER_CLOSE = re.compile(r"<answer>", re.I), re.compile(r"</answer>", re.I)
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
_FORMULA = re.compile(r"[\d\\$=^]")
_EDGES = " \t*_`\"'"


def boxed(text: str) -> str | None:
    r"""Return the content of the last complete `\boxed{…}` or `\fbox{…}`; nested ones count once.

    The box tokens of GLM (`<|begin_of_box|>…<|end_of_box|>`) are a box, too. Braces nest, escaped
    ones do not count, `\boxed 5` is read up to the next space. An empty box holds no answer. A
    last box that was never closed is none, and hides the boxes before it: the answer was being
    given anew when it was cut off.
    """
    return _last_box(text)[0]


def _last_box(text: str) -> tuple[str | None, bool]:
    """The last box's content, and whether an unclosed box ends the text."""
    opening, closing = _TOKEN_BOX
    start, limit = text.rfind(opening), len(text)
    if start < 0:
        return _last_latex_box(text)
    end = text.find(closing, start)
    if end < 0:
        return None, True
    after = _last_latex_box(text[end:])
    if any(after):
        return after
    while start >= 0:  # an empty box holds no answer
        end = text.find(closing, start, limit)
        inside = text[start + len(opening) : end].strip() if end >= 0 else ""
        if inside:
            return _last_latex_box(inside)[0] or inside, False
        start, limit = text.rfind(opening, 0, start), start
    return _last_latex_box(text)


def _last_latex_box(text: str) -> tuple[str | None, bool]:
    r"""The same of `\boxed` and `\fbox`.

    Works on positions only: slicing each of many nested boxes would take quadratic time.
    """
    content: tuple[int, int] | None = None
    box_from, box_to = -1, -1  # the whole of the last box, to tell a box in a box
    opened: list[tuple[int, int] | None] = []  # (box, content) start; None for a plain brace
    for found in _BOX.finditer(text):
        token = found.group()
        if found[2]:
            opened.append((found.start(), found.end()))
        elif found[1]:
            bare = _BARE_BOX.match(text, found.end())
            if bare and bare[1].rstrip(".,;"):
                content = (bare.start(1), bare.start(1) + len(bare[1].rstrip(".,;")))
        elif token == "{":
            opened.append(None)
        elif token == "}" and opened and (box := opened.pop()):
            first = _after_space(text, box[1])
            nested = first == box_from and _after_space(text, box_to) == found.start()
            if not nested and first < found.start():
                content = (box[1], found.start())
            box_from, box_to = box[0], found.end()
    cut_off = max((box[0] for box in opened if box), default=-1)
    if cut_off > (content[1] if content else -1):
        return None, True
    return (text[slice(*content)].strip() if content else None), False


def _after_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start


def extract(text: str, answer_type: AnswerType, choices: Sequence[str] | None = None) -> Extraction:
    """Read the final answer of a response.

    Args:
        text: The whole response, thinking included.
        answer_type: What kind of answer is wanted.
        choices: The options' texts, first = A; without them a choice is a letter A to J.
    """
    if not text.strip():
        return Extraction(None, "empty")
    region = final_region(text)
    if not region.strip():
        return Extraction(None, "unfinished")
    options = tuple(choices) if choices else None
    box, unfinished = _last_box(region)
    if unfinished:
        return Extraction(None, "unfinished")
    if box is not None:
        return _found(_read(box, answer_type, options), "boxed", box)
    block = _answer_block(region)
    if block is not None:
        words = next(_statements(block), block)
        return _found(_read(words, answer_type, options), "answer_tag", words)
    for line in _statements(region):
        tries = _tries(line, answer_type)
        for words in tries:
            reading = _read(words, answer_type, options)
            # Of several numbers, the one before the reasons is the answer.
            several = reading == AMBIGUOUS and answer_type == "number" and words is not tries[-1]
            if reading != NOTHING and not several:
                return _found(reading, "statement", words)
    reading = _read_region(region, answer_type, options)
    return _found(reading, "text", region.strip())


def read_answer(
    phrase: str, answer_type: AnswerType, choices: Sequence[str] | None = None
) -> str | None:
    """Read a text that is nothing but an answer (a gold answer); None where it is not one."""
    return _read(phrase, answer_type, tuple(choices) if choices else None).value


def _found(reading: Reading, how: str, words: str) -> Extraction:
    if reading.value is None:
        return Extraction(None, reading.problem)
    return Extraction(reading.value, how, words[:MAX_ANSWER])


def _answer_block(region: str) -> str | None:
    """The last complete `<answer>` block that holds something."""
    closings = [m.start() for m in _ANSWER_CLOSE.finditer(region)]
    openings = [m.end() for m in _ANSWER_OPEN.finditer(region)]
    while closings and openings:
        start = openings.pop()
        if start > closings[-1]:
            continue
        if _after_space(region, start) < closings[-1]:
            return region[start : closings[-1]].strip()
        closings.pop()
    return None


def _statements(region: str) -> Iterator[str]:
    """What follows each of the last markers, last first: the rest of its line, else the next."""
    for found in reversed(deque(_STATEMENT.finditer(region), maxlen=16)):
        line, start = "", found.end()
        for _ in range(4):  # a heading, or the `$$` of a display, stands on lines of its own
            end = region.find("\n", start, start + MAX_ANSWER)
            line = region[start : end if end >= 0 else start + MAX_ANSWER].strip(" \t*_`:\uff1a")
            if line.strip("$-=[]\\ ") or end < 0:
                break
            start = end + 1
        if line:
            yield line


def _tries(line: str, answer_type: AnswerType) -> list[str]:
    """What of a statement's line is read, in this order."""
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0]
    head = _before_reasons(sentence, answer_type)
    if answer_type in ("math", "text"):  # any words can be read as one
        return [head or sentence]
    # A choice's whole line first: its rest may hold another letter, or another option's text.
    whole = [line] if answer_type in ("choice", "yes_no") else []
    return [*whole, sentence, *([head] if head else [])]


def _before_reasons(sentence: str, answer_type: AnswerType) -> str | None:
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


def _read(phrase: str, answer_type: AnswerType, choices: tuple[str, ...] | None) -> Reading:
    """Read a phrase that stands in an answer's place."""
    if len(phrase) > MAX_ANSWER:
        return NOTHING
    if answer_type == "choice":
        return read_choice(phrase, choices)
    if answer_type == "yes_no":
        return read_yes_no(phrase)
    if answer_type == "number":
        number = read_number(phrase)
        if number is None:
            return AMBIGUOUS if re.search(r"\d", fold(phrase)) else NOTHING
        return Reading(number)
    value = _clean_math(phrase) if answer_type == "math" else tidy(phrase).rstrip(" .")
    return Reading(value) if value else NOTHING


def _clean_math(phrase: str) -> str:
    """Take off what surrounds a formula, and leave the formula as it is."""
    value = phrase.strip(_EDGES).rstrip(" .").strip(_EDGES)
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        inner = value[len(opening) : -len(closing)]
        if value.startswith(opening) and value.endswith(closing) and opening not in inner:
            return inner.strip()
    return value


def _read_region(region: str, answer_type: AnswerType, choices: tuple[str, ...] | None) -> Reading:
    """Read a final region without an explicit final."""
    if answer_type == "choice":
        return read_choice_in_region(region, choices)
    if answer_type == "yes_no":
        return read_yes_no_in_region(region)
    lines = [line.strip() for line in region.split("\n") if line.strip()]
    if answer_type == "number":
        if len(region.strip()) <= _PROSE:
            number = read_number(" ".join(lines))
            if number is not None:
                return Reading(number)
        # The exception: a last line that is a number and its unit, with no other word before it.
        number = read_number(lines[-1]) if re.match(r"[-+−$€£.\d*\\]", lines[-1]) else None
        if number is not None and len(lines[-1]) <= 40 and len(lines) > 1:
            return Reading(number)
        return AMBIGUOUS if re.search(r"\d", region) else NOTHING
    if len(lines) == 1 and len(lines[0]) <= SHORT:
        return _read(lines[0], answer_type, choices)
    return NOTHING
