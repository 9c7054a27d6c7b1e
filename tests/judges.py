"""Runs to be judged, and two ways to ask the test server for a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cli import here, plugins, script
from servers import ChatServer, Plan, Reply, chat, failure, gemini, gemini_blocked

from vsr1_bench.judge import Item, Judged, JudgeOptions
from vsr1_bench.judging.open import open_judge

KEY = "sk-judge-0123456789abcdef"
CORRECT, INCORRECT = '{"verdict": "correct"}', '{"verdict": "incorrect"}'


@dataclass(frozen=True)
class Protocol:
    """How a real client is pointed at the server, and what the server says to it."""

    judge: str
    body: Callable[..., dict[str, Any]]
    blocked: Reply
    limit: str
    """Finish reason of a reply that was cut at its token limit."""

    def url(self, server: ChatServer) -> str:
        return server.url if self.judge == "openai" else server.root

    def flags(self, server: ChatServer) -> list[str]:
        return [
            *("--judge_base_url", self.url(server), "--judge_model", "m"),
            *("--judge_args", "timeout=20,max_retries=2"),
        ]

    def options(self, server: ChatServer, **more: Any) -> JudgeOptions:
        args = {"timeout": 20, "max_retries": 2} | more.pop("args", {})
        return JudgeOptions(model="m", base_url=self.url(server), args=args, **more)

    def says(self, text: str, **more: Any) -> Reply:
        return Reply(200, self.body(text), **more)

    def says_and_is_cut(self, text: str) -> Reply:
        return Reply(200, self.body(text, self.limit))

    def fails(self, status: int, **headers: str) -> Reply:
        if self.judge == "openai":
            return failure(status, "no luck", **headers)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        error = {"code": status, "message": "no luck", "status": "UNAVAILABLE"}
        return Reply(status, {"error": error}, named)


OPENAI = Protocol(
    "openai", chat, Reply(200, chat(None, "stop", refusal="I can't help: SAFETY")), "length"
)
GEMINI = Protocol("gemini", gemini, Reply(200, gemini_blocked("SAFETY")), "MAX_TOKENS")


PROTOCOLS = pytest.mark.parametrize("protocol", [OPENAI, GEMINI], ids=lambda p: p.judge)


def item(n: int = 0, response: str = "\\boxed{8}", **more: Any) -> Item:
    told = {"answer": "7", "answer_type": "number", "question": f"How many, case {n}?"} | more
    return Item(id=f"k{n}", response=response, sample_id=f"q{n}", **told)


def judge(
    protocol: Protocol, plan: Plan, *items: Item, spec: str = "", **options: Any
) -> tuple[list[Judged], ChatServer]:
    with ChatServer(plan) as server:
        told = protocol.options(server, **options)
        with open_judge(spec or protocol.judge, (), told) as running:
            return list(running.judge(items or (item(),))), server


def sums(folder: Path, *responses: str, samples: int = 1) -> tuple[Path, Path]:
    """Generate a run of task `adding` from a script; returns its output path and the plug-ins."""
    path, runs = plugins(folder / "plugins"), folder / "runs"
    lines = [{"id": f"q{n:03d}", "response": text} for n, text in enumerate(responses)]
    written = script(folder / "script.jsonl", *lines)
    done = here(
        *("run", "--model", "m", "--tasks", "adding", "--backend", "scripted"),
        *("--model_args", f"script={written}", "--limit", len(responses), "--predict_only"),
        *("--include_path", path, "--output_path", runs, "--num_samples", samples),
    )
    assert done.returncode == 0, done.stderr
    return runs, path


def box(answer: object) -> str:
    return f"\\boxed{{{answer}}}"


def verdicts(runs: Path, judge: str = "*") -> list[dict[str, Any]]:
    """Every line of the journals of judges of this name."""
    named = judge if judge == "*" else quote(judge, safe="")
    return [
        json.loads(line)
        for path in sorted(runs.glob(f"*/*/judgments/{named}-*.jsonl"))
        for line in path.read_text("ascii").splitlines()
    ]


def outcomes(runs: Path, judge: str = "*") -> dict[str, str]:
    """Sample id -> its last verdict."""
    return {line["sample_id"]: line["verdict"]["outcome"] for line in verdicts(runs, judge)}
