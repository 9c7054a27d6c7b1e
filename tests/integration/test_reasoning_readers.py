"""Reasoning models in the second pass: endpoints that take no temperature but 1."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cli import error_line, here
from picture_runs import plugins
from servers import Asked, ChatServer, Reply, chat, failure

REFUSED = "Unsupported value: 'temperature' does not support 0 with this model."


def thinks(number: int, asked: Asked) -> Reply:
    """Answer, caption or reading of a reasoning model, which is always right."""
    if asked.body.get("temperature", 1) != 1:
        return failure(400, REFUSED)
    if asked.images and "count" not in asked.text:
        return Reply(body=chat("a scene"))
    (n,) = re.findall(r"count (\d+)\.", asked.text)
    text = f"<description>a scene {n}</description><think>t</think>\\boxed{{{n}}}"
    return Reply(body=chat(text))


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a journal that are no errors."""
    (path,) = (folder / "runs").glob(f"*/*/{name}.jsonl")
    lines = map(json.loads, path.read_text("utf-8").splitlines())
    return [line for line in lines if line.get("error", "") is None]


def readers(folder: Path) -> list[dict[str, Any]]:
    found = sorted((folder / "runs").glob("*/*/readers/*.json"))
    return [json.loads(path.read_text("utf-8")) for path in found]


def command(folder: Path, url: str, *more: object) -> list[object]:
    return [
        *("run", "--model", "m", "--base_url", url, "--tasks", "pictures", "--limit", 4),
        *("--gen_kwargs", "temperature=1,max_tokens=99", "--include_path", plugins(folder)),
        *("--output_path", folder / "runs", *more),
    ]


def test_another_reader_gets_the_temperature_that_is_typed(tmp_path: Path) -> None:
    with ChatServer(thinks) as server:
        assert here(*command(tmp_path, server.url)).returncode == 0
        words = [
            *("perceive", tmp_path / "runs", "--include_path", tmp_path / "plugins"),
            *("--reader", "openai", "--reader_model", "big", "--reader_base_url", server.url),
        ]
        done = here(*words)
        assert done.returncode == 75
        (line,) = (one for one in done.stderr.splitlines() if "readings failed" in one)
        assert REFUSED in line and "(a model that takes no other: --reader_args temp" in line
        done = here(*words, "--reader_args", "temperature=1,top_p=0.9")
        assert done.returncode == 0, done.stderr
        assert [asked.body["top_p"] for asked in server.asked[-4:]] == [0.9] * 4
    (made,) = (one for one in readers(tmp_path) if one["spec"]["sampling"]["temperature"] == 1)
    assert {line["reader"] for line in records(tmp_path, "perceptions")} == {made["digest"]}


@pytest.mark.parametrize("perception", ["self", "caption"])
def test_the_evaluated_model_reads_itself_at_its_temperature(
    tmp_path: Path, perception: str
) -> None:
    with ChatServer(thinks) as server:
        words = command(tmp_path, server.url, "--perception", perception)
        done = here(*words)
        assert done.returncode == 75
        (line,) = (one for one in done.stderr.splitlines() if REFUSED in one)
        assert "--reader self --reader_args temperature=1" in line
        assert len(records(tmp_path, "generations")) == 4
        before = len(server.asked)
        done = here(*words, "--reader_args", "temperature=1", "--dry_run")
        assert done.returncode == 0, done.stderr
        done = here(*words, "--reader_args", "temperature=1")
        assert done.returncode == 0, done.stderr
        assert all(not asked.images or perception == "caption" for asked in server.asked[before:])
        # What is stored is not asked again.
        asked = len(server.asked)
        assert here(*words, "--reader_args", "temperature=1").returncode == 0
        assert len(server.asked) == asked == before + (8 if perception == "caption" else 4)
    (path,) = (tmp_path / "runs").glob("*/*/scores/*.json")
    part = json.loads(path.read_text())["perception"]
    assert (part["n"], part["uncounted"]) == (4, 0)
    assert part["table"]["sufficient"]["correct"] == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--reader_args", "temperature=1"], "this run has no second pass; add --perception"),
        (["--perception", "--reader_args", "top_p=1"], "takes only --reader_args temperature"),
        (["--perception", "--reader_args", "temperature=hot"], "temperature=hot: wanted a number"),
        (["--perception", "--reader_args", "temperature=3"], "--reader_args temperature=3"),
    ],
)
def test_a_temperature_that_cannot_be_is_one_line(
    tmp_path: Path, given: list[str], said: str
) -> None:
    done = here(*command(tmp_path, "http://127.0.0.1:9/v1", *given))
    assert said in error_line(done.returncode, 2, done.stderr)
    assert not (tmp_path / "runs").exists()
