"""The batch sizes that vLLM resolves for evaluation and rollouts, on faked cards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

pytest.importorskip("vllm", reason="backend vllm is not installed here")

from tests.models import tiny
from vsr1_bench.errors import UsageError
from vsr1_bench.generation.vllm import VllmArgs, VllmGenerator, check_formats
from vsr1_bench.generation.vllm_sync import SyncableVllm


class Card:
    """vLLM's platform with another card in it."""

    def __init__(self, platform: Any, name: str, gib: int) -> None:
        self._platform, self._name, self._gib = platform, name, gib

    def __getattr__(self, name: str) -> Any:
        return getattr(self._platform, name)

    def is_cpu(self) -> bool:
        return False

    def get_device_name(self, device_id: int = 0) -> str:
        return self._name

    def get_device_total_memory(self, device_id: int = 0) -> int:
        return self._gib << 30


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that returns a generator whose engine is only its resolved settings."""
    from vllm.engine import arg_utils
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    def start(arguments: Any, usage_context: Any = UsageContext.ENGINE_CONTEXT) -> Any:
        config = arguments.create_engine_config(usage_context)
        return SimpleNamespace(vllm_config=config, engine_core=Mock(), renderer=Mock())

    def resolved(kind: Any, card: tuple[str, int] | None, **args: Any) -> VllmGenerator:
        if card is not None:
            platform = Card(arg_utils.current_platform, *card)
            monkeypatch.setattr(arg_utils, "current_platform", platform)
        generator: VllmGenerator = kind(tiny(), VllmArgs(**args))
        return generator

    monkeypatch.setattr(LLMEngine, "from_engine_args", start)
    return resolved


@pytest.mark.parametrize("kind", [VllmGenerator, SyncableVllm], ids=["evaluation", "rollouts"])
@pytest.mark.parametrize(
    ("card", "sequences", "tokens"),
    [
        (("NVIDIA H100 80GB HBM3", 80), 1024, 16_384),
        (("NVIDIA A100-SXM4-80GB", 80), 256, 8192),
        (None, 256, 4096),  # CPU
    ],
    ids=["h100", "a100", "cpu"],
)
def test_the_engine_gets_the_batch_sizes_of_offline_use(
    resolve: Any, kind: Any, card: tuple[str, int] | None, sequences: int, tokens: int
) -> None:
    with resolve(kind, card, max_model_len=1024) as generator:
        found = generator.engine.vllm_config.scheduler_config
        print(f"{kind.__name__} on {card}: {found.max_num_seqs}, {found.max_num_batched_tokens}")
        assert (found.max_num_seqs, found.max_num_batched_tokens) == (sequences, tokens)
        assert generator.capacity == max(512, sequences)  # the engine is never kept waiting


def test_on_a_cpu_samples_share_short_prompts(resolve: Any) -> None:
    with resolve(SyncableVllm, None, max_model_len=1024) as generator:
        cache = generator.engine.vllm_config.cache_config
        assert cache.enable_prefix_caching and cache.block_size == 32


def test_given_batch_sizes_take_precedence(resolve: Any) -> None:
    card = ("NVIDIA H100 80GB HBM3", 80)
    given = {"max_num_seqs": 7, "max_num_batched_tokens": 2048, "capacity": 9}
    with resolve(VllmGenerator, card, max_model_len=1024, **given) as generator:
        found = generator.engine.vllm_config.scheduler_config
        assert (found.max_num_seqs, found.max_num_batched_tokens) == (7, 2048)
        assert generator.capacity == 9


@pytest.mark.parametrize("name", ["kv_cache_dtype", "quantization"])
def test_unknown_formats_are_refused_with_a_list_before_loading(name: str) -> None:
    with pytest.raises(UsageError, match=f"--model_args {name}=fp7: backend 'vllm' knows .*fp8"):
        check_formats(VllmArgs(**{name: "fp7"}))
    check_formats(VllmArgs(**{name: "fp8"}))
