"""The GRPO command with rollouts by vLLM: ten steps alone, three on two ranks, a kill between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed", reason="the train extra is not installed here")
pytest.importorskip("vllm", reason="backend vllm is not installed here")

from safetensors.torch import load_file  # noqa: E402

from tests.cli import cli, command, error_line  # noqa: E402
from tests.training import metrics, settings  # noqa: E402
from vsr1_bench.generation.transformers import TransformersArgs  # noqa: E402
from vsr1_bench.generation.transformers_sync import SyncableTransformers  # noqa: E402
from vsr1_bench.models import ModelInfo  # noqa: E402

RECIPE = "tiny/vision_sr1"
VLLM = {"backend": "vllm", "engine_args": {"max_model_len": 512}}


@pytest.fixture(scope="module", autouse=True)
def _one_thread_a_process() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def ten_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ten")
    told = settings(**VLLM, max_steps=10, save_every=4, eval_every=5, eval_limit=8)
    done = cli("train", "grpo", RECIPE, *told, f"output_dir={folder}", timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "curves.html" in done.stdout
    return folder


def test_ten_steps_are_made_proved_validated_and_drawn(ten_steps: Path) -> None:
    told = metrics(ten_steps)
    assert [int(step["step"]) for step in told] == list(range(11))  # the first is a validation
    for step in told:
        assert step["proof/mismatch"] <= step["proof/bound"] == 1e-4
    trained = told[1:]
    # A stale engine would be off by the distance: the proof tells each step from the one before.
    assert sum(s["proof/distance"] > 100 * s["proof/mismatch"] for s in trained) >= 9
    assert all(s["mismatch/max"] < 1e-4 and s["ratio_max"] == 1 for s in trained)
    names = "reward/accuracy reward/description_accuracy advantage/abs zero_variance_share entropy "
    names += "kl clip/low_share clip/high_share length/first length/second truncated_share/first "
    names += "seconds/generate seconds/read seconds/update seconds/sync seconds/proof grad_norm "
    names += "tokens_per_second memory/host_gb loss"
    assert all(name in step for step in trained for name in names.split())
    assert [int(s["step"]) for s in told if "validation/demo" in s] == [0, 5, 10]
    assert (ten_steps / "curves.png").stat().st_size > 10_000
    assert (ten_steps / "curves.html").is_file()
    runs = list((ten_steps / "validation").glob("step-*/demo-*/scores/*.json"))
    assert len(runs) == 3


def test_rollouts_are_journalled_with_their_reasons(ten_steps: Path) -> None:
    lines = (ten_steps / "rollouts/rank-0.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 10 * 2 * 4
    for record in records:
        right = record["reasons"]["accuracy"].startswith("correct")
        assert record["components"]["accuracy"] == float(right)
        assert (record["read"] is None) == (record["description"] is None)


def test_checkpoints_are_kept_and_exported_bit_equal(ten_steps: Path, tmp_path: Path) -> None:
    kept = sorted(p.name for p in (ten_steps / "checkpoints").iterdir())
    assert kept[-2:] == ["step-000008", "step-000010"] and len(kept) <= 3
    out = tmp_path / "model"
    done = cli("train", "export", ten_steps / "checkpoints/step-000010", out)
    assert done.returncode == 0, done.stderr
    with SyncableTransformers(
        ModelInfo("out", "f", path=out), TransformersArgs(dtype="float32")
    ) as loaded:
        exported = dict(loaded.model.named_parameters())
        states = ten_steps / "checkpoints/step-000010/deepspeed/mp_rank_00_model_states.pt"
        module = torch.load(states, map_location="cpu", weights_only=False)["module"]
        assert len(exported) == 80
        for name, value in exported.items():
            assert torch.equal(value, module[f"policy.{name}"]), name
    run = ("--backend", "transformers", "--tasks", "demo", "--limit", 4, "--output_path", tmp_path)
    evaluated = cli("--model", out, *run, timeout=120)
    assert evaluated.returncode == 0 and "4/4" in evaluated.stdout, evaluated.stderr
    again = cli("train", "export", ten_steps, out)
    assert "holds files already" in error_line(again.returncode, 2, again.stderr)
    (ten_steps / "checkpoints/step-000008/model/config.json").unlink()
    bad = cli("train", "export", ten_steps / "checkpoints/step-000008", tmp_path / "x")
    assert "missing or cut off" in error_line(bad.returncode, 1, bad.stderr)


TWO = {"prompts_per_step": 2, "minibatch_prompts": 2, "max_steps": 3, "beta": 0.01}


def losses(folder: Path) -> list[float]:
    return [step["loss"] for step in metrics(folder)]


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    told = settings(**VLLM, **TWO, deepspeed="zero2")
    done = cli("train", "grpo", RECIPE, *told, f"output_dir={folder}", timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_two_ranks_make_the_steps_of_one(stage: str, one_rank: Path, tmp_path: Path) -> None:
    told = settings(**VLLM, **TWO, deepspeed=stage)
    done = cli("train", "grpo", RECIPE, *told, f"output_dir={tmp_path}", "--nproc", 2, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    for step in metrics(tmp_path):
        assert step["proof/mismatch"] <= step["proof/bound"]
        assert step["proof/distance"] > 100 * step["proof/mismatch"]
    assert losses(tmp_path) == pytest.approx(losses(one_rank), abs=1e-4)
    ours, theirs = (
        load_file(folder / "checkpoints/step-000003/model/model.safetensors")
        for folder in (tmp_path, one_rank)
    )
    assert ours.keys() == theirs.keys()
    assert max(float((ours[n] - theirs[n]).abs().max()) for n in ours) < 2e-4
    for rank in (0, 1):
        assert len((tmp_path / f"rollouts/rank-{rank}.jsonl").read_text().splitlines()) == 3 * 4


def test_a_killed_run_continues_the_trajectory_of_one_that_was_not(tmp_path: Path) -> None:
    """Bit for bit, on one process in fp32 (transformers rollouts; vLLM's batches vary)."""
    told = settings(max_steps=5, save_every=2, epochs=2, minibatch_prompts=1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = cli("train", "grpo", RECIPE, *told, f"output_dir={whole}", timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    arguments = command("train", "grpo", RECIPE, *told, f"output_dir={killed}")
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 200
        journal = killed / "metrics.jsonl"
        while time.monotonic() < deadline and process.poll() is None:
            if journal.is_file() and journal.read_bytes().count(b"\n") >= 3:
                break
            time.sleep(0.01)
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = cli("train", "grpo", RECIPE, *told, f"output_dir={killed}", timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = metrics(whole), metrics(killed)
    assert len(one) == len(other) == 5
    timed = ("seconds/", "memory/", "tokens_per_second")
    for a, b in zip(one, other, strict=True):
        assert {k: v for k, v in a.items() if not k.startswith(timed)} == {
            k: v for k, v in b.items() if not k.startswith(timed)
        }
    rollouts = [(f / "rollouts/rank-0.jsonl").read_text() for f in (whole, killed)]
    assert rollouts[0] == rollouts[1]
    ours, theirs = (
        load_file(f / "checkpoints/step-000005/model/model.safetensors") for f in (whole, killed)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
