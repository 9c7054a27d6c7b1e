"""A real HTTP server on loopback that plays an OpenAI-compatible endpoint, or Gemini's, faults too.

    def plan(number, asked):                    # for each chat call, from 0
        return rate_limited(1) if number == 0 else Reply()

    with ChatServer(plan) as server:            # or a list of replies; later calls are answered
        ...base_url=server.url...
    assert server.peak <= 4

`Reply()` answers with `echo` of the messages, so that an answer shows which question it belongs to.
A plan runs in the call's own thread: it may sleep, or wait on an Event or a Barrier. A call of
`…:generateContent` is Gemini's: point that client at `server.root`, and answer it with `gemini`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: Message
    """Looked up in any case."""
    body: dict[str, Any]
    time: float
    """Of arrival, monotonic."""

    @property
    def text(self) -> str:
        """The texts of all messages, images left out."""
        return "".join(p["text"] for p in self._parts() if p["type"] == "text")

    @property
    def images(self) -> list[str]:
        """The data URLs of all messages."""
        return [p["image_url"]["url"] for p in self._parts() if p["type"] == "image_url"]

    @property
    def by_gemini(self) -> bool:
        """Whether Google's client asked."""
        return self.path.partition("?")[0].endswith(":generateContent")

    def _parts(self) -> list[dict[str, Any]]:
        if self.by_gemini:
            said = [part for content in self.body["contents"] for part in content["parts"]]
            return [{"type": "text", **part} for part in said if "text" in part]
        contents = [m["content"] for m in self.body["messages"]]
        return [
            part
            for content in contents
            for part in (
                [{"type": "text", "text": content}] if isinstance(content, str) else content
            )
        ]


@dataclass(frozen=True)
class Reply:
    """What the server does with a call; the default is a normal answer."""

    status: int = 200
    body: Any = None
    """A dict is sent as JSON, a str as HTML; None answers with `echo`."""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    """Seconds before anything is sent."""
    cut: bool = False
    """Break the connection in the middle of the body."""
    raw: bytes | None = None
    """These bytes as the body, whatever they are; say by `headers` how they are encoded."""
    die: bool = False
    """The server goes down instead of answering: its port closes, its connections break."""


Plan = Callable[[int, Asked], Reply] | Sequence[Reply]


def echo(asked: Asked) -> str:
    """The answer to a request: its text, and the hashes of its images."""
    images = "".join(f" [{hashlib.sha256(url.encode()).hexdigest()[:8]}]" for url in asked.images)
    return f"You said: {asked.text}{images}"


def chat(text: str | None, finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    said = {"role": "assistant", "content": text, **message}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": said, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def gemini(text: str | None, finish: str = "STOP", **more: Any) -> dict[str, Any]:
    """The body of Gemini's answer; `text=None` leaves its content out."""
    content = {} if text is None else {"content": {"role": "model", "parts": [{"text": text}]}}
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 5, "thoughtsTokenCount": 2}
    return {
        "candidates": [{**content, "finishReason": finish, "index": 0}],
        "usageMetadata": {**usage, "totalTokenCount": 18},
        "modelVersion": "m",
        **more,
    }


def gemini_blocked(reason: str = "SAFETY") -> dict[str, Any]:
    """The body of an answer to a prompt that was blocked."""
    usage = {"promptTokenCount": 11, "totalTokenCount": 11}
    return {"promptFeedback": {"blockReason": reason}, "usageMetadata": usage}


def failure(status: int, message: str, **headers: str) -> Reply:
    """An error in OpenAI's form; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": message, "type": "error", "code": None}}, named)


def rate_limited(seconds: float | str) -> Reply:
    """A 429 that asks to wait, in seconds or until an HTTP date."""
    return failure(429, "slow down", Retry_After=str(seconds))


class ChatServer(ThreadingHTTPServer):
    """The endpoint: `POST /v1/chat/completions` by plan, `GET /v1/models` always."""

    request_queue_size = 512  # the default of 5 drops parallel calls
    daemon_threads = True

    def __init__(self, plan: Plan = (), *, port: int = 0) -> None:
        self.plan = plan
        self.asked: list[Asked] = []
        """Chat requests in order of arrival."""
        self.models = Reply(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})
        """Answer to `GET`, whatever the path."""
        self.running = 0
        self.peak = 0
        """Most chat calls that were in work at once."""
        self.faults: list[BaseException] = []
        """What a plan raised by mistake."""
        self.lock = threading.Lock()
        self.dead = False
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.die()
        if self.faults and kind is None:
            raise AssertionError("the plan of the test server failed") from self.faults[0]

    def die(self) -> None:
        """Close the port and break every connection; safe to call twice, from any thread."""
        with self.lock:
            if self.dead:
                return
            self.dead = True
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            break_off(connection)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what is wrong with the plan; clients that hang up are part of the play."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.faults.append(error)
            traceback.print_exc()

    def decide(self, number: int, asked: Asked) -> Reply:
        if callable(self.plan):
            return self.plan(number, asked)
        return self.plan[number] if number < len(self.plan) else Reply()


def break_off(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be broken already
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

    def log_message(self, format: str, *args: Any) -> None:
        """Keep standard error clean."""

    def do_GET(self) -> None:
        self._send(self.server.models)

    def do_POST(self) -> None:
        server = self.server
        length = int(self.headers["Content-Length"])
        sent = self.rfile.read(length)
        if len(sent) < length:  # who asked was killed in the middle of it
            return
        body = json.loads(sent)
        asked = Asked(self.path, self.headers, body, time.monotonic())
        with server.lock:
            number = len(server.asked)
            server.asked.append(asked)
            server.running += 1
            server.peak = max(server.peak, server.running)
        try:
            reply = server.decide(number, asked)
            time.sleep(reply.wait)
        finally:
            with server.lock:  # before the answer: the next call may come the moment it is there
                server.running -= 1
        if reply.die:
            server.die()
        if reply.body is None and reply.raw is None and not reply.cut:
            said = gemini(echo(asked)) if asked.by_gemini else chat(echo(asked))
            reply = Reply(reply.status, said, reply.headers)
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        if self.server.dead:
            self.close_connection = True
            break_off(self.connection)
            return
        html = isinstance(reply.body, str)
        data = reply.body.encode() if html else json.dumps(reply.body).encode()
        data = data if reply.raw is None else reply.raw
        self.send_response(reply.status)
        self.send_header("Content-Type", "text/html" if html else "application/json")
        self.send_header("Content-Length", str(len(data) + (100 if reply.cut else 0)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        if reply.cut:
            self.close_connection = True
            break_off(self.connection)
