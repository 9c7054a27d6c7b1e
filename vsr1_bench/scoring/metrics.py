"""The metric kinds that tasks name in `Task.metrics`.

Each metric takes the scored responses and returns a value with its interval. A proportion over
independent samples gets Wilson's interval. Clustered values (several responses per sample, several
questions per image) and averages get Wilson's interval with the effective sample size of their
clusters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

import msgspec
import numpy as np

from vsr1_bench.scoring.statistics import (
    Interval,
    ratio_interval,
    share_interval,
    wilson,
)
from vsr1_bench.task import Metric


class OfSample(msgspec.Struct, frozen=True, gc=False):
    """Something that was observed of a sample. A struct: a run may have millions."""

    sample_id: str
    groups: Mapping[str, str]
    """Group name -> group."""


class Response(OfSample, frozen=True, gc=False):
    """One response as a metric sees it."""

    correct: float | None
    """1 or 0 (0 to 1 where graded); None = not scored."""
    extracted: str | None = None
    truncated: bool = False
    unparsed: bool = False
    failed: bool = False
    made: bool = True
    """False = the run did not reach this response, so its sample is unknown."""


@dataclass(frozen=True, slots=True)
class Value:
    """A metric's value in [0, 1] with its interval; None if nothing was scored."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    """Units behind the value: responses, samples or groups."""


def compute(metric: Metric, responses: Sequence[Response], cluster: str | None) -> Value:
    """Compute one metric.

    Args:
        metric: Which.
        responses: All responses of a run.
        cluster: Group key whose members depend on each other; None = samples are independent.

    Raises:
        ValueError: an unknown kind, or one without the groups it needs.
    """
    if metric.kind not in KINDS:
        raise ValueError(f"metric {metric.name!r}: unknown kind {metric.kind!r}; {sorted(KINDS)}")
    for group, counted in metric.only:
        responses = [r for r in responses if r.groups.get(group) in counted]
    return KINDS[metric.kind](metric, responses, cluster)


def accuracy(metric: Metric, responses: Sequence[Response], cluster: str | None) -> Value:
    """Share correct among the scored responses."""
    scored = [r for r in responses if r.correct is not None]
    return _share(scored, cluster)


def strict(metric: Metric, responses: Sequence[Response], cluster: str | None) -> Value:
    """Share correct among all responses: unscored ones count as incorrect."""
    return _share(responses, cluster)


def _share(responses: Sequence[Response], cluster: str | None) -> Value:
    if not responses:
        return Value(None)
    return _mean_of_units([r.correct or 0.0 for r in responses], responses, cluster)


def all_correct_by(metric: Metric, responses: Sequence[Response], cluster: str | None) -> Value:
    """Share of groups with only correct members; groups with an unscored member are omitted."""
    groups = _grouped(metric, responses)
    whole = [members for members in groups.values() if all(r.correct is not None for r in members)]
    right = [float(all(r.correct == 1 for r in members)) for members in whole]
    return _mean_of_units(right, [members[0] for members in whole], cluster)


def mean_by(metric: Metric, responses: Sequence[Response], cluster: str | None) -> Value:
    """Mean over groups of each group's share correct (all groups have equal weight)."""
    scored = [r for r in responses if r.correct is not None]
    if not scored:
        return Value(None)
    groups = [_group(metric, r) for r in scored]
    names = {name: j for j, name in enumerate(sorted(set(groups)))}
    group = np.array([names[name] for name in groups])  # (N,)
    right = np.array([r.correct for r in scored], dtype=np.float64)  # (N,)
    sizes = np.bincount(group)  # (G,)
    shares = np.bincount(group, weights=right) / sizes  # (G,)
    # A response moves its group's share by its distance from it, and the mean by 1/G of that.
    # In a group of n, distances are too small by (n - 1) / n. Groups of one are pooled for this.
    peers, expected = sizes[group], shares[group]
    alone = peers == 1
    if alone.any():
        peers, expected = np.where(alone, alone.sum(), peers), expected.copy()
        expected[alone] = right[alone].mean()
    swing = (right - expected) / sizes[group] / len(names)
    swing *= np.sqrt(peers / np.maximum(peers - 1, 1))
    place = np.array(_numbers(_homes(scored, cluster)))
    influence = np.bincount(place, weights=swing).astype(np.float64)  # (C,)
    value = float(shares.mean())
    return _value(value, share_interval(value, influence), len(scored))


def pass_at(metric: Metric, responses: Sequence[Response], cluster: str | None) -> Value:
    """pass@k by the unbiased estimator of Chen et al. 2021, k = the metric name's number.

    Samples with fewer than k scored responses are omitted.
    """
    k = _k(metric)
    chances, heads = [], []
    for members in _clusters([r for r in responses if r.correct is not None], None):
        n, right = len(members), sum(r.correct == 1 for r in members)
        if n >= k:
            chances.append(1.0 - comb(n - right, k) / comb(n, k))
            heads.append(members[0])
    return _mean_of_units(chances, heads, cluster)


def majority_at(metric: Metric, responses: Sequence[Response], cluster: str | None) -> Value:
    """majority@k: is the most frequent extracted answer correct? A tie counts its correct share.

    The vote is over the first k responses; unparsed ones do not vote. Samples with fewer than k
    scored responses are omitted, and so are those whose judge extracts no answers.
    """
    k = _k(metric)
    shares, heads = [], []
    for members in _clusters([r for r in responses if r.correct is not None], None):
        if len(members) < k:
            continue
        voters = [r for r in members[:k] if r.extracted is not None]
        if not voters and not all(r.unparsed for r in members[:k]):
            continue  # e.g. judged by labels: no answer was extracted, so there is no vote
        votes = Counter(r.extracted for r in voters)
        top = {answer for answer, count in votes.items() if count == max(votes.values())}
        verdicts = {r.extracted: float(r.correct or 0) for r in voters if r.extracted in top}
        shares.append(sum(verdicts.values()) / len(verdicts) if verdicts else 0.0)
        heads.append(members[0])
    return _mean_of_units(shares, heads, cluster)


def _mean_of_units(
    values: Sequence[float], heads: Sequence[Response], cluster: str | None
) -> Value:
    """Mean over samples or groups; `heads` holds one response of each, which gives its cluster."""
    if not values:
        return Value(None)
    numbers = _numbers(_homes(heads, cluster))
    sizes = np.bincount(numbers).astype(np.float64)  # (C,)
    mean = sum(values) / len(values)
    if len(sizes) == len(values) and all(value in (0, 1) for value in values):
        return _value(mean, wilson(round(sum(values)), len(values)), len(values))
    sums = np.bincount(numbers, weights=np.array(values)).astype(np.float64)  # (C,)
    return _value(mean, ratio_interval(sums, sizes), len(values))


def _value(value: float, interval: Interval | None, n: int) -> Value:
    low, high = interval if interval is not None else (None, None)
    return Value(value, low, high, n)


def home(response: Response, key: str | None) -> str:
    """The cluster of a response: its group under `key`, or its sample."""
    return response.groups.get(key, response.sample_id) if key else response.sample_id


def _homes(responses: Sequence[Response], key: str | None) -> list[str]:
    """The cluster of each response (see `home`)."""
    if key is None:
        return [r.sample_id for r in responses]
    return [r.groups.get(key, r.sample_id) for r in responses]


def _numbers(names: Sequence[str]) -> list[int]:
    """Number names from 0 in order of appearance."""
    known: dict[str, int] = {}
    return [known.setdefault(name, len(known)) for name in names]


def _clusters(responses: Sequence[Response], key: str | None) -> list[list[Response]]:
    """Group responses that depend on each other, in order of appearance."""
    clusters: dict[str, list[Response]] = defaultdict(list)
    for r, name in zip(responses, _homes(responses, key), strict=True):
        clusters[name].append(r)
    return list(clusters.values())


def _group(metric: Metric, response: Response) -> str:
    groups = response.groups
    if metric.by and all(name in groups for name in metric.by):
        return "\0".join([groups[name] for name in metric.by])
    raise ValueError(
        f"metric {metric.name!r} needs groups {metric.by or '(none named)'}; "
        f"sample {response.sample_id!r} has {sorted(groups)}"
    )


def _grouped(metric: Metric, responses: Sequence[Response]) -> dict[str, list[Response]]:
    groups: dict[str, list[Response]] = defaultdict(list)
    for r in responses:
        if r.made:
            groups[_group(metric, r)].append(r)
    return groups


def _k(metric: Metric) -> int:
    number = metric.name.rpartition("@")[2]
    if not number.isdigit() or int(number) < 1:
        raise ValueError(f"metric {metric.name!r}: wanted a name like pass@4")
    return int(number)


KINDS: dict[str, Callable[[Metric, Sequence[Response], str | None], Value]] = {
    "accuracy": accuracy,
    "accuracy_strict": strict,
    "graded_mean": accuracy,
    "all_correct_by": all_correct_by,
    "mean_by": mean_by,
    "pass_at": pass_at,
    "majority_at": majority_at,
}
