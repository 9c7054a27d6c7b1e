"""GRPO on a CUDA device: what a CPU cannot show. Steps of the embedded model, in bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed", reason="the train extra is not installed here")

from tests.training import metrics, small_recipe, trainer, weights  # noqa: E402
from vsr1_bench.train.core.checkpoints import export  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

BFLOAT16: dict[str, Any] = {"dtype": "bfloat16", "deepspeed": "zero2", "lr": 1e-4, "max_steps": 3}


def proved_steps(folder: Path) -> list[dict[str, float]]:
    """The metrics of a run, each of whose syncs was proved within its bound and seen to move."""
    told = metrics(folder)
    assert [step["step"] for step in told] == [1, 2, 3]
    for step in told:
        assert 0 < step["proof/mismatch_mean"] <= step["proof/bound"] == 0.3
        assert step["memory/gpu_update_gb"] > 0
    assert max(step["proof/distance"] for step in told) > 0
    return told


def test_vllm_sleeps_while_the_trainer_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is the trainer's meanwhile; awake again, it holds the new weights."""
    pytest.importorskip("vllm", reason="backend vllm is not installed here")
    engine_args = {"max_model_len": 512, "gpu_memory_utilization": 0.3, "enforce_eager": True}
    recipe = small_recipe(tmp_path, backend="vllm", engine_args=engine_args, **BFLOAT16)
    freed: list[int] = []
    with trainer(recipe) as t:
        sleep = t.generator.sleep

        def measured() -> None:
            before = torch.cuda.mem_get_info()[0]
            sleep()
            freed.append(torch.cuda.mem_get_info()[0] - before)

        monkeypatch.setattr(t.generator, "sleep", measured)
        t.run()
        trained = weights(t)
    proved_steps(tmp_path)
    share = 0.3 * torch.cuda.mem_get_info()[1]
    assert len(freed) == 3 and min(freed) > 0.5 * share  # nearly all of it is the KV cache
    export(tmp_path, tmp_path / "out")
    from safetensors.torch import load_file

    exported = load_file(tmp_path / "out/model.safetensors")
    assert exported and all(torch.equal(v, trained[name].cpu()) for name, v in exported.items())


@pytest.mark.parametrize("stage", ["zero2_offload", "zero3_offload"])
def test_optimizer_states_on_the_cpu(tmp_path: Path, stage: str) -> None:
    with trainer(small_recipe(tmp_path, **BFLOAT16 | {"deepspeed": stage})) as t:
        t.run()
    proved_steps(tmp_path)
