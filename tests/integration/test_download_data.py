"""Rows fetched from a stand-in of the hub, and runs that read them when the hub is gone."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli import command, error_line
from hub import Fault, Hub, Repositories, commit_of

from vsr1_bench.task import example_image

ROWS = [{"question": f"{n} + 0?", "answer": f"#### {n}"} for n in range(4)]
PICTURES = [
    {"question": f"Which {n}?\nA. x\nB. y", "answer": "AB"[n % 2], "image": example_image(56 + n)}
    for n in range(3)
]


class Bench:
    def __init__(self, folder: Path, served: Path, hub: Hub) -> None:
        self.folder, self.served, self.hub = folder, served, hub
        self.data = folder / "data"
        self.environment = hub.environment(folder / "home") | {"HF_HUB_DISABLE_XET": "1"}

    def __call__(self, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def fetch(self, tasks: str) -> subprocess.CompletedProcess[str]:
        return self("download", "data", "--tasks", tasks, "--to", self.data)

    def gets(self) -> list[str]:
        return [p for _, method, p in self.hub.asked if method == "GET" and "/resolve/" in p]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    repositories = Repositories(tmp_path / "served")
    repositories.add("openai/gsm8k", "main", "test", ROWS)
    repositories.add("openai/gsm8k", "main", "train", ROWS)
    repositories.add("xai-org/RealworldQA", None, "test", PICTURES)
    for config in ("standard (4 options)", "standard (10 options)"):
        repositories.add("MMMU/MMMU_Pro", config, "test", ROWS)
    served = repositories.write()
    lines = "".join(json.dumps(row) + "\n" for row in MATH)
    (served / "datasets/HuggingFaceH4/MATH-500/main").mkdir(parents=True)
    (served / "datasets/HuggingFaceH4/MATH-500/main/test.jsonl").write_text(lines)
    with Hub(served) as hub:
        yield Bench(tmp_path, served, hub)


MATH: list[dict[str, Any]] = [
    {
        "problem": f"{n} + 0?",
        "solution": "s",
        "answer": str(n),
        "subject": "Algebra",
        "level": 1,
        "unique_id": f"test/{n}",
    }
    for n in range(3)
]


def spec_data(runs: Path) -> list[dict[str, Any]]:
    """Which data the runs below a folder saw, by id."""
    metas = [json.loads(path.read_text()) for path in runs.rglob("run.json")]
    return sorted((meta["spec"]["data"] for meta in metas), key=lambda data: data["id"])


def notes(data: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(data).as_posix(): json.loads(path.read_text())
        for path in data.rglob("*.vsr1.json")
    }


def test_fetched_then_run_without_the_hub(bench: Bench, tmp_path: Path) -> None:
    done = bench.fetch("gsm8k,realworldqa,math500,mmmu_pro_10,demo")
    assert done.returncode == 0, done.stderr
    assert "generated, no download needed: demo" in done.stderr
    found = notes(bench.data)
    assert set(found) == {
        "openai/gsm8k/main/test.vsr1.json",
        "xai-org/RealworldQA/test.vsr1.json",
        "HuggingFaceH4/MATH-500/test.vsr1.json",
        "MMMU/MMMU_Pro/standard (10 options)/test.vsr1.json",
    }
    for place, note in found.items():
        hub_id = note["id"]
        assert note["revision"] == commit_of(bench.served / "datasets" / hub_id / "main")
        for name, said in note["files"].items():
            content = (bench.data / place).with_name(name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == said["sha256"]
            assert len(content) == said["size"]
    # The hub's own bytes where it has parquet; MATH-500 is converted.
    ours = bench.data / "openai/gsm8k/main/test-00000-of-00001.parquet"
    theirs = bench.served / "datasets/openai/gsm8k/main/main/test-00000-of-00001.parquet"
    assert ours.read_bytes() == theirs.read_bytes()
    assert (bench.data / "HuggingFaceH4/MATH-500/test.parquet").is_file()

    script = tmp_path / "script.jsonl"
    script.write_text('{"id": "*", "response": "4"}\n')
    run = ("run", "--model", "m", "--tasks", "gsm8k,realworldqa,math500", "--backend", "scripted")
    run += ("--model_args", f"script={script}", "--predict_only")
    bench(*run, "-o", tmp_path / "online")
    bench.hub.shutdown()
    bench.hub.server_close()
    offline = ("--offline", "--data_root", bench.data)
    fresh = {"HF_HOME": str(tmp_path / "fresh"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = bench("validate", "gsm8k,realworldqa,math500", *offline, **fresh)
    assert done.returncode == 0, done.stdout + done.stderr
    done = bench(*run, "-o", tmp_path / "offline", *offline, **fresh)
    ours, hubs = (spec_data(tmp_path / place) for place in ("offline", "online"))
    assert [data["fingerprint"] for data in ours] == [data["fingerprint"] for data in hubs]
    assert len(ours) == 3, done.stderr
    assert all(data["revision"] is None for data in ours) and all(d["revision"] for d in hubs)


def test_a_second_call_asks_for_nothing_that_is_there(bench: Bench) -> None:
    assert bench.fetch("gsm8k").returncode == 0
    before = len(bench.gets())
    assert bench.fetch("gsm8k").returncode == 0
    assert len(bench.gets()) == before
    (file,) = bench.data.rglob("*.parquet")
    file.write_bytes(b"?" * file.stat().st_size)  # somebody's disk
    assert bench.fetch("gsm8k").returncode == 0
    assert file.read_bytes().startswith(b"PAR1") and len(bench.gets()) > before


def test_a_cut_connection_and_wrong_bytes(bench: Bench) -> None:
    def cut(method: str, path: str, before: int) -> Fault | None:
        return Fault(cut=300) if method == "GET" and ".parquet" in path and not before else None

    bench.hub.plan = cut
    done = bench.fetch("gsm8k")
    assert done.returncode == 0, done.stderr
    assert sum(".parquet" in path for path in bench.gets()) >= 2
    (file,) = bench.data.rglob("*.parquet")
    right = file.read_bytes()
    file.unlink()
    wrong = Fault(data=b"?" * len(right))
    bench.hub.plan = lambda method, path, before: wrong if path.endswith(".parquet") else None
    done = bench.fetch("gsm8k")
    assert done.returncode == 1 and "is not what the hub says it is" in done.stderr
    assert not list(bench.data.rglob("*.parquet")) and not list(bench.data.rglob("*.part"))
    bench.hub.plan = lambda *_: None
    assert bench.fetch("gsm8k").returncode == 0 and file.read_bytes() == right


def test_what_cannot_be_had_is_left_out_by_name(bench: Bench) -> None:
    done = bench.fetch("gsm8k,supergpqa")
    assert done.returncode == 75, done.stderr
    assert "skipped: m-a-p/SuperGPQA/train: hf://datasets/m-a-p/SuperGPQA is not there" in (
        done.stderr
    )
    done = bench.fetch("supergpqa")
    assert done.returncode == 1
    done = bench.fetch("custom")
    assert "reads rows that you name" in error_line(done.returncode, 2, done.stderr)
    done = bench("download", "data", "--to", bench.data)
    assert "name the tasks" in error_line(done.returncode, 2, done.stderr)
    done = bench("download", "hf://datasets/a/b", "--tasks", "gsm8k")
    assert "--tasks is only for `vsr1-bench download data`" in error_line(
        done.returncode, 2, done.stderr
    )
