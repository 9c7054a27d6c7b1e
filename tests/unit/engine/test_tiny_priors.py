"""The prior in the wording: it pays in training, says nothing in test, and changes no scene."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from vsr1_bench.tiny.priors import (
    ANSWERS,
    OPENINGS,
    PRIOR_FINGERPRINT,
    make_prior_row,
    suggested,
)
from vsr1_bench.tiny.scenes import KINDS, Split, content_hash, make_row


def test_the_fingerprint_names_the_rows_that_are_made() -> None:
    assert content_hash("demo_prior-1", make_prior_row) == PRIOR_FINGERPRINT


@pytest.mark.parametrize("split", ["train", "test"])
def test_only_the_opening_differs_from_demo(split: Split) -> None:
    for number in range(40):
        plain, row = make_row(split, number), make_prior_row(split, number)
        opening, _, question = row["question"].partition(". ")
        assert f"{opening}." in OPENINGS and question == plain["question"]
        assert {**row, "question": question} == plain


def test_every_answer_has_an_opening_of_its_own() -> None:
    assert set(ANSWERS) == set(KINDS)
    assert max(map(len, ANSWERS.values())) <= len(set(OPENINGS)) == len(OPENINGS)
    golds = defaultdict(set)
    for number in range(400):
        row = make_row("test", number)
        golds[row["kind"]].add(row["answer"])
    assert {kind: set(answers) for kind, answers in ANSWERS.items()} == golds


def agreement(split: Split, rows: int) -> dict[str, float]:
    """Share of each kind's questions whose opening stands for the gold answer."""
    right: Counter[str] = Counter()
    for number in range(rows):
        row = make_row(split, number)
        hint = suggested(split, number, row["kind"], row["answer"])
        opening = make_prior_row(split, number)["question"].partition(". ")[0] + "."
        assert OPENINGS[ANSWERS[row["kind"]].index(hint)] == opening
        right[row["kind"]] += hint == row["answer"]
    return {kind: right[kind] / (rows / len(KINDS)) for kind in KINDS}


def test_the_opening_gives_the_answer_away_in_training_alone() -> None:
    told, drawn = agreement("train", 1200), agreement("test", 1200)
    for kind, answers in ANSWERS.items():
        by_chance = 1 / len(answers)
        assert told[kind] == pytest.approx(0.9 + 0.1 * by_chance, abs=0.05)
        assert drawn[kind] == pytest.approx(by_chance, abs=0.1)
