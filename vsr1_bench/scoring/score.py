"""The score of a run: its metrics, and rates that show how far to trust them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from vsr1_bench._util.garbage import without_gc
from vsr1_bench.scoring.metrics import OfSample, Response, Value, compute
from vsr1_bench.task import Metric

RANKED_FROM = 0.99
"""Least share of scored responses at which a cell may be ranked (design: 99 %)."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Counts and shares beside every score."""

    total: int
    """Responses asked for."""
    scored: int
    unparsed: float
    """Shares in [0, 1] of the responses asked for."""
    truncated: float
    failed: float

    @property
    def ranked(self) -> bool:
        """Whether enough was scored for the score to be compared."""
        return self.total > 0 and self.scored >= RANKED_FROM * self.total


@dataclass(frozen=True, slots=True)
class Score:
    """What one judge says of one run."""

    n: int
    """Samples."""
    metrics: dict[str, Value]
    rates: Rates
    by: dict[str, dict[str, Value]] = field(default_factory=dict)
    """Group name -> group -> accuracy."""

    def document(self) -> dict[str, Any]:
        """Write as JSON values."""
        return {
            "n": self.n,
            "metrics": {name: asdict(value) for name, value in self.metrics.items()},
            "rates": {**asdict(self.rates), "ranked": self.rates.ranked},
            "by": {
                name: {group: asdict(value) for group, value in groups.items()}
                for name, groups in self.by.items()
            },
        }


@without_gc()
def score_responses(
    responses: Sequence[Response],
    metrics: Sequence[Metric],
    *,
    cluster: str | None,
    per_sample: int,
) -> Score:
    """Score a run.

    Args:
        responses: Every response asked for; what is missing or failed has `correct=None`.
        metrics: The task's metrics, the headline first.
        cluster: Group key whose members depend on each other.
        per_sample: Responses per sample (n); from 2 on, pass@n and majority@n are added.
    """
    wanted = [*metrics, Metric("accuracy_strict", "accuracy_strict")]
    if per_sample > 1:
        wanted.append(Metric(f"pass@{per_sample}", "pass_at"))
        wanted.append(Metric(f"majority@{per_sample}", "majority_at"))
    total = len(responses)

    def rate(flag: str) -> float:
        return sum(getattr(r, flag) for r in responses) / total if total else 0.0

    rates = Rates(
        total=total,
        scored=sum(r.correct is not None for r in responses),
        unparsed=rate("unparsed"),
        truncated=rate("truncated"),
        failed=rate("failed"),
    )
    return Score(
        n=len({r.sample_id for r in responses}),
        metrics={m.name: compute(m, responses, cluster) for m in wanted},
        rates=rates,
        by=_by_group(responses, cluster),
    )


def _by_group(responses: Sequence[Response], cluster: str | None) -> dict[str, dict[str, Value]]:
    """Accuracy within every group of every group name that splits the samples usefully."""
    return {
        name: {
            group: compute(Metric("accuracy"), inside, cluster) for group, inside in groups.items()
        }
        for name, groups in useful_groups(responses).items()
    }


Member = TypeVar("Member", bound=OfSample)


def useful_groups(responses: Sequence[Member]) -> dict[str, dict[str, list[Member]]]:
    """Group name -> group -> its members, for the names that are categories, sorted.

    A group key with about one sample a group is an identifier, not a category.
    """
    most = max(20, len({r.sample_id for r in responses}) // 10)
    useful = {}
    for name in sorted({name for r in responses for name in r.groups}):
        if len({r.groups[name] for r in responses if name in r.groups}) <= most:
            members: dict[str, list[Member]] = defaultdict(list)
            for r in responses:
                if name in r.groups:
                    members[r.groups[name]].append(r)
            useful[name] = dict(sorted(members.items()))
    return useful
