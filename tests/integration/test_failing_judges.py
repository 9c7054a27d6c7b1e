"""A judge or a reader that fails displaces nothing, says why, and is not asked for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli import error_line, here
from picture_runs import both, options, plugins
from servers import Asked, ChatServer, Reply, chat, failure

from judges import CORRECT, INCORRECT, OPENAI, box, sums, verdicts
from vsr1_bench.generation.tally import HOPELESS
from vsr1_bench.perception.reader import ReaderOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.scoring.runs import judge_and_score

pytestmark = pytest.mark.usefixtures("no_keys")


def flags(server: ChatServer, **more: object) -> list[object]:
    args = {"timeout": 20, "max_retries": 0} | more
    told = ",".join(f"{name}={value}" for name, value in args.items())
    return [
        *("--judge", "openai", "--judge_model", "m", "--judge_base_url", server.url),
        *("--judge_args", told, "--judge_concurrency", 2),
    ]


def scores(runs: Path) -> dict[str, Any]:
    (path,) = runs.glob("*/*/scores/openai*.json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_verdicts_of_before_stay_where_the_judge_now_fails(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(6)))
    paths = ("--include_path", path)
    with ChatServer(lambda number, asked: OPENAI.says(CORRECT)) as server:
        done = here("judge", runs, *paths, *flags(server))
        assert done.returncode == 0, done.stderr
    before = scores(runs)
    assert before["rates"]["scored"] == 6 and before["metrics"]["accuracy"]["value"] == 1

    def half(number: int, asked: Asked) -> Reply:
        return OPENAI.says(INCORRECT) if number < 2 else failure(500, "out of order")

    for plan in (lambda number, asked: failure(500, "out of order"), half):
        with ChatServer(plan) as server:
            done = here("judge", runs, *paths, *flags(server, temperature=0.5))
        assert done.returncode == 75, done.stderr
        assert scores(runs) == before
        assert "100.0" in done.stdout
        assert "HTTP 500: out of order" in done.stderr and "on 6, still count" in done.stderr
        assert "100.0" in here("table", runs, "--layout", "long", *paths).stdout
    # Once it answers, its new verdicts count.
    with ChatServer(lambda number, asked: OPENAI.says(INCORRECT)) as server:
        done = here("judge", runs, *paths, *flags(server, temperature=0.5))
    assert done.returncode == 0, done.stderr
    assert scores(runs)["metrics"]["accuracy"]["value"] == 0
    assert len({line["key"] for line in verdicts(runs, "openai[m]")}) == 6


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_the_table_says_why_a_cell_is_empty(tmp_path: Path, layout: str) -> None:
    runs, path = sums(tmp_path, *(box(n) for n in range(4)))
    paths = ("--include_path", path)
    with ChatServer(lambda number, asked: failure(500, "quota \x1b[31m of hell")) as server:
        done = here("judge", runs, *paths, *flags(server))
    assert done.returncode == 75
    shown = here("table", runs, "--layout", layout, *paths).stdout
    assert "no verdict on any of 4 responses: the judge failed: HTTP 500: quota" in shown
    assert "of hell (4)" in shown and "\x1b" not in shown


def test_failures_in_a_row_stop_the_judge(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, *(box(n + 1000) for n in range(HOPELESS + 40)))

    def plan(number: int, asked: Asked) -> Reply:
        return OPENAI.says(INCORRECT) if number < 8 else failure(500, "gone for today")

    with ChatServer(plan) as server:
        done = here("judge", runs, "--include_path", path, *flags(server))
    said = error_line(done.returncode, 75, done.stderr)
    assert f"the last {HOPELESS} calls all failed: HTTP 500: gone for today" in said
    assert len(server.asked) <= 8 + HOPELESS + 4
    found = [line["verdict"]["outcome"] for line in verdicts(runs, "openai[m]")]
    assert found.count("incorrect") == 8


def test_failures_with_successes_between_them_stop_nothing(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, *(box(n + 1000) for n in range(HOPELESS + 10)))

    def plan(number: int, asked: Asked) -> Reply:
        return OPENAI.says(INCORRECT) if number % 9 == 0 else failure(500, "busy")

    with ChatServer(plan) as server:
        done = here("judge", runs, "--include_path", path, *flags(server))
    assert done.returncode == 75 and len(server.asked) == HOPELESS + 10


def read_by(server: ChatServer, name: str = "big") -> ReaderOptions:
    args = {"timeout": 20, "max_retries": 0, "concurrency": 1}
    return ReaderOptions(name="openai", model=name, base_url=server.url, args=args)


def test_a_reader_that_fails_displaces_no_other(tmp_path: Path) -> None:
    lines = [line for n in range(10) for line in both(n, sufficient=n < 4, right=True)]

    def score(**more: Any) -> dict[str, Any]:
        (run,) = generate(options(tmp_path, lines, 10, **more))
        return judge_and_score(run.folder, None, (str(plugins(tmp_path)),), progress=False)

    before = score()["perception"]
    assert before["reader"]["label"] == "self"

    def plan(number: int, asked: Asked) -> Reply:
        return failure(500, "no") if number else Reply(body=chat("\\boxed{0}"))

    with ChatServer(plan) as server:
        assert score(reader=read_by(server))["perception"] == before
    with ChatServer(lambda number, asked: Reply(body=chat("\\boxed{0}"))) as again:
        after = score(reader=read_by(again))["perception"]
    assert after["reader"]["label"] == "openai:big"


def test_failures_in_a_row_stop_a_reader(tmp_path: Path) -> None:
    n = HOPELESS + 8
    lines = [line for k in range(n) for line in both(k, sufficient=True, right=True)]

    def plan(number: int, asked: Asked) -> Reply:
        return failure(500, "no") if number else Reply(body=chat("\\boxed{0}"))

    from vsr1_bench.errors import Interrupted

    with (
        ChatServer(plan) as server,
        pytest.raises(Interrupted, match=f"last {HOPELESS} readings all failed: HTTP 500: no"),
    ):
        generate(options(tmp_path, lines, n, reader=read_by(server)))
    assert len(server.asked) <= HOPELESS + 4
