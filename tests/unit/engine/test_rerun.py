"""`rerun` and `table --explain_diff`: what differs between two runs, or between then and now."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from cli import QUESTIONS, plugins, script
from scored import spec_of, stored_run

from vsr1_bench.cli.main import main
from vsr1_bench.cli.rerun import plan_rerun, rerun_arguments
from vsr1_bench.errors import UsageError
from vsr1_bench.store.run_folder import RunFolder, find_runs


def made(folder: Path, *flags: str) -> RunFolder:
    """A run of the command line, with the scripted backend."""
    lines = [{"id": f"q{n:03d}", "response": f"\\boxed{{{2 * n}}}"} for n in range(QUESTIONS)]
    answers = script(folder / "answers.jsonl", *lines)
    words = ["run", "--model", "sums", "--tasks", "adding", "--backend", "scripted"]
    words += ["--model_args", f"script={answers}", "--include_path", str(plugins(folder / "p"))]
    words += ["--output_path", str(folder / "runs"), "--limit", "6", "--verbosity", "ERROR"]
    assert main([*words, *flags]) == 0
    return find_runs(folder / "runs")[-1]


def allowed(folder: Path) -> tuple[str, str]:
    return "--include_path", str(folder / "p")


def record(run: RunFolder, command: str) -> None:
    meta = run.meta()
    (run.path / "run.json").write_text(json.dumps({**meta, "command": command}))


def command_of(folder: Path, *flags: str) -> str:
    return " ".join(
        ["vsr1-bench --model sums --tasks=adding --shard 0/2 --backend scripted",
         f"--model_args script={folder / 'answers.jsonl'} --include-path {folder / 'p'}",
         "--output_path old --limit 6", *flags]
    )  # fmt: skip


def test_the_command_is_of_this_run_alone(tmp_path: Path) -> None:
    run = made(tmp_path)
    record(run, command_of(tmp_path, "--force-unlock"))
    words, withheld = rerun_arguments(run, Path("new"))
    assert withheld == ("--include_path", str(tmp_path / "p"))
    assert words[0] == "run" and words[-4:] == ("--tasks", "adding", "--output_path", "new")
    assert not {"--shard", "0/2", "--force-unlock", "old", "--tasks=adding"} & set(words)
    assert words[words.index("--limit") : words.index("--limit") + 2] == ("--limit", "6")


def test_nothing_differs_until_something_does(tmp_path: Path) -> None:
    run = made(tmp_path)
    record(run, command_of(tmp_path))
    found = plan_rerun(run, tmp_path / "again", allowed(tmp_path))
    assert found.unknown is None and found.differences == ()

    meta = run.meta()
    meta["versions"]["sympy"] = "0.1"
    meta["spec"]["task"]["version"] = 9
    meta["spec"]["data"]["fingerprint"] = "older rows"
    (run.path / "run.json").write_text(json.dumps(meta))
    (tmp_path / "answers.jsonl").write_text('{"id": "*", "response": "1"}\n')
    found = plan_rerun(run, tmp_path / "again", allowed(tmp_path))
    fields = {one.field: (one.first, one.second) for one in found.differences}
    assert fields["task.version"] == (9, 1)
    assert fields["data.fingerprint"][0] == "older rows"
    assert fields["other.version of sympy"][0] == "0.1"
    assert "model.fingerprint" in fields and "prompt.hash" not in fields


def test_what_cannot_be_found_today_is_said(tmp_path: Path) -> None:
    run = made(tmp_path)
    record(run, command_of(tmp_path))
    (tmp_path / "answers.jsonl").unlink()
    found = plan_rerun(run, tmp_path / "again", allowed(tmp_path))
    assert found.unknown is not None and "script" in found.unknown
    words = ["rerun", str(run.path), *allowed(tmp_path), "--dry_run", "-o", str(tmp_path / "again")]
    assert main(words) == 1


def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(tmp_path)
    record(run, command_of(tmp_path))
    again = tmp_path / "again"
    plug_in = allowed(tmp_path)
    words = ["rerun", str(run.path), "--output_path", str(again), *plug_in]
    assert main([*words, "--dry_run"]) == 0
    assert "Nothing that is recorded would differ" in capsys.readouterr().out
    assert not again.exists()
    assert main(words) == 0
    (new,) = find_runs(again)
    assert new.spec() == run.spec() and len(new.generations()) == 6
    assert f"compare with: vsr1-bench compare {run.path} {new.path}" in capsys.readouterr().err
    # The new run records what it was made by, not `rerun`: it can be made again, too.
    assert rerun_arguments(new, Path("x")) == rerun_arguments(run, Path("x"))
    assert main(["rerun", str(run.path), "--output_path", str(tmp_path / "runs")]) == 2
    assert "name another folder" in capsys.readouterr().err


def precise(run: RunFolder, **changes: str) -> None:
    """Let a stored run have been made at a precision."""
    meta = run.meta()
    usual = {"dtype": "float32", "quantization": None, "kv_cache_dtype": "float32"}
    meta["spec"]["model"]["precision"] = usual | changes
    (run.path / "run.json").write_text(json.dumps(meta))


def test_precision_that_differs_or_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = stored_run(tmp_path / "a", spec_of("m", "alpha"), [1.0, 0.0])
    other = stored_run(tmp_path / "b", spec_of("m", "alpha"), [1.0, 0.0])

    def explained() -> str:
        assert main(["table", "--explain_diff", str(one.path), str(other.path)]) == 0
        return capsys.readouterr().out

    found = explained()
    assert "Precision unknown: both were made before it was recorded" in found
    assert "precision" not in found.rpartition("The same:")[2]
    precise(one)
    assert "| precision | precision | float32 | unknown |" in " ".join(explained().split())
    precise(other)
    found = explained()
    assert "Nothing that is written down differs" in found
    assert "precision" in found.rpartition("The same:")[2]
    precise(other, dtype="bfloat16", kv_cache_dtype="fp8", quantization="awq")
    wanted = "| precision | precision | float32 | bfloat16, quantization awq, KV cache fp8 |"
    assert wanted in " ".join(explained().split())


def test_rerun_tells_another_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of weights that are loaded here; today's command resolves it without loading them."""
    pytest.importorskip("transformers")
    spec = spec_of("tiny", "demo")
    run = stored_run(tmp_path / "runs", spec, [1.0, 0.0], score=False)
    record(run, "vsr1-bench --model tiny --backend transformers --tasks demo --limit 2")
    found = {one.field: (one.first, one.second) for one in plan_rerun(run, Path("x")).differences}
    assert found["precision"] == ("unknown", "float32")
    precise(run, dtype="bfloat16", kv_cache_dtype="bfloat16")
    found = {one.field: (one.first, one.second) for one in plan_rerun(run, Path("x")).differences}
    assert found["precision"] == ("bfloat16", "float32")
    record(run, "vsr1-bench --model tiny --backend transformers --tasks demo -a max_model_len=99")
    found = {one.field: (one.first, one.second) for one in plan_rerun(run, Path("x")).differences}
    assert found["engine.max_model_len"] == (None, 99)


@pytest.mark.parametrize("recorded", ["--include_path {}", "--include-path={}"])
def test_no_code_that_a_run_names_is_executed_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recorded: str
) -> None:
    run = made(tmp_path)
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "task.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()\n")
    record(run, f"vsr1-bench --model sums --tasks adding {recorded.format(evil)}")
    again = str(tmp_path / "again")
    assert main(["rerun", str(run.path), "--dry_run", "--output_path", again]) == 1
    said = capsys.readouterr().out
    assert f"executes code (--include_path {evil}); type that flag again" in said
    assert main(["rerun", str(run.path), "--output_path", again]) == 2
    assert f"--include_path {evil}`" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()


def test_remote_code_is_trusted_anew(tmp_path: Path) -> None:
    run = made(tmp_path)
    record(run, f"{command_of(tmp_path)} --trust-remote-code")
    found = plan_rerun(run, tmp_path / "again", allowed(tmp_path))
    assert found.missing == "--trust_remote_code" and "--trust_remote_code" not in found.arguments
    given = (*allowed(tmp_path), "--trust_remote_code")
    assert not plan_rerun(run, tmp_path / "again", given).missing


def test_a_run_that_has_no_command(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "runs", spec_of("m", "alpha"), [1.0])
    with pytest.raises(UsageError, match="records no command"):
        plan_rerun(run, tmp_path)
    imported = stored_run(
        tmp_path / "runs", spec_of("m", "alpha").model_copy(update={"sampling": None}), [1.0]
    )
    with pytest.raises(UsageError, match="responses were imported"):
        plan_rerun(imported, tmp_path)


@pytest.mark.parametrize("command", ["vsr1-bench run 'half", "vsr1-bench judge runs", ""])
def test_a_command_that_made_no_run(tmp_path: Path, command: str) -> None:
    run = stored_run(tmp_path / "runs", spec_of("m", "alpha"), [1.0])
    record(run, command)
    with pytest.raises(UsageError, match="records no command"):
        plan_rerun(run, tmp_path)


def test_a_blind_run_and_the_run_beside_it(tmp_path: Path) -> None:
    flags = ("--blind", "drop,noise", "--system_instruction", 'it\'s "so"\n$HOME')
    made(tmp_path, *flags)
    runs = [run for run in find_runs(tmp_path / "runs") if run.spec().prompt.system]
    assert {run.spec().variant for run in runs} == {"none", "drop", "noise"}
    for run in runs:
        record(run, f"{command_of(tmp_path)} {shlex.join(flags)}")
        found = plan_rerun(run, tmp_path / "again", allowed(tmp_path))
        assert found.unknown is None and found.differences == ()
        assert found.arguments[-10:-6] == flags


def test_explain_diff_names_the_aspects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = stored_run(tmp_path / "runs", spec_of("m", "alpha"), [1.0, 0.0])
    other = stored_run(
        tmp_path / "runs",
        spec_of("m", "alpha", "direct", seed=3, fingerprint="other"),
        [1.0, 0.0],
        judge="labels",
        limit=2,
    )
    assert main(["table", "--explain_diff", str(one.path), str(other.path)]) == 0
    rows = [
        line.split("|")[1:5] for line in capsys.readouterr().out.splitlines() if line[:1] == "|"
    ]
    fields = {field.strip(): (a.strip(), b.strip()) for _, field, a, b in rows}
    assert fields["prompt.format"] == ("cot", "direct") and fields["sampling.seed"] == ("0", "3")
    assert fields["judge.name"] == ("string_match", "labels")
    assert fields["other.limit"] == ("–", "2") and "model.fingerprint" in fields
    assert {row[0].strip() for row in rows} >= {"prompt", "judge", "sampling", "weights", "other"}
    assert main(["table", "--explain_diff", str(one.path), str(one.path)]) == 0
    assert "Nothing that is written down differs" in capsys.readouterr().out


def test_the_command_as_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(tmp_path, "--gen_kwargs", "temperature=0.5")
    record(run, command_of(tmp_path, "--gen_kwargs temperature=0.5"))
    file = tmp_path / "again.yaml"
    assert main(["rerun", str(run.path), "--as_config", str(file)]) == 0
    told = capsys.readouterr()
    assert "left out, because it executes code: --include_path" in told.err
    assert "gen_kwargs:\n  temperature: 0.5\n" in file.read_text()
    words = ["--config", str(file), "--include_path", str(tmp_path / "p")]
    assert main([*words, "--output_path", str(tmp_path / "again"), "--verbosity", "ERROR"]) == 0
    (again,) = find_runs(tmp_path / "again")
    assert again.spec() == run.spec()
    # The new run records flags, not a file that may change.
    assert "--config" not in again.meta()["command"]
    assert plan_rerun(again, tmp_path / "third", allowed(tmp_path)).differences == ()
