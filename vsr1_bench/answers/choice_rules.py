"""Rules that read a choice from final words without an explicit final answer."""

from __future__ import annotations

import re

from vsr1_bench.answers.choice import LONE, options_named, read_choice, read_choice_line
from vsr1_bench.answers.conclusions import number_of, stated_values
from vsr1_bench.answers.lines import claim, lines_of, sentences_of
from vsr1_bench.answers.mentions import list_items, read_mentions
from vsr1_bench.answers.normalize import MAX_ANSWER, tidy
from vsr1_bench.answers.number_words import with_digits
from vsr1_bench.answers.options import options_of
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, Found, Reading, Said
from vsr1_bench.answers.yes_no import read_yes_no_in_region
from vsr1_bench.records import LETTERS

_NUMBERED = re.compile(r"^\s{0,4}\d{1,2}[.)]\s", re.MULTILINE)
_FEW_WORDS = 500
"""Characters of a response that may name its option anywhere."""
_NOT = re.compile(r"\b(?:not|never|no|nor|cannot|none)\b|n't\b", re.IGNORECASE)
_DENIES = re.compile(
    r"^(?!\W*(?:I|we|you|sorry)\b).*\b(?:is|are|was|were|does|do|did|has|have)(?:n't|\snot)\b"
    r"(?!\s(?:\w+ly\s)?(?:clear\w*|sure|certain|able|visible|enough|specified|given|mentioned|known|"
    r"provide\w*|show\w*|possible|appear|seem|contain|include|display|depict|indicate|necessarily|"
    r"specify|mention|say|state|depend|allow|only|just|available|sufficient)\b)",
    re.IGNORECASE | re.DOTALL,
)
_SHORT = 1200
"""Characters of a response that may name its option in its first sentence."""
_A_LINE = re.compile(r"[ \t>*_#]{0,6}A[*_]{0,2}:[*_]{0,2}[ \t]*(\S.*)")
_BECAUSE = re.compile(r"(?:because|since|as)\b", re.IGNORECASE)
_CONCLUDES = re.compile(r"^\W*(?:therefore|thus|hence|so|in conclusion|finally|overall)\b", re.I)


def answer_or_option_a(said: Said) -> Found | None:
    """`A: X` at a line's start: `Answer:` where X is an option or names one, else option A.

    Not: the first item of a list, `A: red`, `B: blue`.
    """
    listed = list_items(said.text)
    for start, line in reversed(list(lines_of(said.text))[-20:]):
        found = _A_LINE.match(line)
        if found is None or any(start <= place < start + 8 for place in listed):
            continue
        at, words = start + found.start(1), found[1]
        options = options_of(said.choices)
        named = options.at_start(words)
        if named is not None:
            return Found(options.reading(named), at, start + len(line))
        reading = read_choice(words, said.choices)
        if reading == NOTHING and (options.choices_unknown or _BECAUSE.match(words)):
            reading = Reading("A")
        return Found(reading, start, start + len(line)) if reading != NOTHING else None
    return None


def only_line_choice(said: Said) -> Found | None:
    """A response that is one line: a letter, an option's text or value, a letter and its text.

    Not: `A dog is on the grass`, `(A) 2006 (B) 2007 (C) 2008`.
    """
    lines = list(lines_of(said.text))
    if len(lines) != 1 or len(said.text) > MAX_ANSWER or not _may_be_read(said.text, *lines[0]):
        return None
    return _found(read_choice_line(lines[0][1], said.choices), said.text)


def letter_line(said: Said) -> Found | None:
    """Lines that are nothing but a letter, among the first or the last, if all agree.

    Not: the lines `A`, `B`, `C` of a list; a small letter among other lines.
    """
    lines = list(lines_of(said.text))
    ends = [line for line in (*lines[:20], *lines[-20:]) if len(line[1]) < 40]
    alone = {m[1]: line for line in ends if (m := LONE.match(tidy(line[1]))) and m[1].isupper()}
    if not alone:
        return None
    if len(alone) > 1:
        return _found(AMBIGUOUS, said.text)
    letter, (start, line) = alone.popitem()
    return Found(read_choice(letter, said.choices), start, start + len(line))


def edge_line(said: Said) -> Found | None:
    """The first or the last line, where it begins with an option's letter or is its text.

    Letters that the prose names must agree.

    Not: the items of a list; `a) First we count`.
    """
    lines = list(lines_of(said.text))
    found = []
    for start, line in (lines[0], lines[-1]):
        if not _may_be_read(said.text, start, line):
            continue
        reading = read_choice_line(line, said.choices)
        if reading != NOTHING and reading.problem != "ambiguous":
            found.append(Found(reading, start, start + len(line)))
    if not found:
        return None
    named = read_mentions(said.text, options_of(said.choices))
    values = {f.reading.value for f in found} | ({named.value} if named != NOTHING else set())
    problem = next((f for f in found if f.reading.problem), None)
    if problem is not None:
        return problem
    return found[-1] if len(values) == 1 else _found(AMBIGUOUS, said.text)


def named_letter(said: Said) -> Found | None:
    """The one letter that the prose names: `(B)`, `option B`, `it is B.`, `B is correct`.

    Not: `option A is wrong`, `one of A, B or C`, `Figure (A)`, `options A and B`.
    """
    reading = read_mentions(said.text, options_of(said.choices))
    return _found(reading, said.text) if reading != NOTHING else None


def yes_no_option(said: Said) -> Found | None:
    """Yes or no, where the options are yes and no (or true and false).

    Not: `I cannot say yes`, `there is no dog`.
    """
    polar = options_of(said.choices).polar
    if not polar:
        return None
    reading = read_yes_no_in_region(said.text)
    if reading.value is None:
        return _found(reading, said.text) if reading != NOTHING else None
    return _found(Reading(LETTERS[polar[reading.value]]), said.text)


def denial(said: Said) -> Found | None:
    """A first sentence that denies something is `no`, where the options are yes and no.

    A sentence that asserts something is not read: it may assert the opposite of what was asked.

    Not: `it is not clear`, `the image does not show the table`, `I am not sure`.
    """
    polar = options_of(said.choices).polar
    if not polar or len(said.text) > _FEW_WORDS:
        return None
    start, sentence = sentences_of(said.text)[0]
    claimed = claim(sentence)
    if (
        re.search(r"\b(?:yes|true|false)\b", claimed, re.I)
        or len(_NOT.findall(claimed)) != 1
        or not _DENIES.search(claimed)
        or sentence.endswith("?")
    ):
        return None
    return Found(Reading(LETTERS[polar["no"]]), start, start + len(sentence))


def option_text(said: Said) -> Found | None:
    """The one option whose text the conclusion names, else the response, else its first sentence.

    An option after `if` or after a reason is not named.

    Not: `not the red car`, `the red car is faster than the blue car`.
    """
    options = options_of(said.choices)
    sentences = list(sentences_of(said.text)) if options.choices else []
    sentences = [(start, words) for start, words in sentences if not words.endswith("?")]
    if not sentences or list_items(said.text):
        return None
    parts = [
        (start, sentence, claim(sentence)) for start, sentence in sentences[:1] + sentences[-1:]
    ]
    concluding = parts[-1:] if _CONCLUDES.match(sentences[-1][1]) else []
    for start, sentence, head in concluding:
        if len(named := options_named(head, options)) == 1:
            return Found(options.reading(named[0]), start, start + len(sentence))
    if len(said.text) > _SHORT or concluding or len(_NUMBERED.findall(said.text)) > 1:
        return None
    if len(said.text) <= _FEW_WORDS:
        heads = " . ".join(claim(sentence) for _, sentence in sentences)
        if len(named := options_named(heads, options)) == 1:
            return _found(options.reading(named[0]), said.text)
    start, sentence, head = parts[0]
    if len(named := options_named(head, options)) == 1:
        return Found(options.reading(named[0]), start, start + len(sentence))
    return _found(AMBIGUOUS, said.text) if named else None


def option_value(said: Said) -> Found | None:
    """The one option whose value the last sentence states, or the first: `It shows 5:30 now`.

    Not: a value that is not an option's; a sentence that states two.
    """
    options = options_of(said.choices)
    if not options.choices or list_items(said.text):
        return None
    sentences = list(sentences_of(said.text))
    for start, sentence in [*sentences[-1:], *sentences[:1]]:
        if len(sentence) > _SHORT or sentence.endswith("?"):
            continue
        values = [v for v in stated_values(sentence) if not re.fullmatch(r"\W*[A-Za-z]\W*", v)]
        hits = {hit[0] for value in values if len(hit := options.like(value)) == 1}
        if not hits and (number := number_of(with_digits(sentence))):
            hits = {hit[0] for hit in [options.like(number)] if len(hit) == 1}
        if len(hits) == 1:
            return Found(options.reading(hits.pop()), start, start + len(sentence))
    return None


def listed_letters(said: Said) -> Found | None:
    """Silence: the options are listed, and none of them is named.

    Not: a text without a list.
    """
    return _found(AMBIGUOUS, said.text) if list_items(said.text) else None


def _may_be_read(text: str, start: int, line: str) -> bool:
    """Whether a line is not an item of a list, and no `A:` whose meaning is open."""
    if _A_LINE.match(line):
        return False
    return not any(start <= place < start + 8 for place in list_items(text))


def _found(reading: Reading, text: str) -> Found | None:
    """A reading of the whole text."""
    return Found(reading, 0, len(text)) if reading != NOTHING else None
