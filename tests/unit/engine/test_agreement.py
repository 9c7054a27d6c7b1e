"""Kappa as statsmodels and hand-worked tables have it, and what is compared with what."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli import error_line, here
from scored import spec_of, stored_run
from statsmodels.stats.inter_rater import cohens_kappa

from judges import box, sums
from vsr1_bench.errors import UsageError
from vsr1_bench.scoring.agreement import kappa, named_judges


@pytest.mark.parametrize(
    ("table", "by_hand"),
    [
        (((20, 5), (10, 15)), 0.4),  # observed 0.7, by chance 0.5
        (((45, 15), (25, 15)), 6 / 46),  # 0.6 and 0.54
        (((25, 35), (5, 35)), 14 / 54),  # 0.6 and 0.46
        (((10, 0), (0, 10)), 1.0),
        (((0, 10), (10, 0)), -1.0),
        (((5, 5), (5, 5)), 0.0),
    ],
)
def test_kappa(table: tuple[tuple[int, int], tuple[int, int]], by_hand: float) -> None:
    value, low, high = kappa(table)
    theirs = cohens_kappa(table)
    assert value == pytest.approx(by_hand) and value == pytest.approx(theirs.kappa)
    assert (low, high) == pytest.approx((theirs.kappa_low, theirs.kappa_upp))


def test_the_interval_by_hand() -> None:
    # Fleiss, Cohen and Everitt 1969; the terms of (20, 5, 10, 15) summed by hand.
    n, k = 50, 0.4
    p = [[0.4, 0.1], [0.2, 0.3]]
    rows, columns, chance = [0.5, 0.5], [0.6, 0.4], 0.5
    a = sum(p[i][i] * (1 - (rows[i] + columns[i]) * (1 - k)) ** 2 for i in range(2))
    b = (1 - k) ** 2 * sum(
        p[i][j] * (columns[i] + rows[j]) ** 2 for i in range(2) for j in range(2) if i != j
    )
    c = (k - chance * (1 - k)) ** 2
    error = ((a + b - c) / n) ** 0.5 / (1 - chance)
    _, low, high = kappa(((20, 5), (10, 15)))
    assert (low, high) == pytest.approx((k - 1.959964 * error, k + 1.959964 * error), abs=1e-6)


@pytest.mark.parametrize("table", [((0, 0), (0, 0)), ((9, 0), (0, 0)), ((0, 0), (0, 9))])
def test_kappa_where_it_is_not_defined(table: tuple[tuple[int, int], tuple[int, int]]) -> None:
    assert kappa(table) == (None, None, None)


def test_names_may_hold_commas() -> None:
    known = ["a", "cascade:a,b", "b", "majority:cascade:a,b*3"]
    assert named_judges("cascade:a,b,a", known) == ["cascade:a,b", "a"]
    assert named_judges("b, majority:cascade:a,b*3", known) == ["b", "majority:cascade:a,b*3"]
    for text, said in (("a,c", "no verdicts of 'c'"), ("a", "at least two"), ("a,a", "two")):
        with pytest.raises(UsageError, match=said):
            named_judges(text, known)


def test_two_judges_and_people(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(0), box(2), "<b>|four", box(9), box(8), box(11))
    labels = tmp_path / "labels.jsonl"
    said = ["correct", "wrong", "correct", "wrong", "correct"]  # and none on the last
    rows = [json.dumps({"row": n, "label": label}) for n, label in enumerate(said)]
    labels.write_text("\n".join(rows))
    plugins = ("--include_path", path)
    assert here("judge", runs, "--judge", "exact", *plugins).returncode == 0
    assert here("judge", runs, "--judge", "labels", "--labels", labels, *plugins).returncode == 75
    done = here("agreement", runs, "--judges", "exact,labels", "--json")
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert (found["n"], found["unscored"]) == (5, 1)
    assert found["table"] == [[2, 1], [1, 1]]
    assert found["kappa"]["value"] == pytest.approx((0.6 - 0.52) / 0.48)
    differ = {d["sample_id"]: (d["first"], d["second"]) for d in found["disagreements"]}
    assert differ == {"q001": ("correct", "incorrect"), "q002": ("incorrect", "correct")}
    done = here("agreement", runs, "--judges", "exact,labels", "--show", "1")
    assert re.search(r"exact and labels\[labels~[0-9a-f]{8}\]: kappa 0.167 \(95 % ", done.stdout)
    assert "1 more: --show N" in done.stdout
    done = here("agreement", runs, "--judges", "exact,math")
    assert "no verdicts of 'math'" in error_line(done.returncode, 2, done.stderr)


def test_runs_that_people_have_labelled_in_a_file_each(tmp_path: Path) -> None:
    for model in "ab":
        for judge in ("string_match", f"labels[{model}~12345678]"):
            stored_run(tmp_path / "runs", spec_of(model, "alpha"), [1.0, 0.0], judge=judge)
    done = here("agreement", tmp_path / "runs", "--judges", "string_match,labels", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["n"] == 4
    stored_run(tmp_path / "runs", spec_of("b", "alpha"), [1.0], judge="labels[c~12345678]")
    done = here("agreement", tmp_path / "runs", "--judges", "string_match,labels", "--json")
    assert "several are stored" in error_line(done.returncode, 2, done.stderr)
