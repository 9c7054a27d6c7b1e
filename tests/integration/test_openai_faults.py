"""Backend `openai`: what passes, what fails a sample, what ends the run."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from asking import FATAL, ask, ask_one, generator, questions, request
from servers import Asked, ChatServer, Reply, chat, failure, rate_limited

from vsr1_bench.errors import GenerationError, ModelError
from vsr1_bench.generation import calls
from vsr1_bench.generation import openai as backend
from vsr1_bench.records import Request, Usage

pytestmark = pytest.mark.usefixtures("no_keys")
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
    "temperature": (
        failure(400, "'temperature' does not support 0; only the default (1) value is supported"),
        "--gen_kwargs temperature=1",
    ),
    "field": (
        failure(400, "Unsupported parameter: 'temperature' is not supported with this model."),
        "--gen_kwargs temperature=1",
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


def test_a_gateway_to_openai_gets_no_field_that_says_the_default() -> None:
    def plan(number: int, asked: Asked) -> Reply:
        named = {"temperature", "top_p"} & {*asked.body}
        refusal = f"Unsupported parameter: {sorted(named)} is not supported with this model."
        return failure(400, refusal) if named else Reply()

    typed = {"vllm_fields": False, "max_completion_tokens": True}
    for args, fine in (({}, False), (typed, True)):
        with ChatServer(plan) as server:
            answer = ask(server, [request("q0", temperature=1.0)], **args)["q0"]
        assert (answer.error is None) == fine
        way = "(a gateway to OpenAI's models, without temperature: --model_args vllm_fields=false"
        assert fine or way in (answer.error or "")


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
