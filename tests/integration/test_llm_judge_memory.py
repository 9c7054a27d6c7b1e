"""A reply is paid for once: across kills, edits of a rule, other judges and other runs."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from cli import cli, command, here
from servers import Asked, ChatServer, Reply

from judges import CORRECT, INCORRECT, OPENAI, box, outcomes, sums, verdicts

pytestmark = pytest.mark.usefixtures("judge_keys")

# A rule of one's own, slow where it finds an answer right; its file can be edited.
RULE = """
import time

from vsr1_bench.answers import extract
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.records import Verdict

SLOW = {slow}


def grade(item: Item) -> Verdict:
    said = extract(item.response, "number").value
    if said == item.answer:
        time.sleep(SLOW)
    return Verdict("correct" if said == item.answer else "incorrect", extracted=said)


JUDGE = RuleJudge("own_rule", 1, grade, "a rule of one's own")
"""


def write_rule(plugins: Path, slow: float = 0.0) -> None:
    (plugins / "own_rule.py").write_text(RULE.format(slow=slow))


def refuse(number: int, asked: Asked) -> Reply:
    return OPENAI.says(INCORRECT)


def test_an_edited_rule_asks_for_nothing_that_was_paid_for(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(0), *(box(n + 1000) for n in range(5)))
    write_rule(path)
    with ChatServer(refuse) as server:
        flags = ("--include_path", path, *OPENAI.flags(server))
        spec = ("--judge", "cascade:own_rule,openai")
        assert cli("judge", runs, *flags, *spec).returncode == 0
        assert len(server.asked) == 5
        write_rule(path, 0.001)  # another text, and another digest
        done = cli("judge", runs, *flags, *spec, "--dry_run")
        assert "| 0 " in done.stdout, done.stdout
        done = cli("judge", runs, *flags, *spec)
        assert done.returncode == 0 and "6/6" in done.stdout, done.stderr
        assert len(server.asked) == 5
        # The LLM by itself has said all but one verdict already.
        done = cli("judge", runs, *flags, "--judge", "openai")
        assert done.returncode == 0 and len(server.asked) == 6
    assert len(list(runs.glob("*/*/judgments/cascade*.jsonl"))) == 2
    for score in runs.glob("*/*/scores/*openai*.json"):
        judging = json.loads(score.read_text())["judging"]
        assert judging["prompt_tokens"] in (55, 66)  # what its verdicts took, whoever paid for it


def test_a_kill_while_the_rule_works_loses_no_reply(tmp_path: Path) -> None:
    wrong, right = 4, 60
    said = [box(n + 1000) for n in range(wrong)] + [box(2 * n) for n in range(wrong, wrong + right)]
    runs, path = sums(tmp_path, *said)
    write_rule(path, 0.1)
    with ChatServer(refuse) as server:
        arguments = ("judge", runs, "--include_path", path, *OPENAI.flags(server))
        arguments = (*arguments, "--judge", "cascade:own_rule,openai")
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while len(server.asked) < wrong and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(1.0)  # the replies have come, and the rule has five more seconds to go
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert len(server.asked) == wrong
        write_rule(path)
        done = cli(*arguments)
        assert done.returncode == 0, done.stderr
        assert len(server.asked) == wrong  # all of them were safe
    assert list(outcomes(runs).values()).count("incorrect") == wrong


def test_equal_questions_are_judged_once_across_resumes_and_runs(tmp_path: Path) -> None:
    open_for, different = [6], 10
    said = [box(n + 1000) for n in range(different)]
    runs, path = sums(tmp_path / "a", *said, samples=3)
    others, _ = sums(tmp_path / "b", *said)

    def plan(number: int, asked: Asked) -> Reply:
        return refuse(number, asked) if number < open_for[0] else OPENAI.fails(401)

    with ChatServer(plan) as server:
        flags = ("--include_path", path, "--judge", "openai", *OPENAI.flags(server))
        flags = (*flags, "--judge_concurrency", 1)
        assert here("judge", runs, *flags).returncode == 75
        open_for[0], closed = 1000, len(server.asked) - 6
        done = here("judge", runs, others, *flags)
        assert done.returncode == 0, done.stderr
        assert len(server.asked) == different + closed
        # The second run has what it needs, alone.
        for journal in others.glob("*/*/judgments/*"):
            journal.unlink()
        assert here("judge", others, *flags).returncode == 0
        assert len(server.asked) == different + closed
    assert len(verdicts(runs)) == 3 * different and len(verdicts(others)) == different


def test_a_killed_majority_keeps_its_votes(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(1000))
    processes: list[subprocess.Popen[bytes]] = []

    def plan(number: int, asked: Asked) -> Reply:
        if number == 2 and processes:  # the first two votes have been counted by then
            time.sleep(0.5)
            processes.pop().send_signal(signal.SIGKILL)
        return OPENAI.says(CORRECT if number else INCORRECT)

    with ChatServer(plan) as server:
        arguments = ("judge", runs, "--include_path", path, *OPENAI.flags(server))
        arguments = (*arguments, "--judge", "majority:openai*3", "--judge_concurrency", 1)
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        processes.append(process)
        assert process.wait(60) == -signal.SIGKILL
        assert len(server.asked) == 3
        assert cli(*arguments).returncode == 0
        assert len(server.asked) == 4  # the vote that was on its way, and no other
    assert set(outcomes(runs).values()) == {"correct"}


def test_an_unreadable_reply_is_asked_for_again_and_a_tie_is_not(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(1000))
    said = iter([CORRECT, INCORRECT, "?", CORRECT])

    with ChatServer(lambda n, a: OPENAI.says(next(said))) as server:
        flags = ("--include_path", path, *OPENAI.flags(server), "--judge_concurrency", 1)
        majority = ("--judge", "majority:openai*2")
        for _ in range(2):
            assert here("judge", runs, *flags, *majority).returncode == 75
        assert len(server.asked) == 2
        assert here("judge", runs, *flags, "--judge", "openai").returncode == 75
        assert here("judge", runs, *flags, "--judge", "openai").returncode == 0
        assert len(server.asked) == 4


def test_one_llm_does_not_judge_a_run_twice_at_once(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(1000))
    started, refused = threading.Event(), threading.Event()

    def plan(number: int, asked: Asked) -> Reply:
        started.set()
        assert refused.wait(60)
        return OPENAI.says(INCORRECT)

    with ChatServer(plan) as server:
        flags = ("--include_path", path, *OPENAI.flags(server), "--judge_args", "timeout=60")
        first = subprocess.Popen(
            command("judge", runs, *flags, "--judge", "openai"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert started.wait(60)
        second = cli("judge", runs, *flags, "--judge", "cascade:string_match,openai")
        assert second.returncode == 1 and "is being written by process" in second.stderr
        refused.set()
        assert first.wait(60) == 0 and len(server.asked) == 1
