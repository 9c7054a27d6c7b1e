"""Whatever is wrong, the command line says it in one line and keeps what is paid for.

A sort of failure runs `python -m vsr1_bench` in a process of its own, its variations in this one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cli
import pytest

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
        (["--limit", "0.1"], "0.1 would be 40 of adding: --limit 40"),
        (["--limit", "1.5"], "'1.5': wanted a whole number of at least 1"),
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
    done = cli.here(*run, *flags)
    assert said in cli.error_line(done.returncode, 2, done.stderr)
    assert done.stdout == ""
    assert not runs.exists()


def test_an_unknown_command() -> None:
    done = cli.cli("scores", "runs")
    line = cli.error_line(done.returncode, 2, done.stderr)
    assert "unknown command 'scores'; did you mean score" in line


def test_an_unknown_model_argument(run: list[Any], script: Path) -> None:
    done = cli.here(*run, "--model_args", f"script={script},capcity=3")
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
    done = cli.here(*run, "--tasks", "adding,gsm8k", "--offline")
    cli.error_line(done.returncode, 1, done.stderr)
    for part in ("task 'gsm8k'", "openai/gsm8k", "--data_root DIR", "VSR1_DATA_ROOT"):
        assert part in done.stderr
    assert "adding" not in done.stderr
    assert not runs.exists()


def test_a_data_root_that_is_no_folder(run: list[Any], script: Path) -> None:
    done = cli.here(*run, "--data_root", script)
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
        ({"config.json": "{}", "m.safetensors/": ""}, "m.safetensors is not a regular file"),
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
    done = cli.here(*run, "--backend", "transformers", "--model_args", "", "--model", model)
    line = cli.error_line(done.returncode, 1, done.stderr)
    assert f"model folder {model}: {said}" in line


# --- folders that cannot be written, disks that are full ---


def test_a_path_below_a_file(run: list[Any], script: Path) -> None:
    done = cli.here(*run, "--output_path", script / "runs")
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
    kept = cli.finished(tmp_path / "full")
    assert 20 < len(kept) < 60
    wanted = f"the disk is full; free some space; {len(kept)} of 60 responses are safe"
    assert wanted in said("full", 75)
    resume = cli.resume_command((tmp_path / "full.err").read_text())
    assert resume == command[3:]
    assert "the disk is full; free some space" in said("still", 75)

    assert (tmp_path / "freed.code").read_text() == "0\n"
    full, freed = (cli.journal_of(tmp_path / name).read_bytes() for name in ("full", "freed"))
    assert freed.startswith(full)
    assert cli.finished(tmp_path / "freed") == cli.ids(60)

    assert "not writable (Read-only file system); give a folder you own" in said("ro", 1)


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
    assert cli.finished(runs) == [name for name in cli.ids(9) if name != "q005"]


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
    assert done.returncode == 75, done.stderr  # one is unscored, and asked again by a next run
    assert "Traceback" not in done.stderr
    stored = {r["sample_id"]: r["text"] for r in cli.records(cli.journal_of(runs))}
    assert stored == hard

    (journal,) = runs.glob("*/*/judgments/hanging-*.jsonl")
    verdicts = {r["sample_id"]: r["verdict"] for r in cli.records(journal)}
    outcomes = {name: verdict["outcome"] for name, verdict in verdicts.items()}
    right = {"q000": "correct", "q007": "correct"}
    assert outcomes == {name: "incorrect" for name in hard} | right | {"q001": "unscored"}
    assert verdicts["q001"]["reason"] == "grader_timeout"
    (scores,) = runs.glob("*/*/scores/hanging.json")
    assert json.loads(scores.read_text())["rates"]["scored"] == 7

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
    assert [line["verdict"] for line in graded] == ["correct", "unscored"] + ["incorrect"] * 4
    assert graded[1]["reason"] == "grader_timeout"
