"""A real LLM as judge: SmolLM2-135M-Instruct behind a real server, and in this process.

Its verdicts are poor, and shown as they are: what is tested is the path.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="a local LLM judges through vLLM")

from cli import cli
from smollm import smollm

from judges import box, outcomes, sums, verdicts

START = 240  # seconds; a crowded machine takes long to import vLLM
PAIRS = 24
ENGINE = "dtype=bfloat16,max_model_len=2048,max_num_seqs=32,enforce_eager=true"


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def judged_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two dozen pairs: a third right, a third wrong, a third right in words of their own."""
    said = (box, lambda n: box(n + 1), lambda n: f"That makes {n} altogether, I believe.")
    responses = [said[n % 3](2 * n) for n in range(PAIRS)]
    return sums(tmp_path_factory.mktemp("judged"), *responses)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    command = [sys.executable, "-m", "vsr1_bench", "serve", "--model", str(smollm())]
    process = subprocess.Popen(
        [*command, "--port", "0", "--model_args", ENGINE],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines: queue.Queue[str] = queue.Queue()
    errors: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    out, err = process.stdout, process.stderr
    threading.Thread(target=lambda: [lines.put(line) for line in out], daemon=True).start()
    threading.Thread(target=lambda: [errors.append(line) for line in err], daemon=True).start()
    try:
        while not (line := lines.get(timeout=START)).startswith("ready"):
            pass
        yield line.split("--base_url ")[1].split()[0]
    except queue.Empty:
        pytest.fail("the server was not ready: " + "".join(errors[-20:]))
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(60)


def report(runs: Path, judge: str) -> Counter[str]:
    """Count what the small model said, and print it: it is no judge, and nobody should think so."""
    found = outcomes(runs, judge)
    right = sum(v == ("incorrect" if int(k[1:]) % 3 == 1 else "correct") for k, v in found.items())
    counts = Counter(found.values())
    print(f"SmolLM2-135M as judge {judge!r}: {dict(counts)}; {right} of {PAIRS} are right (poor)")
    return counts


def test_a_real_llm_judges_behind_a_real_server(
    endpoint: str, judged_run: tuple[Path, Path]
) -> None:
    runs, path = judged_run
    flags = ("--include_path", path, "--judge_model", smollm().name, "--judge_base_url", endpoint)
    flags = (*flags, "--judge_args", "max_tokens=24,timeout=120", "--judge_concurrency", "8")
    done = cli("judge", runs, "--judge", "openai", *flags, timeout=300)
    assert done.returncode in (0, 75), done.stderr
    counts = report(runs, "openai")
    lines = verdicts(runs, "openai")
    assert counts.total() == PAIRS and all(line["raw"] for line in lines)
    assert all(line["usage"]["prompt_tokens"] > 100 for line in lines)
    # Held to the schema, even this model gives verdicts.
    assert counts["unscored"] == 0 and all(line["raw"].startswith("{") for line in lines)
    spec = "cascade:string_match,openai"
    assert cli("judge", runs, "--judge", spec, *flags, timeout=300).returncode in (0, 75)
    legacy = "legacy_vsr1:mathruler,openai"
    assert cli("judge", runs, "--judge", legacy, *flags, timeout=300).returncode in (0, 75)
    assert cli("judge", runs, "--include_path", path, "--judge", "string_match").returncode == 0
    table = cli("table", runs, "--include_path", path, "--layout", "long").stdout
    print(table)
    assert all(f"| {judge} " in table for judge in ("string_match", spec, legacy))
    done = cli("agreement", runs, "--judges", f"string_match,{spec}")
    print(done.stdout)
    assert done.returncode == 0, done.stderr


def test_a_real_llm_judges_in_this_process(judged_run: tuple[Path, Path]) -> None:
    runs, path = judged_run
    done = cli(
        *("judge", runs, "--judge", "vllm", "--judge_model", smollm()),
        *("--judge_args", f"max_tokens=24,{ENGINE}", "--include_path", path),
        timeout=300,
    )
    assert done.returncode in (0, 75), done.stderr
    counts = report(runs, "vllm")
    lines = verdicts(runs, "vllm")
    assert counts.total() == PAIRS and counts["unscored"] == 0
    assert {line["judge_model"] for line in lines} == {smollm().name}
    assert all(line["raw"].startswith("{") for line in lines)
