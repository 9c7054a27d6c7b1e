"""Every built-in task loads from a hub, through the real `datasets` and `huggingface_hub`.

The hub is a stand-in on loopback with a few generated rows in each set's columns: this proves the
path, the columns that a task reads and its mapping, not that the real sets have these columns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli import command, error_line
from hub import Fault, Hub, Repositories, client_environment, commit_of

from vsr1_bench.registry import load_registry
from vsr1_bench.task import Row, Source, Task, example_image

TASKS = {n: t for n, t in load_registry().tasks.items() if isinstance(t.source, Source)}
# Copies `paths` name image files, which only a mirror has.
COPIES = [(name, copy) for name, task in TASKS.items() for copy in task.copies if copy != "paths"]
RAW_BYTES = {"ViLP/ViLP", "RunsenXu/MMSI-Bench"}  # their images are not of the type Image
ROWS = 3
BUSY = 1  # seconds that a 429 asks for

# Reads {"offline": …, "asked": [{"task", "copy", "source"}]}, answers a line of JSON for each.
PROGRAM = """
import json, sys, time
from dataclasses import replace

import vsr1_bench.tools.validate as validation
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.registry import load_registry
from vsr1_bench.task import Source

told = json.load(sys.stdin)
real = validation.get_judge
# In this process: a worker for each of so many tasks would be most of the time.
validation.get_judge = lambda *a: replace(real(*a), bounded=False)
for asked in told["asked"]:
    task = load_registry().tasks[asked["task"]]
    if "source" in asked:
        task = replace(task, source=Source(**asked["source"]))
    options = DataOptions(offline=told["offline"], copy=asked.get("copy"))
    began = time.monotonic()
    try:
        data = open_data(task, options)
        validation.open_data = lambda *_, data=data: data  # not a second time
        samples = list(data.samples())
        sizes = [len(image.read()) for sample in samples for image in sample.images]
        known = {"n": data.n_rows, "ids": [s.id for s in samples], "images": sizes}
        known |= {"revision": data.spec.revision, "fingerprint": data.spec.fingerprint}
        known["answers"] = [s.answer for s in samples]
        found = validation.validate_task(task, options)
        known |= {"faults": found.faults, "source": found.source}
    except Exception as error:
        known = {"error": f"{type(error).__name__}: {error}"}
    known["seconds"] = time.monotonic() - began
    print(json.dumps(known), flush=True)
"""


@dataclass
class Served:
    """What the one process found that loaded everything."""

    hub: Hub
    home: Path
    found: dict[str, dict[str, Any]]
    commits: dict[str, str]


def ids(task: Task, row: Row) -> set[str]:
    found = task.to_sample(row)
    return {s.id for s in (found if isinstance(found, tuple) else (found,))}


def same_columns(task: Task, copy: str) -> bool:
    other = task.copies[copy]
    return other.to_sample is task.to_sample and other.source.images == source_of(task).images


def copied(number: int) -> Row:
    """A row of the copies that have columns of their own: those of the paper."""
    problem = "<image>Which is it?\nA. one\nB. two"
    named = {"id": f"validation_Art_{number}", "question_type": "multiple-choice"}
    return {"problem": problem, "answer": "B", "images": (example_image(),), **named}


def varied(task: Task, number: int) -> Row:
    """The task's example with another id, by a change in whichever column makes it."""
    assert task.example is not None, f"{task.name} has no example row"
    row = dict(task.example())
    for name, value in row.items() if number else ():
        if not isinstance(value, str | int) or isinstance(value, bool):
            continue
        changed = {**row, name: f"{value}{number}" if isinstance(value, str) else value + number}
        try:
            if not ids(task, changed) & ids(task, row):
                return changed
        except Exception:  # that column is not free text
            continue
    return row  # its ids are numbers of rows


def source_of(task: Task, copy: str | None = None) -> Source:
    source = task.copies[copy].source if copy else task.source
    assert isinstance(source, Source)
    return source


def publish(repositories: Repositories, task: Task, copy: str | None) -> None:
    source = source_of(task, copy)
    own = copy is not None and not same_columns(task, copy)
    configs = source.config if isinstance(source.config, tuple) else (source.config,)
    for number, config in enumerate(configs):
        numbers = range(ROWS * number, ROWS * (number + 1))
        rows = [copied(n) if own else varied(task, n) for n in numbers]
        raw = source.hub_id in RAW_BYTES
        repositories.add(source.hub_id, config, source.split, rows, images=source.images, raw=raw)


def ask(
    environment: dict[str, str], *asked: dict[str, Any], offline: bool = False
) -> list[dict[str, Any]]:
    """What a fresh process finds."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps({"offline": offline, "asked": asked}),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_set(hub_id: str, revision: str | None = None) -> dict[str, Any]:
    source = {"hub_id": hub_id, "split": "test", "revision": revision}
    return {"task": "gsm8k", "source": source}


test_set.__test__ = False  # type: ignore[attr-defined]
FAULTY = ("nowhere", "private", "busy", "cut", "short", "no_split")


def plan(method: str, path: str, before: int) -> Fault | None:
    """What is wrong with the sets of owner `faulty`."""
    if path == "/api/datasets/faulty/private":
        return Fault(401)
    if "faulty" not in path or not path.endswith(".parquet") or method != "GET":
        return None
    if "faulty/busy" in path and not before:
        return Fault(429, {"Retry-After": str(BUSY)})
    if "faulty/cut" in path and not before:
        return Fault(cut=400)
    return Fault(shorten=400) if "faulty/short" in path else None


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("hub")
    repositories = Repositories(folder / "served")
    asked: dict[str, dict[str, Any]] = {name: {"task": name} for name in TASKS}
    asked |= {f"{name}:{copy}": {"task": name, "copy": copy} for name, copy in COPIES}
    for one in asked.values():
        task = TASKS[one["task"]]
        publish(repositories, task, one.get("copy"))
    gsm8k = [varied(TASKS["gsm8k"], number) for number in range(ROWS)]
    old = [{"question": "The older row?", "answer": "#### 7"}]
    repositories.add("some/set", None, "test", gsm8k)
    repositories.add("some/set", None, "test", old, revision="old")
    for name in FAULTY[2:]:
        split = "train" if name == "no_split" else "test"
        repositories.add(f"faulty/{name}", None, split, gsm8k)
    repositories.add("faulty/private", None, "test", gsm8k)
    served_from = repositories.write()
    commits = {
        branch: commit_of(served_from / "datasets/some/set" / branch) for branch in ("main", "old")
    }
    asked |= {f"some/set@{b}": test_set("some/set", commits[b]) for b in commits}
    asked |= {"some/set": test_set("some/set"), "some/set@no": test_set("some/set", "0" * 40)}
    asked |= {name: test_set(f"faulty/{name}") for name in FAULTY}
    with Hub(served_from, plan) as hub:
        answers = ask(hub.environment(folder / "home"), *asked.values())
        yield Served(hub, folder / "home", dict(zip(asked, answers, strict=True)), commits)


@pytest.mark.parametrize("name", [*TASKS, *(f"{name}:{copy}" for name, copy in COPIES)])
def test_a_task_loads_maps_and_validates(served: Served, name: str) -> None:
    found = served.found[name]
    assert "error" not in found, found["error"]
    task_name, _, copy = name.partition(":")
    task = TASKS[task_name]
    source = source_of(task, copy or None)
    configs = len(source.config) if isinstance(source.config, tuple) else 1
    assert found["n"] == ROWS * configs
    assert len(set(found["ids"])) == len(found["ids"]) == found["n"] * task.per_row
    assert found["faults"] == [], found["faults"]
    assert source.hub_id in found["source"]  # not the generated row
    commit = commit_of(served.hub.folder / "datasets" / source.hub_id / "main")
    assert found["revision"] == commit
    assert len(found["fingerprint"]) == 32
    assert all(size > 60 for size in found["images"])
    assert bool(found["images"]) == bool(source.images)


def test_the_same_rows_elsewhere_have_the_same_fingerprint(served: Served) -> None:
    same = [(name, copy) for name, copy in COPIES if same_columns(TASKS[name], copy)]
    assert same
    for name, copy in same:
        ours, theirs = served.found[name], served.found[f"{name}:{copy}"]
        if ours["n"] == theirs["n"]:  # else one is in several configurations
            assert ours["fingerprint"] == theirs["fingerprint"], name


def test_a_pinned_revision(served: Served) -> None:
    found, old, new = served.found, served.commits["old"], served.commits["main"]
    assert found["some/set@old"]["revision"] == old != new
    assert found["some/set@old"]["answers"] == ["7"]
    for name in ("some/set", "some/set@main"):
        assert found[name]["revision"] == new and found[name]["n"] == ROWS
    assert found["some/set"]["fingerprint"] == found["some/set@main"]["fingerprint"]
    assert found["some/set"]["fingerprint"] != found["some/set@old"]["fingerprint"]


@pytest.mark.parametrize("name", ["nowhere", "private", "short", "no_split", "some/set@no"])
def test_what_cannot_be_had_is_said_in_one_line(served: Served, name: str) -> None:
    error = served.found[name]["error"]
    assert error.startswith("MissingDataError: task 'gsm8k': data set ") and "\n" not in error
    hub_id = "some/set" if "/" in name else f"faulty/{name}"
    for needed in (hub_id, "'test'", "--data_root"):
        assert needed in error
    assert len(error) < 700 and "Traceback" not in error
    if name == "short":
        assert "Consistency check failed" in error  # never rows of half a file


def test_a_busy_server_is_asked_again_when_it_says(served: Served) -> None:
    assert served.found["busy"]["n"] == ROWS
    gets = [
        at
        for at, method, path in served.hub.asked
        if method == "GET" and "faulty/busy" in path and path.endswith(".parquet")
    ]
    assert len(gets) == 2 and gets[1] - gets[0] >= BUSY * 0.95


def test_a_broken_connection_is_taken_up_again(served: Served) -> None:
    assert served.found["cut"]["n"] == ROWS
    assert served.found["cut"]["fingerprint"] == served.found["some/set"]["fingerprint"]


def test_offline_reads_what_was_loaded_before(served: Served) -> None:
    before = len(served.hub.asked)
    asked = ({"task": "gsm8k"}, {"task": "hallusionbench_image"}, test_set("faulty/nowhere"))
    cached, images, missing = ask(served.hub.environment(served.home), *asked, offline=True)
    assert len(served.hub.asked) == before  # nobody was asked
    assert cached["fingerprint"] == served.found["gsm8k"]["fingerprint"]
    assert images["ids"] == served.found["hallusionbench_image"]["ids"]
    assert "offline and not in the local cache" in missing["error"]


def test_offline_names_all_that_is_missing_at_once(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text("{}\n")
    arguments = ("--model", "m", "--backend", "scripted", "--model_args", f"script={script}")
    began = time.monotonic()
    done = subprocess.run(
        command("run", *arguments, "--tasks", "gsm8k,vilp", "--offline", "-o", tmp_path / "runs"),
        env=client_environment("http://127.0.0.1:9", tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    line = error_line(done.returncode, 1, done.stderr)
    said = done.stderr[done.stderr.index(line) :]
    for needed in ("openai/gsm8k", "ViLP/ViLP", "--data_root"):
        assert needed in said
    assert time.monotonic() - began < 20


def test_no_server(tmp_path: Path) -> None:
    began = time.monotonic()
    (found,) = ask(client_environment("http://127.0.0.1:9", tmp_path), {"task": "gsm8k"})
    error = found["error"]
    assert error.startswith("MissingDataError: task 'gsm8k': data set openai/gsm8k")
    assert "Connect" in error and "--data_root" in error and "\n" not in error
    assert time.monotonic() - began < 20
