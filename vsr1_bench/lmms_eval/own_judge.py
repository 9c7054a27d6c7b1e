"""The judge that a scorer of lmms-eval calls by itself: its settings, and whether it answered.

Many scorers catch all errors of their judge and go on with 0 or an empty reply, which would be
stored as a verdict. So the requests that they post are watched, and the errors that they log about
a judge. A request that failed counts as answered if it was repeated successfully.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import logging
import operator
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

SETTINGS = frozenset(
    """
    API_TYPE API_VERSION AWS_REGION AZURE_API_VERSION AZURE_ENDPOINT AZURE_OPENAI_ENDPOINT
    BABYVISION_BASE_URL BABYVISION_MODEL_NAME CAPTIONQA_JUDGE_MODEL DEPLOYMENT_NAME ENDPOINT_URL
    EVAL_MODEL_NAME GPT_EVAL_MODEL_NAME IMGEDIT_BASE_URL IMGEDIT_MODEL_NAME JUDGE_BASE_URL
    JUDGE_MODEL_NAME JUDGE_MODEL_VERSION KRIS_BENCH_BASE_URL KRIS_BENCH_EVAL_MODEL_NAME
    KRIS_BENCH_JUDGE_MODEL_NAME LLM_JUDGE_URL MEGABENCH_OPEN_API_MODEL MEGABENCH_OPEN_API_URL
    MODEL_NAME MODEL_VERSION MULTI_CRIT_VERIFIER_MODEL OPENAI_API_BASE OPENAI_API_MODEL
    OPENAI_API_URL OPENAI_BASE_URL OPENAI_JUDGE_MODEL QWEN_API_URL STRUCTEDITBENCH_BASE_URL
    STRUCTEDITBENCH_EVAL_MODEL_NAME STRUCTEDITBENCH_JUDGE_MODEL_NAME STRUCTEDITBENCH_MODEL_NAME
    TRAPI_API_VERSION TRAPI_DEPLOYMENT TRAPI_INSTANCE TRAPI_SCOPE USE_LLM_JUDGE VIESCORE_API_BASE
    VIESCORE_MODEL_NAME WISE_BASE_URL WISE_MODEL_NAME
    """.split()
)
"""Variables by which tasks of lmms-eval 0.7.3 choose their judge; none is a key.

They are part of a stored verdict's identity, so a test compares the list with lmms-eval's code."""

_ABOUT_A_JUDGE = re.compile(r"judge|openai|\bapi\b|api[ _]?key|\bllm\b", re.IGNORECASE)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PWD")


class _Thread(threading.local):
    """How each thread's failed requests ended, by request."""

    def __init__(self) -> None:
        self.met: dict[str, str] = {}


_here = _Thread()
_anywhere: dict[str, str] = {}
"""The same of all threads together, including those that a scorer starts itself."""


def settings() -> dict[str, str]:
    """The environment variables that are set and choose a judge."""
    return {name: os.environ[name] for name in sorted(SETTINGS) if name in os.environ}


def watch() -> None:
    """Watch all HTTP clients and logs of this process, which only scores."""
    from loguru import logger

    for name, clients, body in (
        ("requests", ("Session",), "body"),
        ("httpx", ("Client", "AsyncClient"), "content"),
        ("httpx2", ("Client", "AsyncClient"), "content"),  # `openai` has changed to it
    ):
        if importlib.util.find_spec(name):
            library = importlib.import_module(name)
            for client in (getattr(library, client) for client in clients):
                client.send = _watched(client.send, operator.attrgetter(body))
    logger.remove()
    logger.add(lambda line: _logged(line.record["message"]), level="ERROR")
    logger.enable("lmms_eval")
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: _logged(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)


def begin() -> None:
    """Forget the failures so far."""
    _here.met = {}
    _anywhere.clear()


def trouble(*, anywhere: bool = False) -> str | None:
    """How a judge failed since `begin`; None = it did not.

    Args:
        anywhere: In any thread (correct only while nothing else is scored), not only in this one.
    """
    return next(iter((_anywhere if anywhere else _here.met).values()), None)


def one_line(error: BaseException | str) -> str:
    """An error in one line, with the values of secrets in the environment redacted."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    for name, value in os.environ.items():
        if len(value) > 7 and _SECRET.search(name):
            text = text.replace(value, f"${name}")
    return " ".join(text.split())[:300]


def _logged(message: str) -> None:
    if _ABOUT_A_JUDGE.search(message):
        _here.met["log"] = _anywhere["log"] = one_line(message)


def _watched(send: Callable[..., Any], body: Callable[[Any], Any]) -> Callable[..., Any]:
    """A client's `send`, plain or asynchronous, that notes how each request ends."""

    @contextmanager
    def noting(request: Any) -> Iterator[Callable[[Any], Any]]:
        def ended(reply: Any) -> Any:
            _ended(request, body, reply.status_code)
            return reply

        try:
            yield ended
        except Exception as error:
            _ended(request, body, type(error).__name__)
            raise

    def sent(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        with noting(request) as ended:
            return ended(send(client, request, *args, **kwargs))

    async def sent_async(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        with noting(request) as ended:
            return ended(await send(client, request, *args, **kwargs))

    return functools.wraps(send)(sent_async if inspect.iscoroutinefunction(send) else sent)


def _ended(request: Any, body: Callable[[Any], Any], how: int | str) -> None:
    """Note how a POST ended; other methods only fetch files."""
    if request.method != "POST":
        return
    try:
        content = body(request)
    except RuntimeError:  # httpx: a file on its way, which is not read yet
        content = None
    mark = hashlib.sha256(f"{request.url} {content!r}".encode()).hexdigest()
    for met in (_here.met, _anywhere):
        if isinstance(how, int) and how < 400:
            met.pop(mark, None)
            met.pop("log", None)
        else:
            met[mark] = f"its judge at {urlsplit(str(request.url)).hostname}: {how}"
