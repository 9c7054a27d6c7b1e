"""Data passed between the answer rules: the final words of a response, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vsr1_bench.records import AnswerType, Outcome, Verdict


class Reading(NamedTuple):
    """What was read, or why nothing was."""

    value: str | None
    problem: str = ""
    """`no_answer`: nothing there; `ambiguous`: several answers; `not_an_option`: a letter beyond
    the options; `conflict`: a letter beside the text of another option; `unfinished`: cut off."""
    equal: str = ""
    """Of an option that was named by its text: the letters of the others with the same text."""


NOTHING = Reading(None, "no_answer")
AMBIGUOUS = Reading(None, "ambiguous")
UNFINISHED = Reading(None, "unfinished")


class Said(NamedTuple):
    """What a rule is given: the final words of a response, and what kind of answer is wanted."""

    text: str
    """Outside thinking and description; full-width letters, dashes, quotes and spaces in their
    plain form, invisible marks gone (`normalize.plain_characters`)."""
    kind: AnswerType
    choices: tuple[str, ...] | None


class Found(NamedTuple):
    """What a rule found, and where in `Said.text`."""

    reading: Reading
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Extraction:
    """A final answer, or the reason why there is none."""

    value: str | None
    """Normalised: a letter, `yes` or `no`, a bare number, or the string."""
    rule: str | None = None
    """The name of the rule that decided, also where it decided that nothing can be read; None
    where no rule found anything. `vsr1_bench.answers.rules.RULES` lists them."""
    problem: str = ""
    """Without a value the reason: `empty`, `unfinished` (the box or the thinking was cut off),
    `no_answer`, `ambiguous`, `not_an_option`, `conflict` (a letter beside another option's
    text)."""
    raw: str | None = None
    """The words that the value was read from, with their unit; at most `MAX_ANSWER` characters."""
    span: tuple[int, int] | None = None
    """Start and end of these words in the response."""
    equal: str = ""
    """Of an option that was named by its text: the letters of the others with the same text, which
    are as right as `value`."""

    @property
    def how(self) -> str:
        """The rule that read the value, or the reason why there is none."""
        return (self.rule or "") if self.value is not None else self.problem

    def verdict(self, right: bool) -> Verdict:
        """The verdict on this answer, with the rule and the place that it was read by."""
        if self.value is None:
            return Verdict(
                "incorrect", unparsed=True, reason=self.problem, how=self.rule, span=self.span
            )
        outcome: Outcome = "correct" if right else "incorrect"
        return Verdict(outcome, extracted=self.value, how=self.rule, span=self.span)
