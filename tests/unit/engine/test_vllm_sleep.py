"""vLLM beside a trainer, with a stub engine: the order of sleeping, waking and loading."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tests.models import tiny  # noqa: E402
from vsr1_bench.errors import UsageError  # noqa: E402
from vsr1_bench.generation.open import open_syncable  # noqa: E402
from vsr1_bench.generation.vllm import VllmArgs, VllmGenerator  # noqa: E402
from vsr1_bench.generation.vllm_sync import SyncableVllm  # noqa: E402


class StubEngine:
    """The part of vLLM's engine that a sync uses; what it refuses would fail on a GPU."""

    def __init__(self, *, sleeps: bool = True) -> None:
        self.vllm_config = SimpleNamespace(model_config=SimpleNamespace(enable_sleep_mode=sleeps))
        self.calls: list[str] = []
        self.asleep: set[str] = set()

    def sleep(self, level: int) -> None:
        assert not self.asleep
        self.asleep = {"weights", "kv_cache"}
        self.calls.append(f"sleep {level}")

    def wake_up(self, tags: list[str]) -> None:
        assert self.asleep.issuperset(tags)
        self.asleep -= set(tags)
        self.calls.append(f"wake {' '.join(tags)}")

    def collective_rpc(self, name: str, kwargs: Mapping[str, Any]) -> None:
        assert "weights" not in self.asleep
        self.calls.append(f"{name} {len(list(kwargs['weights_iterator']))}")

    def reset_prefix_cache(self) -> bool:
        assert "kv_cache" not in self.asleep
        self.calls.append("reset")
        return True

    def reset_encoder_cache(self) -> None:
        self.calls.append("reset images")


def around(engine: StubEngine, level: int = 2) -> SyncableVllm:
    """A generator around a stub, as its set-up leaves it."""
    made = SyncableVllm.__new__(SyncableVllm)
    made.engine, made._asleep, made._sleep_level = engine, False, level
    return made


SYNC = ["reset", "reset images"]


@pytest.mark.parametrize("level", [1, 2])
def test_a_sync_wakes_the_weights_loads_them_and_then_wakes_the_cache(level: int) -> None:
    engine = StubEngine()
    generator = around(engine, level)
    for _ in range(2):  # at the start, and in a step
        generator.sleep()
        generator.sleep()  # asleep already
        generator.wake()
        generator.sync([("a", torch.zeros(1)), ("b", torch.zeros(1))])
    once = [*SYNC, f"sleep {level}", "wake weights", "reload_weights 2", "wake kv_cache", *SYNC]
    assert engine.calls == [*once, *once] and not engine.asleep


def test_an_engine_that_does_not_sleep_is_loaded_in_place() -> None:
    engine = StubEngine(sleeps=False)
    generator = around(engine)
    generator.sleep()
    generator.wake()
    generator.sync([("a", torch.zeros(1))])
    assert engine.calls == ["reload_weights 1", *SYNC]


@pytest.mark.parametrize(("level", "sleeps"), [(0, False), (1, True), (2, True)])
def test_the_engine_of_a_trainer_has_its_mode_and_its_scheduling(
    level: int, sleeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VllmGenerator, "_settings", lambda *_, **__: {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    generator = around(StubEngine(), level)
    settings = generator._settings(tiny(), trust_remote_code=False)
    assert settings == {"async_scheduling": False, "enable_sleep_mode": sleeps}


def test_an_engine_that_cannot_sleep_refuses_the_setting() -> None:
    with pytest.raises(UsageError, match="sleep_level=1: backend 'transformers' does not sleep"):
        open_syncable("transformers", tiny(), {"dtype": "float32"}, banned=(), sleep_level=1)


def test_the_arguments_of_an_evaluation_have_no_sleep() -> None:
    assert "sleep_level" not in VllmArgs.model_fields
