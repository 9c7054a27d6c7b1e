"""What a step of GRPO does between sampling and the update, without a model or DeepSpeed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rollouts import PROMPT, SAMPLE, Echo, OneRank, recipe, said

from vsr1_bench.errors import UsageError
from vsr1_bench.judging.open import open_judge
from vsr1_bench.records import Completion, Request
from vsr1_bench.store.journal import Journal
from vsr1_bench.train.core.checkpoints import Progress
from vsr1_bench.train.core.metrics import StepMetrics
from vsr1_bench.train.grpo import Trainer
from vsr1_bench.train.recipe import Recipe
from vsr1_bench.train.rl.own_reward import OwnReward
from vsr1_bench.train.rl.prompts import Drawn


def answers(request: Request) -> Completion:
    """Of four answers to a prompt, as many are right as its draw says; readings are right."""
    if request.key.endswith("read"):
        return said(request, "<think> a </think> \\boxed{2}")
    slot = int(request.key.partition("/")[0])
    number = 2 if request.index <= slot else 7
    return said(request, f"<description> d </description> <think> t </think> \\boxed{{{number}}}")


@contextmanager
def stepping(folder: Path, told: Recipe) -> Iterator[Any]:
    """As much of a Trainer as a step needs before its update."""
    t: Any = object.__new__(Trainer)
    t.recipe, t.folder, t.progress, t.reader = told, folder, Progress(), None
    t.ranks = SimpleNamespace(
        world=1, rank=0, first=True, gather=lambda v: [v], on_all_ranks=lambda act: act()
    )
    t.generator = Echo(answers)
    t.generator.renderer = SimpleNamespace(opened="")
    t.encoder = SimpleNamespace(tokenizer=None)
    t.data = SimpleNamespace(draw=lambda cursor, n: Drawn([(SAMPLE, PROMPT)] * n, cursor + n))
    t.own = OwnReward(told.reward) if told.reward else None
    t._check_reward(SAMPLE)
    (folder / "rollouts").mkdir(exist_ok=True)
    with open_judge("string_match") as t.judge, Journal(folder / "rollouts/r.jsonl") as t.journal:
        yield t


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rollouts/r.jsonl").read_text().splitlines()]


SMALL = {"samples_per_prompt": 4, "prompts_per_step": 4, "minibatch_prompts": 2}


def test_gdpo_normalises_over_the_step_not_the_minibatch(tmp_path: Path) -> None:
    """Four prompts with 1 to 4 right answers of 4: the last group has no variance."""
    weights = {"accuracy": 1.0, "description_accuracy": 1.0}
    told = recipe(
        objective="multi_advantage", component_weights=weights, normalize_batch=True, **SMALL
    )
    metrics = StepMetrics()
    with stepping(tmp_path, told) as t:
        groups = t._rollouts(metrics)
        minibatches = t._minibatches(groups, metrics)
    advantages = [line["advantage"] for line in journal(tmp_path)]
    assert len(advantages) == 16 and statistics.fmean(advantages) == pytest.approx(0, abs=1e-9)
    assert statistics.stdev(advantages) == pytest.approx(1, abs=1e-4)
    rows = [row for minibatch in minibatches for row in minibatch]
    assert [row.terms[0].advantage for row in rows] == advantages
    assert [len(minibatch) for minibatch in minibatches] == [8, 8]
    logged = metrics.combined(OneRank())  # type: ignore[arg-type]
    assert logged["zero_variance_share"] == 1 / 4
    assert logged["advantage/max"] == max(advantages)


def test_dropped_groups_have_no_share_of_the_moments(tmp_path: Path) -> None:
    told = recipe(
        objective="multi_advantage",
        component_weights={"accuracy": 1.0},
        normalize_batch=True,
        filter_groups=True,
        filter_tries=1,
        **SMALL,
    )
    with stepping(tmp_path, told) as t:
        groups = t._rollouts(StepMetrics())
    assert len(groups) == 3  # the fourth is right throughout
    kept = [line["advantage"] for line in journal(tmp_path) if not line["dropped"]]
    assert len(kept) == 12 and statistics.stdev(kept) == pytest.approx(1, abs=1e-4)


def test_an_own_reward_that_fails_is_journalled_and_training_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def score(verdicts, **_):\n    return {'a': 1 / verdicts['accuracy']}\n")
    told = recipe(reward=f"{file}:score", max_excluded_share=0.5, **SMALL)
    metrics = StepMetrics()
    with stepping(tmp_path, told) as t:
        groups = t._rollouts(metrics)
        rows = [row for minibatch in t._minibatches(groups, metrics) for row in minibatch]
        t._keep_reward()
        file.write_text("def score(**_):\n    return {'a': 1}\n")
        t.own, t.progress.step = OwnReward(told.reward), 1
        with pytest.raises(UsageError, match="has changed since the checkpoint"):
            t._keep_reward()
    lines = journal(tmp_path)
    failed = [line for line in lines if line["reward"] is None]
    assert len(failed) == 6 and len(rows) == 10  # 0 + 1 + 2 + 3 wrong answers
    assert "ZeroDivisionError: float division by zero (line 2)" in failed[0]["reasons"]["reward"]
    assert failed[0]["advantage"] is None and failed[0]["verdicts"]["accuracy"] == 0.0
    assert (tmp_path / "reward.py").is_file()


def test_a_draw_is_journalled_before_the_next_one(tmp_path: Path) -> None:
    """So that nothing is lost if the engine dies in between."""
    told = recipe(filter_groups=True, filter_tries=2, filter_low=0.99, **SMALL)
    with stepping(tmp_path, told) as t:
        first = t.data.draw

        def dies(cursor: int, n: int) -> Drawn:
            if cursor:
                raise RuntimeError("the engine died")
            drawn: Drawn = first(cursor, n)
            return drawn

        t.data.draw = dies
        with pytest.raises(RuntimeError, match="died"):
            t._rollouts(StepMetrics())
        assert len(journal(tmp_path)) == 16
