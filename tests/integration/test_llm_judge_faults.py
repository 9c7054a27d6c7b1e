"""Judges `openai` and `gemini` through their real clients, against a server that misbehaves.

The table of faults stands in docs/judges.md, too; a test compares them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from servers import Asked, ChatServer, Reply, gemini
from tree import ROOT

from judges import CORRECT, GEMINI, INCORRECT, KEY, OPENAI, PROTOCOLS, Protocol, item, judge
from vsr1_bench.errors import BenchError, ModelError
from vsr1_bench.judging.open import open_judge

pytestmark = pytest.mark.usefixtures("judge_keys")


@dataclass(frozen=True)
class Fault:
    """What the server plays, and what comes of it."""

    plan: Callable[[Protocol], list[Reply]]
    verdict: str
    calls: int = 1
    reason: str = ""
    least: float = 0.0
    """Seconds that it takes at least."""


def saying(text: str) -> Callable[[Protocol], list[Reply]]:
    return lambda p: [p.says(text)]


LONG = "x" * 200_000


HTML = Reply(200, "<html>busy</html>")


FAULTS = {
    "normal": Fault(saying(CORRECT), "correct"),
    "slow": Fault(lambda p: [p.says(INCORRECT, wait=0.5)], "incorrect", least=0.5),
    "slower than the timeout": Fault(
        lambda p: [p.says(CORRECT, wait=1.5)] * 3, "unscored", 2, "no answer in 0.7 s"
    ),
    "429 with Retry-After, then fine": Fault(
        lambda p: [p.fails(429, Retry_After="1"), p.says(CORRECT)], "correct", 2, least=1.0
    ),
    "429 for ever": Fault(lambda p: [p.fails(429)] * 4, "unscored", 3, "HTTP 429"),
    "500, then fine": Fault(lambda p: [p.fails(500), p.says(CORRECT)], "correct", 2),
    "500 for ever": Fault(lambda p: [p.fails(500)] * 4, "unscored", 3, "HTTP 500"),
    "cut connection, then fine": Fault(lambda p: [Reply(cut=True), p.says(CORRECT)], "correct", 2),
    "cut connection for ever": Fault(lambda p: [Reply(cut=True)] * 4, "unscored", 3, "Error"),
    "malformed JSON from the endpoint": Fault(lambda p: [HTML] * 4, "unscored", 3, "JSON"),
    "malformed JSON from the model": Fault(
        saying('{"verdict": "correct"'), "unscored", 1, "no verdict"
    ),
    "empty text": Fault(saying(""), "unscored", 1, ""),
    "safety block": Fault(lambda p: [p.blocked], "unscored", 1, "SAFETY"),
    "error": Fault(saying("error"), "unscored", 1, "no verdict in the judge's reply 'error'"),
    "wrong": Fault(saying('{"verdict": "wrong"}'), "unscored", 1, "verdict is 'wrong'"),
    "not correct": Fault(saying("<judgment>not correct</judgment>"), "unscored", 1, "not correct"),
    "The answer is not incorrect": Fault(
        saying("The answer is not incorrect"), "unscored", 1, "no verdict"
    ),
    "a verdict, then cut at the token limit": Fault(
        lambda p: [p.says_and_is_cut("<judgment>correct</judgment> but")],
        "unscored",
        1,
        "cut at its token limit",
    ),
    "200,000 characters, then a verdict": Fault(
        saying(f"<think>{LONG}</think><judgment>incorrect</judgment>"), "incorrect"
    ),
    "200,000 characters without one": Fault(saying(LONG + " correct"), "unscored", 1, "no verdict"),
}


@PROTOCOLS
@pytest.mark.parametrize("fault", FAULTS)
def test_the_verdict_of_each_fault(fault: str, protocol: Protocol) -> None:
    wanted = FAULTS[fault]
    began = time.monotonic()
    timeout = 0.7 if fault.startswith("slower") else 20
    args = {"timeout": timeout, "max_retries": 2}
    [judged], server = judge(protocol, wanted.plan(protocol), args=args)
    verdict = judged.verdict
    assert (verdict.outcome, len(server.asked)) == (wanted.verdict, wanted.calls), verdict
    assert wanted.reason in (verdict.reason or "")
    assert bool(verdict.reason) == (verdict.outcome == "unscored")
    assert time.monotonic() - began >= wanted.least
    assert judged.item.id == "k0" and verdict.extracted == "8"


def test_the_table_in_the_docs_is_this_one() -> None:
    text = (ROOT / "docs/judges.md").read_text("utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    said = {row[1].strip().strip("`"): row[2].strip().strip("`") for row in rows}
    assert {name: said.get(name) for name in FAULTS} == {n: f.verdict for n, f in FAULTS.items()}


@PROTOCOLS
def test_a_reply_is_kept_with_what_it_took(protocol: Protocol) -> None:
    [judged], _ = judge(protocol, [protocol.says(CORRECT)])
    assert judged.raw == CORRECT and judged.model == "m" and judged.prompt_hash
    assert (judged.usage.prompt_tokens, judged.usage.completion_tokens) == (11, 7)


@PROTOCOLS
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_stops_at_once(protocol: Protocol, status: int) -> None:
    with pytest.raises(ModelError, match=f"judge .*refused the key.*HTTP {status}") as caught:
        judge(protocol, lambda n, a: protocol.fails(status), *(item(n) for n in range(50)))
    assert caught.value.__cause__ is None and KEY not in str(caught.value)


def test_a_key_that_google_calls_invalid_stops_at_once() -> None:
    error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}
    with pytest.raises(ModelError, match="refused the key in GEMINI_API_KEY"):
        judge(GEMINI, [Reply(400, {"error": error})])


def test_geminis_thinking_is_no_verdict_and_a_blocked_answer_none() -> None:
    thought = {"text": CORRECT, "thought": True}
    parts = {"role": "model", "parts": [thought, {"text": INCORRECT}]}
    body = gemini(None) | {"candidates": [{"content": parts, "finishReason": "STOP"}]}
    blocked = Reply(200, gemini(CORRECT, "PROHIBITED_CONTENT"))
    found, _ = judge(GEMINI, [Reply(200, body), blocked], item(0), item(1), concurrency=1)
    assert [j.verdict.outcome for j in found] == ["incorrect", "unscored"]
    assert "PROHIBITED_CONTENT" in str(found[1].verdict.reason)


def test_what_gemini_is_sent() -> None:
    args = {"safety": "none", "thinking_budget": 0, "temperature": 0.5, "max_tokens": 99}
    _, server = judge(GEMINI, [GEMINI.says(CORRECT)], args=args)
    [asked] = server.asked
    config = asked.body["generationConfig"]
    assert asked.path == "/v1/models/m:generateContent"
    assert asked.headers["x-goog-api-key"] == KEY
    assert config["temperature"] == 0.5 and config["maxOutputTokens"] == 99
    # google-genai 3.3 writes this one name as in Python; Google reads both forms.
    [(name, budget)] = config["thinkingConfig"].items()
    assert (name.replace("_", "").lower(), budget) == ("thinkingbudget", 0)
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["required"] == ["verdict"]
    assert {s["threshold"] for s in asked.body["safetySettings"]} == {"BLOCK_NONE"}
    assert len(asked.body["safetySettings"]) == 4


def test_the_schema_is_sent_and_given_up_where_it_is_refused() -> None:
    def plan(number: int, asked: Asked) -> Reply:
        if "response_format" in asked.body:
            return OPENAI.fails(400) if number > 90 else refused
        return OPENAI.says("<judgment>correct</judgment>")

    message = "response_format is not supported by this model"
    refused = Reply(400, {"error": {"message": message, "type": "invalid_request_error"}})
    found, server = judge(OPENAI, plan, *(item(n) for n in range(6)), concurrency=1)
    assert [j.verdict.outcome for j in found] == ["correct"] * 6
    with_schema = [a for a in server.asked if "response_format" in a.body]
    assert 1 <= len(with_schema) <= 2  # those already on their way, never a new one
    schema = with_schema[0].body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["verdict"]["enum"] == ["correct", "incorrect"]
    assert "<judgment>" in server.asked[-1].text


def test_another_bad_request_is_not_taken_for_that() -> None:
    found, server = judge(OPENAI, [Reply(400, {"error": {"message": "context too long"}})])
    assert found[0].verdict.outcome == "unscored" and len(server.asked) == 1


def test_an_endpoint_that_is_not_there_is_one_line() -> None:
    with ChatServer() as server:
        options = OPENAI.options(server)
    with (
        open_judge("openai", (), options) as judge_at_work,
        pytest.raises(BenchError, match=r"judge .*does not answer"),
    ):
        list(judge_at_work.judge([item()]))


def test_geminis_own_way_to_ask_for_a_wait_is_honoured() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.2s"}
    error = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [info]}
    plan = [Reply(429, {"error": error}), GEMINI.says(CORRECT)]
    [judged], server = judge(GEMINI, plan)
    first, second = server.asked
    assert judged.verdict.outcome == "correct" and second.time - first.time >= 1.2


@PROTOCOLS
def test_a_wait_of_an_hour_or_an_unknown_model_ends_the_command(protocol: Protocol) -> None:
    with pytest.raises(BenchError, match="asks to wait 3600 s"):
        judge(protocol, [protocol.fails(429, Retry_After="3600")])
    with pytest.raises(BenchError, match=r"does not serve model 'm'.*check --judge_model"):
        judge(protocol, [protocol.fails(404)])
