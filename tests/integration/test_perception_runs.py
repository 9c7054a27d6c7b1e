"""`--perception`, `--reader`, `--blind`, `perceive` and their tables through the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli import cli, error_line, here, records, script
from picture_runs import answer, both, plugins
from servers import Asked, ChatServer, Reply, chat, failure

CELLS = [(1, 1)] * 4 + [(1, 0)] + [(0, 1)] * 3 + [(0, 0)] * 2
LINES = [line for n, (s, c) in enumerate(CELLS) for line in both(n, sufficient=bool(s), right=c)]
OPENAI = ["--reader", "openai", "--reader_model", "m"]
KEY = "sk-reader-0123456789abcdef"


def command(folder: Path, *more: object, lines: list[dict[str, Any]] | None = None) -> list[object]:
    written = script(folder / "script.jsonl", *(LINES if lines is None else lines))
    return [
        *("run", "--model", "m", "--tasks", "pictures", "--limit", 10, "--backend", "scripted"),
        *("--model_args", f"script={written}", "--include_path", plugins(folder)),
        *("--output_path", folder / "runs", *more),
    ]


def document(folder: Path) -> dict[str, Any]:
    """The score of the run itself."""
    found = [json.loads(p.read_text()) for p in (folder / "runs").glob("*/*/scores/*.json")]
    (chosen,) = (one for one in found if one["variant"] == "none")
    return chosen  # type: ignore[no-any-return]


def rows(table: str) -> dict[str, list[str]]:
    """Metric -> its row's cells."""
    lines = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    place = next(line.index("metric") for line in lines if "metric" in line)
    return {line[place]: line[place + 1 :] for line in lines if len(line) > place + 1}


def generated(folder: Path) -> list[bytes]:
    """The run's answers, byte by byte."""
    found = (folder / "runs").glob("*/*/generations.jsonl")
    return [path.read_bytes() for path in sorted(found)]


def reader(right: list[bool]) -> Any:
    """A plan that reads descriptions, and knows the answers of those it is to know."""

    def plan(number: int, asked: Asked) -> Reply:
        assert not asked.images
        found = re.match(
            r"Text description: a scene (\d+)\nQuestion: In  count (\d+)\.", asked.text
        )
        assert found and found[1] == found[2]
        n = int(found[1])
        return Reply(200, chat(f"<think>t</think>\\boxed{{{n if right[n] else 777}}}"))

    return plan


def flags(server: ChatServer) -> list[object]:
    return [
        *("--reader", "openai", "--reader_model", "big", "--reader_base_url", server.url),
        *("--reader_args", "timeout=20,max_retries=1"),
    ]


def test_one_command_shows_everything_with_intervals(tmp_path: Path) -> None:
    blind = [answer(n, right=n == 0, description=None) for n in range(10)]
    assert here(*command(tmp_path)).returncode == 0
    done = here(*command(tmp_path, "--blind", "drop", lines=blind))
    assert done.returncode == 0, done.stderr
    done = cli(*command(tmp_path, "--perception", "--blind", "drop"))
    assert done.returncode == 0, done.stderr
    shown = rows(done.stdout)
    wanted = {
        "accuracy": "70.0",
        "lsr": "30.0",
        "self_contained": "50.0",
        "saw_but_wrong": "10.0",
        "leakage": "0.0",
        "no_description": "0.0",
        "blind_accuracy[drop]": "10.0",
        "gain[drop]": "60.0",
    }
    assert {name: shown[name][0] for name in wanted} == wanted
    assert all(re.fullmatch(r"-?[\d.]+ to [\d.]+", shown[name][1]) for name in wanted)
    assert "variant" not in done.stdout  # the blind run's numbers stand in these rows

    paths = ("--include_path", plugins(tmp_path))
    again = here("table", tmp_path / "runs", "--layout", "long", *paths)
    assert rows(again.stdout) == shown
    layout = here("table", tmp_path / "runs", "--columns", "lsr", "--intervals", *paths)
    assert "pictures lsr ↓" in layout.stdout and "30.0 [10.8 to 60.3]" in layout.stdout
    layout = here("table", tmp_path / "runs", "--columns", "lsr", "--by", "kind", *paths)
    assert "Descriptions read by: self" in layout.stdout
    assert "odd lsr ↓" in layout.stdout and "variant" not in layout.stdout
    stored = json.loads(here("score", tmp_path / "runs", "--json", *paths).stdout)
    metrics = next(one for one in stored if one["variant"] == "none")["metrics"]
    assert metrics["lsr"]["n"] == 10 and set(metrics["gain[drop]"]) == {"value", "low", "high", "n"}


def test_another_model_reads_in_the_same_command(tmp_path: Path) -> None:
    right = [n % 2 == 0 for n in range(10)]
    with ChatServer(reader(right)) as server:
        done = here(*command(tmp_path, "--perception", *flags(server)))
        assert done.returncode == 0, done.stderr
        assert len(server.asked) == 10
        assert all(asked.body["temperature"] == 0 for asked in server.asked)
        first = document(tmp_path)
        # The same command again asks nobody, and loads nothing.
        again = here(*command(tmp_path, *flags(server), lines=[{"id": "*", "die": "asked"}]))
        assert again.returncode == 0, again.stderr
        assert len(server.asked) == 10 and document(tmp_path) == first
    part = first["perception"]
    assert part["reader"]["label"] == "openai:big" and part["reader"]["verified"] is False
    cells = list(zip(right, (c for _, c in CELLS), strict=True))
    assert part["table"]["insufficient"]["correct"] == cells.count((False, 1))
    assert server.url not in json.dumps(part)


def test_perceive_reads_a_stored_run_and_keeps_both_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VSR1_READER_API_KEY", KEY)
    assert here(*command(tmp_path, "--perception")).returncode == 0
    made = generated(tmp_path)
    with ChatServer(reader([True] * 10)) as server:
        paths = ("--include_path", plugins(tmp_path))
        done = here("perceive", tmp_path / "runs", *flags(server), *paths)
        assert done.returncode == 0, done.stderr
        assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    assert "Descriptions read by: openai:big." in done.stdout
    assert rows(done.stdout)["lsr"][0] == "0.0"
    assert rows(done.stdout)["self_contained"][0] == "100.0"
    part = document(tmp_path)["perception"]
    assert part["reader"]["label"] == "openai:big"
    assert [other["reader"]["label"] for other in part["others"]] == ["self"]
    assert part["others"][0]["metrics"]["lsr"]["value"] == 0.3
    assert generated(tmp_path) == made
    assert not any(KEY in path.read_text() for path in tmp_path.glob("runs/**/*.json*"))
    # Who is asked last counts; nothing is missing, so nothing is loaded.
    again = here(*command(tmp_path, "--perception", lines=[{"id": "*", "die": "asked"}]))
    assert again.returncode == 0, again.stderr
    assert rows(again.stdout)["lsr"][0] == "30.0"


@pytest.mark.parametrize("harm", ["samples", "readings"])
def test_perceive_goes_on_without_a_damaged_run(tmp_path: Path, harm: str) -> None:
    assert here(*command(tmp_path, "--perception")).returncode == 0
    (good,) = (meta.parent for meta in (tmp_path / "runs").rglob("run.json"))
    bad = tmp_path / "runs/other" / good.name
    shutil.copytree(good, bad)
    if harm == "samples":  # without its tail: each line is whole
        lines = (bad / "samples.jsonl").read_text().splitlines(keepends=True)
        (bad / "samples.jsonl").write_text("".join(lines[:-2]))
    else:
        text = (bad / "perceptions.jsonl").read_text()
        (bad / "perceptions.jsonl").write_text('{"key": 1}\n' + text)
    with ChatServer(reader([True] * 10)) as server:
        paths = ("--include_path", plugins(tmp_path))
        done = here("perceive", tmp_path / "runs", *flags(server), *paths)
        assert len(server.asked) == 10
    assert done.returncode == 75, done.stderr
    assert done.stderr.count("skipped: ") == 1 and str(bad) in done.stderr
    assert "Descriptions read by: openai:big." in done.stdout


def test_a_reader_that_fails_leaves_what_it_said_and_is_asked_again(tmp_path: Path) -> None:
    assert here(*command(tmp_path)).returncode == 0
    right = reader([True] * 10)

    def plan(number: int, asked: Asked) -> Reply:
        return failure(400, "too long") if "scene 3" in asked.text else right(number, asked)

    paths = ("--include_path", plugins(tmp_path))
    with ChatServer(plan) as server:
        done = here("perceive", tmp_path / "runs", *flags(server), *paths)
        assert done.returncode == 75, done.stderr
        assert "pictures: 1 of 10 readings failed: HTTP 400: too long" in done.stderr
        part = document(tmp_path)["perception"]
        assert (part["n"], part["uncounted"]) == (9, 1)
        port = server.port
    with ChatServer(right, port=port) as server:
        done = here("perceive", tmp_path / "runs", *flags(server), *paths)
        assert done.returncode == 0, done.stderr
        assert len(server.asked) == 1
    assert document(tmp_path)["perception"]["n"] == 10


def test_a_reader_that_dies_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    assert here(*command(tmp_path)).returncode == 0
    right = reader([True] * 10)

    def plan(number: int, asked: Asked) -> Reply:
        return failure(401, "no such key") if number >= 6 else right(number, asked)

    paths = ("--include_path", plugins(tmp_path))
    with ChatServer(plan) as server:
        told = [*flags(server)[:-1], "timeout=20,max_retries=1,concurrency=1"]
        done = cli("perceive", tmp_path / "runs", *told, *paths)
        assert "6 of 10 readings are safe" in error_line(done.returncode, 75, done.stderr)
        assert "resume with: vsr1-bench perceive" in done.stderr
        server.plan = right
        done = here("perceive", tmp_path / "runs", *told, *paths)
        assert done.returncode == 0, done.stderr
        assert len(server.asked) == 6 + 1 + 4
    (path,) = (tmp_path / "runs").glob("*/*/perceptions.jsonl")
    assert len(records(path)) == 10


def test_a_reader_that_says_nothing_displaces_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VSR1_READER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    paths = ("--include_path", plugins(tmp_path))
    with ChatServer(lambda number, asked: failure(401, "no such key")) as server:
        done = here(*command(tmp_path, *flags(server)))
        line = error_line(done.returncode, 1, done.stderr)
        assert "wants a key in VSR1_READER_API_KEY" in line
        assert "10 of 10 responses are safe" in line
        assert here(*command(tmp_path, "--perception")).returncode == 0
        done = here("perceive", tmp_path / "runs", *flags(server), *paths)
        error_line(done.returncode, 1, done.stderr)
    done = here("score", tmp_path / "runs", *paths)
    assert rows(done.stdout)["lsr"][0] == "30.0"
    assert document(tmp_path)["perception"]["reader"]["label"] == "self"


def test_what_has_not_been_read_is_said_and_not_ranked(tmp_path: Path) -> None:
    paths = ("--include_path", plugins(tmp_path))
    assert here(*command(tmp_path, "--perception")).returncode == 0
    # More samples, and no second pass of them.
    more = [*LINES, *(answer(n, right=True) for n in range(10, 14))]
    done = here(*command(tmp_path, "--limit", 14, lines=more))
    line = error_line(done.returncode, 75, done.stderr)
    assert "pictures: 4 of 14 responses have no place in the second pass by self" in line
    assert rows(done.stdout)["lsr"][0] == "30.0 §" and rows(done.stdout)["lsr"][2] == "10"
    assert rows(done.stdout)["leakage"][0] == "0.0"
    assert "§ fewer than 99 % of the responses have been read" in done.stdout
    assert "Descriptions read by: self." in done.stdout
    layout = here("table", tmp_path / "runs", "--columns", "lsr", *paths)
    assert "fewer than 99 % of the responses have been read" in layout.stdout


def test_judge_judges_both_passes_again(tmp_path: Path) -> None:
    assert here(*command(tmp_path, "--perception", "--predict_only")).returncode == 0
    assert not list((tmp_path / "runs").glob("*/*/*judgments"))
    paths = ("--include_path", plugins(tmp_path))
    dry = here("judge", tmp_path / "runs", "--judge", "math", "--dry_run", *paths)
    assert dry.returncode == 0, dry.stderr
    done = here("judge", tmp_path / "runs", "--judge", "math", *paths)
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout)["lsr"][0] == "30.0"
    journals = sorted((tmp_path / "runs").glob("*/*/*judgments/*.jsonl"))
    assert [path.parent.name for path in journals] == ["judgments", "perception_judgments"]
    assert journals[0].name == journals[1].name
    assert [len(records(path)) for path in journals] == [10, 10]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["perceive", "{runs}"], "perceive needs another model as reader"),
        (["perceive", "{runs}", "--reader_model", "m"], "go with --reader openai"),
        (["perceive", "{runs}", "--reader", "openai"], "needs --reader_model NAME"),
        (
            ["perceive", "{runs}", "--reader_base_url", "http://me:pw@h/v1", *OPENAI],
            "give the key by VSR1_READER_API_KEY",
        ),
        (["run", "--model", "m", "--tasks", "demo", "--blind", "mirror"], "--blind mirror"),
        (["run", "--model", "m", "--tasks", "demo", "--perception", "yes"], "invalid choice"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = here(*(word.replace("{runs}", str(tmp_path)) for word in arguments))
    assert said in error_line(done.returncode, 2, done.stderr)


def test_blind_runs_stand_beside_the_others_and_not_in_their_way(tmp_path: Path) -> None:
    paths = ("--include_path", plugins(tmp_path))
    bare = [answer(n, right=n < 5, description=None) for n in range(10)]
    done = here(*command(tmp_path, "--perception", "--blind", "drop", lines=bare))
    assert "no description to read" in error_line(done.returncode, 0, done.stderr)
    assert rows(done.stdout)["no_description"][0] == "100.0"
    listed = here("ls", "runs", tmp_path / "runs").stdout.splitlines()
    place = listed[0].index("blind")
    assert sorted(line[place:].split()[0] for line in listed[1:]) == ["drop", "–"]
    done = here("compare", tmp_path / "runs", tmp_path / "runs", *paths)
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "runs").glob("*/*/run.json")
    (blind,) = (path.parent for path in found if '"variant": "drop"' in path.read_text())
    with ChatServer() as server:
        done = here("perceive", blind, *flags(server), *paths)
        assert "all of these are blind runs" in error_line(done.returncode, 2, done.stderr)
        assert server.asked == []


def test_captions_are_made_by_the_model_that_saw(tmp_path: Path) -> None:
    assert here(*command(tmp_path)).returncode == 0
    with ChatServer() as server:
        paths = ("--include_path", plugins(tmp_path))
        done = here(
            "perceive", tmp_path / "runs", *flags(server), "--perception", "caption", *paths
        )
        assert "no captions" in error_line(done.returncode, 1, done.stderr)
        assert server.asked == []


def prices(folder: Path, model: str = "big") -> Path:
    path = folder / "prices.json"
    path.write_text(json.dumps({model: {"input": 1000, "output": 10000}}))  # a call here: 0.081
    return path


def test_max_cost_bounds_readers_too(tmp_path: Path) -> None:
    assert here(*command(tmp_path)).returncode == 0
    paths = ("--include_path", plugins(tmp_path))
    with ChatServer(reader([True] * 10)) as server:
        # What a call can cost at most: its bytes, and 20 tokens; about 0.6.
        told = [*flags(server)[:-1], "timeout=20,max_retries=1,max_tokens=20"]
        bound = ("--price_file", prices(tmp_path), "--max_cost")
        done = here("perceive", tmp_path / "runs", *told, *paths, *bound, "0.01")
        assert "0 is spent" in error_line(done.returncode, 75, done.stderr)
        assert not server.asked
        done = here("perceive", tmp_path / "runs", *told, *paths, *bound, "1")
        line = error_line(done.returncode, 75, done.stderr)
        (journal,) = (tmp_path / "runs").glob("*/*/perceptions.jsonl")
        read = records(journal)
        assert "reader openai:big: --max_cost 1: " in line
        assert f"{len(read)} of 10 readings are safe" in line and "resume with:" in done.stderr
        tokens = [(r["usage"]["prompt_tokens"], r["usage"]["completion_tokens"]) for r in read]
        spent = sum(p * 1000 + c * 10000 for p, c in tokens) / 1e6
        assert 0.4 < spent <= 1 and len(server.asked) == len(read) < 10
        done = here("perceive", tmp_path / "runs", *told, *paths)
        assert done.returncode == 0 and len(server.asked) == 10, done.stderr


def test_max_cost_bounds_reader_and_judge_together(tmp_path: Path) -> None:
    """In the command that generates, too; the answers are there whatever the reader may spend."""
    with ChatServer(reader([True] * 10)) as server:
        told = [*flags(server)[:-1], "timeout=20,max_retries=1,max_tokens=20"]
        bound = ("--price_file", prices(tmp_path), "--max_cost", "1")
        done = here(*command(tmp_path, "--perception", *told, *bound))
        assert "reader openai:big: --max_cost 1: " in error_line(done.returncode, 75, done.stderr)
        assert 0 < len(server.asked) < 10
        assert len(generated(tmp_path)[0].splitlines()) == 10


def test_max_cost_needs_the_readers_price(tmp_path: Path) -> None:
    with ChatServer(reader([True] * 10)) as server:
        bound = ("--price_file", prices(tmp_path, "other"), "--max_cost", "1")
        done = here(*command(tmp_path, "--perception", *flags(server), *bound))
        assert "price of 'big'" in error_line(done.returncode, 2, done.stderr)
        assert not server.asked and not (tmp_path / "runs").exists()
