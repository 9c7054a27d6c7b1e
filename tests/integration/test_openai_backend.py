"""Backend `openai` through the real client: what is sent, how many at once, how it ends."""

from __future__ import annotations

import base64
import io
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import KEY, OURS, ask, generator, our_threads, png, questions, request
from PIL import Image
from servers import Asked, ChatServer, Reply, chat, echo, failure, rate_limited

from vsr1_bench.errors import ModelError, UsageError
from vsr1_bench.generation.images import decode
from vsr1_bench.records import EncodedImage, ImagePlace, Message, Request, Sampling

pytestmark = pytest.mark.usefixtures("no_keys")


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
    # As to OpenAI itself: no field that says the default of reasoning models.
    del own["top_p"]
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
