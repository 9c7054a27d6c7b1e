"""SIGKILL at random instants loses nothing that was acknowledged and generates nothing twice.

The victim is `python -m vsr1_bench run`. What it has answered and acknowledged is told by a witness
inside it over a pipe, which the kernel keeps: the journal is not asked about itself. With
`--perception` both passes are under way at once, and the same holds for each.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cli
import pytest

ANYWHERE, BETWEEN_APPENDS, INSIDE_A_LINE = range(3)
KILLS = [ANYWHERE, BETWEEN_APPENDS, BETWEEN_APPENDS, INSIDE_A_LINE] * 10
DRAW = random.Random(7)
# Loaded in the victim as a plug-in: it tells of each answer, and of each append that returned. A
# kill seldom meets the microseconds of a write, so it can also stop the victim in the middle of
# one, as the kernel does with a killed process that is writing.
WITNESS = """
import json
import os
import signal

from vsr1_bench.generation.scripted import ScriptedGenerator
from vsr1_bench.store.journal import Journal
from vsr1_bench.perception.second_pass import Readings
from vsr1_bench.store.writer import RunWriter

PIPE, STOP = int(os.environ["WITNESS"]), int(os.environ["STOP"])
answer, add, append = ScriptedGenerator._answer, RunWriter.add, Journal.append
keep = Readings.keep
written = 0


def tell_answer(self, request):
    completion = answer(self, request)
    os.write(PIPE, f"answered {request.key}\\n".encode())
    return completion


def tell_add(self, generation):
    add(self, generation)
    os.write(PIPE, f"kept {generation.key}\\n".encode())


def tell_keep(self, request, completion, seconds):
    keep(self, request, completion, seconds)
    os.write(PIPE, f"kept {request.key}\\n".encode())


def stop_inside(self, record):
    global written
    written += 1
    if written == STOP:
        line = json.dumps(record).encode()
        self._file.write(line[: 1 + STOP * 7 % len(line)])
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, record)


ScriptedGenerator._answer, RunWriter.add, Journal.append = tell_answer, tell_add, stop_inside
Readings.keep = tell_keep
"""


@dataclass
class Victim:
    """A run that tells what it does."""

    arguments: list[Any]
    stop: int = 0
    """Number of the append, samples and responses together, that it does not survive; 0 = none."""
    told: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader, writer = os.pipe()
        self.process = subprocess.Popen(
            cli.command(*self.arguments),
            env={**os.environ, "WITNESS": str(writer), "STOP": str(self.stop)},
            pass_fds=(writer,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        self._rest = b""

    def read(self) -> bool:
        """Take what it tells next; False at the end."""
        chunk = os.read(self.reader, 65536)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            word, key = line.decode().split(" ")
            self.told.append((word, key))
        return bool(chunk)

    def keys(self, word: str) -> list[str]:
        return [key for said, key in self.told if said == word]

    def end(self) -> int:
        """Hear it out, and return its exit status."""
        while self.read():
            pass
        os.close(self.reader)
        assert self.process.stderr is not None
        self.said = self.process.stderr.read().decode()
        self.process.stderr.close()
        return self.process.wait(timeout=30)

    def kill(self) -> bool:
        """SIGKILL; return whether that was its end."""
        self.process.send_signal(signal.SIGKILL)
        return self.end() == -signal.SIGKILL


def state(runs: Path) -> dict[str, tuple[Any, ...]]:
    """Key -> what is stored, each key once; times left out."""
    found = [record for path in journals(runs) for record in cli.records(path)]
    kept = {r["key"]: (r["sample_id"], r["index"], r["text"], r["error"]) for r in found}
    assert len(kept) == len(found), "a response stands twice in the journal"
    return kept


def journals(runs: Path) -> list[Path]:
    """The journals of both passes."""
    return [path for name in ("generations", "perceptions") for path in runs.glob(f"*/*/{name}.*")]


def whole_lines(runs: Path) -> list[str]:
    """Keys of the journals' whole lines, right after a kill."""
    whole = [path.read_bytes().rpartition(b"\n")[0] for path in journals(runs)]
    return [line.split(b'"', 4)[3].decode() for lines in whole for line in lines.splitlines()]


def await_instant(victim: Victim, where: int, startup: float) -> None:
    """Return at the instant of the kill."""
    if where == ANYWHERE:
        until = time.monotonic() + DRAW.uniform(0, startup)
        # Not long after its first answers, should the machine have become faster meanwhile.
        while len(victim.keys("kept")) < 10 and (left := until - time.monotonic()) > 0:
            if select.select([victim.reader], [], [], left)[0]:
                victim.read()
        return
    count = DRAW.randrange(10) if where == BETWEEN_APPENDS else cli.QUESTIONS
    while len(victim.keys("kept")) <= count and victim.read():
        pass
    if where == BETWEEN_APPENDS:
        time.sleep(DRAW.uniform(0, 0.003))


@pytest.mark.parametrize(("passes", "kills"), [(1, KILLS), (2, KILLS[:16])])
def test_kills_lose_nothing_and_repeat_nothing(
    tmp_path: Path, passes: int, kills: list[int]
) -> None:
    folder = cli.plugins(tmp_path / "plugins")
    (folder / "witness.py").write_text(WITNESS)
    text = "<description>four</description>\\boxed{4}"
    answer = {"id": "*", "response": text, "seconds": 0.001}
    script = cli.script(tmp_path / "script.jsonl", answer, {**answer, "stage": "reading"})
    wanted_responses = passes * cli.QUESTIONS

    def victim(runs: str, stop: int = 0) -> Victim:
        run = ["run", "--model", "m", "--backend", "scripted", "--model_args", f"script={script}"]
        run += ["--tasks", "adding", "--include_path", folder, "--output_path", tmp_path / runs]
        return Victim([*run, "--predict_only", *["--perception"][: passes - 1]], stop)

    undisturbed = victim("undisturbed")
    began = time.monotonic()
    undisturbed.read()
    startup = time.monotonic() - began
    assert undisturbed.end() == 0, undisturbed.said
    wanted = state(tmp_path / "undisturbed")
    assert len(wanted) == len(undisturbed.keys("kept")) == wanted_responses

    runs = tmp_path / "killed"
    answered: Counter[str] = Counter()
    kept: set[str] = set()
    unheard = 0

    def hear(one: Victim) -> None:
        nonlocal unheard
        assert not kept & set(one.keys("answered")), "an acknowledged response was generated again"
        answered.update(one.keys("answered"))
        kept.update(one.keys("kept"))
        under_way = set(one.keys("answered")) - set(one.keys("kept"))
        assert len(under_way) <= 1, "an answer was not written down at once"
        unheard += len(under_way)

    for where in kills:
        one = victim("killed", DRAW.randrange(10, 30) if where == INSIDE_A_LINE else 0)
        await_instant(one, where, startup)
        assert one.kill(), f"it ended by itself: {one.said}"
        hear(one)
        stored = whole_lines(runs)
        assert kept <= set(stored), "an acknowledged response is lost"
        assert len(stored) == len(set(stored)), "a response stands twice in the journal"

    assert 20 < len(kept) < wanted_responses, "the kills did not fall into the generation"
    last = victim("killed")
    assert last.end() == 0, last.said
    hear(last)

    assert state(runs) == wanted
    # Only what was under way at a kill may be generated again.
    assert sum(answered.values()) - wanted_responses <= unheard
    (first,), (second,) = ((tmp_path / r).glob("*/*") for r in ("undisturbed", "killed"))
    assert first.name == second.name
    assert cli.records(first / "samples.jsonl") == cli.records(second / "samples.jsonl")
