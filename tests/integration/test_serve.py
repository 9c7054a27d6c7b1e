"""`serve`: a real vLLM server, and the same run through three backends."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="serve needs vLLM")

from cli import here
from serving import base_url, served

from vsr1_bench.errors import UsageError
from vsr1_bench.tools.serve import free_port, server_command


@pytest.fixture(scope="module")
def announced() -> Iterator[str]:
    # What is compared is the way there; test_vllm_backend.py has the compiled model.
    with served("tiny", "dtype=float32,max_model_len=4096,enforce_eager=true") as line:
        yield line


@pytest.fixture(scope="module")
def endpoint(announced: str) -> str:
    return base_url(announced)


def documents(folder: Path, *arguments: str) -> tuple[dict[str, object], dict[str, object]]:
    flags = ("--model", "tiny", "--tasks", "demo", "--limit", "12", "--output_path", folder)
    done = here(*flags, *arguments)
    assert done.returncode == 0, done.stderr
    (run,) = folder.glob("tiny/demo-*")
    score = json.loads((run / "scores/string_match.json").read_text())
    spec = json.loads((run / "run.json").read_text())["spec"]
    return score, spec


def test_one_run_through_three_backends(announced: str, tmp_path: Path) -> None:
    # what `serve` tells the user to type, up to the task
    told = shlex.split(announced.split("vsr1-bench ")[1].split(" --tasks")[0])
    assert told[:2] == ["--model", "tiny"] and told[2] == "--base_url"
    shared = tuple(told[4:])  # pixel bounds and max_tokens that fit the model
    assert "min_pixels=" in shared[1] and "max_tokens=2048" in shared[1]
    ways = {
        "openai": tuple(told[2:]),
        "transformers": ("--backend", "transformers", "--model_args", "dtype=float32", *shared),
        "vllm": ("--backend", "vllm", "--model_args", "dtype=float32,enforce_eager=true", *shared),
    }
    found = {name: documents(tmp_path / name, *flags) for name, flags in ways.items()}
    scores = {name: score["metrics"] for name, (score, _) in found.items()}
    assert scores["openai"] == scores["transformers"] == scores["vllm"]
    specs = {name: spec for name, (_, spec) in found.items()}
    assert specs["transformers"] == specs["vllm"]
    # an endpoint's weights, precision and template cannot be seen; all else is the same
    for spec in (specs["openai"], specs["vllm"]):
        model, prompt = spec["model"], spec["prompt"]
        assert isinstance(model, dict) and isinstance(prompt, dict)
        for unseen in ("fingerprint", "precision", "verified"):
            model.pop(unseen)
        prompt.pop("chat_template_hash")
    assert specs["openai"] == specs["vllm"]


def test_a_taken_port_is_refused(endpoint: str) -> None:
    port = int(endpoint.rsplit(":", 1)[1].split("/")[0])
    with pytest.raises(UsageError, match=rf"--port {port}"):
        free_port("127.0.0.1", port)


def test_the_command_says_what_run_relies_on() -> None:
    words, flags = server_command("tiny", "127.0.0.1", 8123, {"dtype": "float32"})
    line = " ".join(words)
    assert "--served-model-name tiny" in line
    assert flags.startswith("--model tiny --base_url http://127.0.0.1:8123/v1 --gen_kwargs ")
    assert "--generation-config vllm" in line and "--host 127.0.0.1 --port 8123" in line
    assert "--trust-remote-code" not in line
    with pytest.raises(UsageError, match="did you mean"):
        server_command("tiny", "127.0.0.1", 8123, {"dtyp": "float32"})
