"""LoRA: only adapters are trained and stored, merged weights are synced, the reference is free."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed")
peft = pytest.importorskip("peft")

from adapters import plain_tiny  # noqa: E402
from cli import here  # noqa: E402
from training import (  # noqa: E402
    EAGER,
    metrics,
    settings,
    small_recipe,
    small_sft,
    trainer,
    weights,
)

from vsr1_bench.errors import StoreError, UsageError  # noqa: E402
from vsr1_bench.generation.adapters import find_adapter, merge  # noqa: E402
from vsr1_bench.train import sft  # noqa: E402
from vsr1_bench.train.core import lora  # noqa: E402
from vsr1_bench.train.core.checkpoints import export  # noqa: E402
from vsr1_bench.train.rl.sync_check import SyncError  # noqa: E402

LORA: dict[str, Any] = {"lora_rank": 4, "lora_alpha": 8, "freeze": ()}
SFT: dict[str, Any] = {
    "dataset": ("tiny/glances",),
    "schedule_steps": 2,
    "warmup_steps": 0,
    "lr": 1e-2,
}
STAGES = ("zero0", "zero2", "zero3")
GRPO: dict[str, Any] = {"beta": 0.01, "lr": 1e-3, "credit": "reader"}


def sft_trainer(folder: Path, stack: ExitStack, **changes: Any) -> Any:
    return sft.SftTrainer(small_sft(folder, **SFT | LORA | changes), stack)


def states(of: Any) -> int:
    """Numbers in the optimizer's moments."""
    return sum(
        value.numel()
        for group in of.engine.engine.optimizer.state.values()
        for name, value in group.items()
        if name == "exp_avg"
    )


def adapter_size(of: Any) -> int:
    return sum(
        getattr(p, "ds_numel", p.numel())
        for name, p in of.engine.policy.named_parameters()
        if lora.is_adapter(name)
    )


@pytest.mark.parametrize("stage", STAGES)
def test_only_adapters_are_trained_stored_and_resumed(tmp_path: Path, stage: str) -> None:
    """Two steps at once, and one, a new process's trainer, one: the same bytes at each stage."""
    plain = dict(plain_tiny().named_parameters(remove_duplicate=False))
    with ExitStack() as stack:
        t = sft_trainer(tmp_path / "whole", stack, deepspeed=stage)
        before = weights(t)
        assert before.keys() == plain.keys()
        assert all(torch.equal(before[name], plain[name]) for name in plain)  # B is zero
        t.run()
        after, size = weights(t), adapter_size(t)
        trained = {n for n in plain if not torch.equal(after[n], plain[n])}
        assert trained and all("language_model.layers" in name for name in trained)
        assert {name.rpartition(".")[0].rpartition(".")[2] for name in trained} == {
            *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        }
        assert states(t) in (size, size + size % 2)
    changes = {"deepspeed": stage, "save_every": 1}
    with ExitStack() as stack:
        sft_trainer(tmp_path / "parts", stack, max_steps=1, **changes).run()
    with ExitStack() as stack:
        t = sft_trainer(tmp_path / "parts", stack, **changes)
        assert t.progress.step == 1
        t.run()
        again = weights(t)
    assert all(torch.equal(again[name], after[name]) for name in after)
    (folder,) = (tmp_path / "whole" / "checkpoints").glob("step-*")
    assert sorted(p.name for p in (folder / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert not (folder / "model").exists()
    for file in folder.rglob("*model_states.pt"):
        module = torch.load(file, map_location="cpu", weights_only=False)["module"]
        assert all(map(lora.is_adapter, module)), "a tied head has two names"
    whole = sum(parameter.numel() for parameter in plain.values())
    stored = sum(file.stat().st_size for file in folder.rglob("*.pt"))
    assert stored < 4 * whole, "a checkpoint holds frozen weights"
    merged = dict(merge(plain_tiny(), find_adapter(str(folder / "adapter")), "").named_parameters())
    assert all(torch.equal(merged[name], after[name]) for name in merged)


def test_the_export_is_what_was_trained_merged_or_not(tmp_path: Path) -> None:
    from vsr1_bench.generation.models import find_model

    run, out = tmp_path / "run", tmp_path / "out"
    with ExitStack() as stack:
        t = sft_trainer(run, stack)
        t.run()
        trained = weights(t)
    done = here("train", "export", str(run), str(out))
    assert done.returncode == 0 and "holds the weights" in done.stdout, done.stderr
    from transformers import AutoModelForImageTextToText

    loaded = AutoModelForImageTextToText.from_pretrained(out, dtype=torch.float32)
    for name, value in loaded.named_parameters():
        assert torch.equal(value, trained[name]), name
    find_model(str(out), backend="transformers")
    done = here("train", "export", str(run), str(tmp_path / "mine"), "--adapter")
    assert done.returncode == 0 and f"--model BASE --adapter {tmp_path / 'mine'}" in done.stderr
    assert find_adapter(str(tmp_path / "mine")).name == "mine"
    config = json.loads((tmp_path / "mine" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    merged = peft.PeftModel.from_pretrained(plain_tiny(), str(tmp_path / "mine"))
    for name, value in merged.merge_and_unload().named_parameters():
        assert torch.equal(value, trained[name]), name


def test_an_export_refuses_what_does_not_apply(tmp_path: Path) -> None:
    with ExitStack() as stack:
        sft.SftTrainer(small_sft(tmp_path / "full", **SFT, max_steps=1), stack).run()
    with pytest.raises(UsageError, match="without lora_rank: drop --adapter"):
        export(tmp_path / "full", tmp_path / "out", adapter=True)
    with ExitStack() as stack:
        sft_trainer(tmp_path / "lora", stack, max_steps=1).run()
    (states,) = (tmp_path / "lora" / "checkpoints").rglob("*model_states.pt")
    whole = states.read_bytes()
    held = torch.load(states, weights_only=False)
    held["module"].popitem()
    torch.save(held, states)
    (mark,) = states.parents[1].glob("complete.json")
    listed = mark.read_text()
    told = json.loads(listed)
    told["files"][states.relative_to(mark.parent).as_posix()] = states.stat().st_size
    mark.write_text(json.dumps(told))
    with ExitStack() as stack, pytest.raises(StoreError, match="adapters 1 are missing") as error:
        sft_trainer(tmp_path / "lora", stack)
    assert "\n" not in str(error.value) and "removing this one" in str(error.value)
    mark.write_text(listed)
    states.write_bytes(whole)
    (mark,) = (tmp_path / "lora" / "checkpoints").glob("step-*/complete.json")
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"model": "other"}))
    with pytest.raises(UsageError, match="an adapter of other weights than tiny has now"):
        export(tmp_path / "lora", tmp_path / "out")
    assert not list(tmp_path.glob(".out*"))
    with ExitStack() as stack, pytest.raises(UsageError, match="an adapter of other weights"):
        sft_trainer(tmp_path / "lora", stack)
    done = here("train", "sft", "tiny/cold_start", "--adapter")
    assert done.returncode == 2 and "--adapter goes with train export" in done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_grpo_syncs_merged_weights_and_scores_a_reference_without_a_second_model(
    tmp_path: Path, stage: str
) -> None:
    with trainer(small_recipe(tmp_path / "run", **GRPO | LORA, deepspeed=stage)) as t:
        assert t.engine.reference is None
        t.start()
        rows = t.sync_check.rows
        batch = t.encoder.collate([row for row in rows if row.kind == rows[0].kind])
        first = t.engine.score(batch)
        t.run()
        last, reference = t.engine.score(batch), t.engine.score(batch, reference=True)
        assert torch.equal(reference, first), "without adapters it is the first model, to the bit"
        assert (last - first).abs().max() > 1e-3
        assert torch.equal(t.engine.score(batch), last), "the adapters are on again"
        engine = dict(t.generator.model.named_parameters(remove_duplicate=False))
        merged = weights(t)
        assert engine.keys() == merged.keys()
        assert all(torch.equal(engine[name], merged[name]) for name in engine)
    records = metrics(tmp_path / "run")
    assert records[1]["kl"] > 0
    assert all(one["proof/mismatch_mean"] < 1e-4 for one in records)


def test_grpo_with_adapters_resumes_exactly(tmp_path: Path) -> None:
    changes = GRPO | LORA | {"save_every": 1}
    with trainer(small_recipe(tmp_path / "whole", **changes)) as t:
        t.run()
        whole = weights(t)
    with trainer(small_recipe(tmp_path / "parts", **changes, max_steps=1)) as t:
        t.run()
    with trainer(small_recipe(tmp_path / "parts", **changes)) as t:
        assert t.progress.step == 1
        t.run()
        parts = weights(t)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("fault", ["unmerged", "half", "one layer"])
def test_a_fault_in_the_merge_is_found_by_the_sync_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The base weights, half the adapter, or one layer without it in the engine: a stop."""
    true = lora.merged
    seen: list[Any] = []

    def wrong(layer: Any) -> Any:
        seen.append(layer)
        base = layer.get_base_layer().weight.detach().clone()
        if fault == "unmerged" or (fault == "one layer" and layer is seen[0]):
            return base
        return base + (true(layer) - base) / 2 if fault != "one layer" else true(layer)

    with trainer(small_recipe(tmp_path / "run", **GRPO | LORA | {"lr": 1e-2})) as t:
        t.start()
        monkeypatch.setattr(lora, "merged", wrong)
        with pytest.raises(SyncError, match="failed its check"):
            t.run()


def test_the_vision_tower_can_be_a_target(tmp_path: Path) -> None:
    with ExitStack() as stack:
        t = sft_trainer(tmp_path / "run", stack, lora_target=("language", "vision"))
        before = weights(t)
        t.run()
        after = weights(t)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".visual." in name for name in moved) and not any("merger" in n for n in moved)


def test_vllm_rollouts_get_merged_weights(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    changes = GRPO | LORA | {"backend": "vllm", "engine_args": EAGER}
    with trainer(small_recipe(tmp_path / "run", **changes)) as t:
        t.run()
    for record in metrics(tmp_path / "run"):
        assert record["proof/mismatch_mean"] < 1e-4 < record["proof/distance"]


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_two_ranks_make_the_steps_of_one_and_resume(tmp_path: Path, stage: str) -> None:
    """In two processes, the second step after a new start; then the same in this process."""
    from safetensors.torch import load_file

    changes = GRPO | LORA | {"save_every": 1}
    for steps in (1, 2):
        told = settings(**changes | {"max_steps": steps, "deepspeed": stage, "freeze": []})
        run = ("train", "grpo", "tiny/decoupled", *told, f"output_dir={tmp_path / 'two'}")
        done = subprocess.run(
            [sys.executable, "-m", "vsr1_bench", *run, "--nproc", "2"],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on their order
    try:
        with trainer(small_recipe(tmp_path / "one", **changes)) as t:
            t.run()
    finally:
        torch.set_num_threads(threads)
    both = [metrics(tmp_path / name) for name in ("one", "two")]
    assert [len(records) for records in both] == [2, 2]
    for ours, theirs in zip(*both, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert theirs["proof/mismatch_mean"] < 1e-4
    file = "checkpoints/step-000002/adapter/adapter_model.safetensors"
    ours, theirs = (load_file(tmp_path / name / file) for name in ("one", "two"))
    assert ours.keys() == theirs.keys()
    assert max(float((ours[n] - theirs[n]).abs().max()) for n in ours) < 1e-4
