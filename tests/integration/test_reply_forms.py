"""The forms that servers give a chat completion: one stated outcome each, asked for once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import ask, ask_one, questions
from servers import Asked, ChatServer, Reply, chat, gemini

from judges import CORRECT, GEMINI, OPENAI, item, judge
from vsr1_bench.errors import ModelError

pytestmark = pytest.mark.usefixtures("no_keys")


def parts(*found: Any) -> dict[str, Any]:
    body = chat(None)
    body["choices"][0]["message"]["content"] = list(found)
    return body


def with_logprobs(found: Any) -> dict[str, Any]:
    body = chat("8")
    body["choices"][0]["logprobs"] = found
    return body


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


THOUGHT = {"type": "thinking", "thinking": [text("7 legs, or 8?")]}
ANSWERS: dict[str, tuple[Any, str, str]] = {
    "text parts": (parts(text("Eight "), text("legs.")), "Eight legs.", "stop"),
    "reasoning, then text": (parts(THOUGHT, text("8")), "8", "stop"),
    "reasoning of another name": (
        parts({"type": "reasoning", "text": "7?"}, {"type": "output_text", "text": "8"}),
        "8",
        "stop",
    ),
    "reasoning parts only": (parts(THOUGHT), "", "stop"),
    "plain strings": (parts("8", " legs"), "8 legs", "stop"),
    "reasoning beside null": (chat(None, reasoning_content="7? 8."), "", "stop"),
    "reasoning beside an empty text": (chat("", reasoning="7? 8."), "", "stop"),
    "reasoning beside null, end_turn": (chat(None, "end_turn", reasoning="8."), "", "stop"),
    "no finish reason": (chat("8", None), "8", "stop"),
    "eos_token": (chat("8", "eos_token"), "8", "stop"),
    "max_tokens": (chat("There are", "max_tokens"), "There are", "length"),
    "MAX_TOKENS": (chat("There are", "MAX_TOKENS"), "There are", "length"),
    "model_length": (chat(None, "model_length"), "", "length"),
    "MaxTokens": (chat("There are", "MaxTokens"), "There are", "length"),
    "max-tokens": (chat("There are", "max-tokens"), "There are", "length"),
    "FINISH_REASON_MAX_TOKENS": (chat("8", "FINISH_REASON_MAX_TOKENS"), "8", "length"),
    "a number as finish reason": (chat("8", 1), "8", "stop"),
    "logprobs of another protocol": (with_logprobs({"tokens": ["8"]}), "8", "stop"),
    "logprobs without numbers": (with_logprobs({"content": [{"token": "8"}]}), "8", "stop"),
    "logprobs as a list": (with_logprobs([-0.1]), "8", "stop"),
    "byte order mark": ("\ufeff" + json.dumps(chat("8")), "8", "stop"),
    "half a character": (json.dumps(chat("8 \ud83d legs")), "8 \ud83d legs", "stop"),
}


@pytest.mark.parametrize("form", ANSWERS)
def test_forms_that_are_responses(form: str) -> None:
    body, words, finish = ANSWERS[form]
    answer, server = ask_one([Reply(body=body)])
    assert (answer.text, answer.finish_reason, answer.error) == (words, finish, None)
    assert len(server.asked) == 1


FAILED: dict[str, tuple[Any, str]] = {
    "an empty list": (parts(), "no text (stop)"),
    "an audio part": (parts({"type": "audio", "data": "…"}), "of type 'audio'"),
    "a number": (parts() | {"choices": [{"message": {"content": 8}}]}, "a number, not text"),
    "a number in a list": (parts(8), "a part of its content is a number"),
    "a refusal among parts": (parts({"type": "refusal", "refusal": "No."}), "refused: No."),
    "no message": ({"choices": [{"text": "8", "finish_reason": "stop"}]}, "its message is null"),
    "ERROR_TOXIC": (chat("There", "ERROR_TOXIC"), "the endpoint cut the answer (ERROR_TOXIC)"),
    "contentFiltered": (chat("There", "contentFiltered"), "cut the answer (contentFiltered)"),
    "SAFETY": (chat("There", "SAFETY"), "the endpoint cut the answer (SAFETY)"),
}


@pytest.mark.parametrize("form", FAILED)
def test_forms_that_are_none_fail_once(form: str) -> None:
    body, reason = FAILED[form]
    answer, server = ask_one([Reply(body=body)])
    assert answer.finish_reason == "error" and reason in (answer.error or "")
    assert len(server.asked) == 1


STREAM = 'data: {"choices": [{"delta": {"content": "8"}}]}\n\ndata: [DONE]\n\n'


def test_an_endpoint_that_only_streams_ends_the_run_in_one_line() -> None:
    with (
        ChatServer(lambda number, asked: Reply(body=STREAM)) as server,
        pytest.raises(ModelError, match=r"event stream.*turn streaming off") as end,
    ):
        ask(server, questions(40), concurrency=2)
    assert "\n" not in str(end.value) and len(server.asked) <= 2


def test_a_byte_order_mark_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def plan(number: int, asked: Asked) -> Reply:
        return Reply(body="\ufeff" + json.dumps(chat("8")))

    with ChatServer(plan) as server:
        answers = ask(server, questions(5))
    assert {answer.text for answer in answers.values()} == {"8"}
    assert sum("byte order mark" in line for line in caplog.messages) == 1


@pytest.mark.usefixtures("judge_keys")
def test_judges_read_the_same_forms() -> None:
    verdict = '{"verdict": "correct"}'
    wrong = text('{"verdict": "incorrect"}')
    replies = [
        Reply(body=parts({"type": "thinking", "thinking": [wrong]}, text(verdict))),
        Reply(body=chat(None, reasoning_content=verdict)),
        Reply(body=chat(verdict, "max_tokens")),
    ]
    found, server = judge(OPENAI, replies, *(item(n, f"\\boxed{{{n}}}") for n in range(3)))
    reasons = [one.verdict.reason or "" for one in sorted(found, key=lambda one: one.item.id)]
    outcomes = sorted(one.verdict.outcome for one in found)
    assert outcomes == ["correct", "unscored", "unscored"] and len(server.asked) == 3
    assert any("reply is empty" in reason for reason in reasons)
    assert any("token limit" in reason for reason in reasons)


@pytest.mark.usefixtures("judge_keys")
def test_gemini_that_has_only_thought_says_nothing() -> None:
    body = gemini(None) | {
        "candidates": [
            {
                "content": {"parts": [{"text": CORRECT, "thought": True}]},
                "finishReason": "STOP",
            }
        ]
    }
    found, server = judge(GEMINI, [Reply(body=body)], item(0, "\\boxed{8}"))
    assert found[0].verdict.outcome == "unscored" and len(server.asked) == 1
    assert "reply is empty" in (found[0].verdict.reason or "")
