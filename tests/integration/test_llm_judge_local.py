"""A real LLM as judge: SmolLM2-135M-Instruct behind a real server, and in this process.

Its verdicts are poor, and shown as they are: what is tested is the path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="a local LLM judges through vLLM")

from cli import cli, here
from serving import base_url, served
from smollm import NAME, smollm

from judges import box, outcomes, sums, verdicts

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
    with served(smollm(), ENGINE) as announced:
        yield base_url(announced)


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
    counts = report(runs, f"openai[{NAME}]")
    lines = verdicts(runs, f"openai[{NAME}]")
    assert counts.total() == PAIRS and all(line["raw"] for line in lines)
    assert all(line["usage"]["prompt_tokens"] > 100 for line in lines)
    # Held to the schema, even this model gives verdicts.
    assert counts["unscored"] == 0 and all(line["raw"].startswith("{") for line in lines)
    for spec in ("cascade:string_match,openai", "legacy_vsr1:mathruler,openai"):
        assert here("judge", runs, "--judge", spec, *flags).returncode in (0, 75)
    assert here("judge", runs, "--include_path", path, "--judge", "string_match").returncode == 0
    table = here("table", runs, "--include_path", path, "--layout", "long").stdout
    print(table)
    rows = {row.split("|")[4].strip(): row for row in table.splitlines() if "| accuracy " in row}
    cascade = f"cascade:string_match,openai[{NAME}]"
    legacy = f"legacy_vsr1:mathruler,openai[{NAME},paper]"
    assert rows.keys() >= {"string_match", f"openai[{NAME}]", cascade, legacy}
    assert all(f"/{PAIRS} " in rows[name] for name in ("string_match", cascade, legacy))
    # The cascade has asked nothing that the LLM by itself had not said before.
    asked = {line["asked"] for line in lines}
    assert asked > {line["asked"] for line in verdicts(runs, cascade) if line["asked"]}
    done = here("agreement", runs, "--judges", f"string_match,{cascade}")
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
    counts = report(runs, f"vllm[{NAME}]")
    lines = verdicts(runs, f"vllm[{NAME}]")
    assert counts.total() == PAIRS and counts["unscored"] == 0
    assert {line["judge_model"] for line in lines} == {smollm().name}
    assert all(line["raw"].startswith("{") for line in lines)
