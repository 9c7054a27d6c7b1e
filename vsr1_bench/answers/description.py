"""The description in a response: the input of the second pass.

It is in `<description>` tags (the released prompts and checkpoints) or in `<visual_reasoning>`
tags (the paper's text); either closing tag closes either opening one. `channels` decides what is
thinking, for every family of models. The rules:

- Tags inside thinking do not count: a draft is not the description. A first closing mark that
  nothing has opened ends thinking that the chat template opened, so what comes before it is
  thinking, too, and a stray one breaks off an open description.
- Of several descriptions the first that is not empty counts, as in the authors' code: the format
  asks for one, at the start, and a later one has been thought about.
- An opening tag inside an open description begins it again.
- A description that is not closed ends where the thinking begins, the next block of the format.
  If no thinking follows it is missing: what comes before an `<answer>` or a box, or before the
  token limit, may be reasoning, and a reader that is given the reasoning or the answer proves
  nothing.
- Otherwise there is none. It is never replaced by the response or a part of it.
"""

from __future__ import annotations

from itertools import pairwise

from vsr1_bench.answers.channels import Piece, split


def read_description(text: str) -> str | None:
    """Read the description out of a whole response; None if there is none.

    Args:
        text: The response as it came, tags and all.

    Returns:
        The description without its tags and the white space around it; never empty.
    """
    end = Piece("said", len(text), len(text))
    for piece, following in pairwise([*split(text), end]):
        whole = piece.closed or following.channel == "thinking"
        if piece.channel == "description" and whole:
            found = text[piece.start : piece.end].strip()
            if found:
                return found
    return None
