"""Commands that ask a `BatchServer`, and what they have left behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchserver import Answer, BatchServer
from cli import here, plugins
from servers import chat, gemini

from judges import OPENAI, Protocol

INCORRECT = '{"verdict": "incorrect"}'


SEES = "<description>two numbers</description>\\boxed{4}"


def text_of(body: dict[str, Any]) -> str:
    parts = body.get("contents") or body["messages"]
    return json.dumps(parts)


def says(text: str) -> Answer:
    """The same text to every request, in the protocol of its body."""

    def answer(key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, gemini(text) if "contents" in body else chat(text)

    return answer


def flags(protocol: Protocol, server: BatchServer) -> list[str]:
    url = server.url if protocol is OPENAI else server.root
    told = ["--judge", protocol.judge, "--judge_base_url", url, "--judge_model", "m"]
    return [*told, "--judge_args", "timeout=20,max_retries=1", "--batch"]


def run_judge(runs: Path, path: Path, *more: object) -> tuple[int, str]:
    done = here("judge", runs, "--include_path", path, *more)
    return done.returncode, done.stderr


def paid_once(server: BatchServer, count: int) -> None:
    assert sorted(server.ran.values()) == [1] * count, server.ran
    assert not [call for call in server.calls if "/" in call], server.calls


def killing(server: BatchServer, step: str) -> Callable[[], bool]:
    """Kill the client at a step, once; the returned function says whether that happened."""
    done: list[str] = []

    def at(now: str) -> None:
        if now == step and not done:
            done.append(now)
            os.kill(server.client, signal.SIGKILL)

    server.on_step = at
    return lambda: bool(done)


def killed_at(server: BatchServer, step: str, words: tuple[object, ...]) -> tuple[bool, bool]:
    """Run a command until the server has killed it at a step."""
    happened = killing(server, step)
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                server.client = 0
                os.kill(os.getpid(), signal.SIGSTOP)  # until the server knows whom to kill
                os._exit(here(*words).returncode)
            except BaseException:
                os._exit(99)
        os.waitpid(child, os.WUNTRACED)
        server.client = child
        os.kill(child, signal.SIGCONT)
        status = os.waitpid(child, 0)[1]
        if happened():
            return os.WIFSIGNALED(status), True
        assert os.WEXITSTATUS(status) == 75
        server.finish()
    return False, False


def run(folder: Path, server: BatchServer, *more: object, limit: int = 4) -> tuple[int, str, str]:
    done = here(
        *("run", "--model", "m", "--limit", limit, "--output_path", folder / "runs"),
        *("--include_path", plugins(folder / "plugins"), "--base_url", server.url),
        *("--model_args", "max_retries=1,timeout=20", "--gen_kwargs", "max_tokens=16"),
        *("--tasks", "adding", "--batch", *more),
    )
    return done.returncode, done.stdout, done.stderr


def generated(folder: Path) -> list[dict[str, Any]]:
    [path] = folder.glob("runs/*/*/generations.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]
