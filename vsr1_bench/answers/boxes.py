r"""Boxes: the content of the last `\boxed{…}` of a text."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\{1,2}(boxed|fbox)(?![a-zA-Z])(?:[ ]?(\{))?|\\.|[{}]", re.DOTALL)
_SPACE = re.compile(r"\s*")
_BARE_BOX = re.compile(r"\s{1,4}([^\s{}$\\]{1,64})")


def boxed(text: str) -> str | None:
    r"""Return the content of the last complete `\boxed{…}` or `\fbox{…}`; nested ones count once.

    Braces nest, escaped ones do not count, `\boxed 5` is read up to the next space. An empty box
    holds no answer. A last box that was never closed is none, and hides the boxes before it: the
    answer was being given anew when it was cut off.
    """
    box, _ = last_box(text)
    return text[slice(*box)].strip() if box else None


def last_box(text: str) -> tuple[tuple[int, int] | None, bool]:
    """Where the last box's content starts and ends, and whether an unclosed box ends the text.

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
    return content, False


def _after_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start
