"""SIGKILL while a task of lmms-eval is answered, and while it is scored: nothing is done twice."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cli
import pytest
from servers import Asked, ChatServer, Reply, chat
from trapped import USUAL, make

if not find_spec("lmms_eval"):
    pytest.skip("lmms-eval has an environment of its own", allow_module_level=True)

N = 40
JUDGED = "judgments/*.jsonl"
# As a scorer that asks a judge: it takes its time, and each call is on the bill.
SCORER = USUAL.replace(
    "def process(doc, results):\n",
    "def process(doc, results):\n"
    "    import os, time\n"
    "    with open(os.path.join(os.path.dirname(__file__), 'calls'), 'a') as file:\n"
    "        file.write(doc['question'] + '\\n')\n"
    "    time.sleep(4 if doc['question'] == '0?' else 0.5)\n",
)


def answer(number: int, asked: Asked) -> Reply:
    """The same for the same question, whenever it is asked: two of three are right."""
    return Reply(body=chat("no" if question(asked) % 3 == 0 else "yes"), wait=0.05)


def question(asked: Asked) -> int:
    found = re.search(r"(\d+)\?", asked.text)
    assert found
    return int(found[1])


def kill_when(told: Callable[[], bool], words: list[str], seconds: float = 900) -> None:
    """Run a command, and SIGKILL it as soon as something holds."""
    process = cli.start(*words)
    try:
        deadline = time.monotonic() + seconds
        while not told():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def stored(runs: Path, journal: str) -> set[str]:
    """The documents that stand in a journal; a line that a kill has cut is none."""
    found = set()
    for path in runs.glob(f"*/*/{journal}"):
        whole = path.read_text("ascii").rpartition("\n")[0]
        found |= {json.loads(line)["sample_id"] for line in whole.splitlines()}
    return found


def scores(runs: Path) -> dict[str, Any]:
    (path,) = runs.glob("*/*/scores/*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_killed_while_answering_and_while_scoring_it_ends_as_if_it_had_not_been(
    tmp_path: Path,
) -> None:
    tasks = make(tmp_path, SCORER, n=N)
    calls, runs = Path(tasks, "trap", "calls"), tmp_path / "runs"
    with ChatServer(answer) as server:
        words = ["--model", "m", "--backend", "openai", "--base_url", server.url]
        words += ["--model_args", "concurrency=2", "--tasks", "lmms_eval/trap"]
        words += ["--include_path", tasks, "-o"]

        kill_when(lambda: len(server.asked) >= 10, [*words, str(runs)])
        kept = stored(runs, "generations.jsonl")
        assert 0 < len(kept) < N

        kill_when(lambda: len(stored(runs, JUDGED)) >= 4, [*words, str(runs)])
        time.sleep(0.2)
        paid = len(lines(calls))
        time.sleep(1)  # a scorer left alone would ask six times in this time
        assert len(lines(calls)) == paid < N
        asked = Counter(question(one) for one in server.asked)
        assert asked.keys() == set(range(N))
        twice = {number for number, times in asked.items() if times > 1}
        assert not twice & {int(number) for number in kept}
        assert len(twice) <= 4  # two under way at the kill, two that had just arrived
        done = stored(runs, JUDGED)
        assert 4 <= len(done) < N
        assert "0" not in done  # the slow one keeps nobody waiting

        third = cli.cli(*words, runs, timeout=900)
        assert third.returncode == 0, third.stderr
        assert sum(asked.values()) == len(server.asked)  # no further request
        billed = Counter(int(line.rstrip("?")) for line in lines(calls))
        assert billed.keys() == set(range(N))
        assert all(billed[int(number)] == 1 for number in done)

        whole = cli.cli(*words, tmp_path / "whole", timeout=900)
        assert whole.returncode == 0, whole.stderr
    resumed, wanted = scores(runs), scores(tmp_path / "whole")
    assert resumed["metrics"] == wanted["metrics"]
    assert resumed["rates"] == wanted["rates"]
    assert resumed["metrics"]["right"]["value"] == 26 / 40
    texts = [
        {r["sample_id"]: r["text"] for r in cli.records(cli.journal_of(out))}
        for out in (runs, tmp_path / "whole")
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == len(cli.records(cli.journal_of(runs))) == N
