"""Normalise what is written in many ways: full-width letters, LaTeX wrappers, punctuation."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MAX_ANSWER = 2000
"""Characters. What is longer is not a final answer; it also bounds every step that is not linear
(composing Unicode takes quadratic time on a long run of combining marks)."""

INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Zero-width characters, marks of direction, the soft hyphen: taken out before reading."""

_CHARACTERS: dict[int, int | str | None] = {
    **{0xFF01 + i: 0x21 + i for i in range(94)},  # full-width forms of ASCII
    **dict.fromkeys(map(ord, "\u2212\u2013\u2014\u2010\u2011\u2012\ufe63"), "-"),
    **dict.fromkeys(map(ord, "\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000"), " "),
    **dict.fromkeys(map(ord, "\u2018\u2019\u02bc"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a"), '"'),
    **dict.fromkeys(map(ord, "「」『』《》"), '"'),
    **dict.fromkeys(map(ord, "【〖"), "["),
    **dict.fromkeys(map(ord, "】〗"), "]"),
    ord("。"): ".",
}
# NFKC would turn 5² into 52 and ½ into 1, a slash and 2: these characters stay as they are.
_KEPT = ("<super>", "<sub>", "<fraction>")

_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|mathrm|mathbf|mathit|mathsf|mbox|operatorname"
    r"|boldsymbol|bm|emph|underline|boxed|fbox)[ ]?\{([^{}]*)\}"
)
_REWRITES = (
    (re.compile(r"\{,\}|,\\!"), ","),
    (re.compile(r"\\!|\\left(?![a-zA-Z])\.?|\\right(?![a-zA-Z])\.?|\\displaystyle(?![a-z])"), ""),
    (re.compile(r"\\[,;: ]|\\q?quad(?![a-z])|~"), " "),
    (re.compile(r"\\([%$&#_])"), r"\1"),
    (re.compile(r"\\[()\[\]]"), " "),
    (re.compile(r"\\[dt]frac(?![a-z])"), r"\\frac"),
)
# `3!` and `n!` are factorials.
_EXCLAIMED = re.compile(r"(?<![\d)\]}])(?<!\b\w)!+$")
_ARTICLE = re.compile(r"^(?:the|an?)\s+(?=\w\w)")


def plain_characters(text: str) -> str:
    """Take invisible marks out, and write full-width letters, dashes, quotes and spaces plainly."""
    return INVISIBLE.sub("", text).translate(_CHARACTERS)


def fold(text: str) -> str:
    """Write compatibility characters in their plain form; the length hardly changes.

    Full-width letters and digits, typographic minus signs, spaces and quotes always; the other
    compatibility forms (bold mathematical letters, ligatures) in texts of answer length.
    """
    text = plain_characters(text)
    if text.isascii() or len(text) > MAX_ANSWER:
        return text
    return "".join(
        c
        if c.isascii() or unicodedata.decomposition(c).startswith(_KEPT)
        else unicodedata.normalize("NFKC", c)
        for c in unicodedata.normalize("NFC", text)
    )


def strip_markup(text: str) -> str:
    r"""Remove what only styles an answer: `\text{}`, `$`, `\left`, spacing, bold marks."""
    if "\\" in text:
        for _ in range(4):  # wrappers in wrappers; deeper nesting is not an answer
            text, changed = _WRAPPER.subn(r"\1", text)
            if not changed:
                break
    for pattern, plain in _REWRITES:
        text = pattern.sub(plain, text)
    text = text.replace("$", "").replace("**", "").replace("__", "").replace("`", "")
    return " ".join(text.split())


@lru_cache(maxsize=2048)
def tidy(text: str) -> str:
    """Fold, strip markup, and take off surrounding quotes and emphasis."""
    return strip_markup(fold(text)).strip(" \t\"'*")


def normalize_text(text: str) -> str:
    """Return the form in which two short texts are compared.

    Case, white space, markup, compatibility characters, surrounding quotes, trailing punctuation
    and one leading article are not part of an answer; everything else is.
    """
    return _normalized(text) if len(text) <= MAX_ANSWER else _normalized.__wrapped__(text)


@lru_cache(maxsize=4096)
def _normalized(text: str) -> str:
    plain = tidy(text).casefold()
    bare = _EXCLAIMED.sub("", plain).rstrip(" .,;:?\"'") or plain
    return _ARTICLE.sub("", bare)


def well_formed(text: str) -> str:
    """The text with `?` for half a surrogate pair, as a model may write it and no request takes."""
    return text.encode("utf-8", "replace").decode()
