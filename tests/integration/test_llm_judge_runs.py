"""Judging whole runs by a model: killed in the middle, graded, and without its key."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path

import pytest
from cli import cli, command, error_line, here, script
from servers import Asked, ChatServer, Reply

from judges import CORRECT, GEMINI, INCORRECT, KEY, OPENAI, box, outcomes, sums, verdicts

N = 120
CONCURRENCY = 4
KILLS = 6

TASKS = """
from vsr1_bench.prompts.judge_prompts import GRADED
from vsr1_bench.records import Sample
from vsr1_bench.task import Metric, Procedural, Task


def to_sample(row):
    return Sample(f"s{row['n']}", (f"Case {row['n']}?",), str(row["n"]), "number",
                  groups={"rec": "yes"} if row["n"] % 2 else {"ocr": "yes"})


def task(name, **more):
    source = Procedural(lambda n: {"n": n}, 6, name)
    return Task(name, 1, source, to_sample, "number", "MIT", "a test", **more)


RULE = task("with_rule", judge="cascade:string_match,gemini", judge_fallback="string_match")
NONE = task("without_rule", judge="gemini")
PLAIN = task("plain")
REC = Metric("rec", "graded_mean", only=(("rec", ("yes",)),))
MEAN = (Metric("graded_mean", "graded_mean"), REC)
SCORES = task("graded", judge="gemini", judge_prompt=GRADED, metrics=MEAN)
"""


pytestmark = pytest.mark.usefixtures("no_keys")


def test_kill_9_loses_no_verdict_that_has_come(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, *(box(n + 1000) for n in range(N)))
    draw = random.Random(5)
    stops = {(n + 1) * N // (KILLS + 1) + draw.randrange(-3, 4) for n in range(KILLS)}
    process: subprocess.Popen[bytes] | None = None

    def plan(number: int, asked: Asked) -> Reply:
        if number in stops and process is not None:
            process.send_signal(signal.SIGKILL)
        return OPENAI.says(INCORRECT, wait=draw.uniform(0.0, 0.02))

    with ChatServer(plan) as server:
        flags = (*OPENAI.flags(server), "--judge_concurrency", CONCURRENCY)
        arguments = ("judge", runs, "--include_path", path, "--judge", "openai", *flags)
        killed, seen = 0, 0
        for _ in range(KILLS + 1):
            process = subprocess.Popen(
                command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            code = process.wait(60)
            # What the journal has can only grow, whatever the moment of death.
            lines = [line for line in raw_lines(runs) if line.endswith("\n")]
            assert len(lines) >= seen
            # Every answer has been journalled but those on their way, and being handed over.
            assert len(lines) >= len(server.asked) - (killed + 1) * 2 * CONCURRENCY
            seen = len(lines)
            if code == 0:
                break
            assert code == -signal.SIGKILL
            killed += 1
        assert killed == KILLS
        calls = len(server.asked)
    found = verdicts(runs)
    assert len(found) == N == len({line["key"] for line in found})
    assert set(outcomes(runs).values()) == {"incorrect"}
    # No reply that had come was asked for again, whether its verdict was written or not.
    assert N <= calls <= N + killed * CONCURRENCY


def raw_lines(runs: Path) -> list[str]:
    [path] = runs.glob("*/*/judgments/openai*.jsonl")
    return path.read_text("ascii").splitlines(keepends=True)


def evaluate(folder: Path, tasks: str, *flags: object) -> subprocess.CompletedProcess[str]:
    plugins = folder / "tasks"
    plugins.mkdir(exist_ok=True)
    (plugins / "wanting.py").write_text(TASKS)
    answers = script(folder / "script.jsonl", {"id": "*", "response": box(3)})
    return cli(
        *("run", "--model", "m", "--tasks", tasks, "--backend", "scripted"),
        *("--model_args", f"script={answers}", "--include_path", plugins),
        *("--output_path", folder / "runs", *flags),
    )


def test_the_preflight_names_what_is_missing_and_goes_on(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "plain,with_rule,without_rule")
    assert done.returncode == 75, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("vsr1-bench: task")]
    missing = "judge 'gemini' needs a key in GEMINI_API_KEY or GOOGLE_API_KEY"
    assert lines == [
        f"vsr1-bench: task 'with_rule': {missing}; judged by rule 'string_match' instead",
        f"vsr1-bench: task 'without_rule': {missing}; no rule can judge it, it stays unscored",
    ]
    rows = {
        row.split("|")[2].strip(): row for row in done.stdout.splitlines() if "| accuracy " in row
    }
    assert "6/6" in rows["plain"] and "‡" not in rows["plain"]
    assert "6/6" in rows["with_rule"] and "‡" in rows["with_rule"]
    assert "0/6" in rows["without_rule"] and "†" in rows["without_rule"]
    note = "‡ with_rule judged by string_match, the rule that stands in for cascade:string_match"
    assert note in done.stdout
    made = list((tmp_path / "runs").glob("*/*/generations.jsonl"))
    assert [len(path.read_text().splitlines()) for path in made] == [6, 6, 6]


def test_with_the_key_the_same_command_fills_the_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(tmp_path, "with_rule,without_rule").returncode == 75
    monkeypatch.setenv("GEMINI_API_KEY", KEY)

    def plan(number: int, asked: Asked) -> Reply:
        return GEMINI.says(CORRECT if "Case 3?" in asked.text else INCORRECT)

    with ChatServer(plan) as server:
        done = evaluate(tmp_path, "with_rule,without_rule", "--judge_base_url", server.root)
        assert done.returncode == 0, done.stderr
        # Six of the one, and five of the other: its rule has said that case 3 is right.
        assert len(server.asked) == 11
    assert "‡" not in done.stdout and done.stdout.count("6/6") == 2
    # What was left open has made room: one row a task by its own judge, one by the rule.
    rows = here(
        "table", tmp_path / "runs", "--include_path", tmp_path / "tasks", "--layout", "long"
    ).stdout
    assert rows.count("| without_rule ") == 1 and "0/6" not in rows
    assert "| cascade:string_match,gemini[gemini-2.5-flash] " in rows


def test_a_named_judge_that_lacks_something_starts_nothing(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "plain", "--judge", "gemini")
    assert "needs a key in GEMINI_API_KEY" in error_line(done.returncode, 2, done.stderr)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("dry", [(), ("--dry_run",)])
def test_what_judge_and_reader_miss_is_named_at_once(tmp_path: Path, dry: tuple[str, ...]) -> None:
    done = evaluate(tmp_path, "plain", "--judge", "openai", "--reader", "openai", *dry)
    line = error_line(done.returncode, 2, done.stderr)
    assert "--judge_model NAME" in line and "--reader_model NAME" in line
    assert evaluate(tmp_path, "plain", "--perception").returncode == 0
    runs = tmp_path / "runs"
    done = cli("perceive", runs, "--include_path", tmp_path / "tasks", "--judge", "openai",
               "--reader", "vllm", *dry)  # fmt: skip
    line = error_line(done.returncode, 2, done.stderr)
    assert "--judge_model NAME" in line and "--reader_model: a folder" in line


def test_grades_are_stored_and_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    scores = {0: "0.5", 1: "1.0", 2: "0", 3: "0.1", 4: "0.4", 5: '"about half"'}

    def plan(number: int, asked: Asked) -> Reply:
        case = next(n for n in scores if f"Case {n}?" in asked.text)
        return GEMINI.says(f'{{"score": {scores[case]}}}')

    with ChatServer(plan) as server:
        done = evaluate(tmp_path, "graded", "--judge_base_url", server.root)
        assert done.returncode == 75, done.stderr
        schema = server.asked[0].body["generationConfig"]["responseJsonSchema"]
    assert schema["properties"]["score"]["maximum"] == 1
    [path] = (tmp_path / "runs").glob("*/*/scores/gemini*.json")
    found = json.loads(path.read_text())
    assert found["metrics"]["graded_mean"]["value"] == pytest.approx(0.4)
    assert found["metrics"]["rec"]["value"] == pytest.approx(0.55)
    assert found["rates"]["scored"] == 5
