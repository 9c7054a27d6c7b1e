"""Whole runs through backend `openai`: the key, an endpoint that dies, Ctrl-C."""

from __future__ import annotations

import base64
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from asking import FATAL, KEY
from cli import cli, error_line, journal_of, records, resume_command, start, wait_for_lines
from servers import Asked, ChatServer, Reply, failure

pytestmark = pytest.mark.usefixtures("no_keys")

TASK = """
import io

from PIL import Image

from vsr1_bench.records import ImagePlace, Sample
from vsr1_bench.task import Procedural, Task


def row(n):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (n, 2 * n, 3 * n)).save(buffer, "PNG")
    data = buffer.getvalue()
    return {"n": n, "image": data[:50] if n == TORN else data}


def to_sample(row):
    n = row["n"]
    question = (ImagePlace(0), f"How many in {n:02d}?")
    return Sample(f"p{n:02d}", question, str(n), "number", images=(row["image"],))


TORN = None
TASK = Task(
    name="pictures",
    version=1,
    source=Procedural(row, 30, "pictures-1", images=("image",)),
    to_sample=to_sample,
    answer_type="number",
    license="Apache-2.0",
    description="plain pictures",
)
"""


@pytest.fixture
def task_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "pictures.py").write_text(TASK, "utf-8")
    return folder


def run_arguments(server: ChatServer, tasks: Path, runs: Path, **args: Any) -> list[object]:
    given = {"concurrency": 2, "max_retries": 1, **args}
    model_args = ",".join(f"{name}={value}" for name, value in given.items())
    flags = ["run", "--model", "m", "--tasks", "pictures", "--include_path", tasks]
    flags += ["--base_url", server.url, "--model_args", model_args, "--predict_only"]
    return [*flags, "--gen_kwargs", "min_pixels=1", "--output_path", runs]


def test_the_key_is_sent_and_written_nowhere(
    tmp_path: Path, task_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("VSR1_CACHE", str(tmp_path / "cache"))
    own = task_folder / "pictures.py"
    own.write_text(own.read_text("utf-8").replace("TORN = None", "TORN = 4"), "utf-8")

    def plan(number: int, asked: Asked) -> Reply:
        quoted = f"key {asked.headers['Authorization']} and {asked.body}"
        return failure(400, quoted) if "02?" in asked.text else Reply()

    arguments = ["--verbosity", "debug", "--limit", "8"]
    with ChatServer(plan) as server:
        done = cli(*run_arguments(server, task_folder, tmp_path / "runs"), *arguments)
        generations = records(journal_of(tmp_path / "runs"))
        server.plan = lambda number, asked: failure(401, f"no: {asked.headers['Authorization']}")
        refused = cli(*run_arguments(server, task_folder, tmp_path / "runs"), *arguments)
    assert done.returncode == 75, done.stderr
    assert refused.returncode == 1, refused.stderr
    assert {a.headers["Authorization"] for a in server.asked} == {f"Bearer {KEY}"}
    failed = {g["sample_id"]: g["error"] for g in generations if g["error"]}
    assert sorted(failed) == ["p02", "p04"] and len(generations) == 8
    assert "HTTP 400: key Bearer …" in failed["p02"] and "image cannot" in failed["p04"]
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) >= 3
    for name, text in [
        *written.items(),
        ("streams", f"{done.stdout}{done.stderr}{refused.stdout}{refused.stderr}".encode()),
    ]:
        assert KEY.encode() not in text, name
        assert base64.b64encode(KEY.encode()) not in text, name
        assert b"iVBORw0KGgo" not in text, name


def test_an_endpoint_that_dies_half_way_is_resumed(tmp_path: Path, task_folder: Path) -> None:
    runs = tmp_path / "runs"

    def plan(number: int, asked: Asked) -> Reply:
        return Reply(die=number == 11)

    with ChatServer(plan) as server:
        arguments = run_arguments(server, task_folder, runs)
        ended = cli(*arguments)
    line = error_line(ended.returncode, 75, ended.stderr)
    assert f"endpoint {server.url} does not answer any more" in line
    saved = records(journal_of(runs))
    assert f"{len(saved)} of 30 responses are safe" in line
    assert 9 <= len(saved) < 30  # the other slot may get some answers before the server is down
    assert not [g for g in saved if g["error"]]
    assert [str(a) for a in arguments] == resume_command(ended.stderr)

    with ChatServer(port=server.port) as revived:
        finished = cli(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert "vsr1-bench: " not in finished.stderr
    everything = records(journal_of(runs))
    assert everything[: len(saved)] == saved
    assert sorted(g["sample_id"] for g in everything) == [f"p{n:02d}" for n in range(30)]
    assert len(revived.asked) == 30 - len(saved)
    for record in everything:
        assert f"How many in {record['sample_id'][1:]}?" in record["text"]


@pytest.mark.parametrize("fault", ["401", "404"])
def test_a_wrong_key_or_model_ends_a_run_in_one_line(
    fault: str, tmp_path: Path, task_folder: Path
) -> None:
    reply, reason = FATAL[fault]
    with ChatServer(lambda number, asked: reply) as server:
        done = cli(*run_arguments(server, task_folder, tmp_path / "runs", max_retries=6))
    assert reason in error_line(done.returncode, 1, done.stderr)
    assert len(server.asked) <= 2
    assert not list((tmp_path / "runs").glob("*/*"))  # a start that fails leaves no run


def test_a_run_prints_no_line_for_each_call(tmp_path: Path, task_folder: Path) -> None:
    with ChatServer() as server:
        done = cli(*run_arguments(server, task_folder, tmp_path / "runs"))
    assert done.returncode == 0 and len(server.asked) == 30
    assert len([line for line in done.stderr.splitlines() if "resp" not in line]) < 5, done.stderr


def test_ctrl_c_ends_a_run_that_waits_for_answers(tmp_path: Path, task_folder: Path) -> None:
    gate = threading.Event()

    def plan(number: int, asked: Asked) -> Reply:
        if number >= 5:
            gate.wait(timeout=30)
        return Reply()

    with ChatServer(plan) as server:
        process = start(*run_arguments(server, task_folder, tmp_path / "runs"))
        try:
            wait_for_lines(tmp_path / "runs", 5)
            before = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
            took = time.monotonic() - before
        finally:
            process.kill()
            gate.set()
    assert "interrupted; 5 of 30 responses are safe" in error_line(process.returncode, 130, err)
    assert took < 10
    assert "destroyed" not in err
