"""Tasks and judges of a folder of one's own, in every command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cli
import pytest


def labels(runs: Path, judge: str) -> set[str]:
    (journal,) = runs.glob(f"*/*/judgments/{judge}-*.jsonl")
    return {record["verdict"]["label"] for record in cli.records(journal)}


def test_plug_ins_work_in_every_command(
    tmp_path: Path, run: list[Any], runs: Path, folder: Path, script: Path
) -> None:
    folders = ["--include_path", os.path.relpath(folder)]  # seen from the worker as well
    run.remove("--predict_only")
    cli.script(script, cli.ANSWER, *({"id": f"q{n:03d}", "response": str(2 * n)} for n in range(6)))
    with cli.start(*run, *folders, "--limit", 8) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "adding" in out
    assert labels(runs, "exact") == {f"graded by process {process.pid}"}

    with cli.start("judge", runs, "--judge", "exact_bounded", *folders) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (label,) = labels(runs, "exact_bounded")
    assert label != f"graded by process {process.pid}", "a bounded judge ran in the command itself"

    done = cli.here("score", runs, "--json", *folders)
    assert done.returncode == 0, done.stderr
    documents = json.loads(done.stdout)
    assert {d["judge"] for d in documents} == {"exact", "exact_bounded"}
    for document in documents:
        assert (document["task"], document["n"]) == ("adding", 8)
        assert document["metrics"]["accuracy"]["value"] == pytest.approx(0.75)

    done = cli.here("table", runs, "--layout", "long")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("adding") == 2

    assert "adding" in cli.here("ls", "tasks", *folders).stdout
    assert "exact_bounded" in cli.here("ls", "judges", *folders).stdout
    assert "adding" not in cli.here("ls", "tasks").stdout

    done = cli.here("validate", "adding", *folders)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   adding" in done.stdout

    given = tmp_path / "in.jsonl"
    given.write_text('{"id": "a", "response": "4", "answer": "4"}\n')
    for judge in ("exact", "exact_bounded"):
        done = cli.here("grade", given, "--judge", judge, "--output", tmp_path / judge, *folders)
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / judge).read_text())["verdict"] == "correct"

    # Without the folder the run still names what it needs.
    done = cli.here("judge", runs)
    assert "unknown task 'adding'" in cli.error_line(done.returncode, 2, done.stderr)


def test_a_suite_runs_on_what_the_mirror_holds(tmp_path: Path, script: Path) -> None:
    folder = tmp_path / "mirror/openai/gsm8k/main"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    cli.script(script, {"id": "*", "response": "\\boxed{2}"})
    run = (
        *("--model", "m", "--backend", "scripted", "--model_args", f"script={script}"),
        *("--data_root", tmp_path / "mirror", "--output_path", tmp_path / "runs"),
    )
    part = cli.here(*run, "--tasks", "text")
    assert part.returncode == 75, part.stderr  # incomplete: three sets of the suite are not there
    assert part.stderr.count("skipped: task") == 4 and "'math500'" in part.stderr
    assert "| gsm8k" in part.stdout
    named = cli.here(*run, "--tasks", "gsm8k,math500")
    assert "task 'math500': data set" in cli.error_line(named.returncode, 1, named.stderr)
