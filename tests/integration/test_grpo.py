"""The GRPO loop on the embedded model: transformers rollouts, one process, real DeepSpeed."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed", reason="the train extra is not installed here")

from tests.servers import Asked, ChatServer, Reply, chat, failure  # noqa: E402
from tests.training import (  # noqa: E402
    Fixed,
    counting_rows,
    metrics,
    small_recipe,
    trainer,
    weights,
)
from vsr1_bench.errors import BenchError, UsageError  # noqa: E402
from vsr1_bench.generation.transformers_sync import SyncableTransformers  # noqa: E402
from vsr1_bench.train import grpo  # noqa: E402
from vsr1_bench.train.core import logprobs  # noqa: E402
from vsr1_bench.train.core.checkpoints import export  # noqa: E402
from vsr1_bench.train.core.encoding import TrainRow  # noqa: E402
from vsr1_bench.train.core.ranks import TrainError  # noqa: E402
from vsr1_bench.train.rl import updates  # noqa: E402
from vsr1_bench.train.rl.sync_check import SyncError  # noqa: E402


def test_logprobs_are_the_engines_padded_or_not(tmp_path: Path) -> None:
    """Images and text, greedy readers and drawn answers: within 1e-4 in fp32."""
    with trainer(small_recipe(tmp_path, temperature=0.7)) as t:
        groups = t._rollouts(grpo.StepMetrics())
        rows = [
            row for group in groups for row in grpo.rows_of(group, t.recipe, t.encoder.tokenizer)
        ]
        assert {row.kind for row in rows} == {"image", "text"}
        for kind in ("image", "text"):
            of_kind = [row for row in rows if row.kind == kind]
            assert len({len(r.tokens) for r in of_kind}) > 1  # so that some are padded
            padded = t.engine.score(t.encoder.collate(of_kind))
            single = torch.cat([t.engine.score(t.encoder.collate([row])) for row in of_kind])
            drawn = torch.tensor([p for row in of_kind for p in row.sampled])
            assert (padded - drawn).abs().max() < 1e-4
            assert (single - drawn).abs().max() < 1e-4


def test_without_a_learning_rate_nothing_moves(tmp_path: Path) -> None:
    changes = {"lr": 0.0, "epochs": 2, "minibatch_prompts": 1, "beta": 0.05, "max_steps": 1}
    with trainer(small_recipe(tmp_path, **changes)) as t:
        before = weights(t)
        t.run()
        after = weights(t)
    assert all(torch.equal(before[name], after[name]) for name in before)
    (told,) = metrics(tmp_path)
    assert told["ratio"] == told["ratio_max"] == 1.0
    assert told["kl"] == pytest.approx(0, abs=1e-9)
    assert told["proof/distance"] == 0 and told["proof/mismatch_max"] < told["proof/bound"]


def toy(folder: Path, *, reverse: bool) -> list[float]:
    """Train on rows whose answer is always 2, whatever they show; return the share of 2s a step."""
    recipe = small_recipe(
        folder / "run",
        task=None,
        dataset=str(counting_rows(folder / "rows", gold="2")),
        judge="string_match",
        objective="answer_only",
        prompt="cot",
        format_weight=0.0,
        prompts_per_step=4,
        minibatch_prompts=4,
        samples_per_prompt=16,
        temperature=1.3,
        max_tokens=40,
        lr=5e-4,
        max_steps=8,
    )
    with trainer(recipe) as t:
        if reverse:
            t.judge = Fixed(t.judge)
        t.run()
    journal = (folder / "run/rollouts/rank-0.jsonl").read_text().splitlines()
    hits: dict[int, list[bool]] = {}
    for line in map(json.loads, journal):
        hits.setdefault(line["step"], []).append("\\boxed{2}" in line["said"])
    return [sum(of_step) / len(of_step) for _, of_step in sorted(hits.items())]


def test_the_policy_finds_what_is_rewarded_and_leaves_what_is_not(tmp_path: Path) -> None:
    """From some 8 % of twos to over half, and, with rewards turned round, to fewer."""
    towards, away = (toy(tmp_path / str(r), reverse=r) for r in (False, True))
    start, end = (sum(part) / len(part) for part in (towards[:2], towards[-3:]))
    before, after = (sum(part) / len(part) for part in (away[:2], away[-3:]))
    assert end > start + 0.4, towards
    assert after < before and after < end - 0.4, away


def test_a_sync_that_does_nothing_stops_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trainer(small_recipe(tmp_path, lr=1e-3)) as t:
        monkeypatch.setattr(t.generator, "sync", lambda weights: None)
        with pytest.raises(
            SyncError, match=r"step 1 failed its check.*the engine's not at all"
        ) as error:
            t.run()
    assert "\n" not in str(error.value)
    assert t.progress.step == 1 and metrics(tmp_path) == []  # step 1 was never called good


def test_in_bfloat16_an_engine_that_stands_still_stops_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One update is below the bound there; the engine must have moved all the same."""
    changes = {"dtype": "bfloat16", "deepspeed": "zero2", "lr": 1e-5}
    with trainer(small_recipe(tmp_path, **changes)) as t:
        assert t.engine.engine.optimizer.gradient_accumulation_dtype == torch.float32
        monkeypatch.setattr(t.generator, "sync", lambda weights: None)
        with pytest.raises(SyncError, match=r"step 1 failed.*the engine's not at all"):
            t.run()


def test_the_best_checkpoint_is_made_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever validation finds it; the first weights, which are none, may well score higher."""
    scores = iter([90.0, 10.0, 30.0, 20.0])
    monkeypatch.setattr(grpo, "validate", lambda *_: {"validation/mean": next(scores)})
    (tmp_path / "metrics.jsonl").write_text('{"step":0,"validation/mean":1.0}\n')  # killed early
    changes = {"eval_every": 1, "max_steps": 3, "keep_last": 1, "objective": "answer_only"}
    with trainer(small_recipe(tmp_path, **changes)) as t:
        t.run()
        assert [p.name for p in t.checkpoints.complete()] == ["step-000002", "step-000003"]
    assert [(s["step"], s["validation/mean"]) for s in metrics(tmp_path)] == [
        *((0, 90), (1, 10), (2, 30), (3, 20))
    ]
    assert export(tmp_path, tmp_path / "out").name == "step-000002"


def test_one_stale_layer_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with trainer(small_recipe(tmp_path, lr=1e-3)) as t:
        real, first = t.generator.sync, dict(t.engine.weights())
        stale = {n: v.clone() for n, v in first.items() if "visual.blocks.0" in n}
        monkeypatch.setattr(
            t.generator,
            "sync",
            lambda new: real((name, stale.get(name, value)) for name, value in new),
        )
        with pytest.raises(SyncError):
            t.run()


def test_a_loss_that_is_no_number_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trainer(small_recipe(tmp_path, save_every=1, max_steps=3, beta=0.01)) as t:
        real = updates.objective

        def broken(*args: Any) -> Any:
            return real(*args) * (math.nan if t.progress.step else 1)

        monkeypatch.setattr(updates, "objective", broken)
        with pytest.raises(TrainError, match="the loss of step 2 is nan; nothing was updated"):
            t.run()
        (last,) = t.checkpoints.complete()
    assert last.name == "step-000001"
    assert all(torch.isfinite(value).all() for value in weights(t).values())


def test_equal_rewards_move_nothing_and_are_counted(tmp_path: Path) -> None:
    changes = {"objective": "answer_only", "format_weight": 0.0, "weight_decay": 0.0}
    with trainer(small_recipe(tmp_path, max_tokens=160, max_steps=1, **changes)) as t:
        t.judge = Fixed(None)
        before = weights(t)
        t.run()
        assert all(torch.equal(before[n], v) for n, v in weights(t).items())
    (told,) = metrics(tmp_path)
    assert told["zero_variance_share"] == 1 and told["loss"] == 0 and told["reward/accuracy"] == 1


@pytest.mark.parametrize("masked", [False, True])
def test_truncated_answers_earn_nothing_and_training_goes_on(tmp_path: Path, masked: bool) -> None:
    with trainer(small_recipe(tmp_path, max_tokens=4, mask_truncated=masked, max_steps=1)) as t:
        t.run()
    (told,) = metrics(tmp_path)
    assert told["truncated_share/first"] == 1 and told["reward/total"] == 0
    assert told.get("skipped_updates", 0) == float(masked)


def test_groups_without_signal_are_drawn_again_within_bounds(tmp_path: Path) -> None:
    changes = {"filter_groups": True, "filter_tries": 3, "max_steps": 1}
    with trainer(small_recipe(tmp_path, **changes)) as t:
        t.judge = Fixed(None)  # everything is right: no group has a signal
        t.run()
        assert t.progress.cursor == 3 * 2
    (told,) = metrics(tmp_path)
    assert told["filter/kept_share"] == 0 and told["skipped_updates"] == 1
    assert told["tokens"] > 0 and told["tokens_per_second"] > 0


def test_dropped_groups_are_journalled_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those without a signal, and those that come when there are enough."""
    reach = iter([True, False, True, True])  # two groups in each of two draws: one is left over
    monkeypatch.setattr(grpo, "in_reach", lambda *_: next(reach))
    changes = {"filter_groups": True, "max_steps": 1, "prompts_per_step": 2, "peak_tflops": 0.5}
    with trainer(small_recipe(tmp_path, **changes)) as t:
        t.run()
    lines = (tmp_path / "rollouts/rank-0.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines]
    each = [said[start]["dropped"] for start in range(0, 16, 4)]
    assert each == [False, True, False, True] and len(said) == 16
    assert {line["step"] for line in said} == {1}
    (told,) = metrics(tmp_path)
    drawn = sum(line["tokens"] + (line["read_tokens"] or 0) for line in said)
    assert told["tokens"] == drawn > 0 and told["filter/kept_share"] == 0.75
    seconds = told["seconds/generate"] + told["seconds/read"]
    assert told["tokens_per_second"] == pytest.approx(drawn / seconds)
    assert told["mfu"] == pytest.approx(told["flops"] / told["seconds/update"] / 0.5e12)


@pytest.mark.parametrize("stage", ["zero0", "zero2", "zero3"])
def test_how_a_minibatch_is_computed_does_not_change_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """All at once, a row at a time, a few positions at a time, or with checkpointing."""
    base = {"max_steps": 1, "deepspeed": stage, "beta": 0.01, "microbatch_tokens": 100_000}
    ways: list[tuple[int, dict[str, Any]]] = [
        (1024, {}),
        (1024, {"microbatch_tokens": 10}),
        (7, {"gradient_checkpointing": True}),
    ]
    after, flops = [], []
    for number, (chunk, changes) in enumerate(ways):
        monkeypatch.setattr(logprobs, "CHUNK", chunk)
        with trainer(small_recipe(tmp_path / str(number), **(base | changes))) as t:
            t.run()
            after.append(weights(t))
        flops.append(metrics(tmp_path / str(number))[0]["flops"])
    # A row at a time, the tower sees an image once for each response; recomputation never counts.
    assert 0 < flops[0] == flops[2] < flops[1]
    for other in after[1:]:
        for name, value in after[0].items():
            # Adam's first step is lr * sign(gradient): a sign that flips would be off by 1.4e-4.
            assert torch.allclose(value, other[name], atol=5e-6), name


def test_bfloat16_trains_and_is_proved_within_its_bound(tmp_path: Path) -> None:
    with trainer(small_recipe(tmp_path, dtype="bfloat16", deepspeed="zero2", max_steps=2)) as t:
        t.run()
        assert {value.dtype for _, value in t.engine.weights()} == {torch.bfloat16}
    for told in metrics(tmp_path):
        assert told["proof/mismatch_mean"] <= told["proof/bound"] == 0.3
        assert 0 < told["mismatch/mean"] < 0.01
    with (
        pytest.raises(UsageError, match="keeps no fp32 weights"),
        trainer(small_recipe(tmp_path / "x", dtype="bfloat16")),
    ):
        pass


def test_credit_for_descriptions_and_component_advantages_train(tmp_path: Path) -> None:
    """With the losses of sequences and of clipped weights, GDPO, and a reward of the user's own."""
    own = tmp_path / "own.py"
    own.write_text(
        "def score(verdicts, text, **_):\n"
        "    return {'right': verdicts['accuracy'], 'length': 1 / len(text)}\n"
    )
    gdpo = {"component_weights": {"overlong": 1.0}, "overlong_tokens": 70, "normalize_batch": True}
    cases: tuple[dict[str, Any], ...] = (
        {
            "objective": "decoupled",
            "credit": "description",
            "aggregation": "gspo",
            "importance_mode": "sequence_mask",
        },
        {"objective": "multi_advantage", "aggregation": "cispo", "reward": f"{own}:score", **gdpo},
    )
    for changes in cases:
        folder = tmp_path / changes["objective"]
        with trainer(small_recipe(folder, max_steps=1, **changes)) as t:
            t.run()
        (told,) = metrics(folder)
        assert math.isfinite(told["loss"]) and told["grad_norm"] > 0
    said = [json.loads(line) for line in (folder / "rollouts/rank-0.jsonl").open()]
    assert any(-1 < line["components"]["overlong"] < 0 for line in said)
    assert {*said[0]["components"]} == {"right", "length", "overlong"}
    assert told["verdict/accuracy"] == told["reward/right"] and "reward/accuracy" not in told
    assert (folder / "reward.py").read_text() == own.read_text()
    own.write_text(own.read_text().replace("1 /", "2 /"))
    with (
        pytest.raises(UsageError, match="has changed since the checkpoint"),
        trainer(small_recipe(folder, max_steps=2, **cases[1])),
    ):
        pass
    advantages = torch.tensor([line["advantage"] for line in said])
    assert advantages.mean().abs() < 1e-5 and abs(advantages.std() - 1) < 1e-3
    assert told["advantage/max"] == pytest.approx(float(advantages.max()))


def test_a_reader_that_thinks_is_drawn(tmp_path: Path) -> None:
    def plan(number: int, asked: Asked) -> Reply:
        if asked.body["temperature"] != 1:
            return failure(400, "Unsupported value: 'temperature' does not support 0.")
        return Reply(body=chat("<think> </think> \\boxed{2}"))

    changes = {"task": None, "dataset": str(counting_rows(tmp_path / "rows", gold="2"))}
    changes |= {"judge": "string_match", "objective": "external_perception"}
    with ChatServer(plan) as server:
        changes |= {"perception_model": "m", "perception_base_url": server.url}
        refused = small_recipe(tmp_path / "greedy", max_steps=1, **changes)
        drawn = small_recipe(tmp_path / "drawn", max_steps=1, reader="drawn", **changes)
        way = "reader=drawn temperature=1"
        with trainer(refused) as t, pytest.raises(BenchError, match=way):
            t.run()
        with trainer(drawn) as t:
            t.run()
    (told,) = metrics(tmp_path / "drawn")
    assert told["excluded_share"] == 0


def test_another_model_reads_the_descriptions_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right answers are paid for, a call that fails is left out, and no image is sent."""
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")

    def plan(number: int, asked: Asked) -> Reply:
        return (
            failure(400, "no") if number == 0 else Reply(body=chat("<think> </think> \\boxed{2}"))
        )

    rows = counting_rows(tmp_path / "rows", gold="2")
    with ChatServer(plan) as server:
        changes = {
            "task": None,
            "dataset": str(rows),
            "judge": "string_match",
            "objective": "external_perception",
            "perception_model": "m",
            "perception_base_url": server.url,
        }
        with trainer(small_recipe(tmp_path / "run", max_steps=1, **changes)) as t:
            t.run()
        asked = server.asked
    assert asked and not any(call.images for call in asked)
    assert all("Text description: " in call.text for call in asked)
    assert {call.body["temperature"] for call in asked} == {0}
    (told,) = metrics(tmp_path / "run")
    assert told["excluded_share"] == pytest.approx(1 / 8)
    lines = (tmp_path / "run/rollouts/rank-0.jsonl").read_text().splitlines()
    read = [line for line in map(json.loads, lines) if line["read_error"] is None and line["read"]]
    assert read and all(line["components"]["description_accuracy"] == 1 for line in read)


def test_memory_and_check_settings_may_change_on_resume(tmp_path: Path) -> None:
    """The next step is the same to rounding."""
    base: dict[str, Any] = {"save_every": 1, "beta": 0.01}
    with trainer(small_recipe(tmp_path / "run", **base)) as t:
        t.run()
    wanted = metrics(tmp_path / "run")[1]
    shutil.rmtree(tmp_path / "run/checkpoints/step-000002")
    changes: dict[str, Any] = {"proof_bound": 2e-3, "microbatch_tokens": 300}
    changes |= {"gradient_checkpointing": True, "attention": "eager"}
    changes["engine_args"] = {"batch_size": 8}
    for key, value in changes.items():
        shutil.copytree(tmp_path / "run", tmp_path / key)
        with trainer(small_recipe(tmp_path / key, **base | {key: value})) as t:
            assert t.progress.step == 1
            t.run()
        step = metrics(tmp_path / key)[1]
        assert step["loss"] == pytest.approx(wanted["loss"], abs=1e-6), key
        assert step["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-4), key
        assert step["reward/total"] == wanted["reward/total"]
        assert step["proof/bound"] == (value if key == "proof_bound" else 1e-4)


def test_the_engine_sleeps_while_the_trainer_loads_and_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of it meanwhile; it wakes for the sync, and its first weights are probed."""
    calls: list[str] = []
    asleep = False

    def record(holder: Any, name: str) -> None:
        real = getattr(holder, name)

        def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal asleep
            assert not asleep or name in ("wake", "_load", "update"), name
            asleep = name == "sleep" or (asleep and name != "wake")
            calls.extend([name] if calls[-1:] != [name] else [])
            return real(self, *args, **kwargs)

        monkeypatch.setattr(holder, name, recorded)

    for name in ("submit", "score", "checksums", "sleep", "wake", "sync"):
        record(SyncableTransformers, name)
    record(grpo.TrainingEngine, "_load")
    record(grpo.Updater, "update")
    with trainer(small_recipe(tmp_path, max_steps=1, beta=0.01)) as t:
        probe = ["submit", "score", "checksums"]
        assert calls == [*probe, "sleep", "_load"]
        t.run()
    sync = ["wake", "sync", "score", "checksums"]
    assert calls[5:] == [*sync, "submit", "sleep", "update", *sync]


def test_placeholders_of_images_are_banned(tmp_path: Path) -> None:
    with trainer(small_recipe(tmp_path)) as t:
        ids = t.encoder.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
        assert set(ids) <= set(t.engine.banned) == set(t.generator.banned)


def test_rows_of_one_kind_are_packed_by_tokens(tmp_path: Path) -> None:
    with trainer(small_recipe(tmp_path)) as t:
        _, request = t.data.draw(0, 1).requests[0]
        rows = [TrainRow(request, (1,) * n, (0.0,) * n) for n in (3, 50, 4, 60)]
        length = t.encoder.encode(request)["input_ids"].shape[1]
        packed = t.encoder.microbatches(rows, 2 * (length + 60), window=8)
        t.encoder._positions = None
        cut = t.encoder.microbatches(rows, 2 * (length + 60), window=8)
    assert [[len(r.tokens) for r in micro] for micro in packed["image"]] == [[3, 50, 4, 60]]
    assert [[len(r.tokens) for r in micro] for micro in cut["image"]] == [[3, 4], [50, 60]]
    assert cut["text"] == packed["text"] == []
