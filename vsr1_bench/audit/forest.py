"""Text-only forest: how well the wording of the questions alone predicts the gold answers.

The test-set stress test of Brown et al. ("Benchmark Designers Should 'Train on the Test Set'",
arXiv:2511.04655v1) in its variant TsT-RF: a random forest is trained on text features of k - 1
folds of the test set and answers the k-th. Its accuracy over all folds is the benchmark's
non-visual solvability. The bias score of an item is the probability of its gold answer under the
forest that has not seen it:

    s(x) = P(gold answer of x | text of x; forest trained without the fold of x),

0 if no item of the other folds has that answer (so in the authors' code,
github.com/vision-x-nyu/test-set-training, src/TsT/evaluators/rf.py). What is ours: the features,
which fit any task; open answers are classes, too; and the test. The paper compares with blind
models, here the same forest is trained on shuffled answers. They are shuffled within a form (answer
type and number of options), because the form of an answer is no secret of the benchmark.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.audit.features import Features, features_of
from vsr1_bench.audit.items import Item
from vsr1_bench.audit.priors import answer, by_form, uniform_chance
from vsr1_bench.scoring.statistics import Interval, wilson

FOLDS = 5
TREES = 24
TREE_SAMPLES = 512
"""Items that each tree is grown on; it bounds the time for large benchmarks."""
SHARE_OF_FEATURES = 0.25
SHUFFLES = 39
"""Shuffled sets: the smallest p is 1/40."""
LEVEL = 0.025
ENOUGH = 5
"""After this many shuffled sets at least as accurate, the rest are not drawn (Besag and Clifford
1991, Sequential Monte Carlo p-values): p is then `ENOUGH` over the number drawn."""
LEAST_ITEMS = 50
MOST_ANSWERS = 64
"""The most frequent answers are classes of their own; all others are one class, which is never
right."""
OTHER = -1
SEED = 20260101

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Forest:
    """What the wording gives away."""

    n: int
    right: int
    """Items that the forest answers right without having seen them."""
    uniform: float
    """Chance 1: one of the answers to the form, drawn at random."""
    constant: float
    """Chance 2: the most frequent answer to the form."""
    shuffled: tuple[float, ...]
    """Chance 3: accuracy of the forest on shuffled answers; the test is against these."""
    p_value: float
    """One-sided: how often shuffled answers are predicted at least as well."""
    bias: tuple[float, ...]
    """s(x) of each item, (N,), 0 to 1."""
    features: tuple[tuple[str, float], ...]
    """The most important features with their share of the importance; only descriptive."""

    @property
    def accuracy(self) -> float:
        """Share right, 0 to 1."""
        return self.right / self.n

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.right, self.n) or (0.0, 1.0)

    @property
    def chance(self) -> float:
        """Mean accuracy on shuffled answers."""
        return float(np.mean(self.shuffled))

    @property
    def suspicious(self) -> bool:
        """Whether the wording predicts better than it predicts shuffled answers.

        And better than the most frequent answer, which needs no wording: 3 of 500 open answers are
        more than none, and give nothing away.
        """
        return self.p_value <= LEVEL and self.accuracy > self.constant


def why_no_forest(items: Sequence[Item]) -> str | None:
    """Why a benchmark cannot be tested; None if it can."""
    if len(items) < LEAST_ITEMS:
        return f"Not run: {len(items)} items are too few; wanted at least {LEAST_ITEMS}."
    if max(Counter(map(answer, items)).values()) < FOLDS:
        return "Not run: no answer occurs often enough to be learnt."
    return None


def grow_forest(
    items: Sequence[Item],
    cluster: str | None = None,
    *,
    shuffles: int = SHUFFLES,
    progress: bool = True,
) -> Forest:
    """Test whether the wording gives the answers away.

    Args:
        items: Those for which `why_no_forest` has no objection.
        cluster: Group whose members come into the same fold; None = items are independent.
        shuffles: Shuffled sets to draw at most.
        progress: Whether to show a bar.

    Raises:
        ImportError: scikit-learn is missing.
    """
    table, names = features_of(items)
    labels = _labels(items)
    folds = _folds(items, cluster)
    forms = list(by_form(items).values())
    with progress_bar(shuffles + 1, "text-only forest", "fit", shown=progress) as bar:
        right, bias = _cross_validated(table, labels, folds)
        bar.update()
        shuffled: list[float] = []
        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool, warnings.catch_warnings():
            # Its forests warn when several threads change the filters of warnings at once.
            warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
            while len(shuffled) < shuffles and sum(s >= right for s in shuffled) < ENOUGH:
                numbers = range(len(shuffled), min(len(shuffled) + workers, shuffles))
                jobs = [(table, _shuffled(labels, forms, n), folds) for n in numbers]
                for one, _ in pool.map(lambda job: _cross_validated(*job), jobs):
                    # How many are drawn at once must not change the result.
                    if sum(s >= right for s in shuffled) < ENOUGH:
                        shuffled.append(one)
                    bar.update()
    above = sum(one >= right for one in shuffled)
    p_value = above / len(shuffled) if above >= ENOUGH else (1 + above) / (1 + len(shuffled))
    most = sum(max(Counter(answer(items[n]) for n in form).values()) for form in forms)
    return Forest(
        n=len(items),
        right=int(right),
        uniform=uniform_chance(items),
        constant=most / len(items),
        shuffled=tuple(one / len(items) for one in shuffled),
        p_value=p_value,
        bias=tuple(map(float, bias)),
        features=_important(table, labels, names),
    )


def _labels(items: Sequence[Item]) -> Labels:
    """Number of each item's answer, (N,); `OTHER` for rare ones."""
    counts = Counter(map(answer, items))
    frequent = [name for name, n in counts.most_common(MOST_ANSWERS) if n > 1]
    numbers = {name: number for number, name in enumerate(frequent)}
    return np.array([numbers.get(answer(item), OTHER) for item in items])


def _folds(items: Sequence[Item], cluster: str | None) -> list[tuple[Labels, Labels]]:
    """Item numbers to train on and to answer, per fold; a cluster is never on both sides."""
    from sklearn.model_selection import GroupKFold, KFold

    everything = np.zeros((len(items), 1))
    groups = [item.groups.get(cluster, item.id) for item in items] if cluster else []
    if len(set(groups)) >= FOLDS:
        splitter = GroupKFold(FOLDS, shuffle=True, random_state=SEED)
        return list(splitter.split(everything, groups=groups))
    return list(KFold(FOLDS, shuffle=True, random_state=SEED).split(everything))


def _classifier(n: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        TREES,
        min_samples_leaf=2,
        max_features=SHARE_OF_FEATURES,
        max_samples=min(TREE_SAMPLES, n),
        random_state=SEED,
        n_jobs=1,
    )


def _cross_validated(
    table: Features, labels: Labels, folds: Sequence[tuple[Labels, Labels]]
) -> tuple[int, NDArray[np.float64]]:
    """Number of items answered right out of fold, and P(gold) of each, (N,)."""
    right, bias = 0, np.zeros(len(labels))
    for train, test in folds:
        model = _classifier(len(train)).fit(table[train], labels[train])
        shares = model.predict_proba(table[test])
        known = model.classes_
        place = np.searchsorted(known, labels[test])
        place[place == len(known)] = 0
        is_known = (known[place] == labels[test]) & (labels[test] != OTHER)
        bias[test] = np.where(is_known, shares[np.arange(len(test)), place], 0.0)
        right += int(((known[shares.argmax(axis=1)] == labels[test]) & is_known).sum())
    return right, bias


def _shuffled(labels: Labels, forms: Sequence[Sequence[int]], number: int) -> Labels:
    """The answers in another order within each form; the same number gives the same order."""
    random = np.random.default_rng((SEED, number))
    mixed = labels.copy()
    for members in forms:
        mixed[members] = random.permutation(labels[members])
    return mixed


def _important(
    table: Features, labels: Labels, names: Sequence[str], shown: int = 10
) -> tuple[tuple[str, float], ...]:
    """The most important features of a forest over all items."""
    shares = _classifier(len(labels)).fit(table, labels).feature_importances_
    order = np.argsort(-shares, kind="stable")[:shown]
    return tuple((names[n], float(shares[n])) for n in order)
