"""Backend `openai` through the real client, against a server that misbehaves on purpose."""

from __future__ import annotations

import base64
import io
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cli import cli, error_line, journal_of, records, resume_command, start, wait_for_lines
from PIL import Image
from servers import Asked, ChatServer, Plan, Reply, chat, echo, failure, rate_limited

from vsr1_bench.errors import GenerationError, ModelError, UsageError
from vsr1_bench.generation import calls
from vsr1_bench.generation import openai as backend
from vsr1_bench.generation.base import parse_backend_args
from vsr1_bench.generation.openai import OpenAIArgs, OpenAIGenerator
from vsr1_bench.images import decode
from vsr1_bench.models import ModelInfo
from vsr1_bench.records import (
    Completion,
    EncodedImage,
    ImagePlace,
    Message,
    Request,
    Sampling,
    Usage,
)

KEY = "sk-test-0123456789abcdef"
OURS = ("openai-calls", "openai-images")


@pytest.fixture(autouse=True)
def _no_key_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("OPENAI_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def request(key: str, *content: str | ImagePlace, **options: Any) -> Request:
    images = options.pop("images", ())
    message = Message("user", content or (f"question {key}",))
    return Request(key, (message,), Sampling(**options), images, sample_id=key)


def questions(n: int) -> list[Request]:
    return [request(f"q{i}") for i in range(n)]


def generator(url: str, **args: Any) -> OpenAIGenerator:
    model = ModelInfo("m", "mark", verified=False, base_url=url)
    return OpenAIGenerator(model, parse_backend_args(OpenAIArgs, "openai", args))


def ask(server: ChatServer, requests: Iterable[Request], **args: Any) -> dict[str, Completion]:
    with generator(server.url, **args) as engine:
        return {completion.key: completion for completion in engine.generate(requests)}


def ask_one(plan: Plan, **args: Any) -> tuple[Completion, ChatServer]:
    with ChatServer(plan) as server:
        return ask(server, questions(1), **args)["q0"], server


def png(size: tuple[int, int] = (40, 30), mode: str = "RGB", seed: int = 0) -> bytes:
    noise = Image.frombytes("L", size, random.Random(seed).randbytes(size[0] * size[1]))
    buffer = io.BytesIO()
    noise.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def our_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(OURS)]


# What passes, what fails a sample, what ends the run


PASSING = {
    "500": failure(500, "engine hiccup"),
    "408": failure(408, "too slow"),
    "429": rate_limited(0),
    "cut": Reply(cut=True),
    "malformed": Reply(body='{"choices": [{"mess'),
    "html": Reply(body="<html>login</html>"),
    "not an object": Reply(body=[]),
    "error in a 200": Reply(body={"error": {"message": "upstream is busy", "code": 502}}),
}
REASONS = {
    "500": "HTTP 500: engine hiccup",
    "408": "HTTP 408: too slow",
    "429": "HTTP 429: slow down",
    "cut": "RemoteProtocolError",
    "malformed": "not a chat completion",
    "html": "not a chat completion",
    "not an object": "not a chat completion",
    "error in a 200": "upstream is busy",
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_retried(fault: str) -> None:
    answer, server = ask_one([PASSING[fault]])
    assert (answer.text, answer.error) == ("You said: question q0", None)
    assert len(server.asked) == 2
    assert server.asked[1].time - server.asked[0].time > 0.2  # not at once


def test_a_fault_that_stays_fails_its_sample_only() -> None:
    def plan(number: int, asked: Asked) -> Reply:
        return PASSING.get(asked.text, Reply())

    with ChatServer(plan) as server:
        requests = [request(text, text) for text in (*PASSING, "fine", "good")]
        answers = ask(server, requests, max_retries=1)
    for fault, reason in REASONS.items():
        assert answers[fault].finish_reason == "error" and answers[fault].text == ""
        assert reason in (answers[fault].error or "")
    assert answers["fine"].error is None and answers["good"].error is None
    assert len(server.asked) == 2 * len(PASSING) + 2


HOPELESS = {
    "no choices": (Reply(body={**chat("x"), "choices": []}), "no choices"),
    "null content": (Reply(body=chat(None)), "no text (stop)"),
    "tool call": (Reply(body=chat(None, "tool_calls")), "no text (tool_calls)"),
    "refusal": (Reply(body=chat(None, refusal="I can't help")), "refused: I can't help"),
    "content filter": (Reply(body=chat("The ans", "content_filter")), "(content_filter)"),
    "aborted": (Reply(body=chat("The ans", "abort")), "(abort)"),
    "context": (failure(400, "maximum context length is 4096"), "HTTP 400: maximum context length"),
    "top_k": (failure(400, "Unrecognized argument: top_k"), "--model_args vllm_fields=false"),
    "max_tokens": (
        failure(400, "'max_tokens' is not supported; use 'max_completion_tokens' instead"),
        "--model_args max_completion_tokens=true",
    ),
    "fastapi": (Reply(422, {"detail": [{"msg": "field required"}]}), "field required"),
}


@pytest.mark.parametrize("fault", HOPELESS)
def test_what_cannot_pass_fails_its_sample_without_retries(fault: str) -> None:
    reply, reason = HOPELESS[fault]
    answer, server = ask_one([reply])
    assert answer.finish_reason == "error" and answer.text == ""
    assert reason in (answer.error or "")
    assert len(server.asked) == 1


def test_an_answer_cut_at_the_limit_is_an_answer() -> None:
    answer, _ = ask_one([Reply(body=chat("<think> so", "length"))])
    assert (answer.text, answer.finish_reason, answer.error) == ("<think> so", "length", None)
    # Where the server keeps reasoning apart, nothing may be left for the answer.
    answer, _ = ask_one([Reply(body=chat(None, "length", reasoning_content="so"))])
    assert (answer.text, answer.finish_reason, answer.error) == ("", "length", None)


def test_usage_and_log_probabilities_are_kept() -> None:
    body = chat("ab")
    body["choices"][0]["logprobs"] = {
        "content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}],
        "refusal": None,
    }
    answer, server = ask_one([Reply(body=body)], logprobs=True)
    assert answer.logprobs == (-0.5, -1.5) and answer.usage == Usage(11, 7)
    assert server.asked[0].body["logprobs"] is True
    del body["usage"], body["choices"][0]["logprobs"]
    answer, server = ask_one([Reply(body=body)])
    assert answer.logprobs is None and answer.usage == Usage(None, None)
    assert "logprobs" not in server.asked[0].body


def test_a_megabyte_of_text_arrives_whole() -> None:
    text = "0123456789 ä\n" * 80_000
    answer, _ = ask_one([Reply(body=chat(text))])
    assert answer.text == text


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form: str) -> None:
    asked_for: float | str = 1
    start, date = time.monotonic(), datetime.now(UTC) + timedelta(seconds=2)
    if form == "date":  # in whole seconds: this one is 1 to 2 s away
        asked_for = format_datetime(date, usegmt=True)
    answer, server = ask_one([rate_limited(asked_for)])
    assert answer.error is None
    since = start if form == "date" else server.asked[0].time
    assert 0.9 < server.asked[1].time - since < 20


def test_an_unreadable_retry_after_is_no_harm() -> None:
    for value in ("soon", "-5", "nan", "inf", "Thu, 99 Foo 2020"):
        assert calls.asked_seconds(value) == 0.0
    assert calls.asked_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_waits_grow_and_are_spread() -> None:
    after_limit = [calls.wait_seconds(1, 20.0) for _ in range(50)]
    assert min(after_limit) >= 20.0 and max(after_limit) <= 22.0 and len(set(after_limit)) > 40
    for attempt, least, most in ((1, 0.25, 0.5), (4, 2.0, 4.0), (40, 60.0, 120.0)):
        waits = [calls.wait_seconds(attempt, 0.0) for _ in range(50)]
        assert least <= min(waits) and max(waits) <= most and len(set(waits)) > 40


def test_a_very_long_wait_ends_the_run_to_be_resumed() -> None:
    plan = [Reply(), rate_limited(3600)]
    with ChatServer(plan) as server, generator(server.url, concurrency=1) as engine:
        answers = engine.generate(questions(9))
        assert next(answers).text == "You said: question q0"
        with pytest.raises(GenerationError, match=r"asks to wait 3600 s \(HTTP 429: slow down\)"):
            list(answers)
    assert len(server.asked) == 2


FATAL = {
    "401": (failure(401, "Incorrect API key"), "wants a key in OPENAI_API_KEY"),
    "402": (failure(402, "Insufficient Balance"), "wants payment"),
    "403": (failure(403, "not for you"), "wants a key"),
    "404": (failure(404, "The model `m` does not exist"), "does not serve model 'm'"),
    "405": (Reply(405, "<html>no</html>"), "which ends in /v1"),
    "quota": (
        Reply(429, {"error": {"message": "out of quota", "code": "insufficient_quota"}}),
        "wants payment",
    ),
}


@pytest.mark.parametrize("fault", FATAL)
def test_what_would_fail_every_sample_ends_the_run_at_once(fault: str) -> None:
    reply, reason = FATAL[fault]
    with ChatServer(lambda number, asked: reply) as server, pytest.raises(ModelError) as end:
        ask(server, questions(100), concurrency=4)
    assert reason in str(end.value) and server.url in str(end.value)
    assert len(server.asked) <= 4


@pytest.mark.parametrize("fault", ["401", "404"])
def test_after_answers_such_an_end_can_be_resumed(fault: str) -> None:
    with (
        ChatServer([Reply(), FATAL[fault][0]]) as server,
        generator(server.url, concurrency=1) as engine,
    ):
        answers = engine.generate(questions(3))
        assert next(answers).error is None
        with pytest.raises(GenerationError):
            list(answers)
        engine.submit(request("late"))  # the engine stays dead, and says so again
        with pytest.raises(GenerationError):
            list(engine.completions())
    assert len(server.asked) == 2


def test_a_403_after_answers_is_about_its_prompt() -> None:
    with ChatServer([Reply(), FATAL["403"][0]]) as server:
        answers = ask(server, questions(3), concurrency=1)
    assert [a.error for a in answers.values()] == [None, "HTTP 403: not for you", None]


def test_an_endpoint_that_was_never_there_is_said_at_once() -> None:
    with ChatServer() as server:
        pass
    before = time.monotonic()
    with pytest.raises(GenerationError, match=r"does not answer \(ConnectError\).*running\?"):
        ask(server, questions(50))
    assert time.monotonic() - before < 5


def test_a_gateway_whose_server_is_down_ends_the_run() -> None:
    down = Reply(502, "<html>bad gateway</html>")
    with ChatServer(lambda number, asked: down) as server:
        server.models = down
        with pytest.raises(GenerationError, match=r"does not answer \(HTTP 502"):
            ask(server, questions(3), max_retries=0)


def test_a_call_that_takes_too_long_is_tried_once_more() -> None:
    with ChatServer(lambda number, asked: Reply(wait=5)) as server:
        answer = ask(server, questions(1), timeout=1.5)["q0"]
    assert answer.error == "no answer in 1.5 s"
    assert len(server.asked) == 2


def test_a_bug_ends_the_run_instead_of_hanging_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(request: Request) -> list[dict[str, Any]]:
        raise KeyError("content")

    monkeypatch.setattr(backend, "_chat", broken)
    with ChatServer() as server, pytest.raises(GenerationError, match="KeyError: 'content'"):
        ask(server, questions(3))


# What is sent


def test_every_sampling_field_is_sent() -> None:
    asked = request("q0", temperature=0.5, top_k=7, max_tokens=33, stop=("END",), seed=40)
    asked = Request(asked.key, asked.messages, asked.sampling, index=2)
    with ChatServer() as server:
        ask(server, [asked])
        ask(server, [asked], vllm_fields=False, max_completion_tokens=True)
        ask(server, questions(1))
    own = {
        "model": "m",
        "messages": [{"role": "user", "content": "question q0"}],
        "temperature": 0.5,
        "top_p": 1.0,
        "seed": asked.seed,
        "n": 1,
        "stop": ["END"],
    }
    vllm = {"top_k": 7, "min_p": 0.0, "repetition_penalty": 1.0}
    assert server.asked[0].body == {**own, **vllm, "max_tokens": 33}
    assert server.asked[1].body == {**own, "max_completion_tokens": 33}
    defaults = server.asked[2].body
    assert (defaults["temperature"], defaults["top_k"], defaults["max_tokens"]) == (0.0, -1, 4096)
    assert all(asked.path == "/v1/chat/completions" for asked in server.asked)


def test_images_arrive_as_they_would_be_decoded_here() -> None:
    bounds = {"min_pixels": 2500, "max_pixels": 10_000}
    small, large, clear = png(), png((300, 200), seed=5), png((60, 60), "LA")
    images = tuple(EncodedImage(data) for data in (small, large, clear))
    places = ("Compare ", ImagePlace(1), " with ", ImagePlace(0), ImagePlace(2), "?")
    with ChatServer() as server:
        answer = ask(server, [request("q0", *places, images=images, **bounds)])["q0"]
    sent = server.asked[0]
    content = sent.body["messages"][0]["content"]
    kinds = ["text", "image_url", "text", "image_url", "image_url", "text"]
    assert [part["type"] for part in content] == kinds
    assert [part["text"] for part in content if "text" in part] == ["Compare ", " with ", "?"]
    for url, image in zip(sent.images, (images[1], images[0], images[2]), strict=True):
        head, _, data = url.partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as seen:
            wanted = decode(image, 2500, 10_000)
            assert (seen.mode, seen.size) == ("RGB", wanted.size)
            assert seen.tobytes() == wanted.tobytes()
    assert answer.text == echo(sent)


def test_text_alone_is_a_plain_string() -> None:
    messages = (Message("system", ("Be brief.",)), Message("user", ("One. ", "Two.")))
    with ChatServer() as server:
        ask(server, [Request("q0", messages, Sampling())])
    assert server.asked[0].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One. Two."},
    ]


def test_what_cannot_be_sent_fails_its_own_sample_only() -> None:
    torn = EncodedImage(png((200, 200))[:-900])
    good = EncodedImage(png())
    small = {"min_pixels": 1}
    requests = [
        request("torn", ImagePlace(0), "?", images=(torn,), **small),
        request("lost", ImagePlace(0), "?", images=(EncodedImage(path=Path("none.png")),), **small),
        request("surrogate", "what is \ud800?"),
        request("good", ImagePlace(0), "?", images=(good,), **small),
    ]
    with ChatServer() as server:
        answers = ask(server, requests)
    assert "image cannot be decoded" in (answers["torn"].error or "")
    assert "image cannot be read" in (answers["lost"].error or "")
    assert "not Unicode" in (answers["surrogate"].error or "")
    assert answers["good"].error is None and len(server.asked) == 1


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://h/v1", "http://", "http://[::1/v1", "http://a b/v1"]
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    before = set(threading.enumerate())  # another test's may be about to end
    with pytest.raises(UsageError, match="--base_url"):
        generator(url)
    assert not [t for t in threading.enumerate() if t not in before and t.name.startswith(OURS)]


@pytest.mark.parametrize("given", [{"concurrency": 0}, {"timeout": 0}, {"max_retries": -1}])
def test_arguments_that_would_hang_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--model_args"):
        generator("http://127.0.0.1:1/v1", **given)


# Concurrency and order


def test_the_bound_on_concurrency_is_reached_and_kept() -> None:
    together = threading.Barrier(6)

    def plan(number: int, asked: Asked) -> Reply:
        together.wait(timeout=20)  # each six calls wait for one another: fewer would break it
        return Reply(wait=0.05)  # a seventh call would be seen

    with ChatServer(plan) as server:
        answers = ask(server, questions(24), concurrency=6, max_retries=0)
    assert [a.error for a in answers.values()] == [None] * 24
    assert server.peak == 6
    assert all(a.text == f"You said: question {key}" for key, a in answers.items())


def test_more_calls_at_once_than_connections_are_kept_open() -> None:
    together = threading.Barrier(150)

    def plan(number: int, asked: Asked) -> Reply:
        together.wait(timeout=20)
        return Reply()

    with ChatServer(plan) as server:
        answers = ask(server, questions(300), concurrency=150, max_retries=1)
    assert [a.error for a in answers.values()] == [None] * 300
    assert server.peak == 150


def test_a_slow_answer_holds_nothing_up_and_requests_may_follow() -> None:
    gate = threading.Event()

    def plan(number: int, asked: Asked) -> Reply:
        if "question q0" in asked.text:
            assert gate.wait(timeout=20)
        return Reply()

    with ChatServer(plan) as server, generator(server.url, concurrency=2) as engine:
        for asked in questions(6):
            engine.submit(asked)
        arriving = engine.completions()
        first = [next(arriving).key for _ in range(5)]
        assert sorted(first) == ["q1", "q2", "q3", "q4", "q5"]
        engine.submit(request("second pass"))
        assert next(arriving).key == "second pass"
        gate.set()
        assert [a.key for a in arriving] == ["q0"]


def test_requests_are_read_no_further_ahead_than_capacity() -> None:
    read = 0

    def counted() -> Iterator[Request]:
        nonlocal read
        for asked in questions(60):
            read += 1
            yield asked

    with ChatServer() as server, generator(server.url, concurrency=3) as engine:
        for answered, _ in enumerate(engine.generate(counted()), start=1):
            assert read <= answered + 6  # twice the concurrency
    assert read == 60


# Ending


def test_close_drops_what_is_outstanding(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    def plan(number: int, asked: Asked) -> Reply:
        if number == 0:
            return rate_limited(100)  # one call sleeps, others wait for their answers or a slot
        gate.wait(timeout=20)
        return Reply()

    big = EncodedImage(png((900, 900)))
    with ChatServer(plan) as server, caplog.at_level(logging.DEBUG, "asyncio"):
        engine = generator(server.url, concurrency=4)
        for asked in questions(8):
            engine.submit(asked)
        for i in range(8):
            engine.submit(request(f"big{i}", ImagePlace(0), images=(big,)))
        deadline = time.monotonic() + 20
        while len(server.asked) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(server.asked) == 4
        before = time.monotonic()
        engine.close()
        assert time.monotonic() - before < 5
        assert not our_threads()
        assert list(engine.completions()) == []
        engine.close()
        gate.set()
    assert not [r for r in caplog.records if "destroyed" in r.message or "never" in r.message]


def test_close_while_images_are_encoded_leaves_no_thread() -> None:
    big = EncodedImage(png((1500, 1500)))
    with ChatServer() as server:
        engine = generator(server.url, concurrency=16)
        for i in range(16):
            engine.submit(request(f"big{i}", ImagePlace(0), images=(big,)))
        time.sleep(0.05)
        engine.close()
    assert not our_threads()
    assert len(server.asked) < 16


# What may never be said


def test_errors_show_neither_the_key_nor_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")  # as `$(cat file)` would not, but .env may
    image = EncodedImage(png())

    def plan(number: int, asked: Asked) -> Reply:
        quoted = f"Bearer {KEY}: bad field, input was {asked.images}"
        if "400" in asked.text:
            return failure(400, quoted)
        if "422" in asked.text:
            return Reply(422, {"detail": [{"msg": "bad", "input": asked.body, "key": KEY}]})
        if "500" in asked.text:
            return Reply(500, f"<html>{quoted} {'x y' * 400_000}</html>")
        if "200" in asked.text:
            return Reply(body={"error": {"message": quoted}})
        return Reply(body=chat(None, refusal=quoted))

    cases = ("400", "422", "500", "200", "refusal")
    requests = [request(c, f"{c} ", ImagePlace(0), images=(image,), min_pixels=1) for c in cases]
    with ChatServer(plan) as server:
        answers = ask(server, requests, max_retries=0)
        with pytest.raises(ModelError) as end:
            server.plan = [Reply()] * 5 + [failure(401, f"Incorrect API key provided: {KEY}")]
            ask(server, [request("q0")])
    assert "refused the key in OPENAI_API_KEY" in str(end.value)
    said = [answers[case].error or "" for case in cases] + [str(end.value)]
    for text in said:
        assert 0 < len(text) < 500
        assert KEY not in text and "\n" not in text
        assert "iVBORw0KGgo" not in text  # how every PNG begins in base64
    assert "bad field" in said[0] and "base64,…" in said[0]
    assert all(asked.headers["Authorization"] == f"Bearer {KEY}" for asked in server.asked)


def test_a_key_that_no_header_can_carry_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("sk-a b", "sk-\u201cquoted\u201d", "sk-a\nb"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(UsageError, match="OPENAI_API_KEY") as end:
            generator("http://127.0.0.1:1/v1")
        assert "sk-" not in str(end.value)


# Whole runs

TASK = """
import io

from PIL import Image

from vsr1_bench.records import ImagePlace, Sample
from vsr1_bench.task import Procedural, Task


def row(n):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (n, 2 * n, 3 * n)).save(buffer, "PNG")
    data = buffer.getvalue()
    return {"n": n, "image": data[:50] if n == TORN else data}


def to_sample(row):
    n = row["n"]
    question = (ImagePlace(0), f"How many in {n:02d}?")
    return Sample(f"p{n:02d}", question, str(n), "number", images=(row["image"],))


TORN = None
TASK = Task(
    name="pictures",
    version=1,
    source=Procedural(row, 30, "pictures-1", images=("image",)),
    to_sample=to_sample,
    answer_type="number",
    license="Apache-2.0",
    description="plain pictures",
)
"""


@pytest.fixture
def task_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "pictures.py").write_text(TASK, "utf-8")
    return folder


def run_arguments(server: ChatServer, tasks: Path, runs: Path, **args: Any) -> list[object]:
    given = {"concurrency": 2, "max_retries": 1, **args}
    model_args = ",".join(f"{name}={value}" for name, value in given.items())
    flags = ["run", "--model", "m", "--tasks", "pictures", "--include_path", tasks]
    flags += ["--base_url", server.url, "--model_args", model_args, "--predict_only"]
    return [*flags, "--gen_kwargs", "min_pixels=1", "--output_path", runs]


def test_the_key_is_sent_and_written_nowhere(
    tmp_path: Path, task_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("VSR1_CACHE", str(tmp_path / "cache"))
    own = task_folder / "pictures.py"
    own.write_text(own.read_text("utf-8").replace("TORN = None", "TORN = 4"), "utf-8")

    def plan(number: int, asked: Asked) -> Reply:
        quoted = f"key {asked.headers['Authorization']} and {asked.body}"
        return failure(400, quoted) if "02?" in asked.text else Reply()

    arguments = ["--verbosity", "debug", "--limit", "8"]
    with ChatServer(plan) as server:
        done = cli(*run_arguments(server, task_folder, tmp_path / "runs"), *arguments)
        generations = records(journal_of(tmp_path / "runs"))
        server.plan = lambda number, asked: failure(401, f"no: {asked.headers['Authorization']}")
        refused = cli(*run_arguments(server, task_folder, tmp_path / "runs"), *arguments)
    assert done.returncode == 75, done.stderr
    assert refused.returncode == 1, refused.stderr
    assert {a.headers["Authorization"] for a in server.asked} == {f"Bearer {KEY}"}
    failed = {g["sample_id"]: g["error"] for g in generations if g["error"]}
    assert sorted(failed) == ["p02", "p04"] and len(generations) == 8
    assert "HTTP 400: key Bearer …" in failed["p02"] and "image cannot" in failed["p04"]
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) >= 3
    for name, text in [
        *written.items(),
        ("streams", f"{done.stdout}{done.stderr}{refused.stdout}{refused.stderr}".encode()),
    ]:
        assert KEY.encode() not in text, name
        assert base64.b64encode(KEY.encode()) not in text, name
        assert b"iVBORw0KGgo" not in text, name


def test_an_endpoint_that_dies_half_way_is_resumed(tmp_path: Path, task_folder: Path) -> None:
    runs = tmp_path / "runs"

    def plan(number: int, asked: Asked) -> Reply:
        return Reply(die=number == 11)

    with ChatServer(plan) as server:
        arguments = run_arguments(server, task_folder, runs)
        ended = cli(*arguments)
    line = error_line(ended.returncode, 75, ended.stderr)
    assert f"endpoint {server.url} does not answer any more" in line
    saved = records(journal_of(runs))
    assert f"{len(saved)} of 30 responses are safe" in line
    assert 9 <= len(saved) < 30  # the other slot may get some answers before the server is down
    assert not [g for g in saved if g["error"]]
    assert [str(a) for a in arguments] == resume_command(ended.stderr)

    with ChatServer(port=server.port) as revived:
        finished = cli(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert "vsr1-bench: " not in finished.stderr
    everything = records(journal_of(runs))
    assert everything[: len(saved)] == saved
    assert sorted(g["sample_id"] for g in everything) == [f"p{n:02d}" for n in range(30)]
    assert len(revived.asked) == 30 - len(saved)
    for record in everything:
        assert f"How many in {record['sample_id'][1:]}?" in record["text"]


@pytest.mark.parametrize("fault", ["401", "404"])
def test_a_wrong_key_or_model_ends_a_run_in_one_line(
    fault: str, tmp_path: Path, task_folder: Path
) -> None:
    reply, reason = FATAL[fault]
    with ChatServer(lambda number, asked: reply) as server:
        done = cli(*run_arguments(server, task_folder, tmp_path / "runs", max_retries=6))
    assert reason in error_line(done.returncode, 1, done.stderr)
    assert len(server.asked) <= 2
    assert records(journal_of(tmp_path / "runs")) == []


def test_a_run_prints_no_line_for_each_call(tmp_path: Path, task_folder: Path) -> None:
    with ChatServer() as server:
        done = cli(*run_arguments(server, task_folder, tmp_path / "runs"))
    assert done.returncode == 0 and len(server.asked) == 30
    assert len([line for line in done.stderr.splitlines() if "resp" not in line]) < 5, done.stderr


def test_ctrl_c_ends_a_run_that_waits_for_answers(tmp_path: Path, task_folder: Path) -> None:
    gate = threading.Event()

    def plan(number: int, asked: Asked) -> Reply:
        if number >= 5:
            gate.wait(timeout=30)
        return Reply()

    with ChatServer(plan) as server:
        process = start(*run_arguments(server, task_folder, tmp_path / "runs"))
        try:
            wait_for_lines(tmp_path / "runs", 5)
            before = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
            took = time.monotonic() - before
        finally:
            process.kill()
            gate.set()
    assert "interrupted; 5 of 30 responses are safe" in error_line(process.returncode, 130, err)
    assert took < 10
    assert "destroyed" not in err
