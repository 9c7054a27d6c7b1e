"""MMVP: options in one string, pairs by index, and both of a pair right."""

from __future__ import annotations

import pytest
from judged import judged

from vsr1_bench.errors import RowError
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.task import Row
from vsr1_bench.tasks.mmvp import TASK, example, to_sample

ROW = dict(example())


@pytest.mark.parametrize(
    ("options", "choices"),
    [
        ("(a) Long (b) Short", ("Long", "Short")),
        ("(a)Yes(b)No", ("Yes", "No")),
        ("(A) 4 (four) (B) 5 (five)", ("4 (four)", "5 (five)")),
    ],
)
def test_options_are_split_at_their_letters_only(options: str, choices: tuple[str, ...]) -> None:
    assert to_sample(ROW | {"Options": options}).choices == choices


@pytest.mark.parametrize("gold", ["(b)", "b", " (B) "])
def test_the_gold_is_a_letter(gold: str) -> None:
    sample = to_sample(ROW | {"Correct Answer": gold})
    assert sample.answer == "B"
    said = ["B", "(b)", "(b) Short", "short", "\\boxed{A}", "long or short", ""]
    right = [judged(TASK, sample, text).outcome == "correct" for text in said]
    assert right == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Options": "Long or short"}, r"not of the form '\(a\) … \(b\) …': 'Long or short'"),
        ({"Correct Answer": "(c)"}, r"'\(c\)' is neither \(a\) nor \(b\)"),
        ({"Correct Answer": ""}, "'' is neither"),
        ({"Index": 0}, "Index 0: pairs need an index that counts from 1"),
    ],
)
def test_a_row_that_does_not_fit_is_named(change: Row, message: str) -> None:
    with pytest.raises(RowError, match=message):
        to_sample({**ROW, **change})


def test_pair_accuracy_needs_both() -> None:
    responses = [
        Response(s.id, dict(s.groups), float(right))
        for n, right in enumerate((1, 1, 1, 0, 0, 1), start=1)
        for s in [to_sample(ROW | {"Index": n})]
    ]
    score = score_responses(responses, TASK.metrics, cluster=TASK.cluster, per_sample=1)
    found = {name: (value.value, value.n) for name, value in score.metrics.items()}
    assert found["pair_accuracy"] == (pytest.approx(1 / 3), 3)
    assert found["accuracy"] == (pytest.approx(4 / 6), 6)


def test_a_missing_image_fails_its_sample() -> None:
    assert to_sample(ROW | {"image": None}).images[0].sha256().startswith("unreadable")
