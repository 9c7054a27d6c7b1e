"""The description in a response: what the blind reader of the second pass is given.

It stands in `<description>` tags (the released prompts and checkpoints) or in `<visual_reasoning>`
tags (the paper's text); either closing tag closes either opening one. The rules:

- Tags inside thinking do not count: a draft is not what was handed over. A first `</think>` that
  nothing has opened ends thinking that the chat template opened, so what stands before it is
  thinking, too (as in `tags.final_region`), and a stray one breaks off an open description.
- Of several descriptions the first that holds something counts, as in the authors' code: the
  format asks for one, at the start, and what repeats it later has been thought about.
- An opening tag inside an open description begins it anew.
- A description that is not closed ends where the thinking begins, the next block of the format.
  If no thinking follows it is missing: what stands before an `<answer>` or a box, or before the
  token limit, may be reasoning, and a reader that is handed the reasoning or the answer proves
  nothing.
- Otherwise there is none. It is never replaced by the response or a part of it.
"""

from __future__ import annotations

import re

_TAG = re.compile(
    r"<[ ]?(?P<close>/?)[ ]?(?:(?P<think>think(?:ing)?)|description|visual_reasoning)[ ]?>",
    re.IGNORECASE,
)


def read_description(text: str) -> str | None:
    """Read the description out of a whole response; None where there is none.

    Args:
        text: The response as it came, tags and all.

    Returns:
        The description without its tags and the white space around it; never empty.
    """
    found: str | None = None
    start: int | None = None
    thinking = thought = False
    for tag in _TAG.finditer(text):
        if tag["think"] and tag["close"]:
            found = found if thought else None
            start, thinking, thought = None, False, True
        elif tag["think"]:
            if not thinking and start is not None:
                found = found or text[start : tag.start()].strip()
            start = None
            thinking = thought = True
        elif not thinking and not tag["close"]:
            start = tag.end()
        elif not thinking and start is not None:
            found, start = found or text[start : tag.start()].strip(), None
    return found or None
