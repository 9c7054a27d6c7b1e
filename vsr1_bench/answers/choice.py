"""Find the option that a phrase names where an answer is expected."""

from __future__ import annotations

import re

from vsr1_bench.answers.mentions import denied, list_items, read_mentions, refuted
from vsr1_bench.answers.normalize import MAX_ANSWER, tidy
from vsr1_bench.answers.options import Options, bare, options_of
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, Reading
from vsr1_bench.answers.yes_no import read_abroad, read_yes_no
from vsr1_bench.records import LETTERS

_NOUN = (
    r"(?:the\s+|la\s+|el\s+|a\s+|l'|die\s+)?(?:(?:correct|final|best|right)\s+)?"
    r"(?:option|choice|answer|letter|选项|選項|選択肢|선택지|보기|opción|opcion|letra|opção|opcao|"
    r"alternativa|lettre|réponse|antwort|вариант|الخيار|ans\.?)"
)
# What heads a separate line; with a colon only, because `Solution A` may be an option.
_LABEL = (
    r"(?:(?:my|the)\s+)?(?:(?:final|selected|chosen|best)\s+)?(?:solution|result|conclusion|response|output|"
    r"decision|verdict|selection|pick|guess|prediction|final|selected|chosen|choose|select|option|"
    r"choice|conclude)"
)
# Tags of HTML, and pictures like a tick.
_DRESSED = re.compile(
    r"</?(?:b|i|u|p|em|strong|span|div|h[1-6]|br\s?/?)>"
    r"|[\u2600-\u2714\u2719-\u274b\u2753-\u27bf\ufe0f\U0001f300-\U0001faff]"
)
_WRAPPED = "[]{}()<>\"'*# "
_MARKED_LINE = re.compile(r"^(?:(?:[>#•*→-]{1,6}|=>)\s+){1,3}")
_ADVERB = (
    r"(?:(?:clearly|definitely|certainly|obviously|therefore|thus|hence|indeed|simply|then|"
    r"most\s+likely|likely|probably|actually|again|just|either|surely|yes|ok|okay|sure|"
    r"in\s+conclusion)[,!\s]\s*)?"
)
# `Image C` is C where the options are the pictures themselves, not texts that name them.
_PICTURED = re.compile(
    rf"^{_ADVERB}(?:the\s+)?(?:image|figure|fig\.|picture|diagram|graph|shape|pattern|panel|drawing|cube|"
    r"box|tile|net|set)\s+[(]?([A-Z])[)]?[.!]?$",
    re.I,
)
LONE = re.compile(
    rf"^{_ADVERB}(?:{_NOUN}(?:\s+is)?\s?[:\-]?\s*|{_LABEL}(?:\s+is)?\s?:\s*|(?:la|el|die|le)\s+)?[(\[{{<]?\s?([A-Za-z])\s?[)\]}}>]?"
    r"\s?[.:,;!)*#]{0,3}(?:\s?(?:です|である|だ|번?\s?(?:입니다|이다)|번))?[.]?$",
    re.I,
)
_LEADING = re.compile(
    rf"^{_ADVERB}(?:{_NOUN}(?:\s+is)?\s?:?\s+)?([(\[]?)([A-Za-z])(?![\w'])([)\]]?)([.:,;)]?)\s*(\S.*)$",
    re.I | re.S,
)
# What may follow a letter without punctuation: `B because`, never `A dog`, `I think`.
_REASON = re.compile(
    r"^(?:because|since|as\s|is\s+(?:the\s+)?(?:correct|right|best|answer)|-(?!\w)|[(])"
)
_ANOTHER = re.compile(
    r"^(?:(?:and|or|&|/|\+|,|;)\s*)?(?:option\s+)?[(\[]?([A-Z])(?![\w'])"
    r"(?!\s+(?!(?:and|or|are)\b)[a-z])"
)
_ANOTHER_AFTER_AND = re.compile(r"^(?:and|or|&|/|\+|,|;)\s*(?:option\s+)?[(\[]?([A-Za-z])(?![\w'])")
# `A, or maybe B`, `A (or B)`, `A, but it could be B`
_PERHAPS = re.compile(
    r"^\W{0,3}(?:or\s[^.;\n]{0,40}?|but\s[^.;\n]{0,40}?\b(?:could|might|may)\b[^.;\n]{0,40}?)"
    r"(?<![\w'])[(\[*]{0,3}([A-HJ-Z])(?![\w'])(?!\s+(?!(?:as|too|also|is|are)\b)[a-z])"
)
_JUDGED = re.compile(
    r"^(?:-\s?)?(?:incorrect|wrong|not\b(?!\s[(\[]?[A-Z]\b)|no\b|false|untrue)", re.I
)
_NUMBERED = re.compile(r"^\d{1,2}[.)]\s+(?=[(\[]?[A-Z]\b)")
_POLAR = re.compile(r"\W*(?:yes|no|true|false)\b", re.I)
_IN_BRACKETS = re.compile(r"\(([^()]+)\)[.!]?")
_PLURAL = re.compile(r"^(?:options|choices|answers|letters)\b", re.I)


def read_choice(phrase: str, choices: tuple[str, ...] | None) -> Reading:
    """Read a phrase in the place of an answer: a box, `Answer: …`, a separate line.

    Tries `read_choice_line` first, then the one letter or the one option that the phrase names.
    """
    reading = read_choice_line(phrase, choices)
    if reading != NOTHING or len(phrase) > MAX_ANSWER:
        return reading
    options = options_of(choices)
    # Bold marks, which an answer's own reading strips, name a letter in prose.
    named = read_mentions(phrase if "*" in phrase else tidy(phrase), options)
    return named if named != NOTHING else read_option_text(phrase, options)


def read_choice_line(phrase: str, choices: tuple[str, ...] | None) -> Reading:
    """Read a phrase that is an option, or that begins with one.

    A lone letter within range is that letter, in either case, even if another option's text is
    the same letter; only a small letter written exactly like an option is that option. Then come
    the options' texts, their values, and a letter with more after it.
    """
    plain = _NUMBERED.sub("", tidy(phrase).lstrip("> ")) if len(phrase) <= MAX_ANSWER else ""
    if not plain:
        return NOTHING
    options = options_of(choices)
    lone = (
        LONE.match(plain)
        or LONE.match(_MARKED_LINE.sub("", plain))
        or LONE.match(_DRESSED.sub("", plain).strip(_WRAPPED))
    )
    # `(c)` among the options (c), (a), (b) is the text: the letters shown with them are capitals.
    verbatim = lone and lone[1].islower() and any(plain == tidy(c) for c in options.choices)
    if lone and not verbatim and lone[1].upper() in options.letters:
        return Reading(lone[1].upper())
    hits = options.like(plain)
    if hits:
        return options.reading(hits[0]) if len(hits) == 1 else AMBIGUOUS
    if lone:
        return Reading(None, "not_an_option")
    if (pictured := _PICTURED.match(plain)) and options.only_letters:
        letter = pictured[1].upper()
        return Reading(letter) if letter in options.letters else Reading(None, "not_an_option")
    if options.polar and (polar := _polar(plain)).value:
        return Reading(LETTERS[options.polar[polar.value]])
    leading = _LEADING.match(plain)
    return _read_leading(leading, options) if leading and not _PLURAL.match(plain) else NOTHING


def _polar(plain: str) -> Reading:
    """Yes or no at the start of a phrase, in another language only where it is all of it."""
    if _POLAR.match(plain):
        return read_yes_no(plain)
    return NOTHING if len(plain) > 12 else read_abroad(plain)


def _read_leading(found: re.Match[str], options: Options) -> Reading:
    """A letter with something after it: `B. 40 degrees`, `(B) because …`, `B 40 degrees`."""
    bracket, written, closing, mark, rest = found.groups()
    letter = written.upper()
    own, named = options.own(letter), options.at_start(rest)
    marked = bool(closing or mark) and not (bracket and not closing)
    if inner := _IN_BRACKETS.fullmatch(rest):  # `B (cat)`
        marked, named = True, options.at_start(inner[1])
    if written.islower() and not (closing or mark in (".", ":", ")")):
        return NOTHING
    if named is not None and letter not in options.letters:  # `(C) No` of two options
        return options.reading(named) if marked else NOTHING
    if named is not None and (marked or named == own):
        if options.same_text(named, own) or options.nearly(own, rest):
            return Reading(letter)
        return Reading(None, "conflict")
    ends = options.at_end(rest)
    if marked and ends is not None and own >= 0 and not options.same_text(ends, own):
        return Reading(None, "conflict")
    pattern = _ANOTHER if mark or closing else _ANOTHER_AFTER_AND
    another = pattern.match(rest) or _PERHAPS.match(rest)
    if another and another[1].upper() != letter:
        return AMBIGUOUS
    if refuted(rest, 0) or (_JUDGED.match(rest) and not options.choices_unknown):
        return NOTHING
    if written.islower() and not _REASON.match(rest) and not options.choices_unknown:
        return NOTHING if not (own >= 0 and options.nearly(own, rest)) else Reading(letter)
    if not (marked or _REASON.match(rest)):
        return NOTHING
    return Reading(letter) if letter in options.letters else Reading(None, "not_an_option")


def read_option_text(text: str, options: Options) -> Reading:
    """Read the one option whose text a phrase or a sentence contains and does not rule out.

    A text inside a longer option's text is the longer one. Numbers and single letters are not names
    of options.
    """
    named = options_named(text, options)
    if len(named) > 1:
        return AMBIGUOUS
    return options.reading(named[0]) if named else NOTHING


def options_named(text: str, options: Options) -> list[int]:
    """Numbers of the options whose texts are in a text, without those that it rules out."""
    if list_items(text):  # what is listed is not named
        return []
    plain = bare(text)
    covered: list[tuple[int, int]] = []
    named: list[int] = []
    order = sorted(range(len(options.bare)), key=lambda i: -len(options.bare[i]))
    for i in order:
        option = options.bare[i]
        if len(option) < 2 or not re.search(r"[^\W\d]{2}", option):
            continue
        for start in _occurrences(option, plain):
            end = start + len(option)
            if any(a <= start and end <= b and (a, b) != (start, end) for a, b in covered):
                continue
            covered.append((start, end))
            if not denied(plain[max(0, start - 120) : start]) and not refuted(plain, end):
                named.append(i)
    return options.once(sorted(set(named)))


def _occurrences(option: str, text: str) -> list[int]:
    """Where a text occurs as whole words; a plural's s is part of the word."""
    found: list[int] = []
    start = text.find(option)
    while start >= 0 and len(found) < 50:
        end = start + len(option)
        before, after = text[start - 1 : start], text[end : end + 1]
        whole = not (before.isalnum() and option[0].isalnum())
        if whole and not (after.isalnum() and option[-1].isalnum()):
            found.append(start)
        start = text.find(option, start + 1)
    return found
