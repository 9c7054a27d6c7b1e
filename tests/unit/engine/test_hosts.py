"""What backend `openai` sends to known hosts, without a word of the user."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vsr1_bench.generation.batch import BatchGenerator
from vsr1_bench.generation.connect import ConnectOptions, connect_openai
from vsr1_bench.generation.flags import Flags
from vsr1_bench.generation.hosts import with_host_args
from vsr1_bench.generation.identity import identify
from vsr1_bench.generation.models import find_model
from vsr1_bench.generation.open import open_generator
from vsr1_bench.generation.openai import OpenAIGenerator
from vsr1_bench.judge import JUDGE_FLAGS
from vsr1_bench.perception.reader import READER_FLAGS
from vsr1_bench.records import Message, Request, Sampling


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://api.openai.com/v1", {"vllm_fields": False, "max_completion_tokens": True}),
        ("https://eu.api.openai.com/v1", {"vllm_fields": False, "max_completion_tokens": True}),
        ("https://me.openai.azure.com/openai/v1",
         {"vllm_fields": False, "max_completion_tokens": True}),
        ("https://generativelanguage.googleapis.com/v1beta/openai", {"vllm_fields": False}),
        ("https://API.OpenAI.com:443/v1", {"vllm_fields": False, "max_completion_tokens": True}),
        ("https://openrouter.ai/api/v1", {}),
        ("https://api.together.xyz/v1", {}),
        ("http://127.0.0.1:8000/v1", {}),
        ("https://api.openai.com.example.org/v1", {}),
        ("https://notapi.openai.com/v1", {}),
        (None, {}),
    ],
)  # fmt: skip
def test_known_hosts_get_what_they_take_and_what_is_typed_wins(
    url: str | None, found: dict[str, bool]
) -> None:
    assert with_host_args(url, {}) == found
    typed = {"vllm_fields": True, "max_completion_tokens": False, "timeout": 3}
    assert with_host_args(url, typed) == typed


OWN = "https://api.openai.com/v1"


def test_a_host_s_arguments_are_the_same_run_as_when_they_are_typed() -> None:
    """Runs that were made with `vllm_fields=false` are continued by the shorter command."""
    model = find_model("m", backend="openai", base_url=OWN)
    typed = {"vllm_fields": False, "max_completion_tokens": True}
    assert identify("openai", model, {}) == identify("openai", model, typed)
    assert identify("openai", model, {}).engine == {"vllm_fields": False}
    assert identify("openai", model, {"vllm_fields": True}).engine == {}


def test_requests_to_openai_leave_out_its_defaults_and_the_fields_of_vllm() -> None:
    model = find_model("m", backend="openai", base_url=OWN)
    request = Request("k", (Message("user", ("?",)),), Sampling(temperature=1.0, max_tokens=9))
    for typed, limit in (
        ({}, "max_completion_tokens"),
        ({"max_completion_tokens": False}, "max_tokens"),
    ):
        with open_generator("openai", model, dict(typed)) as engine:
            assert isinstance(engine, OpenAIGenerator)
            assert engine._fields(request) == {"n": 1, limit: 9, "seed": request.seed}
            warm = replace(request, sampling=Sampling(temperature=0.5, top_p=0.9))
            assert {"temperature": 0.5, "top_p": 0.9}.items() <= engine._fields(warm).items()


@pytest.mark.parametrize("flags", [JUDGE_FLAGS, READER_FLAGS], ids=lambda flags: flags.role)
@pytest.mark.parametrize("batch", [False, True])
def test_judges_and_readers_are_asked_as_their_host_takes_it(
    flags: Flags, batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    usual = connect_openai(ConnectOptions(flags, "m", OWN, batch=batch))
    assert usual.settings == {"vllm_fields": False}  # as before hosts were known
    with usual.open() as engine:
        inner = engine._calls if isinstance(engine, BatchGenerator) else engine
        assert isinstance(inner, OpenAIGenerator)
        assert inner.args.max_completion_tokens and not inner.args.vllm_fields
    typed = {"max_completion_tokens": False}
    with connect_openai(ConnectOptions(flags, "m", OWN, args=typed)).open() as engine:
        assert isinstance(engine, OpenAIGenerator) and not engine.args.max_completion_tokens
