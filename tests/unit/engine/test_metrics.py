"""Metrics against hand-worked values and scipy's own intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.agreement import kappa
from vsr1_bench.scoring.metrics import Response, compute
from vsr1_bench.scoring.statistics import ratio_interval, wilson
from vsr1_bench.task import Metric

ACCURACY = Metric("accuracy")


def response(
    sample: str, correct: float | None, extracted: str | None = None, **groups: str
) -> Response:
    return Response(sample, groups, correct, extracted)


def test_accuracy_leaves_the_unscored_out_and_strict_counts_them() -> None:
    rows = [response("a", 1), response("b", 0), response("c", None), response("d", 1)]
    assert compute(ACCURACY, rows, None).value == pytest.approx(2 / 3)
    strict = compute(Metric("s", "accuracy_strict"), rows, None)
    assert (strict.value, strict.n) == (0.5, 4)


def test_independent_samples_get_wilson() -> None:
    rows = [response(str(i), float(i < 7)) for i in range(10)]
    found = compute(ACCURACY, rows, None)
    wanted = stats.binomtest(7, 10).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert wilson(0, 0) is None


def test_clusters_widen_the_interval() -> None:
    rows = [response(f"{c}{i}", float(c % 2), figure=str(c)) for c in range(40) for i in range(5)]
    alone = compute(ACCURACY, rows, None)
    clustered = compute(ACCURACY, rows, "figure")
    assert clustered.value == alone.value == 0.5
    assert alone.low is not None and alone.high is not None
    assert clustered.low is not None and clustered.high is not None
    # five copies of one answer hold no more than one: sqrt(5) times the width
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.15)


def test_the_bootstrap_of_single_units_comes_near_the_normal_interval() -> None:
    rng = np.random.default_rng(1)
    values = (rng.random(400) < 0.3).astype(float)
    found = ratio_interval(values, np.ones(400))
    assert found is not None
    half = 1.96 * np.sqrt(values.mean() * (1 - values.mean()) / 400)
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_all_correct_by_group_and_unscored_members() -> None:
    metric = Metric("qAcc", "all_correct_by", by=("set", "question"))
    rows = [
        response("1", 1, set="a", question="x"),
        response("2", 1, set="a", question="x"),
        response("3", 1, set="a", question="y"),
        response("4", 0, set="a", question="y"),
        response("5", 1, set="b", question="x"),
        response("6", None, set="b", question="x"),
    ]
    found = compute(metric, rows, None)
    assert (found.value, found.n) == (0.5, 2)


def test_mean_by_weighs_groups_alike() -> None:
    rows = [response(str(i), 1, subject="big") for i in range(9)]
    rows.append(response("z", 0, subject="small"))
    assert compute(Metric("macro", "mean_by", by=("subject",)), rows, None).value == 0.5


def test_pass_at_is_the_unbiased_estimator() -> None:
    rows = [response("a", float(i < 2)) for i in range(5)] + [response("b", 0.0)] * 5
    # a: 1 - C(3,2)/C(5,2) = 0.7; b: 0
    assert compute(Metric("pass@2", "pass_at"), rows, None).value == pytest.approx(0.35)


def test_majority_counts_a_tie_by_its_correct_share() -> None:
    rows = [
        *(response("a", c, e) for c, e in [(1, "4"), (1, "4"), (0, "5")]),
        *(response("b", c, e) for c, e in [(0, "5"), (1, "4"), (0, None)]),
        *(Response("c", {}, 0.0, unparsed=True) for _ in range(3)),
    ]
    found = compute(Metric("majority@3", "majority_at"), rows, None)
    assert found.value == pytest.approx((1 + 0.5 + 0) / 3)


def test_a_group_that_is_missing_or_a_kind_that_is_unknown() -> None:
    with pytest.raises(ValueError, match=r"needs groups .*subject"):
        compute(Metric("m", "mean_by", by=("subject",)), [response("a", 1)], None)
    with pytest.raises(ValueError, match="unknown kind"):
        compute(Metric("m", "median"), [response("a", 1)], None)


def test_a_score_carries_its_rates() -> None:
    rows = [
        Response("a", {"kind": "x"}, 1.0, truncated=True),
        Response("b", {"kind": "x"}, 0.0, unparsed=True),
        Response("c", {"kind": "y"}, None, failed=True),
        Response("d", {"kind": "y"}, 1.0),
    ]
    score = score_responses(rows, [ACCURACY], cluster=None, per_sample=1)
    rates = score.rates
    assert (score.n, rates.total, rates.scored) == (4, 4, 3)
    assert (rates.unparsed, rates.truncated, rates.failed) == (0.25, 0.25, 0.25)
    assert not rates.ranked
    assert score.by["kind"]["x"].value == 0.5 and score.by["kind"]["y"].value == 1.0


def test_several_responses_bring_pass_and_majority_and_a_clustered_interval() -> None:
    rows = [response(str(s), float(s % 2), "4") for s in range(40) for _ in range(4)]
    score = score_responses(rows, [ACCURACY], cluster=None, per_sample=4)
    assert {"pass@4", "majority@4"} <= score.metrics.keys()
    accuracy, one = score.metrics["accuracy"], wilson(20, 40)
    assert one is not None and accuracy.low is not None
    assert accuracy.low == pytest.approx(one[0], abs=0.03)


def test_nothing_scored_is_no_value() -> None:
    score = score_responses([response("a", None)], [ACCURACY], cluster=None, per_sample=1)
    assert score.metrics["accuracy"].value is None


def test_clusters_that_all_agree_still_leave_doubt() -> None:
    """Resampling four all-right samples always gives 100 %: that is no interval."""
    rows = [response(str(s), 1.0, "4") for s in range(4) for _ in range(2)]
    score = score_responses(rows, [ACCURACY], cluster=None, per_sample=2)
    for name in ("accuracy", "pass@2", "majority@2"):
        found = score.metrics[name]
        assert (found.low, found.high) == pytest.approx(wilson(4, 4))


def test_what_was_never_made_counts_in_the_total_only() -> None:
    rows = [response("a", 1, kind="x"), Response("row 1", {}, None, made=False)]
    metric = Metric("macro", "mean_by", by=("kind",))
    whole = Metric("whole", "all_correct_by", by=("kind",))
    score = score_responses(rows, [ACCURACY, metric, whole], cluster=None, per_sample=1)
    assert (score.rates.scored, score.rates.total) == (1, 2) and not score.rates.ranked
    assert score.metrics["macro"].value == score.metrics["whole"].value == 1.0


# --- the libraries' own formulas ---


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_statsmodels(counts: tuple[int, int]) -> None:
    assert wilson(*counts) == pytest.approx(proportion_confint(*counts, method="wilson"))


def _interval(clusters: list[list[int]], error: float) -> tuple[float, float]:
    """Wilson's with the size that the clusters are worth, from a standard error found elsewhere."""
    share = np.concatenate(clusters).mean()
    size = float(len(clusters))  # where nothing varies, each cluster counts as one observation
    if error > 1e-9:
        t = stats.t.ppf(0.975, len(clusters) - 1)
        size = share * (1 - share) / error**2 * (stats.norm.ppf(0.975) / t) ** 2
    low, high = proportion_confint(share * size, size, method="wilson")
    return low, high


def _sums(clusters: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    sums = np.array([sum(members) for members in clusters], dtype=float)
    return sums, np.array([len(members) for members in clusters], dtype=float)


EQUAL = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 1), min_size=n, max_size=n), min_size=3, max_size=15)
)


@given(EQUAL)
def test_the_variance_is_statsmodels_cluster_robust_one(clusters: list[list[int]]) -> None:
    values = np.concatenate(clusters).astype(float)
    home = np.repeat(np.arange(len(clusters)), [len(members) for members in clusters])
    found = ratio_interval(*_sums(clusters))
    assert found is not None
    fit = OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": home})
    assert found == pytest.approx(_interval(clusters, float(fit.bse[0])), abs=1e-6)
    assert 0 <= found[0] <= values.mean() <= found[1] <= 1


CLUSTERS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=3, max_size=15)


@given(CLUSTERS)
def test_of_unequal_clusters_it_is_the_jackknifes(clusters: list[list[int]]) -> None:
    whole, count = np.concatenate(clusters).mean(), len(clusters)
    without = [
        np.concatenate([*clusters[:i], *clusters[i + 1 :]]).mean() for i in range(len(clusters))
    ]
    error = np.sqrt((count - 1) / count * sum((one - whole) ** 2 for one in without))
    found = ratio_interval(*_sums(clusters))
    assert found == pytest.approx(_interval(clusters, error), abs=1e-6)


def test_one_giant_cluster_does_not_speak_for_all() -> None:
    """Most samples share one image: how the others would do is as little known as before."""
    rng = np.random.default_rng(3)
    sizes = np.array([300.0] + [3.0] * 30)
    held = 0
    for _ in range(400):
        found = ratio_interval(rng.binomial(sizes.astype(int), rng.beta(2, 2, 31)) * 1.0, sizes)
        assert found is not None
        held += found[0] <= 0.5 <= found[1]
    assert held / 400 > 0.85


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=6, max_size=60))
def test_a_mean_over_groups_has_the_variance_of_stratified_samples(
    drawn: list[tuple[int, int]],
) -> None:
    rows = [response(str(i), float(c), kind=str(k)) for i, (k, c) in enumerate(drawn)]
    groups = {k: np.array([c for kind, c in drawn if kind == k], dtype=float) for k, _ in drawn}
    if min(map(len, groups.values())) < 2:
        return
    found = compute(Metric("m", "mean_by", by=("kind",)), rows, None)
    mean = np.mean([group.mean() for group in groups.values()])
    variance = sum(group.var(ddof=1) / len(group) for group in groups.values()) / len(groups) ** 2
    assert found.value == pytest.approx(mean) and found.low is not None
    if variance > 1e-9:
        n = len(drawn)
        t = stats.t.ppf(0.975, n - 1)
        size = mean * (1 - mean) / (variance * n / (n - 1)) * (stats.norm.ppf(0.975) / t) ** 2
        low, high = proportion_confint(mean * size, size, method="wilson")
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_groups_of_one_share_their_spread() -> None:
    """Each subject asked once: the mean over subjects is the mean over samples."""
    rows = [response(str(i), float(i % 2), subject=str(i)) for i in range(40)]
    found, plain = compute(Metric("m", "mean_by", by=("subject",)), rows, None), wilson(20, 40)
    assert plain is not None and found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(plain[1] - plain[0], rel=0.07)


@given(st.lists(st.integers(1, 50), min_size=4, max_size=4))
def test_kappa_is_statsmodels(counts: list[int]) -> None:
    table = np.array(counts).reshape(2, 2)
    found, theirs = kappa(table.tolist()), cohens_kappa(table)
    assert found == pytest.approx((theirs.kappa, theirs.kappa_low, theirs.kappa_upp))


def test_votes_and_groups_take_clusters_into_account() -> None:
    """Ten samples a figure, all alike: they are worth one."""
    rows = [
        response(name, float(figure % 2), "4", figure=str(figure), question=name)
        for figure in range(40)
        for name in (f"{figure}-{i}" for i in range(10))
        for _ in range(2)
    ]
    one = wilson(20, 40)
    assert one is not None
    score = score_responses(
        rows, [Metric("all", "all_correct_by", by=("question",))], cluster="figure", per_sample=2
    )
    for name in ("all", "pass@2", "majority@2"):
        found = score.metrics[name]
        assert found.low is not None and found.low == pytest.approx(one[0], abs=0.03)
