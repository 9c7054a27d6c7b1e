"""Models that judge or read: who they are, and what is said where one cannot be reached."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vsr1_bench.errors import BenchError, UsageError
from vsr1_bench.generation import connect
from vsr1_bench.generation.base import Generator
from vsr1_bench.generation.connect import CONNECT, ConnectOptions
from vsr1_bench.generation.flags import RUN_FLAGS, Flags
from vsr1_bench.generation.models import find_model
from vsr1_bench.judge import JUDGE_FLAGS, JudgeOptions
from vsr1_bench.judging.open import open_judge
from vsr1_bench.perception.reader import (
    READER_FLAGS,
    Descriptions,
    ReaderOptions,
    external_reader,
)

pytestmark = pytest.mark.usefixtures("no_keys")
URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of weights that nobody loads, for an engine that need not be installed."""
    monkeypatch.setattr(connect, "find_spec", lambda name: object())
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text('{"torch_dtype": "float32"}')
    (folder / "model.safetensors").write_bytes(bytes(8))
    return str(folder)


DRAWN = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 77, "seed": 3}
PACED = {"timeout": 5, "max_retries": 1}
BF16 = {"dtype": "bfloat16", "max_model_len": 4096, "gpu_memory_utilization": 0.5}
# As they were before judges and readers had one way to a model: what is stored under them stays.
JUDGES: dict[str, tuple[str, dict[str, Any]]] = {
    "355335b896f536a8e25f1a7e4e8ad95ad322394e014b35863f7876974ae96183": (
        "openai",
        {"model": "m", "base_url": URL},
    ),
    "d54c29cfc694d2c616c5aa46d0714918eea105949d18e4748d282f3fbaa62c86": (
        "openai",
        {"model": "m", "base_url": f"{URL}/", "concurrency": 7, "args": DRAWN | PACED},
    ),
    "9263e6d0d5240daf77e57066cf33ccb0e18158326197783bc62e624c5125d45e": (
        "openai[org/m,paper]",
        {"base_url": URL, "args": {"vllm_fields": True}},
    ),
    "81442dba991e5a7afddbc624ff78dd0f37cb4879d84d65139d1f9426f2cb2f06": (
        "openai[org/m,graded]",
        {"base_url": URL},
    ),
    "204488cc61143d5f097d979ac86540d267349e1b154f0541ccfacd7b83aa28c8": (
        "majority:openai*3",
        {"model": "m", "base_url": URL},
    ),
    "31c8deb7f408a848fb8000633c7e5433be7fbc23ccd2832ea655f794c0194e19": (
        "gemini",
        {"dry_run": True},
    ),
    "61c4d58dc11e95b952787812c67d2504f988602513fa2ce5c6cd0a699f89ce15": (
        "gemini",
        {
            "dry_run": True,
            "model": "g",
            "base_url": "http://127.0.0.1:9/",
            "args": {"safety": "none"},
        },
    ),
    "9c8a5f783c4c19aa9bcbe8433049cd5859fc2fb51c72edb62ffb0e0534718b9d": (
        "vllm",
        {"model": "", "dry_run": True},
    ),
    "194ff53904df8358f9da23e5f83ece0aae62268afaae855a248317cc4b3127e6": (
        "vllm",
        {"model": "", "concurrency": 4, "args": BF16},
    ),
}


@pytest.mark.parametrize("identity", JUDGES)
def test_a_judging_model_is_who_it_was(identity: str, model: str) -> None:
    spec, given = JUDGES[identity]
    given = given | ({"model": model} if spec == "vllm" else {})
    with open_judge(spec, (), JudgeOptions(**given)) as judge:
        assert judge.identity == identity


LIMITS = {"max_tokens": 5, "seed": 2, "timeout": 3}


@pytest.mark.parametrize(
    ("options", "descriptions", "digest"),
    [
        (
            ("openai", "m", URL, LIMITS),
            "response",
            "a4ccec4b06c2d8b0c477a1b6293c5c6bed749442fc32181b06a3dba8854a4272",
        ),
        (
            ("openai", "m", URL, LIMITS),
            "caption",
            "564a93f9e89bb6504d927af3e61b087722692e3e2fb449d55d3ecb2bc0637e29",
        ),
        (
            ("gemini", None, None, {"safety": "none"}),
            "response",
            "b8127cdf067e2ac8da7ae5d3dfa4fbf338866b773fd342323f003976c8025065",
        ),
        (
            ("vllm", "", None, {}),
            "caption",
            "ff37fa7a543ce252107a3cf79c82ddbd8db44673ac3f59f37ad06ea3a20fde1a",
        ),
    ],
)
def test_a_reader_is_who_it_was(
    options: tuple[str, str | None, str | None, dict[str, Any]],
    descriptions: Descriptions,
    digest: str,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "x")
    name, asked, url, args = options
    asked = model if name == "vllm" else asked
    reader = ReaderOptions(name=name, model=asked, base_url=url, args=args)
    assert external_reader(reader, descriptions)[0].digest() == digest


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no model": ("openai", {}, "{role} 'openai' needs {model} NAME, and {base_url} http"),
    "no url": ("openai", {"model": "m"}, "{role} 'openai' without {base_url} is OpenAI's own"),
    "no key": ("gemini", {}, "{role} 'gemini' needs a key"),
    "no folder": ("vllm", {}, "{role} 'vllm' needs {model}: a folder"),
    "two ways": ("vllm", {"model": "m", "base_url": URL}, "{base_url} goes with {role} 'openai'"),
    "no scheme": ("openai", {"model": "m", "base_url": "h:1"}, "{base_url} 'h:1': wanted"),
    "query": ("openai", {"model": "m", "base_url": f"{URL}?k=v"}, "{base_url} 'http://127"),
    "unknown": ("openai", {"args": {"speed": 1}}, "{args} speed: backend 'openai'"),
    "type": ("openai", {"args": {"timeout": "x"}}, "{args} timeout='x': "),
    "sampling": ("openai", {"args": {"top_p": "x"}}, "{args} top_p=x: wanted a number"),
    "low": ("gemini", {"args": {"max_tokens": 0}}, "{args} max_tokens=0: wanted at least 1"),
    "engine": ("vllm", {"args": {"tensor_parallel": 1}}, "{args} tensor_parallel: backend 'vllm'"),
    "precision": ("vllm", {"args": {"data_parallel_size": 2}}, "{args} data_parallel_size"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("flags", [JUDGE_FLAGS, READER_FLAGS], ids=lambda flags: flags.role)
def test_a_fault_names_the_flag_that_was_typed(fault: str, flags: Flags, model: str) -> None:
    name, given, said = FAULTS[fault]
    if "args" in given:
        given = given | {"model": model if name == "vllm" else "m"}
        given |= {"base_url": URL} if name == "openai" else {}
    with pytest.raises(UsageError) as error:
        CONNECT[name](ConnectOptions(flags, **given))
    words = {name: getattr(flags, name) for name in ("role", "model", "base_url", "args")}
    assert said.format(**words) in str(error.value)
    assert "\n" not in str(error.value)
    _names_only(flags, str(error.value))


@pytest.mark.parametrize("flags", [JUDGE_FLAGS, READER_FLAGS], ids=lambda flags: flags.role)
def test_a_password_in_a_url_is_refused_before_the_model_is_opened(flags: Flags) -> None:
    with pytest.raises(UsageError) as error:
        CONNECT["openai"](ConnectOptions(flags, "m", "http://me:secret@127.0.0.1:9/v1"))
    assert str(error.value).startswith(f"{flags.base_url} holds a user")
    assert "secret" not in str(error.value)
    _names_only(flags, str(error.value))


def test_a_judges_error_is_passed_on_word_for_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an endpoint or a file is called is nobody's flag, even if it looks like one."""
    from vsr1_bench.judge import Item

    trouble = "endpoint says: see --model_args, --model and --base_url"

    def refuse() -> Generator:
        raise BenchError(trouble)

    def connected(options: ConnectOptions) -> connect.Connection:
        return replace(connect.connect_openai(options), open=refuse)

    monkeypatch.setitem(CONNECT, "openai", connected)
    with (
        open_judge("openai", (), JudgeOptions(model="m", base_url=URL)) as judge,
        pytest.raises(BenchError, match=re.escape(trouble)),
    ):
        list(judge.judge([Item("1", "12", "12", "number")]))


def test_a_run_names_its_own_flags() -> None:
    with pytest.raises(UsageError, match=r"^--base_url holds a user"):
        find_model("m", backend="openai", base_url="http://me:secret@127.0.0.1:9/v1")
    assert find_model("m", backend="openai", base_url=URL).flags == RUN_FLAGS


def _names_only(flags: Flags, said: str) -> None:
    """No flag of another role is named."""
    for other in (RUN_FLAGS, JUDGE_FLAGS, READER_FLAGS):
        for flag in (other.model, other.base_url, other.args) if other != flags else ():
            assert not re.search(rf"{flag}\b", said)


@pytest.mark.parametrize("flags", [JUDGE_FLAGS, READER_FLAGS], ids=lambda flags: flags.role)
def test_without_a_url_it_is_openais_own(flags: Flags, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(**given: Any) -> str:
        return CONNECT["openai"](ConnectOptions(flags, model="m", **given)).mark

    own = mark(base_url="https://api.openai.com/v1")
    assert mark(dry_run=True) == own  # nothing is called, so no key is needed
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert mark() == own
    monkeypatch.setenv("OPENAI_BASE_URL", URL)
    assert mark() == mark(base_url=URL) != own
