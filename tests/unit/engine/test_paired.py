"""The paired difference against hand-worked values, scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from vsr1_bench.scoring.paired import holm, mcnemar_exact, paired_difference, sign_flips

VERDICTS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=60)


def test_counts_and_difference_are_second_minus_first() -> None:
    found = paired_difference([1, 1, 0, 0, 0], [1, 0, 1, 1, 0])
    assert (found.first, found.second) == (pytest.approx(0.4), pytest.approx(0.6))
    assert found.difference == pytest.approx(0.2)
    assert (found.n, found.wins, found.losses, found.ties) == (5, 2, 1, 2)
    assert found.low is not None and found.high is not None
    assert found.low < 0.2 < found.high


@given(VERDICTS)
def test_mcnemar_is_statsmodels(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    table = [[sum(p == (i, j) for p in pairs) for j in (1, 0)] for i in (1, 0)]
    found = paired_difference(first, second)
    assert found.mcnemar == pytest.approx(float(mcnemar(table, exact=True).pvalue))
    assert found.p_value == found.mcnemar and found.test == "McNemar exact"


@given(st.integers(0, 6), st.integers(0, 6))
def test_sign_flips_of_single_samples_are_mcnemar(wins: int, losses: int) -> None:
    sums = np.array([1.0] * wins + [-1.0] * losses + [0.0])
    assert sign_flips(sums)[0] == pytest.approx(mcnemar_exact(wins, losses))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))
    assert holm([]) == []


@given(VERDICTS)
def test_exchanging_the_runs_turns_the_sign(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert one.difference == pytest.approx(-other.difference)
    assert one.low is not None and other.high is not None
    assert one.low == pytest.approx(-other.high)
    assert (one.wins, one.losses, one.p_value) == (other.losses, other.wins, other.p_value)


def test_copies_within_a_cluster_are_no_further_evidence() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    one = paired_difference(a, b)
    copies = paired_difference(np.repeat(a, 10), np.repeat(b, 10), np.repeat(np.arange(60), 10))
    assert copies.clusters == 60 and copies.n == 600
    assert copies.p_value == pytest.approx(one.p_value, abs=0.01)
    assert copies.test == "sign flips of clusters"
    assert copies.mcnemar is not None and copies.mcnemar < one.p_value
    assert one.low is not None and one.high is not None
    assert copies.low is not None and copies.high is not None
    assert copies.high - copies.low == pytest.approx(one.high - one.low, rel=0.1)


def test_several_responses_a_sample_have_no_mcnemar() -> None:
    found = paired_difference([0.5, 0.25, 1.0], [0.75, 0.25, 1.0])
    assert found.mcnemar is None and (found.wins, found.ties) == (1, 2)
    assert found.test == "sign flips of clusters" and found.p_value == 1.0


def test_many_unequal_clusters_come_near_the_t_test() -> None:
    rng = np.random.default_rng(1)
    sums = rng.choice([-2.0, -1.0, 0.0, 1.0, 2.0], 1500, p=[0.2, 0.1, 0.3, 0.2, 0.2])
    p_value, test = sign_flips(sums)
    assert test == "t test of clusters"
    assert p_value == pytest.approx(sign_flips(sums[:1400])[0], abs=0.2)
    assert p_value == pytest.approx(float(stats.ttest_1samp(sums, 0).pvalue))


def test_runs_that_never_differ_still_leave_doubt() -> None:
    found = paired_difference([1] * 50, [1] * 50)
    assert found.difference == 0 and found.p_value == 1.0
    assert found.low is not None and found.high is not None
    assert -0.1 < found.low < -0.02 and 0.02 < found.high < 0.1


def test_a_difference_of_verdicts_needs_as_many_samples_that_change() -> None:
    """However alike two runs are: McNemar's exact test never sees fewer than six of one kind."""
    rng = np.random.default_rng(4)
    for n in (25, 10_000):
        said = paired_difference([1] * n, [1] * n).detectable
        assert said is not None and 6 < said * n < 9
        assert paired_difference([1] * n, [1] * (n - 1) + [0]).detectable == pytest.approx(
            said, rel=0.05
        )
        changed = rng.binomial(n, said, 2000)
        assert np.mean([mcnemar_exact(int(wins), 0) < 0.05 for wins in changed]) > 0.65


def test_no_difference_is_detectable_that_cannot_be() -> None:
    assert paired_difference([1, 0], [1, 1]).detectable is None  # it would be 816 points
    assert paired_difference([1, 0, 1], [1, 1, 0]).detectable is None
    ten = paired_difference([1] * 10, [1] * 9 + [0]).detectable
    assert ten is not None and 0.3 < ten < 0.7
    for first, second in ((0.5, 0.5), (2 / 3, 1.0)):  # shares that never vary
        assert paired_difference([first] * 15, [second] * 15).detectable is None


def test_the_detectable_difference_is_found_in_80_percent() -> None:
    """Draw comparisons whose true difference is the one said to be detectable."""
    rng = np.random.default_rng(2)
    n, agree = 300, 0.8
    base = rng.choice([-1.0, 0.0, 1.0], n, p=[0.1, agree, 0.1])
    said = paired_difference(base < 0, base > 0).detectable
    assert said is not None
    p = [(0.2 - said) / 2, agree, (0.2 + said) / 2]
    found = [
        stats.ttest_1samp(rng.choice([-1.0, 0.0, 1.0], n, p=p), 0).pvalue < 0.05 for _ in range(600)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


def test_what_cannot_be_compared() -> None:
    for first, second in [([], []), ([1], [1, 0]), ([0, 2], [0, 1]), ([0.0, float("nan")], [0, 1])]:
        with pytest.raises(ValueError, match="wanted"):
            paired_difference(first, second)
    with pytest.raises(ValueError, match="clusters"):
        paired_difference([1, 0], [0, 1], ["a"])
    assert paired_difference([1], [0]).low is None
