r"""Boxes: the content of the last `\boxed{…}` of a text."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\{1,2}(boxed|fbox)(?![a-zA-Z])(?:[ ]?(\{))?|\\.|[{}]", re.DOTALL)
_TOKEN_BOX = ("<|begin_of_box|>", "<|end_of_box|>")
"""What GLM's vision models put every final answer between."""
_SPACE = re.compile(r"\s*")
_BARE_BOX = re.compile(r"\s{1,4}([^\s{}$\\]{1,64})")


def boxed(text: str) -> str | None:
    r"""Return the content of the last complete `\boxed{…}` or `\fbox{…}`; nested ones count once.

    The box tokens of GLM (`<|begin_of_box|>…<|end_of_box|>`) are a box, too. Braces nest, escaped
    ones do not count, `\boxed 5` is read up to the next space. An empty box has no answer. A last
    box that was never closed is not read, and neither are the boxes before it: the response was
    cut off while it gave its answer again.
    """
    box, _ = last_box(text)
    return text[slice(*box)].strip() if box else None


def last_box(text: str) -> tuple[tuple[int, int] | None, bool]:
    """Where the last box's content starts and ends, and whether an unclosed box ends the text."""
    opening, closing = _TOKEN_BOX
    start, limit = text.rfind(opening), len(text)
    if start < 0:
        return _last_latex_box(text)
    end = text.find(closing, start)
    if end < 0:
        return None, True
    after, unfinished = _last_latex_box(text, end)
    if after or unfinished:
        return after, unfinished
    while start >= 0:  # an empty box has no answer
        end = text.find(closing, start, limit)
        if end >= 0 and text[start + len(opening) : end].strip():
            inner, _ = _last_latex_box(text, start + len(opening), end)
            return inner or (start + len(opening), end), False
        start, limit = text.rfind(opening, 0, start), start
    return _last_latex_box(text)


def _last_latex_box(
    text: str, begin: int = 0, stop: int | None = None
) -> tuple[tuple[int, int] | None, bool]:
    r"""The same of `\boxed` and `\fbox`.

    Works on positions only, because slicing each of many nested boxes would take quadratic time.
    """
    content: tuple[int, int] | None = None
    box_from, box_to = -1, -1  # bounds of the last box, to detect a box inside a box
    opened: list[tuple[int, int] | None] = []  # (box, content) start; None for a plain brace
    for found in _BOX.finditer(text, begin, len(text) if stop is None else stop):
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
    return content, False


def _after_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start
