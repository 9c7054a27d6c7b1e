"""Circular accuracy and position bias: a run with the run that asked the options' other orders."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsr1_bench.data.circular import CIRCULAR, QUESTION, ROTATION
from vsr1_bench.errors import DamagedRunError
from vsr1_bench.records import LETTERS
from vsr1_bench.scoring.join import join_responses
from vsr1_bench.scoring.metrics import Response, Value, compute, home
from vsr1_bench.scoring.seeing import judged_twin
from vsr1_bench.scoring.statistics import CONFIDENCE, FloatArray
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Metric, Task

CIRCULAR_METRICS = ("circular_accuracy", "position_bias")
_OF_POSITIONS = ("position_bias", "by_position")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Orders:
    """The verdicts on a question in every order of its options."""

    first: Response
    """A response to the first order."""
    right: FloatArray
    """(orders, responses): 1 or 0 (0 to 1 where graded); order r has r options moved to the end."""

    @property
    def circular(self) -> float:
        """Share of the responses that are right in every order."""
        return float((self.right == 1).all(axis=0).mean())

    def by_position(self, gold: int) -> FloatArray:
        """Share right with the gold answer at each position, (orders,).

        Args:
            gold: Its position in the first order, from 0.
        """
        orders = len(self.right)
        return np.array([self.right[(gold - at) % orders].mean() for at in range(orders)])


def add_circular(document: dict[str, Any], run: RunFolder, task: Task, verdicts: Path) -> None:
    """Add `circular_accuracy` and `position_bias` to a score, with details under `circular`.

    Nothing is added if there is no run of the other orders, or this judge has not judged it. If
    the gold answers are withheld, the published numbers on positions stay.
    """
    try:
        part = circular_part(run, task, verdicts)
    except DamagedRunError as error:
        if error.folder in (None, run.path):
            raise
        log.warning("no circular accuracy: a run of other orders cannot be read: %s", error)
        return
    if part is None:
        return
    if "answer" in run.withheld():
        stored = (d for d in run.scores() if d["judge"] == document["judge"] and CIRCULAR in d)
        published: dict[str, Any] = next((d[CIRCULAR] for d in stored), {})
        part |= {name: published[name] for name in _OF_POSITIONS if name in published}
    document["metrics"] |= {name: part[name] for name in CIRCULAR_METRICS}
    document[CIRCULAR] = part


def circular_part(run: RunFolder, task: Task, verdicts: Path) -> dict[str, Any] | None:
    """Join a run with the run of its options' other orders; a question is the unit.

    A question is right if it is right in every order (CircularEval: MMBench, arXiv 2307.06281).
    With several responses, it counts the share of responses that are right in every order.

    Returns:
        Accuracy in the first order and circular accuracy over the same `n` questions, position
        bias, accuracy by the gold answer's position, the questions that lack a verdict
        (`uncounted`), and the samples that were left out; None if there is no such run, or this
        judge has not judged it.
    """
    found = judged_twin(run, verdicts, CIRCULAR)
    if found is None:
        return None
    twin, theirs = found
    asked, whole = _whole(join_responses(run, verdicts), join_responses(twin, theirs))
    heads = [(one.first.sample_id, one.first.groups) for one in whole]

    def share(values: Sequence[float]) -> dict[str, Any]:
        units = [Response(*head, value) for head, value in zip(heads, values, strict=True)]
        return asdict(compute(Metric("accuracy"), units, task.cluster))

    bias, positions = Value(None), {}
    if "answer" not in run.withheld():
        golds = {sample.id: sample.answer for sample in run.stream_samples()}
        shares = [
            one.by_position(LETTERS.index(golds[name]))
            for one, (name, _) in zip(whole, heads, strict=True)
        ]
        bias = position_bias(shares, [home(one.first, task.cluster) for one in whole])
        positions = {
            LETTERS[at]: asdict(compute(Metric("accuracy"), units, task.cluster))
            for at, units in enumerate(_by_position(heads, shares))
        }
    return {
        "n": len(whole),
        "uncounted": asked - len(whole),
        "spec_hash": twin.spec().digest(),
        "left_out": dict(sorted(Counter(twin.skipped().values()).items())),
        "accuracy": share([float(one.right[0].mean()) for one in whole]),
        "circular_accuracy": share([one.circular for one in whole]),
        "position_bias": asdict(bias),
        "by_position": positions,
    }


def _whole(first: Sequence[Response], others: Sequence[Response]) -> tuple[int, list[Orders]]:
    """How many questions were asked in other orders, and those with a verdict on every order.

    Responses to one sample come in the order of their index.
    """
    seen: dict[str, list[Response]] = defaultdict(list)
    for response in first:
        seen[response.sample_id].append(response)
    orders: dict[str, dict[int, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    options: dict[str, int] = {}
    for response in others:
        if QUESTION in response.groups:  # else the run has not reached it
            question = response.groups[QUESTION]
            by, _, count = response.groups[ROTATION].partition("/")
            orders[question][int(by)].append(response.correct)
            options[question] = int(count)
    whole = []
    for question, found in orders.items():
        rows = [[r.correct for r in seen[question]]]
        rows += [found[by] for by in range(1, options[question])]
        columns = [c for c in zip(*rows, strict=False) if None not in c]
        if columns:
            right = np.array(columns, dtype=np.float64).T  # (orders, responses)
            whole.append(Orders(seen[question][0], right))
    return len(orders), whole


def _by_position(
    heads: Sequence[tuple[str, Mapping[str, str]]], shares: Sequence[FloatArray]
) -> list[list[Response]]:
    """For each position, the questions that have it."""
    most = max((len(one) for one in shares), default=0)
    return [
        [
            Response(*head, float(one[at]))
            for head, one in zip(heads, shares, strict=True)
            if at < len(one)
        ]
        for at in range(most)
    ]


def position_bias(shares: Sequence[FloatArray], homes: Sequence[str]) -> Value:
    """How much the gold answer's position matters: the standard deviation of accuracy over it.

    This is RStd, the standard deviation of recalls (arXiv 2309.03882), over all orders, in which
    the gold answer is at each position equally often. Noise alone would make it positive, so its
    square is reduced by the sampling variance of the recalls, cluster-robust, and a negative square
    counts as 0. The interval inverts a test of the square, as Wilson's does for a proportion: its
    variance at a bias of size b is 4 v b² + w.

    Args:
        shares: Share right by the gold answer's position, per question: (options,).
        homes: The cluster of each question; the question itself if it has none.

    Returns:
        The value in [0, 0.5] and its interval. Questions with k options are omitted if fewer than
        three clusters have such. No interval if no answer depends on the position.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(shares):
        alike[len(one)].append(place)
    kept = [places for places in alike.values() if len({homes[place] for place in places}) > 2]
    used = sum(map(len, kept))
    if not used:
        return Value(None)
    raw = noise = along = null = 0.0
    for places in kept:
        right = np.stack([shares[place] for place in places])  # (questions, options)
        effects = right - right.mean(axis=1, keepdims=True)
        mean, spread = _cluster_mean(effects, [homes[place] for place in places])
        weight, options = len(places) / used, right.shape[1]
        raw += weight * float(mean @ mean) / options
        noise += weight * float(np.trace(spread)) / options
        along += weight**2 * float(mean @ spread @ mean) / options**2
        null += weight**2 * 2 * float((spread**2).sum()) / options**2
    square = raw - noise
    value = max(0.0, square) ** 0.5
    if noise < 1e-15:
        return Value(value, n=used)
    from scipy import stats

    clusters = len({homes[place] for places in kept for place in places})
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, clusters - 1)) ** 2
    center = square + 2 * quantile * (along / raw if raw > 0 else 0.0)
    half = max(0.0, center**2 - square**2 + quantile * null) ** 0.5
    low, high = (max(0.0, center + side * half) ** 0.5 for side in (-1, 1))
    return Value(value, min(low, value), max(high, value), used)


def _cluster_mean(effects: FloatArray, homes: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """The mean of the rows, (options,), and its cluster-robust covariance, (options, options)."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(homes))}
    place = np.array([numbers[name] for name in homes])
    mean = effects.mean(axis=0)
    sums = np.zeros((len(numbers), effects.shape[1]))
    np.add.at(sums, place, effects - mean)
    scale = len(numbers) / (len(numbers) - 1) / len(effects) ** 2
    return mean, sums.T @ sums * scale
