"""Judging by a model through the command line: resumes, keys, costs, files of responses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli import cli, error_line, here
from servers import Asked, ChatServer, Reply

from judges import (
    CORRECT,
    INCORRECT,
    KEY,
    OPENAI,
    PROTOCOLS,
    Protocol,
    box,
    outcomes,
    sums,
    verdicts,
)

pytestmark = pytest.mark.usefixtures("judge_keys")


def run_judge(runs: Path, plugins: Path, *flags: object) -> tuple[int, str, str]:
    done = here("judge", runs, "--include_path", plugins, *flags)
    return done.returncode, done.stdout, done.stderr


def test_only_the_missing_ones_are_asked_again(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(5, 11)))
    sick = True

    def plan(number: int, asked: Asked) -> Reply:
        return OPENAI.says("?" if sick and "2 + 2" in asked.text else INCORRECT)

    with ChatServer(plan) as server:
        flags = ["--judge", "openai", *OPENAI.flags(server)]
        code, out, err = run_judge(runs, path, *flags)
        assert code == 75 and "5/6" in out, err
        sick, first = False, len(server.asked)
        code, out, err = run_judge(runs, path, *flags)
        assert (first, len(server.asked)) == (6, 7)
        assert code == 0 and "6/6" in out, err
        assert run_judge(runs, path, *flags)[0] == 0 and len(server.asked) == 7
    lines = verdicts(runs)
    assert len(lines) == 7 and {line["judge_model"] for line in lines} == {"m"}
    [path] = runs.glob("*/*/scores/openai*.json")
    judging = json.loads(path.read_text())["judging"]
    assert judging["models"] == ["m"] and judging["prompts"] == [lines[0]["prompt_hash"]]
    assert judging["prompt_tokens"] == 66 and judging["cost"] is None
    assert lines[0]["raw"] and lines[0]["prompt_hash"] and lines[0]["usage"]["prompt_tokens"] == 11


@PROTOCOLS
def test_the_key_is_written_nowhere(tmp_path: Path, protocol: Protocol) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(7, 11)))
    quoting = Reply(400, {"error": {"code": 400, "message": f"bad call with {KEY}"}})
    plan = [quoting, Reply(200, "<html>busy</html>"), protocol.fails(500), Reply(cut=True)]
    streams = []
    for replies in (plan, [protocol.fails(401)] * 9):
        with ChatServer(replies) as server:
            flags = ("--judge", protocol.judge, *protocol.flags(server), "--verbosity", "debug")
            done = cli("judge", runs, "--include_path", path, *flags)  # its streams are its own
            assert done.returncode in (1, 75), done.stderr
            streams += [done.stdout, done.stderr]
            assert any(KEY in str(asked.headers) for asked in server.asked)
    assert any("refused the key" in text for text in streams)
    written = [f.read_text("utf-8", "replace") for f in tmp_path.rglob("*") if f.is_file()]
    assert not [text for text in (*streams, *written) if KEY in text]


def test_a_wrong_key_ends_in_one_line(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(1), box(2))
    with ChatServer([OPENAI.fails(401)] * 9) as server:
        flags = ("--judge", "openai", *OPENAI.flags(server))
        code, _, err = run_judge(runs, path, *flags)
    assert "judge 'openai[m]': endpoint" in error_line(code, 1, err)


def test_max_cost_stops_in_time(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(400, 440)))
    prices = tmp_path / "prices.json"
    prices.write_text('{"m": {"input": 1000, "output": 10000}}')  # a call: 0.081
    with ChatServer(lambda n, a: OPENAI.says(INCORRECT)) as server:
        judging = ("--judge", "openai", "--judge_model", "m", "--judge_base_url", server.url)
        flags = (*judging, "--price_file", prices, "--judge_args", "max_tokens=20")
        code, _, err = run_judge(runs, path, *flags, "--max_cost", "3")
        assert "--max_cost 3: " in error_line(code, 75, err) and "resume with:" in err
        first = verdicts(runs)
        spent = sum(line["cost"] for line in first)
        # The next call could take the prompt's bytes and 20 tokens: about 1.8.
        assert 0.9 < spent <= 3 and len(server.asked) == len(first) < 40
        code, out, err = run_judge(runs, path, *flags)
        assert code == 0 and len(server.asked) == 40 and "40/40" in out, err


def test_max_cost_without_a_price_is_refused(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(1))
    prices = tmp_path / "prices.json"
    prices.write_text('{"other": {"input": 1, "output": 2}}')
    judging = (
        "--judge",
        "openai",
        "--judge_model",
        "m",
        "--judge_base_url",
        "http://127.0.0.1:9/v1",
    )
    code, _, err = run_judge(runs, path, *judging, "--max_cost", "1")
    assert "--price_file" in error_line(code, 2, err)
    code, _, err = run_judge(runs, path, *judging, "--max_cost", "1", "--price_file", prices)
    assert "price of 'm'" in error_line(code, 2, err)


def test_a_dry_run_of_a_thousand_makes_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses = [box(n + (n % 2)) for n in range(0, 800, 2)]
    runs, path = sums(tmp_path, *responses, samples=3)  # 1,200 responses, 400 different
    prices = tmp_path / "prices.json"
    prices.write_text('{"m": {"input": 1, "output": 4}}')
    monkeypatch.delenv("GEMINI_API_KEY")
    with ChatServer() as server:
        flags = (*OPENAI.flags(server), "--dry_run")
        code, out, _ = run_judge(runs, path, "--judge", "openai", *flags)
        assert code == 0 and "| 400 " in out and "price unknown" in out
        code, out, _ = run_judge(runs, path, "--judge", "openai", *flags, "--price_file", prices)
        assert code == 0 and "price unknown" not in out and f"{400 * 2048}" in out
        code, out, _ = run_judge(runs, path, "--judge", "cascade:string_match,openai", *flags)
        assert code == 0 and "| 0 " in out and "0.0000" in out  # the rule says correct throughout
        code, out, _ = run_judge(runs, path, "--judge", "majority:openai*3", *flags)
        assert code == 0 and "| 1200 " in out
        gem = ("--judge", "gemini", "--judge_base_url", server.root, "--dry_run")
        assert run_judge(runs, path, *gem)[0] == 0
        assert server.asked == []
    assert list(runs.glob("*/*/judgments/*")) == []


def test_grade_asks_a_model_and_keeps_the_order(tmp_path: Path) -> None:
    lines = tmp_path / "in.jsonl"
    row = '{"id": "%s", "response": "\\\\boxed{%d}", "answer": "7", "question": "q%d"}\n'
    lines.write_text("".join(row % ("same", n, n) for n in range(20)))

    def plan(number: int, asked: Asked) -> Reply:
        return OPENAI.says(
            CORRECT if "\n7\n</candidate>" in asked.text else INCORRECT, wait=w(asked)
        )

    def w(asked: Asked) -> float:
        return 0.3 if "\n0\n</candidate>" in asked.text else 0.0

    with ChatServer(plan) as server:
        out = tmp_path / "out.jsonl"
        flags = ("--judge", "openai", *OPENAI.flags(server), "--output", out)
        done = here("grade", lines, *flags)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["verdict"] for line in found].index("correct") == 7
    assert [line["extracted"] for line in found] == [str(n) for n in range(20)]


def test_a_grade_that_ends_early_keeps_what_was_paid_for(tmp_path: Path) -> None:
    lines = tmp_path / "in.jsonl"
    row = '{"id": %d, "response": "\\\\boxed{%d}", "answer": "7", "question": "q%d"}\n'
    lines.write_text("".join(row % (n, n, n) for n in range(20)))
    out, closed = tmp_path / "out.jsonl", [True]

    def plan(number: int, asked: Asked) -> Reply:
        if closed[0] and number >= 8:
            return Reply(401, {"error": {"message": "no more"}})
        return OPENAI.says(CORRECT if "\n7\n</candidate>" in asked.text else INCORRECT)

    with ChatServer(plan) as server:
        flags = ("--judge", "openai", *OPENAI.flags(server), "--output", out)
        first = here("grade", lines, *flags, "--judge_concurrency", 1)
        assert first.returncode != 0 and not out.exists()
        paid = len(server.asked)
        closed[0] = False
        second = here("grade", lines, *flags, "--judge_concurrency", 1)
        assert second.returncode == 0, second.stderr
        assert len(server.asked) - paid == 20 - 8  # the missing ones alone
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in found] == list(range(20))
    assert [line["verdict"] for line in found].index("correct") == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_side_by_side(tmp_path: Path) -> None:
    """One run by the rule, by a cascade and by the published scorer: the latter only gains."""
    runs, path = sums(tmp_path, box(0), box(2), "nine", box(5), box(9), box(11))

    def plan(number: int, asked: Asked) -> Reply:
        odd = "4 + 4" in asked.text
        return OPENAI.says("wrong" if odd else "<judgment>incorrect</judgment>")

    with ChatServer(plan) as server:
        for spec in ("string_match", "cascade:string_match,openai", "legacy_vsr1:mathruler,openai"):
            run_judge(runs, path, "--judge", spec, *OPENAI.flags(server))
    cascade, legacy = "cascade:string_match,openai[m]", "legacy_vsr1:mathruler,openai[m,paper]"
    table = here("table", runs, "--include_path", path, "--layout", "long").stdout
    rows = [r for r in table.splitlines() if "accuracy " in r]
    cells = {r.split("|")[4].strip(): r for r in rows if "accuracy_strict" not in r}
    assert "6/6" in cells["string_match"] and "33.3" in cells["string_match"]
    assert "5/6" in cells[cascade] and "†" in cells[cascade]
    assert "6/6" in cells[legacy] and "50.0" in cells[legacy]
    judges = "string_match,cascade:string_match,openai"  # as they were asked for
    done = here("agreement", runs, "--judges", judges)
    assert (
        done.returncode == 0
        and "kappa 1.000" in done.stdout
        and "equal 100.0 % of 5" in done.stdout
    )


def test_outcomes_of_a_run_do_not_depend_on_the_order_of_replies(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(300, 340)))

    def plan(number: int, asked: Asked) -> Reply:
        n = int(asked.text.split("What is ")[1].split()[0])
        return OPENAI.says(CORRECT if n % 3 else INCORRECT, wait=0.2 if n % 7 == 0 else 0.0)

    with ChatServer(plan) as server:
        assert run_judge(runs, path, "--judge", "openai", *OPENAI.flags(server))[0] == 0
    wanted = {f"q{n:03d}": "correct" if n % 3 else "incorrect" for n in range(40)}
    assert outcomes(runs) == wanted
