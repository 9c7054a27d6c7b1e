"""The pass with masked images, on the embedded model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed", reason="the train extra is not installed here")

from tests.smollm import smollm  # noqa: E402
from tests.training import counting_rows, metrics, small_recipe, trainer, weights  # noqa: E402
from vsr1_bench.errors import UsageError  # noqa: E402
from vsr1_bench.train import grpo  # noqa: E402
from vsr1_bench.train.core.metrics import StepMetrics  # noqa: E402

PAPO: dict[str, Any] = {"masked_pass": "papo", "papo_gamma": 0.01, "entropy_penalty": 0.03}
VPPO: dict[str, Any] = {"masked_pass": "vppo", "entropy_penalty": 0.06}
BOTH: dict[str, Any] = PAPO | {"papo_masked_entropy": 0.03}


def answering(folder: Path, **changes: Any) -> Any:
    """`answer_only` on rows of which each fourth has no image."""
    rows = counting_rows(folder / "rows")
    told: dict[str, Any] = {
        "task": None,
        "dataset": str(rows),
        "judge": "string_match",
        "objective": "answer_only",
        "prompts_per_step": 4,
        "minibatch_prompts": 4,
    }
    return small_recipe(folder / "run", **told | changes)


def test_responses_depend_on_the_image_and_only_where_there_is_one(tmp_path: Path) -> None:
    with trainer(answering(tmp_path)) as t:
        groups = t._rollouts(StepMetrics())
        tokenizer = t.encoder.tokenizer
        rows = [row for group in groups for row in grpo.rows_of(group, t.recipe, tokenizer)]
        largest = {}
        for kind in ("image", "text"):
            of_kind = [row for row in rows if row.kind == kind]
            masked = [replace(row, masked=True) for row in of_kind]
            seen, unseen = (t.engine.score(t.encoder.collate(m)) for m in (of_kind, masked))
            largest[kind] = float((seen - unseen).abs().max())
        assert largest["text"] < 1e-5 and largest["image"] > 0.1
        one, *others = [row.request for row in rows if row.kind == "image"]
        first = t.encoder.encode(one, masked=True)
        alike = [r for r in others if r.sample_id == one.sample_id]
        assert alike and all(t.encoder.encode(r, masked=True) is first for r in alike)
        later = replace(one, sampling=replace(one.sampling, seed=one.sampling.seed + 1))
        pixels = [e["pixel_values"] for e in (first, t.encoder.encode(later, masked=True))]
        assert pixels[0].shape == pixels[1].shape and not torch.equal(*pixels)


@pytest.mark.parametrize("changes", [PAPO, BOTH, VPPO], ids=["papo", "both", "vppo"])
def test_both_train_alike_however_it_is_cut(tmp_path: Path, changes: dict[str, Any]) -> None:
    """With rows of both kinds; the masked rows have operations of their own."""
    after, told = [], []
    cuts: tuple[dict[str, Any], ...] = ({}, {"microbatch_tokens": 100}, {"masked_pass": None})
    for number, cut in enumerate(cuts):
        off = {"papo_masked_entropy": 0.0} if "masked_pass" in cut else {}
        with trainer(answering(tmp_path / str(number), max_steps=1, **changes | cut | off)) as t:
            t.run()
            after.append(weights(t))
        told += metrics(tmp_path / str(number) / "run")
    distance = max(float((after[0][n] - after[1][n]).abs().max()) for n in after[0])
    other = max(float((after[0][n] - after[2][n]).abs().max()) for n in after[0])
    assert told[0]["grad_norm"] == pytest.approx(told[1]["grad_norm"], rel=1e-3)
    assert told[0]["loss"] == pytest.approx(told[1]["loss"], abs=1e-5)
    assert distance < 2e-5 < other
    assert told[0]["visual_dependence"] == pytest.approx(told[1]["visual_dependence"], rel=1e-4)
    assert told[0]["visual_dependence"] > 0.1 and "visual_dependence" not in told[2]
    assert told[0]["tokens_trained"] == told[2]["tokens_trained"]
    if "papo_masked_entropy" in changes:
        assert told[2]["flops"] < told[0]["flops"] < 2 * told[2]["flops"]
    else:
        assert told[0]["flops"] == told[2]["flops"]
        assert 0.1 < told[0]["flops/masked"] / told[0]["flops"] < 0.34


def test_a_model_without_images_has_nothing_to_mask(tmp_path: Path) -> None:
    recipe = answering(tmp_path, model=str(smollm()), **PAPO)
    with pytest.raises(UsageError, match="reads text only"), trainer(recipe):
        pass
