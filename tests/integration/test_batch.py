"""Half price: batches of OpenAI and Gemini, submitted and collected, and never paid for twice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batchserver import Answer, BatchServer
from cli import error_line, here, plugins
from servers import chat, gemini

from judges import GEMINI, OPENAI, PROTOCOLS, Protocol, box, outcomes, sums, verdicts
from vsr1_bench.generation import batch
from vsr1_bench.judging.llm_replies import Reply, ReplyJournal

pytestmark = pytest.mark.usefixtures("judge_keys")

INCORRECT = '{"verdict": "incorrect"}'
SEES = "<description>two numbers</description>\\boxed{4}"


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "SETTLING_SECONDS", 0.0)


def text_of(body: dict[str, Any]) -> str:
    parts = body.get("contents") or body["messages"]
    return json.dumps(parts)


def says(text: str) -> Answer:
    """The same text to every request, in the protocol of its body."""

    def answer(key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, gemini(text) if "contents" in body else chat(text)

    return answer


def flags(protocol: Protocol, server: BatchServer) -> list[str]:
    url = server.url if protocol is OPENAI else server.root
    told = ["--judge", protocol.judge, "--judge_base_url", url, "--judge_model", "m"]
    return [*told, "--judge_args", "timeout=20,max_retries=1", "--batch"]


def run_judge(runs: Path, path: Path, *more: object) -> tuple[int, str]:
    done = here("judge", runs, "--include_path", path, *more)
    return done.returncode, done.stderr


def paid_once(server: BatchServer, count: int) -> None:
    assert sorted(server.ran.values()) == [1] * count, server.ran
    assert not [call for call in server.calls if "/" in call], server.calls


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


def killing(server: BatchServer, step: str) -> Callable[[], bool]:
    """Kill the client at a step, once; the returned function says whether that happened."""
    done: list[str] = []

    def at(now: str) -> None:
        if now == step and not done:
            done.append(now)
            os.kill(server.client, signal.SIGKILL)

    server.on_step = at
    return lambda: bool(done)


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


def killed_at(server: BatchServer, step: str, words: tuple[object, ...]) -> tuple[bool, bool]:
    """Run a command until the server has killed it at a step."""
    happened = killing(server, step)
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                server.client = 0
                os.kill(os.getpid(), signal.SIGSTOP)  # until the server knows whom to kill
                os._exit(here(*words).returncode)
            except BaseException:
                os._exit(99)
        os.waitpid(child, os.WUNTRACED)
        server.client = child
        os.kill(child, signal.SIGCONT)
        status = os.waitpid(child, 0)[1]
        if happened():
            return os.WIFSIGNALED(status), True
        assert os.WEXITSTATUS(status) == 75
        server.finish()
    return False, False


def run(folder: Path, server: BatchServer, *more: object, limit: int = 4) -> tuple[int, str, str]:
    done = here(
        *("run", "--model", "m", "--limit", limit, "--output_path", folder / "runs"),
        *("--include_path", plugins(folder / "plugins"), "--base_url", server.url),
        *("--model_args", "max_retries=1,timeout=20", "--gen_kwargs", "max_tokens=16"),
        *("--tasks", "adding", "--batch", *more),
    )
    return done.returncode, done.stdout, done.stderr


def generated(folder: Path) -> list[dict[str, Any]]:
    [path] = folder.glob("runs/*/*/generations.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_generation_reader_and_judge_by_batch(tmp_path: Path) -> None:
    """Each stage follows the one before; nothing of a finished stage is asked again."""

    def answer(key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked = text_of(body)
        if "candidate" in asked.lower():
            return says(INCORRECT)(key, body)
        return says(SEES)(key, body)

    with BatchServer(answer) as server:
        reader = ("--perception", "--reader", "gemini", "--reader_model", "m")
        judging = ("--judge", "openai", "--judge_model", "j", "--judge_base_url", server.url)
        more = (*reader, "--reader_base_url", server.root, *judging)
        prices = tmp_path / "prices.json"
        each = {"input": 100.0, "output": 1000.0, "batch": 0.5}
        prices.write_text(json.dumps({"m": each, "j": each}))
        more += ("--price_file", prices)
        seen = []
        for _ in range(8):
            code, _, err = run(tmp_path, server, *more)
            seen.append(err)
            if code == 0:
                break
            assert "resume with:" in err and "is submitted" in error_line(code, 75, err)
            server.finish()
        # responses, readings, and verdicts, which readings share with their responses
        assert code == 0 and [len(job.lines) for job in server.jobs.values()] == [4, 4, 4], seen
        paid_once(server, 12)
    assert all(line["seconds"] is None for line in generated(tmp_path))
    # (11 · 100 + 7 · 1000) / 1e6 for a call, at half price
    assert "spent: model m: 4 calls, 44 tokens in, 28 out, 0.0162" in seen[1]
    assert "spent: reader gemini:m: 4 calls" in seen[2]
    assert not list(tmp_path.rglob(".batches*"))


def test_images_are_sent_as_in_single_calls(tmp_path: Path) -> None:
    with BatchServer(says("\\boxed{A}")) as server:
        words = ("run", "--model", "m", "--tasks", "demo", "--limit", 3, "--base_url", server.url)
        words += ("--batch", "--output_path", tmp_path / "runs", "--predict_only")
        assert here(*words).returncode == 75
        [job] = server.jobs.values()
        images = [line for line in job.lines if "data:image/png;base64," in text_of(line["body"])]
        assert len(images) == 3 and {line["body"]["max_tokens"] for line in images} == {4096}
        server.finish()
        done = here(*words)
        assert done.returncode == 0, done.stderr
        single = [word for word in words if word != "--batch"]
        done = here(*single)  # the same run, of which nothing is missing
        assert done.returncode == 0 and "3 of 3" in done.stderr and "spent" not in done.stderr
        paid_once(server, 3)
    assert len(list(tmp_path.glob("runs/*/*"))) == 1


def test_a_lower_limit_loses_nothing(tmp_path: Path) -> None:
    with BatchServer(says(SEES)) as server:
        assert run(tmp_path, server, "--predict_only", limit=6)[0] == 75
        server.finish()
        code, _, err = run(tmp_path, server, "--predict_only", limit=2)
        assert code == 0 and len(generated(tmp_path)) == 2, err
        code, _, err = run(tmp_path, server, "--predict_only", limit=8)
        line = error_line(code, 75, err)
        assert "of 2 requests is submitted" in line and "6 of 8 responses are safe" in line
        server.finish()
        assert run(tmp_path, server, "--predict_only", limit=8)[0] == 0
        paid_once(server, 8)
    assert not list(tmp_path.rglob(".batches*"))


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


def test_a_schema_that_is_refused_goes_into_another_batch_as_tags(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(5), box(6))

    def answer(key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "response_format" in body:
            return 400, {"error": {"message": "response_format is not supported"}}
        return 200, chat("<judgment>incorrect</judgment>")

    with BatchServer(answer) as server:
        for code in (75, 75, 0):
            found, err = run_judge(runs, path, *flags(OPENAI, server))
            assert found == code, err
            server.finish()
        assert [len(job.lines) for job in server.jobs.values()] == [2, 2]
    assert set(outcomes(runs).values()) == {"incorrect"}


def test_the_limit_bounds_what_is_submitted(tmp_path: Path) -> None:
    """What a batch could cost at most is held; what it did cost is free again."""
    prices = tmp_path / "prices.json"
    prices.write_text('{"m": {"input": 0, "output": 62500}}')  # a reply costs 1 at most
    with BatchServer(says(SEES)) as server:
        bound = ("--predict_only", "--price_file", prices, "--max_cost", 3)
        code, _, err = run(tmp_path, server, *bound, limit=6)
        assert "of 3 requests is submitted" in error_line(code, 75, err)
        server.finish()
        # Three replies of 7 tokens cost 1.3; one more could cost 1.
        code, _, err = run(tmp_path, server, *bound, limit=6)
        assert "of 1 requests is submitted" in error_line(code, 75, err)
        assert len(generated(tmp_path)) == 3 and sum(server.ran.values()) == 4
        # What is paid for is collected, whatever the limit is now.
        server.finish()
        free = (*bound[:-1], 0)
        code, _, err = run(tmp_path, server, *free, limit=4)
        assert code == 0 and len(generated(tmp_path)) == 4, err


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
