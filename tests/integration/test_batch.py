"""Half price: batches of OpenAI and Gemini, submitted and collected by judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from batched import INCORRECT, flags, paid_once, run_judge, says, text_of
from batchserver import BatchServer
from cli import error_line, here
from servers import chat, gemini

from judges import GEMINI, OPENAI, PROTOCOLS, Protocol, box, outcomes, sums, verdicts
from vsr1_bench.generation import batch

pytestmark = pytest.mark.usefixtures("judge_keys", "no_settling")


@PROTOCOLS
def test_a_judge_submits_and_collects(tmp_path: Path, protocol: Protocol) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(5, 11)))
    with BatchServer(says(INCORRECT)) as server:
        judging = flags(protocol, server)
        code, err = run_judge(runs, path, *judging)
        line = error_line(code, 75, err)
        assert server.jobs, err
        [job] = server.jobs.values()
        assert f"batch {job.id} of 6 requests is submitted" in line and "resume with:" in err
        assert not verdicts(runs) and "spent" not in err
        code, err = run_judge(runs, path, *judging)  # not finished yet
        assert f"batch {job.id} of 6 requests is " in error_line(code, 75, err)
        assert len(server.jobs) == 1
        server.finish()
        code, err = run_judge(runs, path, *judging)
        assert code == 0, err
        assert f"spent: judge {protocol.judge}[m]: 6 calls, 66 tokens in, 42 out" in err
        paid_once(server, 6)
        assert run_judge(runs, path, *judging)[0] == 0 and server.calls.count("content") == 1
    assert len(verdicts(runs)) == 6 and set(outcomes(runs).values()) == {"incorrect"}
    assert not list(runs.rglob(".batches*")), "the record of closed batches is removed"


@PROTOCOLS
def test_the_same_judge_with_and_without_batch(tmp_path: Path, protocol: Protocol) -> None:
    """The same body, the same identity, the same replies: only the way differs."""
    from servers import Asked, ChatServer, Reply

    runs, path = sums(tmp_path, box(5), box(6))
    with BatchServer(says(INCORRECT)) as server:
        judging = flags(protocol, server)
        run_judge(runs, path, *judging)
        server.finish()
        assert run_judge(runs, path, *judging)[0] == 0
        [job] = server.jobs.values()
        bodies = [line.get("request") or line["body"] for line in job.lines]
        judging.remove("--batch")
        code, err = run_judge(runs, path, *judging)
        assert code == 0 and "spent" not in err, err  # nothing is left to ask
    other, _ = sums(tmp_path / "other", box(5), box(6))
    body = gemini(INCORRECT) if protocol is GEMINI else chat(INCORRECT)
    with ChatServer(lambda n, asked: Reply(body=body)) as single:
        told = [*flags(protocol, single)[:-1]]
        assert run_judge(other, path, *told)[0] == 0
        asked: list[Asked] = single.asked
    key = lambda one: json.dumps(one, sort_keys=True)  # noqa: E731
    assert sorted(map(key, bodies)) == sorted(key(one.body) for one in asked)


PARTIAL = {"expired": None, "error 500": (500, {"error": {"code": 500, "message": "hiccup"}})}


@PROTOCOLS
@pytest.mark.parametrize("kind", PARTIAL)
def test_what_succeeded_is_stored_and_the_rest_is_asked_again(
    tmp_path: Path, protocol: Protocol, kind: str
) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(5, 11)))
    sick = True

    def answer(key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        bad = sick and any(f"{n} + {n}" in text_of(body) for n in (1, 4))
        return PARTIAL[kind] if bad else says(INCORRECT)(key, body)

    with BatchServer(answer) as server:
        judging = flags(protocol, server)
        run_judge(runs, path, *judging)
        server.finish("expired" if kind == "expired" else "completed")
        sick = False
        code, err = run_judge(runs, path, *judging)
        first, second = server.jobs.values()
        assert f"batch {second.id} of 2 requests is submitted" in error_line(code, 75, err)
        assert len(second.lines) == 2 and all(line in first.lines for line in second.lines)
        assert len(list(runs.glob("*/*/replies/*.jsonl"))) == 1
        server.finish()
        code, err = run_judge(runs, path, *judging)
        assert code == 0 and len(server.jobs) == 2, err
        if kind == "expired":
            paid_once(server, 6)
    assert len(outcomes(runs)) == 6


@PROTOCOLS
def test_a_request_that_always_fails_is_given_up(tmp_path: Path, protocol: Protocol) -> None:
    runs, path = sums(tmp_path, box(5), box(6))
    broken = (429, {"error": {"code": 429, "message": "slow down"}})

    def answer(key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return broken if "1 + 1" in text_of(body) else says(INCORRECT)(key, body)

    with BatchServer(answer) as server:
        for _ in range(batch.MOST_TRIES):
            code, err = run_judge(runs, path, *flags(protocol, server))
            assert code == 75, err
            server.finish()
        code, err = run_judge(runs, path, *flags(protocol, server))
        assert code == 75 and len(server.jobs) == batch.MOST_TRIES, err
    assert outcomes(runs) == {"q000": "incorrect", "q001": "unscored"}
    assert "slow down" in json.dumps(verdicts(runs))


@PROTOCOLS
def test_a_batch_that_fails_as_a_whole(tmp_path: Path, protocol: Protocol) -> None:
    runs, path = sums(tmp_path, box(5), box(6))
    with BatchServer(says(INCORRECT)) as server:
        judging = flags(protocol, server)
        run_judge(runs, path, *judging)
        server.finish("failed", "too many enqueued tokens")
        code, err = run_judge(runs, path, *judging)
        line = error_line(code, 75, err)
        assert "failed, and is not paid for" in line
        assert protocol is GEMINI or "too many enqueued tokens" in line
        assert "is submitted" in error_line(*_code(run_judge(runs, path, *judging)))
        server.finish()
        assert run_judge(runs, path, *judging)[0] == 0
        paid_once(server, 2)


def _code(done: tuple[int, str]) -> tuple[int, int, str]:
    return done[0], 75, done[1]


def test_what_is_in_a_batch_is_not_asked_singly(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(5), box(6))
    with BatchServer(says(INCORRECT)) as server:
        judging = flags(OPENAI, server)
        assert run_judge(runs, path, *judging)[0] == 75
        code, err = run_judge(runs, path, *judging[:-1])
        assert "batch batch_0 holds requests" in error_line(code, 2, err)
        assert "add --batch to collect it" in err and not verdicts(runs)
        server.finish()
        assert run_judge(runs, path, *judging)[0] == 0
        paid_once(server, 2)


def test_several_runs_are_judged_by_batches_at_the_same_time(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(5), box(6))
    other, _ = sums(tmp_path / "other", box(7))
    (other / "m").rename(runs / "n")
    with BatchServer(says(INCORRECT)) as server:
        code, err = run_judge(runs, path, *flags(OPENAI, server))
        assert error_line(code, 75, err).count("is submitted") == 2 == len(server.jobs)
        server.finish()
        assert run_judge(runs, path, *flags(OPENAI, server))[0] == 0
        paid_once(server, 3)


def test_grade_by_batch(tmp_path: Path) -> None:
    lines, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    row = '{"id": %d, "response": "\\\\boxed{%d}", "answer": "7", "question": "q%d"}\n'
    lines.write_text("".join(row % (n, n, n) for n in range(3)))
    with BatchServer(says(INCORRECT)) as server:
        words = ("grade", lines, *flags(OPENAI, server), "--output")
        assert here(*words, out).returncode == 75 and not out.exists()
        server.finish()
        done = here(*words, out)
        assert done.returncode == 0, done.stderr
        paid_once(server, 3)
        done = here(*words, "/dev/null")
        assert "give --output a plain file" in error_line(done.returncode, 2, done.stderr)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize(
    ("refuse", "code", "said"),
    [
        (("upload", 404, "Not Found"), 1, "HTTP 404: "),
        (("create", 400, "no such model"), 1, "no such model"),
        (("create", 503, "busy"), 75, "HTTP 503: "),
        (("get", 404, "No batch"), 1, "remove that folder to ask, and pay, again"),
        (("content", 500, "hiccup"), 75, "HTTP 500: "),
    ],
)
def test_a_refusal_is_one_line_and_pays_nothing_twice(
    tmp_path: Path, refuse: tuple[str, int, str], code: int, said: str
) -> None:
    runs, path = sums(tmp_path, box(5), box(6))
    with BatchServer(says(INCORRECT)) as server:
        judging = flags(OPENAI, server)
        if refuse[0] in ("get", "content"):
            run_judge(runs, path, *judging)
            server.finish()
        server.refuse = refuse
        found, err = run_judge(runs, path, *judging)
        assert said in error_line(found, code, err)
        server.refuse = None
        for _ in range(2):
            found, err = run_judge(runs, path, *judging)
            server.finish()
        assert found in (0, 75) and run_judge(runs, path, *judging)[0] == 0
        paid_once(server, 2)


def torn(server: BatchServer, *, mends: bool, then: bytes | None = None) -> None:
    """Cut the line of one result; with `mends` only in the first download, `then` = the second."""
    id, (kind, content) = next((i, f) for i, f in server.files.items() if f[0] == "output")
    lines = content.splitlines(keepends=True)
    server.files[id] = (kind, b"".join([lines[0][:40] + b"\n", *lines[1:]]))

    def at(step: str) -> None:
        if step == "after:content" and (mends or then is not None):
            server.files[id] = (kind, content if then is None else then)

    server.on_step = at


@PROTOCOLS
@pytest.mark.parametrize("mends", [True, False])
def test_a_line_of_results_that_cannot_be_read_is_downloaded_again_before_it_is_paid_again(
    tmp_path: Path, protocol: Protocol, mends: bool
) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(5, 9)))
    with BatchServer(says(INCORRECT)) as server:
        judging = flags(protocol, server)
        run_judge(runs, path, *judging)
        server.finish()
        torn(server, mends=mends)
        code, err = run_judge(runs, path, *judging)
        assert server.calls.count("content") == 2
        if mends:
            assert code == 0 and "cannot be read" not in err, err
            paid_once(server, 4)
            return
        assert code == 75 and "cannot be read, after 2 downloads: 1 (" in err, err
        assert [len(job.lines) for job in server.jobs.values()] == [4, 1]
        server.finish()
        assert run_judge(runs, path, *judging)[0] == 0
        assert sorted(server.ran.values()) == [1, 1, 1, 2]
    assert len(outcomes(runs)) == 4


@PROTOCOLS
def test_a_second_download_takes_no_result_away(tmp_path: Path, protocol: Protocol) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(5, 9)))
    with BatchServer(says(INCORRECT)) as server:
        judging = flags(protocol, server)
        run_judge(runs, path, *judging)
        server.finish()
        torn(server, mends=False, then=b"")  # nothing in it, and so nothing unreadable either
        code, err = run_judge(runs, path, *judging)
        assert code == 75 and "cannot be read, after 2 downloads: 1 (" in err, err
        assert [len(job.lines) for job in server.jobs.values()] == [4, 1]


def test_what_has_no_batch_service_is_said(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(5), box(6))
    nothing = "--batch: nothing that this command asks has a batch service"
    for more in ((), ("--dry_run",)):
        code, err = run_judge(runs, path, "--judge", "math", "--batch", *more)
        assert f"{nothing} (only rules)" in error_line(code, 2, err)
    words = ("run", "--model", "tiny", "--backend", "transformers", "--tasks", "demo", "--limit", 2)
    words += ("--output_path", tmp_path / "made", "--batch")
    for more in ((), ("--dry_run",), ("--perception",)):
        done = here(*words, *more)
        line = error_line(done.returncode, 2, done.stderr)
        assert f"{nothing} (model tiny by transformers)" in line
    assert not (tmp_path / "made").exists()
    lines = tmp_path / "in.jsonl"
    lines.write_text('{"id": 1, "response": "7", "answer": "7"}\n')
    for more in ((), ("--dry_run",)):
        grading = ("grade", lines, "--judge", "math", "--output", tmp_path / "out", *more)
        done = here(*grading, "--batch")
        assert nothing in error_line(done.returncode, 2, done.stderr)


def test_what_works_as_without_batch_is_named_where_something_is_batched(tmp_path: Path) -> None:
    with BatchServer(says(INCORRECT)) as server:
        words = ("run", "--model", "tiny", "--backend", "transformers", "--tasks", "demo")
        words += ("--limit", 2, "--output_path", tmp_path / "made")
        dry = here(*words, *flags(OPENAI, server), "--dry_run")
        submit = "vsr1-bench: --batch: would submit a batch to judge openai"
        without = "; no batch service for model tiny by transformers; works as without\n"
        assert dry.returncode == 0 and submit + without in dry.stderr and not server.jobs
        done = here(*words, *flags(OPENAI, server))
        note = "vsr1-bench: --batch: no batch service for model tiny by transformers; works as"
        assert done.returncode == 75 and note in done.stderr and len(server.jobs) == 1
        runs, path = sums(tmp_path, box(5))
        code, err = run_judge(runs, path, *flags(OPENAI, server), "--dry_run")
        assert code == 0 and f"{submit}\n" in err and len(server.jobs) == 1
        code, err = run_judge(runs, path, *flags(OPENAI, server))
        assert code == 75 and "no batch service" not in err
