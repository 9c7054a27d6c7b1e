"""Whatever is wrong, the command line says it in one line, keeps what is paid for, and goes on.

Every test runs `python -m vsr1_bench` in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cli
import pytest

ANSWER = {"id": "*", "response": "\\boxed{4}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return cli.plugins(tmp_path / "plugins")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return cli.script(tmp_path / "script.jsonl", ANSWER)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(folder: Path, script: Path, runs: Path) -> list[Any]:
    """A run of 60 sums that generates only; a later flag replaces an earlier one."""
    flags = ["--tasks", "adding", "--include_path", folder, "--output_path", runs, "--limit", 60]
    model = ["--model", "m", "--backend", "scripted", "--model_args", f"script={script}"]
    return ["run", *model, *flags, "--predict_only"]


def finished(runs: Path) -> list[str]:
    """Sample ids of the finished responses, in the order of the journal; each key once."""
    found = [record for record in cli.records(cli.journal_of(runs)) if record["error"] is None]
    assert len({record["key"] for record in found}) == len(found), "generated twice"
    return [record["sample_id"] for record in found]


def ids(n: int) -> list[str]:
    return [f"q{number:03d}" for number in range(n)]


# --- refused at once ---


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tasks", "ading"], "unknown task 'ading'; did you mean adding"),
        (["--tasks", ","], "no task given"),
        (["--modle", "x"], "unknown flag --modle; did you mean --model"),
        (["--judge", "exat"], "unknown judge 'exat'; did you mean exact"),
        (["--backend", "scriptd"], "unknown backend 'scriptd'; did you mean scripted?"),
        (["--prompt", "direkt"], "'direkt'; did you mean direct"),
        (["--limit", "0.1"], "'0.1': wanted a whole number of at least 1"),
        (["--limit", "0"], "'0': wanted a whole number of at least 1"),
        (["--limit"], "--limit/-L: expected one argument"),
        (["--shard", "2/2"], "'2/2': wanted i/n"),
        (["--num_fewshot", "5"], "--num_fewshot: vsr1-bench is zero-shot only"),
        (["--gen_kwargs", "temperatur=1"], "temperatur: no such field; did you mean temperature"),
        (["--gen_kwargs", "max_tokens=0"], "max_tokens 0: Input should be greater"),
        (["--include_path", "no-such-folder"], "no-such-folder: not a folder"),
        (["--model_args", "script=no-such-file"], "needs --model_args script=FILE"),
    ],
)
def test_what_is_refused_before_anything_is_written(
    run: list[Any], runs: Path, flags: list[str], said: str
) -> None:
    done = cli.cli(*run, *flags)
    assert said in cli.error_line(done.returncode, 2, done.stderr)
    assert done.stdout == ""
    assert not runs.exists()


def test_an_unknown_command() -> None:
    done = cli.cli("scores", "runs")
    line = cli.error_line(done.returncode, 2, done.stderr)
    assert "unknown command 'scores'; did you mean score" in line


def test_an_unknown_model_argument(run: list[Any], script: Path) -> None:
    done = cli.cli(*run, "--model_args", f"script={script},capcity=3")
    line = cli.error_line(done.returncode, 2, done.stderr)
    assert "--model_args capcity: backend 'scripted' does not take it; did you mean capac" in line


def test_a_plug_in_that_does_not_import(run: list[Any], folder: Path) -> None:
    (folder / "broken.py").write_text("import no_such_module\n")
    done = cli.cli(*run)
    line = cli.error_line(done.returncode, 2, done.stderr)
    assert f"{folder / 'broken.py'} does not import: ModuleNotFoundError" in line


def test_a_traceback_only_on_request(run: list[Any]) -> None:
    done = cli.cli(*run, "--tasks", "ading", "--verbosity", "debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


# --- data and models that are not there ---


def test_missing_data_offline(run: list[Any], runs: Path) -> None:
    done = cli.cli(*run, "--tasks", "adding,gsm8k", "--offline")
    cli.error_line(done.returncode, 1, done.stderr)
    for part in ("task 'gsm8k'", "openai/gsm8k", "--data_root DIR", "VSR1_DATA_ROOT"):
        assert part in done.stderr
    assert "adding" not in done.stderr
    assert not runs.exists()


def test_a_data_root_that_is_no_folder(run: list[Any], script: Path) -> None:
    done = cli.cli(*run, "--data_root", script)
    line = cli.error_line(done.returncode, 1, done.stderr)
    assert f"data root '{script}' is not a folder" in line
    assert "--data_root" in line


@pytest.mark.skipif(
    not (find_spec("torch") and find_spec("transformers")),
    reason="backend transformers is refused before its model is looked for",
)
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no config.json; wanted a Hugging Face model folder"),
        ({"config.json": "{}"}, "no *.safetensors weights; pickled weights are not loaded"),
        (
            {"config.json": "{}", "pytorch_model.bin": "x"},
            "no *.safetensors weights; pickled weights are not loaded",
        ),
        ({"config.json": "{}", "m.safetensors": "", "tokenizer_config.json": "{"}, "not readable"),
        ({"config.json": "{}", "m.safetensors/": ""}, "not readable"),
    ],
    ids=["empty", "no weights", "pickled weights", "damaged file", "a folder for a file"],
)
def test_a_model_folder_that_cannot_be_used(
    tmp_path: Path, run: list[Any], files: dict[str, str], said: str
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name, text in files.items():
        if name.endswith("/"):
            (model / name).mkdir()
        else:
            (model / name).write_text(text)
    done = cli.cli(*run, "--backend", "transformers", "--model_args", "", "--model", model)
    line = cli.error_line(done.returncode, 1, done.stderr)
    assert f"model folder {model}: {said}" in line


# --- folders that cannot be written, disks that are full ---


def test_a_path_below_a_file(run: list[Any], script: Path) -> None:
    done = cli.cli(*run, "--output_path", script / "runs")
    line = cli.error_line(done.returncode, 1, done.stderr)
    assert "Not a directory; give another folder by --output_path" in line


# Mounts of a namespace of its own end with the process, whatever ends the test.
SMALL_DISK = """
disk="$1"; out="$2"; shift 2
mount -t tmpfs -o size=600k none "$disk" || exit 99
head -c 400k /dev/zero > "$disk/filler"
"$@" 2> "$out/full.err"; echo $? > "$out/full.code"
cp -r "$disk/runs" "$out/full"
"$@" 2> "$out/still.err"; echo $? > "$out/still.code"
rm "$disk/filler"
"$@" 2> "$out/freed.err"; echo $? > "$out/freed.code"
cp -r "$disk/runs" "$out/freed"
mount -o remount,ro "$disk"
"$@" 2> "$out/ro.err"; echo $? > "$out/ro.code"
"""


def test_a_full_disk_and_a_read_only_one(
    tmp_path: Path, run: list[Any], script: Path, folder: Path
) -> None:
    unshare = shutil.which("unshare")
    alone = [unshare or "", "--map-root-user", "--mount"]
    if not unshare or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace may be made here, so no small disk can be mounted")
    cli.script(script, {"id": "*", "response": "x" * 3000})
    (disk := tmp_path / "disk").mkdir()
    command = cli.command(*run, "--output_path", disk / "runs")
    done = subprocess.run(
        [*alone, "sh", "-c", SMALL_DISK, "sh", disk, tmp_path, *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip(f"no small disk can be mounted here: {done.stderr}")

    def said(name: str, code: int) -> str:
        given = int((tmp_path / f"{name}.code").read_text())
        return cli.error_line(given, code, (tmp_path / f"{name}.err").read_text())

    assert cli.journal_of(tmp_path / "full").read_bytes().endswith(b"\n")
    kept = finished(tmp_path / "full")
    assert 20 < len(kept) < 60
    wanted = f"the disk is full; free some space; {len(kept)} of 60 responses are safe"
    assert wanted in said("full", 75)
    resume = cli.resume_command((tmp_path / "full.err").read_text())
    assert resume == command[3:]
    assert "the disk is full; free some space" in said("still", 75)

    assert (tmp_path / "freed.code").read_text() == "0\n"
    full, freed = (cli.journal_of(tmp_path / name).read_bytes() for name in ("full", "freed"))
    assert freed.startswith(full)
    assert finished(tmp_path / "freed") == ids(60)

    assert "not writable (Read-only file system); give a folder you own" in said("ro", 1)


# --- interrupted, killed by its engine, disturbed by a second run ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_run_is_resumed(
    run: list[Any], runs: Path, script: Path, number: signal.Signals
) -> None:
    cli.script(script, {**ANSWER, "seconds": 0.1})
    process = cli.start(*run)
    cli.wait_for_lines(runs, 5)

    second = cli.cli(*run)
    line = cli.error_line(second.returncode, 1, second.stderr)
    assert f"is being written by process {process.pid}; wait for it" in line
    assert process.poll() is None, "the second run ended the first"

    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    line = cli.error_line(process.returncode, 130, err)
    kept = finished(runs)
    assert 5 <= len(kept) < 60
    assert line == f"vsr1-bench: interrupted; {len(kept)} of 60 responses are safe"
    assert cli.resume_command(err) == [str(part) for part in run]

    cli.script(script, ANSWER)
    done = cli.cli(*cli.resume_command(err))
    assert done.returncode == 0, done.stderr
    assert finished(runs) == ids(60)


def test_a_background_job_can_be_terminated(run: list[Any], runs: Path, script: Path) -> None:
    """A shell without job control (any batch script) starts `command &` with SIGINT ignored."""
    cli.script(script, {**ANSWER, "seconds": 0.05})
    process = cli.start(*run, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    try:
        cli.wait_for_lines(runs, 2)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert "responses are safe" in cli.error_line(process.returncode, 130, err)


def test_the_death_of_the_engine_is_survived(run: list[Any], runs: Path, script: Path) -> None:
    cli.script(script, ANSWER, {"id": "q030", "die": "burned down"})
    done = cli.cli(*run)
    line = cli.error_line(done.returncode, 75, done.stderr)
    assert "the scripted engine died: burned down; 30 of 60 responses are safe" in line
    assert cli.resume_command(done.stderr) == [str(part) for part in run]
    assert finished(runs) == ids(30)

    cli.script(script, ANSWER, {"id": "q031", "error": "no luck"}, {"id": "q050", "die": "again"})
    done = cli.cli(*run)
    line = cli.error_line(done.returncode, 75, done.stderr)
    assert "again; 49 of 60 responses are safe" in line

    # It dies at the first that is missing, before it has looked at the rest of the data.
    cli.script(script, ANSWER, {"id": "q031", "die": "once more"})
    done = cli.cli(*run, "--model_args", f"script={script},capacity=1")
    assert "; 49 of 60" in cli.error_line(done.returncode, 75, done.stderr)

    cli.script(script, ANSWER)
    done = cli.cli(*run)
    assert done.returncode == 0, done.stderr
    assert sorted(finished(runs)) == ids(60)


def test_failed_requests_are_tried_again_and_only_those(
    run: list[Any], runs: Path, script: Path
) -> None:
    failures = [{"id": name, "error": "no luck"} for name in ("q003", "q007")]
    cli.script(script, ANSWER, *failures)
    done = cli.cli(*run)
    line = cli.error_line(done.returncode, 75, done.stderr)
    assert "adding: 2 of 60 failed: no luck; the same command tries them again" in line
    assert len(finished(runs)) == 58

    cli.script(script, ANSWER)
    done = cli.cli(*run)
    assert done.returncode == 0, done.stderr
    assert sorted(finished(runs)) == ids(60)
    records = cli.records(cli.journal_of(runs))
    assert [record["sample_id"] for record in records[60:]] == ["q003", "q007"]


def test_a_run_that_is_complete_loads_no_engine(run: list[Any], runs: Path, script: Path) -> None:
    assert cli.cli(*run).returncode == 0
    before = cli.journal_of(runs).read_bytes()
    cli.script(script, {"id": "*", "die": "it was loaded"})
    done = cli.cli(*run)
    assert done.returncode == 0, done.stderr
    assert cli.journal_of(runs).read_bytes() == before


def test_a_higher_limit_continues_the_run(run: list[Any], runs: Path) -> None:
    assert cli.cli(*run, "--limit", 5).returncode == 0
    assert finished(runs) == ids(5)
    assert cli.cli(*run).returncode == 0
    assert finished(runs) == ids(60)


def test_a_damaged_journal_is_named_with_its_line(run: list[Any], runs: Path) -> None:
    assert cli.cli(*run, "--limit", 5).returncode == 0
    path = cli.journal_of(runs)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], lines[2][:20] + "\n", *lines[3:]]))
    done = cli.cli(*run)
    line = cli.error_line(done.returncode, 1, done.stderr)
    assert f"{path}:3: not a record of this journal" in line


BAD_ROW = """
from vsr1_bench.errors import TaskError
from vsr1_bench.task import Procedural, Task
from vsr1_bench.records import Sample


def to_sample(row):
    if row["n"] == 5:
        raise TaskError("no answer in this row")
    return Sample(f"q{row['n']:03d}", ("?",), "4", "number")


TASK = Task("bad_row", 1, Procedural(lambda n: {"n": n}, 9, "1"), to_sample, "number", "MIT", "…")
"""


def test_a_row_that_cannot_be_read_costs_no_finished_response(
    run: list[Any], runs: Path, folder: Path, script: Path
) -> None:
    (folder / "bad_row.py").write_text(BAD_ROW)
    one_at_a_time = ["--model_args", f"script={script},capacity=1"]
    done = cli.cli(*run, "--tasks", "bad_row", *one_at_a_time)
    line = cli.error_line(done.returncode, 75, done.stderr)
    assert "bad_row: 1 of 9 failed" in line and "row 5 of bad_row" in line
    assert finished(runs) == [name for name in ids(9) if name != "q005"]


# --- answers and graders that are out to hurt ---


def test_hard_answers_and_a_hanging_grader_stop_nothing(
    run: list[Any], runs: Path, folder: Path, script: Path
) -> None:
    hard = {
        "q000": "\\boxed{0}",
        "q001": "hang",
        "q002": "nul \0 byte \\boxed{4\0}",
        "q003": "broken \ud800 UTF-8 \\boxed{\udfff}",
        "q004": "x" * 1_000_000,
        "q005": "lines\u2028and\x85more\n\\boxed{10}",
        "q006": "",
        "q007": "\\boxed{14}",
    }
    lines = [{"id": name, "response": text} for name, text in hard.items()]
    cli.script(script, *lines, size=1 << 21)
    run.remove("--predict_only")
    done = cli.cli(*run, "--limit", 8, "--judge", "hanging")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    stored = {r["sample_id"]: r["text"] for r in cli.records(cli.journal_of(runs))}
    assert stored == hard

    (journal,) = runs.glob("*/*/judgments/hanging-*.jsonl")
    verdicts = {r["sample_id"]: r["verdict"] for r in cli.records(journal)}
    outcomes = {name: verdict["outcome"] for name, verdict in verdicts.items()}
    assert outcomes == {name: "incorrect" for name in hard} | {"q000": "correct", "q007": "correct"}
    assert verdicts["q001"]["reason"] == "grader_timeout"
    (scores,) = runs.glob("*/*/scores/hanging.json")
    assert json.loads(scores.read_text())["rates"]["scored"] == 8

    # The built-in judge meets the same answers.
    done = cli.cli("judge", runs, "--judge", "string_match", "--include_path", folder)
    assert done.returncode == 0, done.stderr
    (journal,) = runs.glob("*/*/judgments/string_match-*.jsonl")
    right = {r["sample_id"] for r in cli.records(journal) if r["verdict"]["outcome"] == "correct"}
    assert {"q000", "q005", "q007"} <= right <= {"q000", "q002", "q005", "q007"}


def test_grade_survives_the_same(tmp_path: Path, folder: Path) -> None:
    responses = ["4", "hang", "\0", "\ud800", "x" * 1_000_000, ""]
    given, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [{"id": n, "response": text, "answer": "4"} for n, text in enumerate(responses)]
    given.write_text("".join(json.dumps(line) + "\n" for line in lines))
    judge = ["--judge", "hanging", "--include_path", folder]
    done = cli.cli("grade", given, *judge, "--output", out)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    graded = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in graded] == list(range(6))
    assert [line["verdict"] for line in graded] == ["correct"] + ["incorrect"] * 5
    assert graded[1]["reason"] == "grader_timeout"


# --- plug-ins in every command ---


def labels(runs: Path, judge: str) -> set[str]:
    (journal,) = runs.glob(f"*/*/judgments/{judge}-*.jsonl")
    return {record["verdict"]["label"] for record in cli.records(journal)}


def test_plug_ins_work_in_every_command(
    tmp_path: Path, run: list[Any], runs: Path, folder: Path, script: Path
) -> None:
    here = ["--include_path", os.path.relpath(folder)]  # seen from the worker as well
    run.remove("--predict_only")
    cli.script(script, ANSWER, *({"id": f"q{n:03d}", "response": str(2 * n)} for n in range(6)))
    with cli.start(*run, *here, "--limit", 8) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "adding" in out
    assert labels(runs, "exact") == {f"graded by process {process.pid}"}

    with cli.start("judge", runs, "--judge", "exact_bounded", *here) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (label,) = labels(runs, "exact_bounded")
    assert label != f"graded by process {process.pid}", "a bounded judge ran in the command itself"

    done = cli.cli("score", runs, "--json", *here)
    assert done.returncode == 0, done.stderr
    documents = json.loads(done.stdout)
    assert {d["judge"] for d in documents} == {"exact", "exact_bounded"}
    for document in documents:
        assert (document["task"], document["n"]) == ("adding", 8)
        assert document["metrics"]["accuracy"]["value"] == pytest.approx(0.75)

    done = cli.cli("table", runs, "--layout", "long")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("adding") == 2

    assert "adding" in cli.cli("ls", "tasks", *here).stdout
    assert "exact_bounded" in cli.cli("ls", "judges", *here).stdout
    assert "adding" not in cli.cli("ls", "tasks").stdout

    done = cli.cli("validate", "adding", *here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   adding" in done.stdout

    given = tmp_path / "in.jsonl"
    given.write_text('{"id": "a", "response": "4", "answer": "4"}\n')
    for judge in ("exact", "exact_bounded"):
        done = cli.cli("grade", given, "--judge", judge, "--output", tmp_path / judge, *here)
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / judge).read_text())["verdict"] == "correct"

    # Without the folder the run still names what it needs.
    done = cli.cli("judge", runs)
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
    part = cli.cli(*run, "--tasks", "text")
    assert part.returncode == 75, part.stderr  # incomplete: three sets of the suite are not there
    assert part.stderr.count("left out: task") == 4 and "'math500'" in part.stderr
    assert "| gsm8k" in part.stdout
    named = cli.cli(*run, "--tasks", "gsm8k,math500")
    assert "task 'math500': data set" in cli.error_line(named.returncode, 1, named.stderr)
