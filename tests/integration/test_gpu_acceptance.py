"""`scripts/gpu_acceptance.py` with the embedded model: a line per check, whatever happens."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tree import load_script

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed", reason="the train extra is not installed here")

from vsr1_bench.train.recipe import load_recipe  # noqa: E402

gpu_checks: Any = load_script("gpu_checks")
gpu_acceptance: Any = load_script("gpu_acceptance")
DOCTOR = "ok  vsr1-bench  0\nok  backend transformers  5\nNO  backend vllm  no\n--  GPU  none\n"


class Here(gpu_acceptance.Acceptance):  # type: ignore[misc]
    """Runs the checks in this process; the second training fails."""

    def _call(self, command: Any) -> str:
        return DOCTOR

    def _child(self, run: str, **told: Any) -> Any:
        if told.get("name") == "grpo, LoRA":
            raise RuntimeError("exit 1: OutOfMemoryError: CUDA out of memory")
        given = {"model": self.model, "work": str(self.work), **told}
        return json.loads(json.dumps(gpu_checks.CHECKS[run](given))) | {"peak": 0.0}


def options(**changes: Any) -> Namespace:
    plain = {"model": "tiny", "layers": None, "backend": "transformers", "minutes": 10}
    return Namespace(**plain | {"peak_tflops": 0.001} | changes)


def test_every_check_is_a_line_and_a_failed_one_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = Here(options(), tmp_path, None).run()
    lines = {check.name: check for check in checks}
    assert [(name, check.passed) for name, check in lines.items()] == [
        ("doctor", True),
        ("evaluate, transformers", True),
        ("evaluate, vllm", None),
        ("grpo, full", True),
        ("grpo, full: sync check", True),
        ("grpo, full: sleep and wake", None),
        ("grpo, full: memory", None),
        ("grpo, full: update", True),
        ("grpo, LoRA", False),
        ("grpo, padded", True),
        ("grpo, padded: sync check", True),
        ("grpo, padded: sleep and wake", None),
        ("grpo, padded: memory", None),
        ("grpo, padded: update", True),
    ]
    assert lines["doctor"].detail == ("ok backend transformers 5; NO backend vllm no; -- GPU none")
    assert lines["evaluate, transformers"].detail.startswith("4 of 4 responses, 64 tokens")
    proof = lines["grpo, full: sync check"].numbers
    assert proof["mismatch_mean"] <= proof["bound"] == 0.3 and proof["distance"] > 0
    packed, padded = (lines[f"grpo, {way}: update"].numbers for way in ("full", "padded"))
    assert packed["mfu"] > 0 and packed["flops"] < padded["flops"]
    assert not (tmp_path / "grpo, full/checkpoints").exists()
    gpu_acceptance.show(checks)
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + len(checks)
    (failed,) = [line for line in table if "| FAILED | " in line]
    assert failed.startswith("| grpo, LoRA |") and failed.endswith("CUDA out of memory |")


def test_a_child_that_fails_gives_its_reason(tmp_path: Path) -> None:
    """In a process of its own: the model is missing, and then the time is over."""
    checks = gpu_acceptance.Acceptance(options(model=str(tmp_path / "none")), tmp_path, None)
    checks._check("evaluate", lambda: checks._evaluate("transformers"))
    (line,) = checks.checks
    assert line.passed is False and line.detail.startswith("exit 1: error: ")
    assert str(tmp_path / "none") in line.detail and "\n" not in line.detail
    late = gpu_acceptance.Acceptance(options(minutes=0), tmp_path, None)
    late._check("evaluate", lambda: late._evaluate("transformers"))
    assert late.checks[0].detail == "not run: the 0 minutes are over"


class Card:
    """Gigabytes in use at some times."""

    def __init__(self, used: Mapping[tuple[float, float], float]) -> None:
        self.used = used

    def peak(self, start: float, end: float) -> float:
        return 1e9 * self.used[start, end]


MOMENTS = [["loading", 0, 1], ["proof", 1, 2], ["generate", 2, 3], ["reference", 3, 4]]
MOMENTS += [["update", 4, 5], ["sync", 5, 6]]
PLANNED = {"loading": 30e9, "generate": 40e9, "update": 50e9, "step": 55e9, "sync": 20e9}


@pytest.mark.parametrize(("update", "passed"), [(60, True), (61, False)])
def test_memory_may_exceed_the_plan_by_what_the_card_has_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: float, passed: bool
) -> None:
    """80 GiB are 85.9e9 bytes: 5.9 GB are left to the context and to fragments."""
    pretended = Namespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: pretended)
    used = {(0, 1): 30, (1, 2): 19, (2, 3): 40, (3, 4): 48, (4, 5): update, (5, 6): 18}
    checks = gpu_acceptance.Acceptance(options(), tmp_path, Card(used))
    line = checks._remembered("grpo", {"moments": MOMENTS, "planned": PLANNED}, "vllm")
    assert line.passed is passed
    assert line.detail == (
        "GB, measured of planned: loading 30.0 of 30.0, generate 40.0 of 40.0, "
        f"update {update}.0 of 55.0, sync 19.0 of 20.0"
    )
    other = checks._remembered("grpo", {"moments": MOMENTS, "planned": PLANNED}, "transformers")
    assert other.passed is None


def test_sleep_must_free_the_engine_s_memory() -> None:
    slept = gpu_acceptance.slept
    result = {"freed": [30e9, 29e9], "engine": 28e9}
    line = slept("grpo", result, "vllm", on_gpu=True)
    assert line.passed and line.detail.startswith("freed 30.0, 29.0 GB of the engine's 28.0")
    assert slept("grpo", result | {"freed": [30e9, 1e9]}, "vllm", on_gpu=True).passed is False
    assert slept("grpo", result | {"freed": []}, "vllm", on_gpu=True).passed is False
    assert slept("grpo", result, "vllm", on_gpu=False).detail == "vLLM sleeps only on a GPU"


def test_a_sync_that_moved_nothing_proves_nothing() -> None:
    names = ("mismatch_mean", "mismatch_q95", "mismatch_max", "bound", "distance")
    step = {f"proof/{name}": 0.1 for name in names}
    assert gpu_acceptance.synced("grpo", [step, step]).passed
    assert not gpu_acceptance.synced("grpo", [step | {"proof/distance": 0.0}]).passed


@pytest.mark.parametrize("backend", ["vllm", "transformers"])
def test_settings_are_those_with_which_the_plan_fits(
    monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """The embedded model fits as it stands; each backend gets arguments that it takes."""
    card = Namespace(total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    settings, planned = gpu_checks.fitted(["model=tiny", "max_pixels=12544"], backend)
    recipe = load_recipe("tiny/vision_sr1", settings)
    expected = {"batch_size": 64} if backend == "transformers" else {"max_model_len": 2048}
    assert recipe.engine_args.items() >= expected.items()
    assert set(planned) == {"loading", "generate", "update", "step", "sync"}


def test_memory_is_that_between_two_times() -> None:
    memory = gpu_acceptance.Memory.__new__(gpu_acceptance.Memory)
    now = time.time()
    memory.samples = [(now, 1.0), (now + 1, 9.0), (now + 2, 3.0)]
    assert memory.peak(now + 1.5, now + 3) == 3.0 and memory.peak(now, now + 3) == 9.0
    assert memory.peak(now + 5, now + 6) == 0.0
