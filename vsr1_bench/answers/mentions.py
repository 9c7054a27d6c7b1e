"""Which options prose names by letter, and which of them it rules out.

A letter counts only with a cue: brackets, bold marks, `option B`, `it is B.`, `B is correct`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from vsr1_bench.answers.options import Options
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, Reading

_MOST = 60
"""Letters with a cue; a text that has more names none of them."""


class Mention(NamedTuple):
    """Letters that appear together: `(B)`, `A, B or C`."""

    letters: tuple[str, ...]
    strong: bool
    """Named as the answer, not only named."""
    start: int
    end: int


_MARKS = r"[(\[{\"'*_`$]{0,4}"
_ENDS = r"[)\]}\"'*_`$]{0,4}"
_STOP = r"(?=\s{0,2}(?:[.,;:!?)*\]\"'`\n]|-\s|$|\b(?:because|since|as|for|and|or|but|not|from)\b))"
_NOUN = r"(?i:options?|choices?|answers?|letters?|alternatives?)"
_FIRM = (
    r"(?i:clearly|definitely|certainly|obviously|therefore|thus|hence|indeed|simply|then|"
    r"(?:most[ ])?likely|probably)"
)
# Letters that name a part of the question or of a figure, not an option.
_PART = re.compile(
    r"\b(?:fig(?:ure)?s?|points?|panels?|parts?|eqs?|equations?|steps?|vert(?:ex|ices)|nodes?|"
    r"sub-?figures?|diagrams?|graphs?|plots?|cases?|lines?|rows?|columns?|conditions?|premises?|"
    r"statements?)[. ]{1,2}$",
    re.IGNORECASE,
)
_STRONG = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"\b(?:is|be|it's|It's|[Tt]hat's|leaves|leaving|say|guess|conclude|select|choose|chose|pick|"
        r"picked|selected|with|for|(?<!thing[ ])(?<![Aa]ll[ ])but)[ ]"
        rf"(?:{_FIRM}[ ])?(?:the[ ])?(?:{_NOUN}[ ])?{_MARKS}(?P<l>[A-Z])(?![\w']){_ENDS}{_STOP}",
        rf"\b(?i:therefore|thus|hence|so),?[ ](?:{_NOUN}[ ])?{_MARKS}(?P<l>[A-Z])(?![\w'])"
        rf"{_ENDS}{_STOP}",
        rf"\b[Oo]nly[ ](?:{_NOUN}[ ])?{_MARKS}(?P<l>[A-Z]){_ENDS}[ ]"
        r"(?:fits|remains|matches|works|applies|satisfies|is[ ]left|makes[ ]sense)\b",
        rf"(?<![\w'.]){_MARKS}(?P<l>[A-Z]){_ENDS}[ ](?:(?:is|must[ ]be|would[ ]be)[ ]|(?=the[ ]))"
        rf"(?:{_FIRM}[ ])?(?:an?[ ]|the[ ]|my[ ])?(?:only[ ])?(?:final[ ])?(?:most[ ]\w+[ ])?"
        r"(?:correct|right|best|answer|true)\b",
        rf"(?<![A-Za-z']){_MARKS}(?P<l>[A-Z]){_ENDS}(?:选项|選項)?(?:是|为|為)?"
        r"(?:正确|正確|对的|對的)",
    )
)
_WEAK = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"(?<![\w\\])[(\[](?P<l>[A-Z])[)\]]",
        r"(?:\*\*|__|`)[(\[]?(?P<l>[A-Z])[)\]]?[.:)]?(?=\*\*|__|`|[ ])(?![ ][a-z])",
        r"(?:\*\*|__)[(\[]?(?P<l>[A-Z])[)\]]?[.:)]?(?:\*\*|__)",
        r"^[ \t>#*]{0,6}[(\[]?(?P<l>[A-Z])(?:[)\]]?[.)]|(?<!A):)(?=\s|\*|$)",
        rf"\b{_NOUN}[ ](?:is[ ])?{_MARKS}(?P<l>[A-Z])(?![\w'])"
        r"(?![ ](?:bit|lot|little|few|[a-z]+ly)\b)",
    )
)
_MORE = re.compile(
    rf"{_ENDS}(?:,?\s?(?:and|or|nor|&)\s|\s?[,/&+]\s?)(?:{_NOUN}\s)?{_MARKS}"
    r"(?P<l>[A-Z])(?![\w'])(?!(?<=[AI])\s(?!is|are|or|and|can|nor)[a-z])"
)
_EARLIER = re.compile(
    rf"(?<![\w'])(?P<l>[A-Z]){_ENDS}(?:,?\s?(?:and|or|nor|&)\s|\s?[,/&+]\s?)(?:{_NOUN}\s)?{_MARKS}$"
)
_CLAUSE = re.compile(
    r"[;:!?\n]|\.(?=\s|$)|\b(?i:but|so|therefore|thus|hence|whereas|while)\b|,(?!\s?[A-Z]\b)"
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|neither|nor|without|except|excluding|exclud\w+|eliminat\w+|"
    r"rul\w{1,5}\s(?:out|off)|discard\w*|reject\w*|besides|unlike|instead\sof|rather\sthan|other\s"
    r"than|apart\sfrom|far\sfrom|none|no|nobody|nothing|doubt\w*|unlikely|improbable|hardly|"
    r"scarcely|refus\w+|contradict\w*|dismiss\w*)\b|n't\b)(?P<between>[^.]*)$",
    re.IGNORECASE,
)
_ASSERTED = re.compile(r"\b(?:is|are|was|were|must|should)\b|'s\b", re.IGNORECASE)
_THINKS = re.compile(
    r"(?:n't|\bnot|\bnever|\bcannot|\bdoubt)\s(?:\w+\s)?(?:think|believe|say|claim|suppose|assume|"
    r"agree|expect|see|mean|conclude|choose|select|pick|that|the\scase)\b"
    r"|\b(?:unlikely|improbable|impossible|implausible|doubtful|false|untrue|incorrect|wrong)\sthat\b"
    r"|\bno\s(?:way|chance)\b|(?<!\bno\s)(?<!without\s)(?<!without\sa\s)\bdoubt\b",
    re.IGNORECASE,
)
# What is supposed, asked, or said by others is not answered.
_SUPPOSED = re.compile(
    r"\b(?:if(?!\s(?:I|we|you|one|forced|anything|so)\b)|suppos(?:e|ing)|assum(?:e|ing)|whether|unless|"
    r"might|may|could(?!\sonly)|tempt\w+|(?:was|were)\sgoing\sto"
    r"|(?:one|some|many|people|someone|others)\s(?:\w+\s)?would)\b",
    re.IGNORECASE,
)
_MAY_BE = re.compile(
    r"\b(?:it|this|that|answer)\s(?:could|might|may)\s(?:also\s)?be\s(?:(?:an?|the)\s)?$",
    re.IGNORECASE,
)
_LOOKED_AT = re.compile(
    r"\b(?:consider\w*|check\w*|examin\w+|look\w*\sat|analy[sz]\w+|test\w*|try\w*|evaluat\w+|"
    r"verif\w+)\s(?:the\s)?(?:option|choice|answer)?\s?[(\[*]{0,3}$",
    re.IGNORECASE,
)
_RANGE = re.compile(rf"{_ENDS}(?:-|\sto\s){_MARKS}[A-Z](?![\w'])")
_ASKED = re.compile(r"[^.!?\n]{0,80}\?")
_REFUTED = re.compile(
    rf"{_ENDS}(?:\s?\([^()]{{0,80}}\))?[\s,:.]{{0,3}}(?:(?:option|choice|answer)\s)?"
    r"(?:(?:is|are|was|were|does|do|did|has|have|had|can|could|would|will|should|may|might|must)"
    r"(?:n't|\s(?:also\s|clearly\s|definitely\s)?not)\b|can't\b|won't\b|cannot\b|never\b"
    r"|(?:is|are|was|were|be|been|seems?|looks?|appears?|(?:can|could|may|must|should)\sbe)\s(?:\w+ly\s|also\s|thus\s|hence\s|therefore\s)?"
    r"(?:an?\s|the\s)?(?:incorrect|wrong|false|untrue|invalid|impossible|unlikely|implausible|"
    r"inconsistent|irrelevant|eliminated|excluded|out\b|ruled|discarded|rejected|inaccurate|"
    r"dismissed|misleading|distractor|worst|less\s)"
    r"|(?:incorrect|wrong|false|no)\b\s?(?:[.;,\n]|$)|fails?\b|contradicts?\b|makes?\sno\b)",
    re.IGNORECASE,
)
_CHOOSE_FROM = re.compile(
    r"\b(?:one\sof|among|from|between|out\sof|either|whether|which\sof|e\.g\.,?|options?\sare|"
    r"choices?\sare|letters?)\b[^.;\n]{0,40}$",
    re.IGNORECASE,
)
_WRONG_IS = re.compile(
    r"\b(?:wrong|incorrect|false|worst|eliminated|excluded)\s(?:answers?|options?|choices?)\s"
    r"(?:is|are|would\sbe):?\s[(\[*]{0,3}$",
    re.IGNORECASE,
)
_WRONG_BEFORE = re.compile(r"\b(?:wrong|incorrect|false|worst)\s$", re.IGNORECASE)
_LISTED = re.compile(r"(?<![\w'])[(\[]?([A-Za-z])[)\].:](?=\s|\*|$)|[(\[]\s?([A-Za-z])\s?[)\]]")


def read_mentions(text: str, options: Options) -> Reading:
    """Read the one letter that a text names as its answer.

    Letters that it rules out or lists, and letters that are parts of a figure, are not answers. A
    letter named as the answer takes precedence over letters that are only named.
    """
    found_in = mentions(text)
    if len(found_in) > _MOST:
        return AMBIGUOUS
    kept = [m for m in found_in if not _set_aside(text, m)]
    strong = [m for m in kept if m.strong]
    known = [m for m in kept if any(letter in options.letters for letter in m.letters)]
    for found in (strong, known):
        letters = {letter for m in found for letter in m.letters}
        if not letters:
            continue
        if len(letters) > 1:
            return AMBIGUOUS
        letter = letters.pop()
        return Reading(letter) if letter in options.letters else Reading(None, "not_an_option")
    return NOTHING


@lru_cache(maxsize=16)
def mentions(text: str) -> list[Mention]:
    """All letters with a cue, adjacent ones as one; items of a list do not count."""
    found: dict[int, Mention] = {}
    listed = list_items(text)
    for strong, cues in ((True, _STRONG), (False, _WEAK)):
        for cue in cues:
            for m in cue.finditer(text):
                at = m.start("l")
                if at in found or (at in listed and not strong):
                    continue
                if (not strong or m.group().endswith("true")) and _PART.search(
                    text[max(0, at - 16) : at].rstrip("([{*_`\"' ") + " "
                ):
                    continue
                found[at] = _together(text, m["l"], strong, at)
                if len(found) > _MOST:
                    return list(found.values())
    return sorted(found.values(), key=lambda m: m.start)


@lru_cache(maxsize=16)
def list_items(text: str) -> set[int]:
    """Where letters are that are the marks of a list: A, B, … in order, each with its text."""
    marks = [(m.start(1 if m[1] else 2), (m[1] or m[2]).upper()) for m in _LISTED.finditer(text)]
    items: set[int] = set()
    run: list[int] = []
    for place, letter in marks:
        if run and letter == chr(ord("A") + len(run)):
            run.append(place)
        else:
            if len(run) > 1:
                items.update(run)
            run = [place] if letter == "A" else []
    if len(run) > 1:
        items.update(run)
    return items


def _together(text: str, letter: str, strong: bool, at: int) -> Mention:
    letters, start, end = [letter], at, at + 1
    while (more := _MORE.match(text, end)) and len(letters) < 26:
        letters.append(more["l"])
        end = more.end("l")
    while len(letters) < 26 and (earlier := _EARLIER.search(text, max(0, start - 24), start)):
        letters.insert(0, earlier["l"])
        start = earlier.start("l")
    return Mention(tuple(letters), strong, start, end)


def _set_aside(text: str, mention: Mention) -> bool:
    """Whether the letters are ruled out, or are only what is chosen from."""
    before = text[max(0, mention.start - 120) : mention.start]
    if len(mention.letters) > 2 or (_CHOOSE_FROM.search(before[-60:]) and len(mention.letters) > 1):
        return True
    if _ASKED.match(text, mention.end) or _RANGE.match(text, mention.end):
        return True
    if supposed(before) or (not mention.strong and _LOOKED_AT.search(before)):
        return True
    return denied(before) or bool(_WRONG_IS.search(before)) or refuted(text, mention.end)


def supposed(before: str) -> bool:
    """Whether its clause only supposes what follows: `if it is`, `it might be`."""
    cut = max((m.end() for m in _CLAUSE.finditer(before)), default=0)
    return _SUPPOSED.search(before, cut) is not None


def denied(before: str) -> bool:
    """Whether the words before something in its clause rule it out, or only suppose it."""
    cut = max((m.end() for m in _CLAUSE.finditer(before)), default=0)
    clause = before[cut:]
    if _THINKS.search(clause) or _MAY_BE.search(clause):
        return True
    found = _DENIED.search(clause)
    return found is not None and not _ASSERTED.search(found["between"])


def refuted(text: str, end: int) -> bool:
    """Whether the words after something rule it out: `(A) is wrong`."""
    return _REFUTED.match(text[end : end + 160]) is not None


def doubted(before: str) -> bool:
    """Whether the words before a statement take it back: `I do not think that`, `if the`."""
    cut = max((m.end() for m in _CLAUSE.finditer(before)), default=0)
    return bool(_THINKS.search(before[cut:]) or _WRONG_BEFORE.search(before) or supposed(before))
