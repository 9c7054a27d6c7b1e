"""The command line's own rules; whole commands are tested in tests/integration."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from typing import Any

import pytest

from vsr1_bench._util.flag_values import key_values
from vsr1_bench.cli import common
from vsr1_bench.cli.main import COMMANDS, main
from vsr1_bench.cli.main import parse as parse_words
from vsr1_bench.cli.run import add_arguments, run_flags
from vsr1_bench.errors import Interrupted, UsageError
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.generation.open import choose_backend
from vsr1_bench.pipeline.plan import make_sampling, settled
from vsr1_bench.store.environment import command_line

HEAVY = ("torch", "transformers", "vllm", "datasets", "pandas", "scipy", "sympy", "openai", "numpy")


@pytest.mark.parametrize("arguments", [["--help"], ["ls", "tasks"], ["run", "--help"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    """What `--help` and `ls` cost is what they import; seconds are too noisy to test."""
    code = (
        "import json, sys\nfrom vsr1_bench.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded.isdisjoint(HEAVY)
    assert "pydantic" not in loaded


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"vsr1-bench {name}" in capsys.readouterr().out


def test_both_spellings_of_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--model", "tiny", "--tasks", "nothing", "--output-path", "x"])
    assert code == 2 and "unknown task 'nothing'" in capsys.readouterr().err


def test_an_unknown_command_or_flag_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scor"]) == 2
    assert "did you mean score" in capsys.readouterr().err
    assert main(["run", "--model", "m", "--tasks", "t", "--temprature", "1"]) == 2
    error = capsys.readouterr().err
    assert "--temprature" in error and error.count("\n") == 1


def test_values_are_read_as_what_they_are() -> None:
    read = key_values("a=1,b=0.5,c=true,d=none,e=x=y,f=p,q", "--model_args")
    assert read == {"a": 1, "b": 0.5, "c": True, "d": None, "e": "x=y", "f": "p,q"}
    with pytest.raises(UsageError, match="wanted name=value"):
        key_values("batch_size", "--model_args")


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--model", "m", "--tasks", "t", *arguments])


def gen_kwargs(options: argparse.Namespace) -> dict[str, Any]:
    return run_flags(options).sampling_fields()


def model_args(options: argparse.Namespace) -> dict[str, Any]:
    run = run_flags(options).run_options()
    return settled(run, choose_backend(run.backend, run.base_url)).model_args


def test_sampling_fields() -> None:
    given = parse("--gen_kwargs", "temperature=1,max_gen_toks=9,until=END", "--num_samples", "4")
    assert gen_kwargs(given) == {
        "seed": 0,
        "n": 4,
        "temperature": 1.0,
        "max_tokens": 9,
        "stop": ("END",),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [("top_q=1", "did you mean top_p"), ("max_tokens=1.5", "whole number"), ("top_p=x", "number")],
)
def test_sampling_fields_that_are_wrong(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gen_kwargs(parse("--gen_kwargs", text))


@pytest.mark.parametrize("text", ["1/1", "2/1", "a/b", "3", "-1/2"])
def test_a_wrong_shard(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="wanted i/n"):
        common.shard(text)


@pytest.mark.parametrize(
    ("flags", "read"),
    [
        (["--backend", "transformers", "--batch_size", "4"], {"batch_size": 4}),
        (["--base_url", "http://h/v1", "--batch_size", "4"], {"concurrency": 4}),
        (
            ["--backend", "transformers", "--batch_size", "auto", "--device", "cpu"],
            {"device": "cpu"},
        ),
        (["--model_args", "dtype=float32"], {"dtype": "float32"}),
    ],
)
def test_batch_size_goes_by_the_backends_own_name(
    flags: list[str], read: dict[str, object]
) -> None:
    assert model_args(parse(*flags)) == read


def test_a_wrong_batch_size() -> None:
    with pytest.raises(UsageError, match="--batch_size all: wanted"):
        model_args(parse("--backend", "transformers", "--batch_size", "all"))


def test_an_unexpected_error_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of\nall things")

    monkeypatch.setattr("vsr1_bench.cli.ls.load_registry", fail)
    assert main(["ls", "tasks"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "unexpected ZeroDivisionError: of all things" in error
    with pytest.raises(ZeroDivisionError):
        main(["ls", "tasks", "--verbosity", "debug"])


def test_several_stop_strings_and_values_out_of_range() -> None:
    listed = parse("--gen_kwargs", 'stop=["END","a,b"],top_k=5')
    assert gen_kwargs(listed)["stop"] == ("END", "a,b")
    assert gen_kwargs(parse("--gen_kwargs", "stop=true"))["stop"] == ("true",)
    with pytest.raises(UsageError, match="whole number"):
        gen_kwargs(parse("--gen_kwargs", "top_k=inf"))
    with pytest.raises(UsageError, match="wanted a text, or a list"):
        gen_kwargs(parse("--gen_kwargs", "stop=[1]"))
    model = ModelInfo("m", "f")
    for wrong in ({"top_p": 2.0}, {"repetition_penalty": -1.0}, {"temperature": -1.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            make_sampling(wrong, model)


def test_the_resume_line_names_the_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["vsr1-bench", "--tasks", "gsm8k"])
    monkeypatch.setenv("VSR1_DATA_ROOT", "/data/mirror")
    assert command_line() == "vsr1-bench --tasks gsm8k --data_root /data/mirror"
    monkeypatch.setattr(sys, "argv", ["vsr1-bench", "--data-root", "x"])
    assert command_line() == "vsr1-bench --data-root x"


@pytest.mark.parametrize(
    "words",
    [
        "run --model tiny --tasks demo",
        "judge runs",
        "train grpo x lr=1",
        "loop x --tasks demo",
        "grade",
    ],
)
def test_a_command_that_is_to_be_typed_again_runs(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the data root as a flag where the command has one, else as the variable it was."""
    name, *arguments = words.split()
    if name == "grade":
        arguments += ["in.jsonl", "--judge", "math", "--output", "out.jsonl"]

    def stop(options: argparse.Namespace) -> int:
        raise Interrupted(KeyboardInterrupt(), 1, 2)

    monkeypatch.setattr(f"vsr1_bench.cli.{name}.execute", stop)
    monkeypatch.setattr(sys, "argv", ["vsr1-bench", name, *arguments])
    monkeypatch.setenv("VSR1_DATA_ROOT", "/data/the mirror")
    assert main([name, *arguments]) == 130
    (line,) = (x for x in capsys.readouterr().err.splitlines() if x.startswith("resume with: "))
    *variable, _, again = line.removeprefix("resume with: ").partition("vsr1-bench ")
    _, options = parse_words(shlex.split(again))
    if name in ("run", "judge"):
        assert variable == [""] and options.data_root == "/data/the mirror"
    else:
        assert variable == ["VSR1_DATA_ROOT='/data/the mirror' "]


def test_judge_all_without_a_cascade_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "m", "--tasks", "demo", "--judge", "math", "--judge_all"]) == 2
    assert "--judge_all goes with --judge cascade" in capsys.readouterr().err
