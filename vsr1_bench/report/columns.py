"""The columns of a task's list: one character or number for each response."""

from __future__ import annotations

from typing import Any

from vsr1_bench.report.details import one_line
from vsr1_bench.scoring.shortcuts import Seen

UNPARSED, TRUNCATED, CUT, DISAGREE, BLIND_RIGHT, CHANGED, JUDGED = (1 << bit for bit in range(7))
"""FLAGS of `web/src/types.ts`."""
NOT_ASKED, MISSING, FAILED, UNSCORED, CORRECT, INCORRECT, GRADED = "omfucig"
"""VERDICTS of `web/src/types.ts`."""
UNCOUNTED, UNDESCRIBED = "un"
_CELLS = {(True, True): "a", (True, False): "b", (False, True): "s", (False, False): "d"}
ANSWER_CHARACTERS = 60


class Coded:
    """A column of texts of which few are different."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self._numbers: dict[str, int] = {}

    def add(self, value: str | None) -> None:
        """Add the next row; None = it has none."""
        if value is None:
            self.codes.append(-1)
        else:
            self.codes.append(self._numbers.setdefault(value, len(self._numbers)))

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {"values": list(self._numbers), "codes": self.codes}


class RunColumns:
    """What the list shows of one run; rows are added in the order of the samples."""

    def __init__(self, per_sample: int, *, second_pass: bool) -> None:
        self._per_sample = per_sample
        self._second_pass = second_pass
        self.verdict: list[str] = []
        self.cell: list[str] = []
        self.flags: list[int] = []
        self.score: list[float | None] = []
        self.answer = Coded()
        self.tokens: list[int] = []
        self.chars: list[int] = []
        self._graded = False

    def add(self, detail: dict[str, Any] | None, flags: int = 0) -> None:
        """Add a sample.

        Args:
            detail: What `run_detail` says of it; None = not asked.
            flags: Of all its responses.
        """
        asked = detail is not None and detail["left_out"] is None
        made = {one["index"]: one for one in detail["responses"]} if asked and detail else {}
        for index in range(self._per_sample):
            response = made.get(index)
            if response is None:
                self._append(MISSING if asked else NOT_ASKED, UNCOUNTED, flags, None)
            else:
                self._add_response(response, flags)

    def _add_response(self, response: dict[str, Any], flags: int) -> None:
        failed = response["error"] is not None
        verdict = response["judgments"][0] if response["judgments"] else None
        letter, score = (FAILED, None) if failed else _verdict(verdict)
        if verdict is not None and not failed:
            flags |= JUDGED | (UNPARSED if verdict["unparsed"] else 0)
        if not failed and response["finish_reason"] == "length":
            flags |= TRUNCATED
        if len({j["outcome"] for j in response["judgments"] if _decided(j)}) > 1:
            flags |= DISAGREE
        cell, cut = UNCOUNTED, False
        if self._second_pass:
            seen = seen_of(response)
            cell, cut = cell_of(seen), seen.cut
        answer = verdict["extracted"] if verdict is not None else None
        self._append(letter, cell, flags | (CUT if cut else 0), score)
        self.answer.codes.pop()
        self.answer.add(None if answer is None else one_line(answer, ANSWER_CHARACTERS))
        tokens = response["completion_tokens"]
        self.tokens[-1] = -1 if tokens is None else tokens
        self.chars[-1] = -1 if failed else len(response["text"])

    def _append(self, letter: str, cell: str, flags: int, score: float | None) -> None:
        self.verdict.append(letter)
        self.cell.append(cell)
        self.flags.append(flags)
        self.score.append(score)
        self._graded = self._graded or letter == GRADED
        self.answer.add(None)
        self.tokens.append(-1)
        self.chars.append(-1)

    def right(self) -> bool:
        """Whether a response to the last sample is right."""
        return CORRECT in self.verdict[-self._per_sample :]

    def document(self) -> dict[str, Any]:
        """RunColumns of `web/src/types.ts`."""
        found = {
            "verdict": "".join(self.verdict),
            "cell": "".join(self.cell) if self._second_pass else "",
            "flags": self.flags,
            "answer": self.answer.document(),
            "tokens": self.tokens,
            "chars": self.chars,
        }
        return found | ({"score": self.score} if self._graded else {})


def _verdict(verdict: dict[str, Any] | None) -> tuple[str, float | None]:
    """A verdict's letter and its share correct, as `scoring.join` counts it."""
    if verdict is None or verdict["outcome"] == "unscored":
        return UNSCORED, None
    score = verdict["score"]
    if score is None:
        right = verdict["outcome"] == "correct"
        return (CORRECT, 1.0) if right else (INCORRECT, 0.0)
    return (CORRECT if score == 1 else INCORRECT if score == 0 else GRADED), float(score)


def _decided(verdict: dict[str, Any] | None) -> bool:
    return verdict is not None and verdict["outcome"] != "unscored"


def seen_of(response: dict[str, Any]) -> Seen:
    """A response as the rates of the second pass see it, by its first judge and reader."""
    if response["error"] is not None:
        return Seen("", {}, None)
    correct = _right(response["judgments"])
    reading = response["readings"][0] if response["readings"] else None
    if reading is None:
        return Seen("", {}, correct)
    if reading["description"] is None:
        return Seen("", {}, correct, False)
    sufficient = _right(reading["judgments"])
    cut = reading["finish_reason"] == "length"
    return Seen("", {}, correct, True, sufficient, None, cut)


def cell_of(seen: Seen) -> str:
    """Its cell of the 2 x 2 table, CELLS of `web/src/types.ts`."""
    if not seen.counted:
        return UNCOUNTED
    if not seen.described:
        return UNDESCRIBED
    return _CELLS[bool(seen.sufficient), bool(seen.correct)]


def _right(judgments: list[dict[str, Any] | None]) -> bool | None:
    """The first judge's verdict as yes or no; None if there is none."""
    first = judgments[0] if judgments else None
    if first is None or not _decided(first):
        return None
    return bool(first["outcome"] == "correct")
