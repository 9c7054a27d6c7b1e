"""Judges that differ in model or prompt stand side by side, and are found by their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli import error_line, here
from servers import Asked, ChatServer, Reply

from judges import CORRECT, INCORRECT, OPENAI, box, sums

pytestmark = pytest.mark.usefixtures("judge_keys")


def plan(number: int, asked: Asked) -> Reply:
    """Model `org/A` refuses all, `B:7b` nothing."""
    right = asked.body["model"] == "B:7b"
    if "Return your judgment" in asked.text:
        return OPENAI.says(f"<judgment>{'' if right else 'in'}correct</judgment>")
    return OPENAI.says(CORRECT if right else INCORRECT)


def scored(runs: Path) -> dict[str, float]:
    """Each judge's name in its score file, and what it found."""
    documents = [json.loads(path.read_text()) for path in runs.glob("*/*/scores/*.json")]
    return {d["judge"]: d["metrics"]["accuracy"]["value"] for d in documents}


def test_two_models_stand_side_by_side(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(0), box(1000), box(1001))
    with ChatServer(plan) as server:
        shared = ("--include_path", path, "--judge_base_url", server.url)
        for model in ("org/A", "B:7b"):
            flags = (*shared, "--judge_model", model, "--judge")
            for spec in ("openai", "cascade:string_match,openai", "majority:openai*2"):
                done = here("judge", runs, *flags, spec)
                assert done.returncode == 0, done.stderr
        # The model may stand in the name, as the table prints it, with the prompt behind it.
        done = here("judge", runs, *shared, "--judge", "openai[org/A,paper]")
        assert done.returncode == 0, done.stderr
        legacy = "legacy_vsr1:mathruler,openai[B:7b,paper]"
        assert here("judge", runs, *shared, "--judge", legacy).returncode == 0
    wanted = {
        "openai[org/A]": 0.0,
        "openai[B:7b]": 1.0,
        "openai[org/A,paper]": 0.0,
        "cascade:string_match,openai[org/A]": pytest.approx(1 / 3),
        "cascade:string_match,openai[B:7b]": 1.0,
        "majority:openai[org/A]*2": 0.0,
        "majority:openai[B:7b]*2": 1.0,
        legacy: 1.0,
    }
    assert scored(runs) == wanted
    plugins = ("--include_path", path)
    table = here("table", runs, *plugins, "--layout", "long").stdout
    assert all(f"| {name} " in table for name in wanted)
    listed = here("ls", "runs", runs, *plugins).stdout
    assert all(name in listed for name in wanted)
    for command in (("table", "--layout", "long"), ("score",)):
        done = here(*command, runs, *plugins, "--judge", "cascade:string_match,openai[B:7b]")
        rows = [line for line in done.stdout.splitlines() if "accuracy" in line]
        assert len(rows) == 1 and "| 100.0 " in rows[0], done.stderr
        # The bare name will do where it is one judge's alone.
        assert legacy in here(*command, runs, *plugins, "--judge", "legacy_vsr1").stdout
        done = here(*command, runs, *plugins, "--judge", "openai")
        said = error_line(done.returncode, 2, done.stderr)
        assert "openai[B:7b], openai[org/A,paper], openai[org/A]" in said
    judges = "openai[org/A,paper],cascade:string_match,openai[B:7b],legacy_vsr1"
    done = here("agreement", runs, "--judges", judges, "--json")
    assert done.returncode == 0, done.stderr
    pairs = [found["judges"] for found in json.loads(done.stdout)]
    assert [legacy in pair for pair in pairs] == [False, True, True]
    done = here("agreement", runs, "--judges", "openai,legacy_vsr1")
    assert "openai[B:7b], openai[org/A,paper]" in error_line(done.returncode, 2, done.stderr)


def test_a_name_and_a_flag_that_name_two_models_are_refused(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(0))
    flags = ("--include_path", path, "--judge_base_url", "http://127.0.0.1:9/v1")
    done = here("judge", runs, *flags, "--judge", "openai[A]", "--judge_model", "B")
    assert "--judge_model B" in error_line(done.returncode, 2, done.stderr)
    done = here("judge", runs, *flags, "--judge", "openai[A,papr]")
    assert "did you mean paper" in error_line(done.returncode, 2, done.stderr)
    done = here("judge", runs, *flags, "--judge", "openai:A")
    assert "openai[A]" in error_line(done.returncode, 2, done.stderr)
