"""The options of a question, prepared for reading: which of them a text equals or names."""

from __future__ import annotations

import re
from functools import lru_cache

from vsr1_bench.answers.normalize import MAX_ANSWER, normalize_text, tidy
from vsr1_bench.answers.number_words import with_digits
from vsr1_bench.answers.numbers import read_quantity, same_quantity
from vsr1_bench.answers.reading import Reading
from vsr1_bench.records import LETTERS

_SPELLED = (
    (
        re.compile(r"\\(?:d|t)?frac\s*(?:\{([^{}]*)\}|(\w))\s*(?:\{([^{}]*)\}|(\w))"),
        r"(\1\2)/(\3\4)",
    ),
    (re.compile(r"√\s*(\d+(?:\.\d+)?|[a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree\b|\\circ\b|º"), "°"),
    (re.compile(r"\\cdot\b|\\times\b|×|⋅"), "·"),
    (re.compile(r"\\(?:leq?|leqslant)\b"), "≤"),
    (re.compile(r"\\(?:geq?|geqslant)\b"), "≥"),
    (re.compile(r"\\(?=[a-zA-Z])"), ""),
    (re.compile(r"√"), "sqrt"),
    (re.compile(r"π"), "pi"),
    (re.compile(r"²"), "^2"),
    (re.compile(r"³"), "^3"),
    (re.compile(r"(?<=\d)\s+(?=\d)"), "\0"),  # `1 2` is not 12
    (re.compile(r"\s+"), ""),
    (re.compile(r"[{]"), "("),
    (re.compile(r"[}]"), ")"),
)
_IN_BRACKETS = re.compile(r"(?<=[/^_t(])\((\w+)\)|^\((\w+)\)(?=/)|(?<=[-+=·:,])\((\w+)\)(?=/)")
_VERB = re.compile(r"\b(?:is|are|was|were|shows?|be)\s", re.IGNORECASE)
_LONG = 120
_ADDED = re.compile(r"\b(?:will|would|may|might|most|likely|probably|the)\s")
_PLURAL = re.compile(r"(?<=[a-z]{3}[^su\W\d])s\b")
_SAID = {"yes": "yes", "no": "no", "true": "yes", "false": "no"}


@lru_cache(maxsize=4096)
def formula(text: str) -> str:
    r"""Return the form in which two formulas are the same writing: `4\pi` and `$4 \pi$`, `8: 5`."""
    plain = tidy(text).rstrip(".")
    for pattern, plainly in _SPELLED:
        plain = pattern.sub(plainly, plain)
    for _ in range(3):
        plain = _IN_BRACKETS.sub(lambda m: m[1] or m[2] or m[3], plain)
    return plain


def bare(text: str) -> str:
    """A text without the words that a sentence puts into an option: `will`, `likely`, `the`."""
    plain = normalize_text(text)
    return _PLURAL.sub("", _ADDED.sub("", plain)) or plain


class Options:
    """The options of one question."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.choices = choices[: len(LETTERS)]
        self.letters = LETTERS[: len(choices)] if choices else LETTERS
        self.texts = tuple(normalize_text(choice) for choice in self.choices)
        self.choices_unknown = not choices
        self.only_letters = all(
            not text or text == letter.lower()
            for text, letter in zip(self.texts, LETTERS, strict=False)
        )
        self._written = tuple(" ".join(choice.split()) for choice in self.choices)
        self._differ = len(set(self._written)) > 1
        self.bare = tuple(bare(choice) for choice in self.choices)
        if len(set(self.bare)) < len(set(self.texts)):
            self.bare = self.texts
        self.polar = self._polar()

    def _polar(self) -> dict[str, int]:
        """`yes` and `no` -> the options that mean them, where two options say just that."""
        said = {_SAID[text]: i for i, text in enumerate(self.texts) if text in _SAID}
        return said if len(said) == 2 else {}

    def own(self, letter: str) -> int:
        """The number of a letter's option; -1 beyond the options or where they are not known."""
        at = LETTERS.find(letter)
        return at if at < len(self.choices) else -1

    def same_text(self, a: int, b: int) -> bool:
        """Whether two numbers are one option, or two of the same text.

        Where all options have one text, it does not say what they are (they are images, say).
        """
        return a == b or (self._written[a] == self._written[b] != "" and self._differ)

    def reading(self, number: int) -> Reading:
        """An option that was named by its text, with those of the same text."""
        equal = [i for i in range(len(self.choices)) if self.same_text(number, i)]
        return Reading(LETTERS[number], equal="".join(LETTERS[i] for i in equal if i != number))

    def like(self, plain: str) -> list[int]:
        """Numbers of the options whose text, else whose writing or value, is `plain`.

        Options of the same text count once.
        """
        if not self.choices or len(plain) > MAX_ANSWER:
            return []
        wanted = normalize_text(plain)
        hits = [i for i, text in enumerate(self.texts) if text == wanted]
        if not hits and re.search(r"[\d\\^=√π½⅓⅔¼¾]", plain):
            written = formula(plain)
            hits = [i for i, choice in enumerate(self.choices) if formula(choice) == written]
            hits = hits or [i for i, c in enumerate(self.choices) if same_quantity(plain, c)]
        elif not hits and (digits := with_digits(plain)) != plain:
            hits = [i for i, c in enumerate(self.choices) if same_quantity(digits, c)]
        return self.once(hits)

    def once(self, numbers: list[int]) -> list[int]:
        """Options of the same text counted once, at the first of them."""
        kept: list[int] = []
        for i in numbers:
            if not any(self.same_text(i, j) for j in kept):
                kept.append(i)
        return kept

    def at_start(self, rest: str) -> int | None:
        """The option that `rest` is, or whose whole text it begins with (the longest one)."""
        like = self.like(rest)
        if len(like) == 1:
            return like[0]
        text = normalize_text(rest)
        best: tuple[int, int] | None = None
        for i, option in enumerate(self.texts):
            after = text[len(option) :]
            if (
                option
                and text.startswith(option)
                and not re.match(r"[\w%°^]|[.,/]\w|\s?[-+*/=]\s?[\d(\\]", after)
                and len(option) > (best or (0, 0))[0]
            ):
                best = (len(option), i)
        return best[1] if best else None

    def at_end(self, rest: str) -> int | None:
        """The option whose text a short sentence ends with after a verb: `the time is 5:30`."""
        sentence = re.split(r"[.;\n](?:\s|$)", rest, maxsplit=1)[0]
        verbs = list(_VERB.finditer(sentence[:_LONG]))
        if not verbs or len(sentence) > _LONG:
            return None
        like = self.like(sentence[verbs[-1].end() :])
        return like[0] if len(like) == 1 else None

    def nearly(self, number: int, rest: str) -> bool:
        """Whether `rest` is an option's text shortened, or misspelt by one sign, and no other's."""
        said, text = normalize_text(re.split(r"[.;\n]\s", rest, maxsplit=1)[0]), self.texts[number]
        if not said or said in self.texts or read_quantity(said) is not None:
            return False
        if len(said) >= 4 and text.startswith(said) and not text[len(said)].isalnum():
            return True
        return len(text) >= 4 and not re.search(r"\d", text) and one_sign_apart(said, text)


@lru_cache(maxsize=1024)
def options_of(choices: tuple[str, ...] | None) -> Options:
    """The options of a question; kept, because a question has many answers."""
    return Options(choices or ())


def one_sign_apart(a: str, b: str) -> bool:
    """Whether inserting, deleting or replacing one sign makes two texts equal."""
    if abs(len(a) - len(b)) > 1:
        return False
    first = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if first is None:
        return True
    if len(a) == len(b):
        return a[first + 1 :] == b[first + 1 :]
    short, long = sorted((a, b), key=len)
    return short[first:] == long[first + 1 :]
