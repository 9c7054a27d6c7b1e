"""A batch is paid for once, at whatever point the process dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from batched import INCORRECT, SEES, flags, generated, killed_at, paid_once, run_judge, says
from batchserver import BatchServer
from cli import error_line, here, plugins

from judges import OPENAI, PROTOCOLS, Protocol, box, outcomes, sums, verdicts
from vsr1_bench.generation import batch
from vsr1_bench.judging.llm_replies import Reply, ReplyJournal

pytestmark = pytest.mark.usefixtures("judge_keys", "no_settling")


STEPS = [f"{when}:{step}" for step in ("upload", "create", "get", "content") for when in
         ("before", "after")]  # fmt: skip


@PROTOCOLS
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_point_pays_nothing_twice(
    tmp_path: Path, protocol: Protocol, step: str
) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(5, 9)))
    with BatchServer(says(INCORRECT)) as server:
        words = ("judge", runs, "--include_path", path, *flags(protocol, server))
        killed, was = killed_at(server, step, words)
        assert killed and was
        for _ in range(4):
            server.finish()
            done = here(*words)
            if done.returncode == 0:
                break
        assert done.returncode == 0, done.stderr
        paid_once(server, 4)
    assert len(outcomes(runs)) == len(verdicts(runs)) == 4


@pytest.mark.parametrize("step", ["after:create", "after:content"])
def test_a_killed_generation_is_collected(tmp_path: Path, step: str) -> None:
    with BatchServer(says(SEES)) as server:
        words = ("run", "--model", "m", "--limit", 4, "--output_path", tmp_path / "runs")
        words += ("--include_path", plugins(tmp_path / "plugins"), "--base_url", server.url)
        words += ("--tasks", "adding", "--batch", "--predict_only")
        assert killed_at(server, step, words) == (True, True)
        server.finish()
        done = here(*words)
        assert done.returncode == 0, done.stderr
        paid_once(server, 4)
    assert len(generated(tmp_path)) == 4


@PROTOCOLS
def test_a_kill_in_the_middle_of_collecting(
    tmp_path: Path, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some replies are stored and some are not; the rest is collected, and nothing asked again."""
    runs, path = sums(tmp_path, *(box(n) for n in range(5, 11)))
    with BatchServer(says(INCORRECT)) as server:
        words = ("judge", runs, "--include_path", path, *flags(protocol, server))
        assert here(*words).returncode == 75
        server.finish()
        add, stored = ReplyJournal.add, []

        def dying(self: ReplyJournal, key: str, reply: Reply) -> None:
            add(self, key, reply)
            stored.append(key)
            if len(stored) == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        child = os.fork()
        if child == 0:
            try:
                monkeypatch.setattr(ReplyJournal, "add", dying)
                here(*words)
            finally:
                os._exit(99)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        [replies] = runs.glob("*/*/replies/*.jsonl")
        assert len(replies.read_text().splitlines()) == 3
        done = here(*words)
        assert done.returncode == 0, done.stderr
        assert f"spent: judge {protocol.judge}[m]: 3 calls" in done.stderr
        paid_once(server, 6)
    assert len(outcomes(runs)) == 6 and not list(runs.rglob(".batches*"))


def test_a_batch_that_is_listed_late_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint has accepted it, but the reply is lost and the first list lacks it."""
    runs, path = sums(tmp_path, box(5), box(6))
    with BatchServer(says(INCORRECT)) as server:
        words = ("judge", runs, "--include_path", path, *flags(OPENAI, server))
        assert killed_at(server, "after:create", words) == (True, True)
        hidden, server.jobs = server.jobs, {}

        def at(now: str) -> None:
            if now == "after:list":
                server.jobs = hidden

        server.on_step = at
        waits: list[float] = []
        monkeypatch.setattr(batch, "SETTLING_SECONDS", 600.0)
        monkeypatch.setattr(batch.time, "sleep", waits.append)
        assert "of 2 requests is in_progress" in here(*words).stderr
        assert server.calls.count("list") == 2 and 500 < max(waits) <= 600
        server.finish()
        assert here(*words).returncode == 0
        paid_once(server, 2)


@PROTOCOLS
def test_a_finished_batch_without_results_is_not_asked_again(
    tmp_path: Path, protocol: Protocol
) -> None:
    runs, path = sums(tmp_path, box(5), box(6))
    with BatchServer(says(INCORRECT)) as server:
        judging = flags(protocol, server)
        run_judge(runs, path, *judging)
        server.finish()
        [job] = server.jobs.values()
        late, job.files = job.files, {}
        code, err = run_judge(runs, path, *judging)
        assert "has no results yet" in error_line(code, 75, err) and len(server.jobs) == 1
        job.files = late
        assert run_judge(runs, path, *judging)[0] == 0
        paid_once(server, 2)
