"""Fields that only some backends have, in the spec and in requests; headers that nobody stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asking import ask, questions, request
from cli import here, plugins
from servers import ChatServer, Reply, failure

from vsr1_bench.errors import BenchError, UsageError
from vsr1_bench.generation.connect import CONNECT, ConnectOptions
from vsr1_bench.generation.further_fields import headers_of
from vsr1_bench.judge import JUDGE_FLAGS
from vsr1_bench.pipeline.flags import RunFlags
from vsr1_bench.records import Sampling
from vsr1_bench.store.run_folder import find_runs
from vsr1_bench.store.spec import SamplingSpec

pytestmark = pytest.mark.usefixtures("no_keys")
TYPED = 'reasoning_effort=low,presence_penalty=1.5,extra_body={"top_a": 0.2, "b": {"c": ["=", 1]}}'
READ = {
    "reasoning_effort": "low",
    "presence_penalty": 1.5,
    "extra_body": '{"b":{"c":["=",1]},"top_a":0.2}',
}


def fields(gen_kwargs: Any) -> dict[str, Any]:
    return RunFlags.of({"model": "m", "tasks": "t", "gen_kwargs": gen_kwargs}).sampling_fields()


def test_they_are_read_from_text_and_from_a_mapping() -> None:
    assert fields(TYPED) == {**READ, "seed": 0, "n": 1}
    body = {"top_a": 0.2, "b": {"c": ["=", 1]}}
    mapping = {"reasoning_effort": "low", "presence_penalty": 1.5, "extra_body": body}
    assert fields(mapping) == fields(TYPED)
    assert fields("reasoning_effort=none")["reasoning_effort"] == "none"  # an effort, no absence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reasoning_effort=3", "reasoning_effort=3: wanted a word"),
        ("presence_penalty=3", "presence_penalty=3: wanted a number from -2 to 2"),
        ("frequency_penalty=nan", "wanted a number from -2 to 2"),
        ("extra_body=5", "extra_body=5: wanted a JSON object"),
        ("extra_body={a", "wanted a JSON object"),
        ('extra_body={"temperature": 1}', "extra_body: 'temperature' has a setting of its own"),
        ('extra_body={"stream": true}', "'stream' has a setting of its own"),
        ("reasonin_effort=low", "no such field; did you mean reasoning_effort"),
    ],
)
def test_wrong_values_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        fields(text)
    assert said in str(error.value)


def test_specs_without_them_are_what_they_were() -> None:
    plain = SamplingSpec(**{name: getattr(Sampling(), name) for name in SamplingSpec.model_fields})
    assert list(plain.model_dump()) == [
        *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "stop"),
        *("seed", "n", "min_pixels", "max_pixels"),
    ]
    with_them = plain.model_copy(update=READ)
    assert SamplingSpec.model_validate(with_them.model_dump()) == with_them
    assert with_them.model_dump() == {**plain.model_dump(), **READ}


def test_they_are_sent_and_stored(tmp_path: Path) -> None:
    base = ["--tasks", "adding", "--limit", 2, "--include_path", plugins(tmp_path / "p")]
    base += ["--output_path", tmp_path / "runs", "--model", "m", "--predict_only"]
    with ChatServer() as server:
        flags = ["--base_url", f"{server.root}/v1", "--gen_kwargs", TYPED]
        done = here(*base, *flags)
        assert done.returncode == 0, done.stderr
        for asked in server.asked:
            assert asked.body["reasoning_effort"] == "low"
            assert asked.body["presence_penalty"] == 1.5
            assert (asked.body["top_a"], asked.body["b"]) == (0.2, {"c": ["=", 1]})
            assert not {"extra_body", "frequency_penalty"} & asked.body.keys()
        done = here(*base, *flags[:2])
    plain, other = sorted(
        (run.spec() for run in find_runs(tmp_path / "runs")),
        key=lambda spec: len(spec.model_dump()["sampling"]),
    )
    assert plain.sampling and other.sampling and plain.digest() != other.digest()
    assert {name: getattr(other.sampling, name) for name in READ} == READ


def test_backends_that_have_none_refuse_them(tmp_path: Path) -> None:
    base = ["--model", "tiny", "--tasks", "demo", "--limit", 1, "--output_path", tmp_path]
    done = here(*base, "--backend", "transformers", "--gen_kwargs", "presence_penalty=1")
    assert done.returncode == 2
    assert "presence_penalty: backend 'transformers' does not take it, openai and vllm" in (
        done.stderr
    )


def test_a_judge_with_an_effort_is_another_judge() -> None:
    def connection(**args: Any) -> Any:
        given = {"model": "m", "base_url": "http://h/v1", "args": args}
        return CONNECT["openai"](ConnectOptions(JUDGE_FLAGS, **given))

    assert connection(reasoning_effort="low").sampling.reasoning_effort == "low"
    with pytest.raises(UsageError, match="--judge_args presence_penalty=5"):
        connection(presence_penalty=5)


SECRET = "secret-value-123"


def test_headers_are_sent_and_never_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSR1_HEADERS", f"X-Tenant: {SECRET}\nX-Title: a b")
    with ChatServer() as server:
        ask(server, questions(1))
        assert server.asked[0].headers["X-Tenant"] == SECRET
        assert server.asked[0].headers["X-Title"] == "a b"
        server.plan = lambda number, asked: failure(400, f"bad header {SECRET}")
        answer = ask(server, [request("q9")])["q9"]
    assert answer.error and SECRET not in answer.error and "bad header …" in answer.error


def test_headers_stay_out_of_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VSR1_HEADERS", f'{{"X-Tenant": "{SECRET}"}}')
    base = ["--tasks", "adding", "--limit", 2, "--include_path", plugins(tmp_path / "p")]
    with ChatServer() as server:
        server.plan = lambda number, asked: Reply(401, {"error": {"message": f"no {SECRET}"}})
        flags = ["--model", "m", "--base_url", f"{server.root}/v1", "--verbosity", "debug"]
        done = here(*base, *flags, "--output_path", tmp_path / "runs")
        assert server.asked[0].headers["X-Tenant"] == SECRET
        assert done.returncode and SECRET not in done.stdout + done.stderr
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert all(SECRET not in path.read_text("utf-8") for path in files)


@pytest.mark.parametrize(
    "text", ["X-Tenant", '{"X": 1}', "X Y: a", '["X"]', "X: a\x07b", "Content-Type: text/html"]
)
def test_wrong_headers_are_refused_without_their_values(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VSR1_HEADERS", text)
    with pytest.raises(BenchError, match=r"^VSR1_HEADERS: ") as error:
        headers_of("VSR1_HEADERS")
    assert "a\x07b" not in str(error.value)


def test_a_judges_headers_are_read_before_anything_is_generated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VSR1_JUDGE_HEADERS", "no header")
    with pytest.raises(UsageError, match="VSR1_JUDGE_HEADERS: wanted"):
        CONNECT["openai"](ConnectOptions(JUDGE_FLAGS, model="m", base_url="http://h/v1"))
