"""What endpoints send back: bounded in bytes, counted in tokens, and never sent to another host."""

from __future__ import annotations

import gzip
import json
import resource
import zlib
from pathlib import Path
from typing import Any

import pytest
from asking import ask, ask_one, questions
from cli import cli
from servers import Asked, ChatServer, Reply, chat, failure, gemini

from judges import GEMINI, OPENAI, PROTOCOLS, Protocol, item, judge, sums
from vsr1_bench.errors import ModelError, UsageError
from vsr1_bench.generation.bounded import MOST
from vsr1_bench.generation.costs import Price, Spending
from vsr1_bench.records import Completion, Usage

pytestmark = pytest.mark.usefixtures("judge_keys")
GZIP = {"Content-Encoding": "gzip"}


def bomb(size: int) -> bytes:
    """JSON that unpacks to so many bytes, half a megabyte or less on its way."""
    head, tail = b'{"choices": [{"message": {"content": "', b'"}}]}'
    engine = zlib.compressobj(9, zlib.DEFLATED, 31)
    made = [engine.compress(head)]
    made += [engine.compress(b"a" * (1 << 20)) for _ in range(size >> 20)]
    return b"".join([*made, engine.compress(tail), engine.flush()])


@PROTOCOLS
def test_a_bomb_is_not_unpacked(protocol: Protocol) -> None:
    sent = bomb(500 << 20)
    assert len(sent) < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = [Reply(raw=sent, headers=GZIP)] * 6
    items = [item(n, f"it is {n}") for n in range(6)]
    found, server = judge(protocol, plan, *items, args={"max_retries": 2})
    assert [one.verdict.outcome for one in found] == ["unscored"] * 6
    assert all(f"over {MOST:,} bytes" in (one.verdict.reason or "") for one in found)
    assert len(server.asked) == 6, "what will not change is not asked for again"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 6 * 3 * (MOST >> 10), f"{grown >> 10} MiB"


@PROTOCOLS
def test_an_endless_plain_reply_is_not_read_to_its_end(protocol: Protocol) -> None:
    [judged], _ = judge(protocol, [Reply(raw=b" " * (MOST + 1))], args={"max_retries": 0})
    assert judged.verdict.outcome == "unscored" and "over" in (judged.verdict.reason or "")


@pytest.mark.parametrize("form", ["gzip", "deflate", "x-gzip"])
def test_a_packed_reply_of_usual_size_is_read(form: str) -> None:
    plain = json.dumps(chat("é" * 1_000_000)).encode()
    packed = zlib.compress(plain) if form == "deflate" else gzip.compress(plain)
    answer, server = ask_one([Reply(raw=packed, headers={"Content-Encoding": form})])
    assert answer.text == "é" * 1_000_000 and answer.usage == Usage(11, 7)
    assert server.asked[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("headers", "raw", "said"),
    [
        ({"Content-Encoding": "br"}, b"x", "comes as 'br'"),
        (GZIP, b"not packed at all", "is no gzip"),
    ],
)
def test_a_form_that_was_not_asked_for(headers: dict[str, str], raw: bytes, said: str) -> None:
    answer, server = ask_one([Reply(raw=raw, headers=headers)])
    assert said in (answer.error or "") and len(server.asked) == 1


@PROTOCOLS
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_request_goes_to_another_host(protocol: Protocol, status: int) -> None:
    with ChatServer() as elsewhere:
        there = f"http://localhost:{elsewhere.port}/v1/chat/completions"
        plan = [Reply(status, {}, {"Location": there})]
        with pytest.raises(ModelError, match=r"redirects from http://127\.0\.0\.1 to http://local"):
            judge(protocol, plan)
    assert elsewhere.asked == []


def test_a_redirect_on_the_same_host_is_followed() -> None:
    def plan(number: int, asked: Asked) -> Reply:
        if number == 0:
            return Reply(307, {}, {"Location": "/v2/chat/completions"})
        return Reply()

    answer, server = ask_one(plan)
    assert answer.text == "You said: question q0"
    assert [call.path for call in server.asked] == ["/v1/chat/completions", "/v2/chat/completions"]


def test_redirects_without_end_end_the_run() -> None:
    plan = lambda number, asked: Reply(307, {}, {"Location": "/v1/chat/completions"})  # noqa: E731
    with ChatServer(plan) as server, pytest.raises(ModelError, match="redirects without end"):
        ask(server, questions(3))


BILLED: dict[str, dict[str, Any]] = {
    "an error beside usage": {"error": {"message": "busy"}},
    "no choices": {"choices": []},
    "choices of another form": {"choices": [{"text": 3}]},
    "no text": {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]},
    "cut by a filter": {
        "choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]
    },
}


@pytest.mark.parametrize("fault", BILLED)
@pytest.mark.parametrize("status", [200, 500, 429])
def test_a_reply_that_names_its_tokens_is_counted_and_not_asked_for_again(
    fault: str, status: int
) -> None:
    body = BILLED[fault] | {"usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    answer, server = ask_one([Reply(status, body)] * 3)
    assert answer.error and answer.usage == Usage(9, 4), answer
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ({"prompt_tokens": -5, "completion_tokens": -1}, Usage()),
        ({"prompt_tokens": -5, "completion_tokens": 3}, Usage(None, 3)),
        ({"prompt_tokens": "many", "completion_tokens": 3.5}, Usage()),
        ({"prompt_tokens": True, "completion_tokens": 3}, Usage(None, 3)),
        ([1, 2], Usage()),
        ("12", Usage()),
        (None, Usage()),
    ],
)
def test_what_is_no_count_of_tokens_is_none(told: Any, read: Usage) -> None:
    answer, _ = ask_one([Reply(body=chat("four") | {"usage": told})])
    assert (answer.text, answer.error, answer.usage) == ("four", None, read)


def test_negative_counts_of_gemini_are_none() -> None:
    usage = {"promptTokenCount": -11, "candidatesTokenCount": -5, "thoughtsTokenCount": 2}
    said = gemini('{"verdict": "correct"}') | {"usageMetadata": usage}
    [judged], _ = judge(GEMINI, [Reply(body=said)])
    assert judged.verdict.outcome == "correct" and judged.usage == Usage(None, 2)


def test_what_a_reply_does_not_name_costs_the_most() -> None:
    spending = Spending({"m": Price(1e6, 1e6)}, 100.0)
    for usage, error, charged in (
        (Usage(), None, 50.0),
        (Usage(7, None), None, 50.0),
        (Usage(7, 3), None, 10.0),
        (Usage(7, 3), "no text", 10.0),
        (Usage(7, None), "no text", 7.0),
        (Usage(), "no text", 0.0),
    ):
        spending.spent = 0.0
        assert spending.hold(50.0)
        spending.settle_call("m", 50.0, Completion("k", usage=usage, error=error))
        assert spending.spent == charged, (usage, error)


PRICES = {"m": {"input": 1000.0, "output": 1000.0}}
"""A thousandth a token."""


@pytest.mark.parametrize("kind", ["good", "error in a 200", "schema refused", "garbage"])
def test_max_cost_holds_whatever_the_replies_are(tmp_path: Path, kind: str) -> None:
    """The server's own account: what it billed never comes to more than the bound."""
    billed = []

    def plan(number: int, asked: Asked) -> Reply:
        usage = {"prompt_tokens": len(asked.text.encode()), "completion_tokens": 16}
        billed.append(sum(usage.values()) / 1000)
        if kind == "error in a 200" and number % 2:
            return Reply(body={"error": {"message": "busy"}, "usage": usage})
        if kind == "schema refused" and "response_format" in asked.body:
            refusal = {"error": {"message": "no response_format here"}, "usage": usage}
            return Reply(400, refusal)
        if kind == "garbage" and number % 2:
            return Reply(body={"choices": [{"text": 1}], "usage": usage})
        return Reply(body=chat("<judgment>incorrect</judgment>") | {"usage": usage})

    runs, path = sums(tmp_path, *(f"\\boxed{{{n + 1000}}}" for n in range(12)))
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    with ChatServer(plan) as server:
        flags = ("--include_path", path, "--judge", "openai", *OPENAI.flags(server))
        flags += ("--price_file", str(tmp_path / "prices.json"), "--max_cost", "8")
        done = cli("judge", runs, *flags, "--judge_args", "max_tokens=16,max_retries=3")
    assert done.returncode == 75, done.stderr
    assert 0 < sum(billed) <= 8, sum(billed)


@pytest.mark.parametrize("flag", ["--base_url", "--judge_base_url", "--reader_base_url"])
@pytest.mark.parametrize("mark", ["?", "#"])
def test_a_key_in_a_query_is_refused_and_written_nowhere(
    tmp_path: Path, flag: str, mark: str
) -> None:
    secret = "hunter2hunter2"
    url = f"http://127.0.0.1:9/v1{mark}api-key={secret}"
    words = ["run", "--tasks", "demo", "--limit", "2", "-o", str(tmp_path / "runs"), flag, url]
    if flag == "--base_url":
        words += ["--model", "m"]
    elif flag == "--judge_base_url":
        words += ["--model", "tiny", "--judge", "openai", "--judge_model", "m"]
    else:
        words += ["--model", "tiny", "--perception", "--reader", "openai", "--reader_model", "m"]
    done = cli(*words)
    assert done.returncode == 2 and flag in done.stderr, done.stderr
    assert secret not in done.stderr + done.stdout
    written = [p for p in tmp_path.rglob("*") if p.is_file() and secret in p.read_text("utf-8")]
    assert written == []


def test_a_key_in_an_address_of_a_bundle_is_not_shown(tmp_path: Path) -> None:
    from vsr1_bench.publish.unpack import download

    for address in (
        "https://ann:hunter2@[::1/x?sig=hunter2",
        "https://host.example:port/x?sig=hunter2",
        "nowhere://ann:hunter2@shelf/x?sig=hunter2",
    ):
        with pytest.raises(UsageError) as error:
            download(address, tmp_path / "runs", progress=False)
        assert "hunter2" not in str(error.value)


def test_an_error_page_beyond_the_bound_is_a_failed_sample() -> None:
    answer, server = ask_one([Reply(500, raw=b"x" * (MOST + 1))] * 2)
    assert "over" in (answer.error or "") and len(server.asked) == 1
    answer, _ = ask_one([failure(500, "engine hiccup")])
    assert answer.error is None, "a fault of the usual size is retried"
