"""Composed judges: a rule and then a model, several votes, and the published scorer."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from vsr1_bench.errors import UsageError
from vsr1_bench.generation.connect import together
from vsr1_bench.judge import (
    Estimate,
    Item,
    JudgeContext,
    Judged,
    JudgeOptions,
    JudgeRunner,
    Verdicts,
    WrappingRunner,
)
from vsr1_bench.records import Usage, Verdict
from vsr1_bench.store.judge_names import read_name, split_first

MOST_VOTES = 99


class Cascade(WrappingRunner):
    """A rule, and a model for what the rule does not call correct (or, with `judge_all`, for all).

    The rule runs as the model takes items.
    """

    def __init__(
        self, name: str, rule: JudgeRunner, model: JudgeRunner, *, judge_all: bool = False
    ) -> None:
        """Put two judges in line."""
        self.name, self.answer_type = name, rule.answer_type
        self.identity = _identity("cascade", rule.identity, model.identity, str(judge_all))
        self._inner, self._all = (rule, model), judge_all
        self._ready: deque[Judged] = deque()
        """Verdicts of the rule that the model does not see."""
        self._ruled: dict[int, Verdict] = {}
        """Verdicts of the rule on items that the model judges, by the item's `id()`."""

    def judge(self, items: Iterable[Item]) -> Verdicts:
        """Yield the model's verdicts; the answer that the rule extracted is kept."""
        for judged in self._inner[1].judge(self._doubted(items)):
            yield from self._drain()
            rule, verdict = self._ruled.pop(id(judged.item)), judged.verdict
            extracted = verdict.extracted or rule.extracted
            yield replace(judged, verdict=replace(verdict, extracted=extracted))
        yield from self._drain()

    def estimate(self, items: Iterable[Item]) -> Estimate:
        """Run the rule, and estimate the model's calls for the rest."""
        doubted = (
            judged.item
            for judged in self._inner[0].judge(items)
            if self._all or judged.verdict.outcome != "correct"
        )
        return self._inner[1].estimate(doubted)

    def _doubted(self, items: Iterable[Item]) -> Iterator[Item]:
        for judged in self._inner[0].judge(items):
            if judged.verdict.outcome == "correct" and not self._all:
                self._ready.append(judged)
            else:
                self._ruled[id(judged.item)] = judged.verdict
                yield judged.item

    def _drain(self) -> Iterator[Judged]:
        while self._ready:
            yield self._ready.popleft()


class Legacy(Cascade):
    """The published scorer with its faults, to show their effect.

    After the rule, a judgment counts as correct unless it contains the word "incorrect". A failed
    call returns the text "error". So empty, failed and oddly worded judgments are correct. One
    difference: a response without any final answer is never shown to the model.
    """

    def judge(self, items: Iterable[Item]) -> Verdicts:
        """Judge items as the published scorer does."""
        for judged in super().judge(items):
            if judged.prompt_hash is None or judged.verdict.unparsed:
                yield judged
                continue
            text = "error" if judged.raw is None else judged.raw
            wrong = "incorrect" in text.lower()
            yield replace(
                judged,
                verdict=Verdict(
                    "incorrect" if wrong else "correct",
                    extracted=judged.verdict.extracted,
                    reason=None if judged.verdict.outcome != "unscored" else "legacy parsing",
                ),
            )


class Majority(WrappingRunner):
    """The verdict of more than half of K votes; unscored if there is none."""

    def __init__(self, name: str, inner: JudgeRunner, votes: int) -> None:
        """Let one judge vote several times, each time with a different seed."""
        self.name, self.answer_type = name, inner.answer_type
        self.identity = _identity("majority", inner.identity, str(votes))
        self._inner, self._votes = (inner,), votes
        self._of: dict[int, tuple[Item, list[Judged]]] = {}

    def judge(self, items: Iterable[Item]) -> Verdicts:
        """Judge items; a verdict is yielded with its last vote."""
        for judged in self._inner[0].judge(self._ballots(items)):
            item, votes = self._of.pop(id(judged.item))
            votes.append(judged)
            if len(votes) == self._votes:
                yield self._count(item, votes)

    def estimate(self, items: Iterable[Item]) -> Estimate:
        """Every vote is a call."""
        ballots = (replace(item, vote=k) for item in items for k in range(self._votes))
        return self._inner[0].estimate(ballots)

    def _ballots(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            votes: list[Judged] = []
            for k in range(self._votes):
                ballot = replace(item, vote=k)
                self._of[id(ballot)] = (item, votes)
                yield ballot

    def _count(self, item: Item, votes: list[Judged]) -> Judged:
        votes.sort(key=lambda vote: vote.item.vote)  # the same record for any order of arrival
        counts = Counter(vote.verdict.outcome for vote in votes)
        summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        scores = [vote.verdict.score for vote in votes if vote.verdict.score is not None]
        winner, most = counts.most_common(1)[0]
        verdict = next(vote.verdict for vote in votes if vote.verdict.outcome == winner)
        if winner == "unscored" or (2 * most <= self._votes and len(scores) < self._votes):
            extracted = votes[0].verdict.extracted
            verdict = Verdict("unscored", extracted=extracted, reason=f"no majority: {summary}")
        elif scores:
            score = sum(scores) / len(scores)
            verdict = replace(
                verdict,
                outcome="correct" if score == 1 else "incorrect",
                score=score,
                reason=summary,
            )
        else:
            verdict = replace(verdict, reason=summary)
        costs = [vote.cost for vote in votes if vote.cost is not None]
        return replace(
            votes[0],
            item=item,
            verdict=verdict,
            raw=json.dumps([vote.raw for vote in votes]),
            usage=Usage(
                _total(vote.usage.prompt_tokens for vote in votes),
                _total(vote.usage.completion_tokens for vote in votes),
            ),
            cost=sum(costs) if costs else None,
        )


def two_specs(argument: str, judge: str) -> tuple[str, str]:
    """Split `RULE,LLM`; the second may contain commas.

    Raises:
        UsageError: there are not two specs.
    """
    first, second = split_first(argument)
    if not (first and second):
        raise UsageError(f"judge {judge!r}: wanted {read_name(judge).kind}:RULE,LLM")
    return first, second


def open_both(
    context: JudgeContext, specs: tuple[str, str], options: JudgeOptions
) -> tuple[JudgeRunner, JudgeRunner]:
    """Open the two judges of a judge.

    Raises:
        JudgeMissingError: names all that both miss.
        UsageError: one of them is unknown, or an option cannot be used.
    """
    first, second = together(*(partial(context.open, spec, options) for spec in specs))
    return first, second


def spec_times(argument: str, judge: str) -> tuple[str, int]:
    """Split `SPEC*K`.

    Raises:
        UsageError: it has another form, or K is not a valid number of votes.
    """
    spec, star, count = argument.rpartition("*")
    if not (star and spec.strip() and count.isdigit() and 2 <= int(count) <= MOST_VOTES):
        raise UsageError(f"judge {judge!r}: wanted majority:SPEC*K with K from 2 to {MOST_VOTES}")
    return spec.strip(), int(count)


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _identity(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
