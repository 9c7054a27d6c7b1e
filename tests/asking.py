"""Asks a server of the tests through backend `openai`, and what such a server may say."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Iterable
from typing import Any

from PIL import Image
from servers import ChatServer, Plan, Reply, failure

from vsr1_bench.generation.base import parse_backend_args
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.generation.openai import OpenAIArgs, OpenAIGenerator
from vsr1_bench.records import Completion, ImagePlace, Message, Request, Sampling

KEY = "sk-test-0123456789abcdef"
OURS = ("openai-calls", "openai-images")
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
