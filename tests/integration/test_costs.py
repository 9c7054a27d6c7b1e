"""What a run costs: one limit for model, judge and reader, a dry run, and the closing account."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli import error_line, here, plugins
from servers import Asked, ChatServer, Reply, chat

pytestmark = pytest.mark.usefixtures("judge_keys")

SEES = "<description>two numbers</description>\\boxed{4}"


def prices(folder: Path, **models: dict[str, float]) -> Path:
    path = folder / "prices.json"
    path.write_text(json.dumps({"currency": "EUR", **models}))
    return path


def run(folder: Path, server: ChatServer, *more: object, limit: int = 6) -> tuple[int, str, str]:
    done = here(
        *("run", "--model", "m", "--tasks", "adding", "--limit", limit, "--output_path"),
        *(folder / "runs", "--include_path", plugins(folder / "plugins")),
        *("--base_url", server.url, "--model_args", "max_retries=1,timeout=20,concurrency=2"),
        *("--gen_kwargs", "max_tokens=16", *more),
    )
    return done.returncode, done.stdout, done.stderr


def judged(server: ChatServer) -> tuple[object, ...]:
    told = ("--judge_model", "j", "--judge_base_url", server.url)
    return "--judge", "openai", *told, "--judge_args", "max_tokens=16,max_retries=1"


def spent(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("spent")]


def answers(asked: Asked, **usage: object) -> Reply:
    text = SEES if asked.body["model"] == "m" else '{"verdict": "incorrect"}'
    return Reply(body=chat(text) | ({"usage": usage} if usage else {}))


def test_the_account_counts_model_and_judge(tmp_path: Path) -> None:
    told = {"prompt_tokens_details": {"cached_tokens": 40}}
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    with ChatServer(lambda n, asked: answers(asked, **usage, **told)) as server:
        m = {"input": 10.0, "cached_input": 1.0, "output": 100.0}
        file = prices(tmp_path, m=m, j={"input": 10.0, "output": 100.0})
        code, _, err = run(tmp_path, server, *judged(server), "--price_file", file)
        assert code == 0, err
        # (60 · 10 + 40 · 1 + 10 · 100) / 1e6 · 6, and 2000 / 1e6 for each call of the judge
        assert spent(err) == [
            "spent: model m: 6 calls, 600 tokens in (240 cached), 60 out, 0.009840 EUR",
            "spent: judge openai[j]: 6 calls, 600 tokens in (240 cached), 60 out, 0.0120 EUR",
            "spent in all: 0.0218 EUR",
        ]
        code, _, err = run(tmp_path, server, *judged(server), "--price_file", file)
        assert code == 0 and spent(err) == []


def test_without_prices_tokens_are_counted(tmp_path: Path) -> None:
    with ChatServer(lambda n, asked: answers(asked)) as server:
        _, _, err = run(tmp_path, server, limit=1)
    assert spent(err) == ["spent: model m: 1 call, 11 tokens in, 7 out, price unknown"]


@pytest.mark.parametrize("kind", ["good", "error in a 200", "no counts"])
def test_the_limit_holds_for_model_and_judge_together(tmp_path: Path, kind: str) -> None:
    """The server's own account: what it billed never comes to more than the bound."""
    billed = []

    def plan(number: int, asked: Asked) -> Reply:
        usage = {"prompt_tokens": len(asked.text.encode()), "completion_tokens": 16}
        billed.append(sum(usage.values()) / 1000)
        reply = answers(asked, **usage)
        if kind == "error in a 200" and number % 2:
            return Reply(body={"error": {"message": "busy"}, "usage": usage})
        if kind == "no counts":
            return Reply(body={k: v for k, v in reply.body.items() if k != "usage"})
        return reply

    each = {"input": 1000.0, "output": 1000.0}
    with ChatServer(plan) as server:
        bound = ("--price_file", prices(tmp_path, m=each, j=each), "--max_cost")
        code, _, err = run(tmp_path, server, *judged(server), *bound, 2, limit=40)
        first = len(billed)
        assert "--max_cost 2: " in error_line(code, 75, err) and "responses are safe" in err
        assert 0.5 < sum(billed) <= 2 and {a.body["model"] for a in server.asked} == {"m"}
        assert spent(err)[0].startswith(f"spent: model m: {first} calls")
        billed.clear()
        if kind == "good":  # the rest of the answers, and some of the verdicts
            code, _, err = run(tmp_path, server, *judged(server), *bound, 12, limit=10)
            assert "--max_cost 12: " in error_line(code, 75, err)
            assert 0 < sum(billed) <= 12 and {a.body["model"] for a in server.asked} == {"m", "j"}


def test_the_limit_needs_the_models_price(tmp_path: Path) -> None:
    with ChatServer() as server:
        bound = ("--price_file", prices(tmp_path, j={"input": 1, "output": 1}), "--max_cost", 1)
        code, _, err = run(tmp_path, server, *judged(server), *bound)
        assert "price of 'm'" in error_line(code, 2, err) and server.asked == []
    assert not (tmp_path / "runs").exists()


def rows(out: str) -> dict[str, list[str]]:
    """Who is asked -> the other cells of a dry run's table."""
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in out.splitlines()[2:]]
    return {cell[2] or "all": cell[3:] for cell in cells if len(cell) == 10}


def test_a_dry_run_asks_nobody_and_bounds_everything(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    with ChatServer(lambda n, asked: answers(asked, **usage)) as server:
        each = {"input": 1.0, "output": 10.0}
        file = prices(tmp_path, m=each, j=each, r=each)
        flags = (*judged(server), "--price_file", file, "--perception", "--reader", "openai")
        flags += ("--reader_model", "r", "--reader_base_url", server.url)
        code, out, err = run(tmp_path, server, *flags, "--dry_run")
        assert code == 0 and server.asked == [] and not (tmp_path / "runs").exists(), err
        found = rows(out)
        assert [row[0] for row in found.values()] == ["6", "≤ 6", "≤ 12", "≤ 24"]
        assert found["model m"][2] == "–" and found["model m"][5] == str(6 * 16)
        bounds = [float(row[6].split()[0]) for row in found.values()]
        assert bounds[3] == pytest.approx(sum(bounds[:3]), abs=2e-4) and "EUR" in out
        assert "≈ is an estimate" in err and "≤ is a bound" in err
        # After some replies there is an estimate of their lengths, and less to do.
        assert run(tmp_path, server, *flags, limit=2)[0] == 0
        before = len(server.asked)
        code, out, _ = run(tmp_path, server, *flags, "--dry_run")
        found = rows(out)
        assert [row[0] for row in found.values()] == ["4", "≤ 4", "≤ 8", "≤ 16"]
        assert found["model m"][2] == "40" and len(server.asked) == before
        code, _, err = run(tmp_path, server, *flags)
        assert code == 0 and len(server.asked) - before <= 16
        sums = [float(line.split()[-2]) for line in spent(err)[:3]]
        bounds = [float(row[6].split()[0]) for row in list(found.values())[:3]]
        assert all(cost <= most for cost, most in zip(sums, bounds, strict=True))


def test_perceive_and_grade_have_a_dry_run(tmp_path: Path) -> None:
    with ChatServer(lambda n, asked: answers(asked)) as server:
        assert run(tmp_path, server, limit=3)[0] == 0
        asked = len(server.asked)
        told = ("--reader", "openai", "--reader_model", "r", "--reader_base_url", server.url)
        done = here(
            *("perceive", tmp_path / "runs", *told, *judged(server), "--dry_run"),
            *("--include_path", tmp_path / "plugins"),
        )
        assert done.returncode == 0, done.stderr
        found = rows(done.stdout)
        assert [row[0] for row in found.values()] == ["3", "≤ 6", "≤ 9"]
        assert "price unknown" in done.stdout
        lines = tmp_path / "in.jsonl"
        lines.write_text('{"id": 1, "response": "\\\\boxed{4}", "answer": "4"}\n' * 2)
        flags = (*judged(server), "--output", tmp_path / "out.jsonl", "--dry_run")
        done = here("grade", lines, *flags)
        assert done.returncode == 0 and rows(done.stdout)["judge openai[j]"][0] == "1"
        assert len(server.asked) == asked and not (tmp_path / "out.jsonl").exists()
