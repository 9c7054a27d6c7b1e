"""More devices than there are: one line before anything starts."""

from __future__ import annotations

from pathlib import Path

import cli
import pytest

from vsr1_bench.errors import UsageError
from vsr1_bench.generation import devices
from vsr1_bench.generation.devices import check_devices
from vsr1_bench.generation.transformers_args import TransformersArgs
from vsr1_bench.generation.vllm import VllmArgs


@pytest.mark.parametrize("there", [0, 1, 4])
def test_as_many_as_there_are(monkeypatch: pytest.MonkeyPatch, there: int) -> None:
    monkeypatch.setattr(devices, "gpu_count", lambda: there)
    most = max(1, there)
    check_devices("vllm", VllmArgs(tensor_parallel_size=most))
    for sizes in (
        {"tensor_parallel_size": most + 1},
        {"tensor_parallel_size": most, "pipeline_parallel_size": 2},
        {"tensor_parallel_size": 0},
    ):
        with pytest.raises(UsageError, match="parallel_size") as refused:
            check_devices("vllm", VllmArgs(**sizes))  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="data_parallel_size: run `vsr1-bench serve`"):
        check_devices("vllm", VllmArgs(data_parallel_size=2))
    with pytest.raises(UsageError, match=f"wants {2 * most} GPUs"):
        args = VllmArgs(data_parallel_size=2, tensor_parallel_size=most)
        check_devices("vllm", args, served=True)


@pytest.mark.parametrize(
    ("device", "there", "refused"),
    [
        ("auto", 0, False),
        ("cpu", 0, False),
        ("cuda", 0, True),
        ("cuda", 1, False),
        ("cuda:0", 1, False),
        ("cuda:1", 1, True),
        ("cuda:7", 8, False),
    ],
)
def test_a_device_by_name(
    monkeypatch: pytest.MonkeyPatch, device: str, there: int, refused: bool
) -> None:
    monkeypatch.setattr(devices, "gpu_count", lambda: there)
    args = TransformersArgs(device=device)
    if not refused:
        check_devices("transformers", args)
        return
    with pytest.raises(UsageError, match=f"--device {device}"):
        check_devices("transformers", args)


@pytest.mark.parametrize(
    "flags",
    [
        ["--tensor_parallel_size", "99"],
        ["--model_args", "pipeline_parallel_size=99"],
        ["--data_parallel_size", "2"],
    ],
)
def test_it_is_said_before_anything_starts(tmp_path: Path, flags: list[str]) -> None:
    pytest.importorskip("vllm", reason="backend vllm is not installed here")
    runs = tmp_path / "runs"
    words = ["run", "--model", "tiny", "--backend", "vllm", "--tasks", "demo", "--limit", 2]
    done = cli.here(*words, "--output_path", runs, *flags)
    assert "parallel_size" in cli.error_line(done.returncode, 2, done.stderr)
    assert not runs.exists()
