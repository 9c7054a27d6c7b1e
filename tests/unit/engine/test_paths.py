"""`~` in what a user writes: flags, arguments inside flags, recipes, the environment."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from vsr1_bench._util.flag_values import key_values
from vsr1_bench._util.paths import user_path, user_text
from vsr1_bench.cli.main import COMMANDS, MODULES, main, parse
from vsr1_bench.cli.run import run_flags
from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.errors import UsageError
from vsr1_bench.generation.base import parse_backend_args
from vsr1_bench.generation.scripted import ScriptedArgs
from vsr1_bench.train.recipe import load_recipe
from vsr1_bench.train.sft_recipe import load_sft_recipe


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and another working folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(tmp_path / "here")
    return folder


def flags(name: str) -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"vsr1_bench.cli.{MODULES.get(name, name)}").add_arguments(parser)
    return parser._actions


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_flag_takes_a_path_as_it_is(name: str) -> None:
    kinds = {flag.dest: flag.type for flag in flags(name)}
    assert Path not in kinds.values()
    named = ("output_path", "data_root", "dataset", "include_path", "runs", "run", "labels")
    named += ("price_file", "responses", "output", "to", "judge_model", "reader_model", "results")
    own = {"compare": set(), "download": {"runs"}}.get(name, set())
    for dest in kinds.keys() & set(named) - own:
        assert kinds[dest] in (user_path, user_text), dest
    if name in ("run", "serve"):
        assert kinds["model"] is user_text


def test_a_whole_run_in_the_home_folder(home: Path) -> None:
    (home / "d.jsonl").write_text('{"problem": "3+4", "answer": "7"}\n')
    (home / "s.jsonl").write_text('{"id": "*", "response": "7"}\n')
    (home / "mine").mkdir()
    told = ["--model=~/m", "--backend=scripted", "--model_args=script=~/s.jsonl"]
    told += ["--tasks=custom", "--dataset=~/d.jsonl", "--output_path=~/runs"]
    assert main([*told, "--include_path=~/mine", "--verbosity=ERROR"]) == 0
    assert list((home / "runs").glob("*/*/run.json"))
    assert main(["score", "~/runs", "--verbosity=ERROR"]) == 0
    assert not any(Path().iterdir())


def test_files_of_other_commands(home: Path) -> None:
    line = {"id": 1, "response": "7", "answer": "7"}
    (home / "in.jsonl").write_text(json.dumps(line))
    assert main(["grade", "~/in.jsonl", "--judge=string_match", "--output=~/out.jsonl"]) == 0
    assert (home / "out.jsonl").is_file() and not any(Path().iterdir())
    told = parse(["judge", "~/a", "--labels=~/l.jsonl", "--price_file=~/p.json"])[1]
    assert (told.runs, told.labels) == ([home / "a"], home / "l.jsonl")
    assert told.price_file == home / "p.json"
    told = parse(["loop", "~/r.toml", "--tasks=demo", "--start=~/s.toml", "--output_path=~/o"])[1]
    assert (told.recipe, told.start) == (f"{home}/r.toml", f"{home}/s.toml")
    assert parse(["publish", "~/a", "--to=~/there"])[1].to == f"{home}/there"


def test_a_home_of_nobody_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for told in (("table", "~nobody_here/runs"), ("ls", "tasks", "--include_path=~nobody_here")):
        assert main([*told]) == 2
        assert "~nobody_here is not a user's home here" in capsys.readouterr().err
    with pytest.raises(UsageError, match="not a user's home"):
        parse_backend_args(ScriptedArgs, "scripted", {"script": "~nobody_here/s.jsonl"})
    assert user_text("./~nobody_here") == "./~nobody_here"


def test_arguments_inside_flags_and_the_data_root(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = key_values("script=~/s.jsonl,b=a~b", "--model_args")
    assert read == {"script": f"{home}/s.jsonl", "b": "a~b"}
    args = parse_backend_args(ScriptedArgs, "scripted", {"script": "~/s.jsonl"})
    assert args.script == home / "s.jsonl"
    monkeypatch.setenv("VSR1_DATA_ROOT", "~")
    assert DataOptions.from_flags(None, False).data_root == home


def test_recipes(home: Path) -> None:
    (home / "r.toml").write_text('extends = "tiny/vision_sr1"\noutput_dir = "~/out"\n')
    recipe = load_recipe("~/r.toml", ["model=~/m", "task=none", "dataset=~/d.jsonl"])
    assert recipe.output_dir == home / "out"
    assert (recipe.model, recipe.dataset) == (f"{home}/m", f"{home}/d.jsonl")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("dataset=rows.jsonl", ("rows.jsonl",)),
        ("dataset=a,b.jsonl", ("a,b.jsonl",)),
        ('dataset=["a.jsonl", "~/b.jsonl"]', ("a.jsonl", "HOME/b.jsonl")),
    ],
)
def test_one_path_of_training_data_is_one_path(
    home: Path, given: str, wanted: tuple[str, ...]
) -> None:
    recipe = load_sft_recipe("tiny/cold_start", [given])
    assert recipe.dataset == tuple(name.replace("HOME", str(home)) for name in wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("do_sample=false", None),
        ("do_sample=False,temperature=0", 0.0),
        ("do_sample=true,temperature=0.3", 0.3),
        ("temperature=0.3", 0.3),
        ("do_sample=false,temperature=0.3", "contradicts temperature=0.3"),
        ("temperature=1,do_sample=false", "contradicts temperature=1"),
        ("do_sample=true", "needs a temperature above 0"),
        ("do_sample=true,temperature=0", "needs a temperature above 0"),
        ("do_sample=perhaps", "wanted true or false"),
        ("do_sample=1,temperature=1", "wanted true or false"),
        ("do_sample=", "wanted true or false"),
    ],
)
def test_do_sample_says_what_the_temperature_says(given: str, wanted: Any) -> None:
    told = parse(["--model=m", "--tasks=t", f"--gen_kwargs={given}"])[1]
    if isinstance(wanted, str):
        with pytest.raises(UsageError, match=wanted):
            run_flags(told).sampling_fields()
    else:
        assert run_flags(told).sampling_fields().get("temperature") == wanted
