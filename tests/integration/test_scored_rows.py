"""Rows whose gradient is 0 are scored for the metrics and get no backward pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed", reason="the train extra is not installed here")

from tests.training import small_recipe, trainer, weights  # noqa: E402
from vsr1_bench.records import Message, Request, Sampling  # noqa: E402
from vsr1_bench.train.core.encoding import Term, TrainRow  # noqa: E402
from vsr1_bench.train.core.metrics import StepMetrics  # noqa: E402
from vsr1_bench.train.recipe import Recipe  # noqa: E402
from vsr1_bench.train.rl.updates import _has_advantage  # noqa: E402

UPDATES = ((1, 0, -1, 0), (0, 0, 0, 0), (0, 0, 0, 1))
"""Advantages of two prompts with images and two without, in three updates."""
METRICS = ("loss", "grad_norm", "entropy", "ratio", "clip/low_share", "mismatch/mean")


def rows_of(requests: list[Request], advantages: tuple[int, ...]) -> list[TrainRow]:
    """Two responses to each prompt; one of the first prompt's has no advantage either."""
    return [
        TrainRow(
            replace(request, index=n),
            tuple(range(9, 15 + n)),
            (-3.0,) * (6 + n),
            terms=(Term("answer", 1.0, float(advantage * n), (0, 6 + n)),),
        )
        for request, advantage in zip(requests, advantages, strict=True)
        for n in range(2)
    ]


@pytest.mark.parametrize(("stage", "minibatches"), [("zero0", 1), ("zero0", 2), ("zero3", 1)])
def test_weights_and_metrics_are_those_with_all_backward_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, minibatches: int
) -> None:
    """Also momentum and decay, which move weights whose gradient is 0."""
    told: dict[bool, list[Any]] = {}
    for penalised in (False, True):
        monkeypatch.setattr(Recipe, "penalised", property(lambda self, p=penalised: p))
        changes = {"lr": 1e-2, "warmup_steps": 0, "weight_decay": 0.1, "deepspeed": stage}
        recipe = small_recipe(tmp_path / str(penalised), **changes)
        told[penalised] = []
        with trainer(recipe) as t:
            shown = [request for _, request in t.data.draw(0, 2).requests]
            blind = {"images": (), "messages": (Message("user", ("Why?",)),)}
            requests = [*shown, *(replace(request, **blind) for request in shown)]
            for step, advantages in enumerate(UPDATES):
                rows, metrics = rows_of(requests, advantages), StepMetrics()
                cut = [rows] if minibatches == 1 else [rows[::2], rows[1::2]]
                t.updater.update(cut, metrics, step=step)
                told[penalised].append((t.log(metrics), weights(t)))
    for (one, own), (other, theirs) in zip(told[False], told[True], strict=True):
        for name in METRICS:
            assert one[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6), name
        assert one["flops"] < 0.8 * other["flops"]
        for name, value in own.items():
            torch.testing.assert_close(value, theirs[name], rtol=0, atol=2e-5, msg=name)
    (_, before), (_, after), _ = told[False]
    assert all(not torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize(
    ("changes", "penalised"),
    [
        ({"beta": 0.0}, False),
        ({"beta": 0.01}, True),
        ({"beta": 0.0, "entropy_penalty": 0.03}, True),
        ({"beta": 0.0, "masked_pass": "papo"}, True),
        ({"beta": 0.0, "masked_pass": "vppo"}, False),
    ],
)
def test_a_penalty_needs_the_gradient_of_all_rows(
    tmp_path: Path, changes: dict[str, Any], penalised: bool
) -> None:
    assert small_recipe(tmp_path, **changes).penalised is penalised


@pytest.mark.parametrize(
    ("advantages", "learnt"), [([], False), ([(0.0, None)], False), ([(0.0, 1.0)], True)]
)
def test_any_advantage_of_a_row_counts(
    advantages: list[tuple[float, float | None]], learnt: bool
) -> None:
    terms = tuple(
        Term("answer", 1.0, one, (0, 4), None if other is None else (other, (0, 2)))
        for one, other in advantages
    )
    request = Request("", (Message("user", ("Why?",)),), Sampling())
    assert _has_advantage(TrainRow(request, (1,) * 4, (), terms=terms)) is learnt
