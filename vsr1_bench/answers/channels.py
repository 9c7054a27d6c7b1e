"""The channels of a response: thinking, description and final words.

Answers, descriptions, judges' replies and rewards are read by these rules alone:

- Thinking is what is between a family's marks (`marks`). Only its own family's closing mark
  ends it: what is inside, marks of other families included, is part of it.
- A closing mark that nothing has opened ends thinking that the chat template opened: all before it
  is thinking.
- Thinking that is opened and never closed was cut off. It has no answer; only the text before it
  counts.
- Final words follow the last thinking. A mark that begins them (`<|channel|>final<|message|>`,
  `<|START_RESPONSE|>`) ends what came before, marked or not.
- A description is neither thinking nor the answer.
- An end-of-turn token ends the response; so does the next question that a base model goes on with
  after its answer (`_goes_on`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vsr1_bench.answers.marks import ASSISTANT, DESCRIPTION, HARMONY, TRANSCRIPT, Mark, find_marks

Channel = Literal["said", "thinking", "description", "other"]

_SOMETHING = re.compile(r"\S")
_ANSWERED = re.compile(
    r"\banswer(?:\s?\**\s?:|\s(?:is|would\sbe|should\sbe)\b)|\\boxed|\\fbox|####|</answer>"
    r"|<\|end_of_box\|>|答案|\b(?:therefore|thus|hence|in\sconclusion)\b",
    re.IGNORECASE,
)
_NEXT = re.compile(r"\n\s{0,8}\n[#* \t]{0,8}(?:Question|Problem|Q)(?:[ ]\d{1,3})?\*{0,2}:")
_OPENERS = re.compile(r"(?:let|sure|ok|okay|certainly|here|first|look)\b", re.IGNORECASE)
_ANOTHER_MESSAGE = re.compile(r"\s{0,4}<\|(?:start|begin)\|>\s{0,2}assistant")
_LAST_TOKEN = re.compile(
    r"(?:<[|\uff5c](?!end_of_box)[\w▁/]{1,40}[|\uff5c]>|<pad>|\[PAD\]"
    r"|</(?:response|solution|conclusion|final_answer|final|output)>)\s*\Z",
    re.IGNORECASE,
)
_WRAPPER = re.compile(
    r"\s*<(?:response|solution|conclusion|final_answer|final|output)>", re.IGNORECASE
)
_TOKEN_LENGTH = 50
_MOST_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a response that belongs to one channel."""

    channel: Channel
    start: int
    end: int
    """Its span in the response, without marks."""
    closed: bool = True
    """Whether it ended; False = it was broken off, by the next channel or by the token limit."""


def final_region(text: str) -> str:
    """What a response says outside its thinking and its description; empty if it says nothing.

    See the module for the rules.
    """
    start, end = final_span(text)
    return text[start:end]


def final_span(text: str, pieces: Sequence[Piece] | None = None) -> tuple[int, int]:
    """Where `final_region` is in the response: start and end, equal if it is empty.

    Args:
        text: The response.
        pieces: What `split` has made of it, where that is known.
    """
    start = end = len(text)
    for piece in split(text) if pieces is None else pieces:
        if piece.channel != "said":
            if piece.closed:
                start = end = len(text)
        elif start == end:
            start, end = piece.start, piece.end
    return _without_wrapping(text, start, end)


def split(text: str) -> list[Piece]:
    """Split a response into the pieces of its channels, in their order."""
    scan = _Scan(text)
    for mark in find_marks(text):
        if scan.take(mark):
            break
    else:
        scan.finish(len(text))
    return scan.pieces


class _Scan:
    """One pass over the marks of a response."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pieces: list[Piece] = []
        self.start = 0
        """Where the current piece begins."""
        self.inside = ""
        """The family of the open thinking, `DESCRIPTION`, `TRANSCRIPT`; empty = it is said."""
        self.final = False
        """Whether a mark has begun the final words."""
        self.struck = False
        self.goes_on: int | None = None
        """Where the next question begins."""
        self.answered = False
        self.looked = 0

    def take(self, mark: Mark) -> bool:
        """Take the next mark; True where it ends the response."""
        match mark.kind:
            case "open":
                return self._open(mark)
            case "close":
                self._close(mark)
            case "final":
                return self._final(mark)
            case "start" | "struck":
                if self._nothing_said(mark.start):
                    self.start = mark.end
                else:
                    self.struck = self.struck or mark.kind == "struck"
            case "turn":
                return self._turn(mark)
            case "next":
                if not self.inside and self.goes_on is None and self._goes_on(mark):
                    self.goes_on = mark.start
            case _:
                return self._end(mark)
        return False

    def finish(self, end: int) -> bool:
        """Write the last piece."""
        if self.inside:
            self._add(end, closed=False)
        else:
            self._add(end if self.goes_on is None else min(end, self.goes_on))
        return True

    def _add(self, end: int, *, closed: bool = True) -> None:
        channel: Channel = "thinking"
        if self.inside in ("", DESCRIPTION, TRANSCRIPT):
            channel = {"": "said", DESCRIPTION: "description"}.get(self.inside, "other")  # type: ignore[assignment]
        self.pieces.append(Piece(channel, self.start, max(self.start, end), closed))

    def _nothing_said(self, end: int) -> bool:
        return not self.inside and not _SOMETHING.search(self.text, self.start, end)

    def _open(self, mark: Mark) -> bool:
        if self.inside == DESCRIPTION and mark.family == DESCRIPTION:  # begun again
            self.start = mark.end
            return False
        if self.inside not in ("", DESCRIPTION):
            return False
        if self.goes_on is not None or (self.final and mark.family == HARMONY):
            return self.finish(mark.start)
        if mark.family == TRANSCRIPT and not (self._nothing_said(mark.start) and not self.pieces):
            return self.finish(mark.start)
        self._add(mark.start, closed=not self.inside)
        self.inside, self.start = mark.family, mark.end
        return False

    def _close(self, mark: Mark) -> None:
        if self.inside == mark.family:
            self._add(mark.start)
        elif self.inside not in ("", DESCRIPTION):
            return
        elif mark.family in (DESCRIPTION, TRANSCRIPT):
            if self.inside == DESCRIPTION:
                return
            self.inside = TRANSCRIPT
            self._add(mark.start)
        else:
            self._was_thinking(mark.start)
        self.inside, self.start, self.goes_on = "", mark.end, None

    def _thought(self) -> bool:
        return any(piece.channel == "thinking" for piece in self.pieces)

    def _was_thinking(self, end: int) -> None:
        """What comes before a closing mark that nothing has opened."""
        if not self._thought():
            self.pieces, self.start = [], 0
        self.inside = "opened by the template"
        self._add(end)

    def _final(self, mark: Mark) -> bool:
        if self.inside not in ("", DESCRIPTION, mark.family):
            return False
        if self.final:
            return self.finish(mark.start)
        if self.inside == mark.family:
            self._add(mark.start)
        elif not self._nothing_said(mark.start) or not self._thought():
            self._was_thinking(mark.start)
        self.inside, self.start, self.goes_on, self.final = "", mark.end, None, True
        return False

    def _turn(self, mark: Mark) -> bool:
        nothing = self._nothing_said(mark.start)
        if not mark.family or mark.family in ASSISTANT:
            if self.inside in (HARMONY, TRANSCRIPT):
                self._add(mark.start)
            elif not nothing:
                return self.finish(mark.start)
            self.inside, self.start = "", mark.end
            return False
        if self.inside == TRANSCRIPT:
            return False
        if nothing and not self.pieces:
            self.inside, self.start = TRANSCRIPT, mark.end
            return False
        return self.finish(mark.start)

    def _end(self, mark: Mark) -> bool:
        if self.inside == TRANSCRIPT:
            return False
        if mark.kind == "message_end" and not self.final:
            another = _ANOTHER_MESSAGE.match(self.text, mark.end) is not None
            if self.inside == HARMONY or another:
                self._close(Mark("close", HARMONY, mark.start, mark.end))
                return False
        if self.struck and self.text[mark.start : mark.end] == "</s>":
            self.struck = False
            return False
        if self._nothing_said(mark.start) and not self.pieces:
            self.start = mark.end
            return False
        return self.finish(mark.start)

    def _goes_on(self, mark: Mark) -> bool:
        """Whether a line `Question:` begins another question, not the one that is answered.

        A response may restate its own question, at its start or after a few words. It is another
        question if something that looks like an answer comes before it: a marker, or one to four
        words by themselves. Otherwise it is the response's own question if it is the only one and
        an answer follows.
        """
        if self._nothing_said(mark.start):
            return False
        self.looked = max(self.looked, self.start)
        self.answered = self.answered or bool(_ANSWERED.search(self.text, self.looked, mark.start))
        self.looked = mark.start
        if self.answered:
            return True
        head = self.text[self.start : min(mark.start, self.start + 200)].strip()
        if len(head) <= 60 and len(head.split()) <= 4 and "\n" not in head:
            return not (_OPENERS.match(head) or head.endswith(":"))
        return bool(_NEXT.search(self.text, mark.end)) or not _ANSWERED.search(self.text, mark.end)


def _without_wrapping(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out tokens of unknown families at the end, and a tag around the whole region."""
    opening = _WRAPPER.match(text, start, end)
    start = opening.end() if opening else start
    for _ in range(_MOST_TOKENS):
        kept = len(text[start:end].rstrip())
        token = _LAST_TOKEN.search(text, max(start, start + kept - _TOKEN_LENGTH), start + kept)
        if token is None:
            break
        end = token.start()
    return start, end
