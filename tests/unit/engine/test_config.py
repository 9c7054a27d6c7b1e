"""`--config`: a file says what flags say, what is typed wins, and what the environment adds."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

import pytest
import yaml
from cli import plugins

from vsr1_bench.cli.config import as_yaml, with_config
from vsr1_bench.cli.main import COMMANDS, main, parse, parser_of
from vsr1_bench.errors import UsageError
from vsr1_bench.pipeline.flags import RunFlags
from vsr1_bench.registry import get_task
from vsr1_bench.store.environment import command_line, typed_as

RUN = """\
model: sums
tasks: [adding, demo]
limit: 6
gen-kwargs: {temperature: 0.5, max_tokens: 12, stop: [END, "b=c, d"]}
model_args: script=answers.jsonl,dtype=float32
include_path: [a, b]
perception: true
offline: true
predict_only: false
judge: null
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    return path


def test_a_file_is_read_as_flags(file: Path) -> None:
    read = RunFlags.of(vars(parse(["--config", str(file)])[1]))
    assert (read.model, read.tasks, read.limit) == ("sums", "adding,demo", 6)
    assert read.sampling_fields() == {
        "temperature": 0.5, "max_tokens": 12, "stop": ("END", "b=c, d"), "seed": 0, "n": 1,
    }  # fmt: skip
    assert read.model_args == {"script": "answers.jsonl", "dtype": "float32"}
    assert read.include_path == ("a", "b")
    assert (read.perception, read.offline, read.predict_only) == ("self", True, False)
    assert read.judge is None


def test_typed_flags_take_precedence(file: Path) -> None:
    words = ["run", "-L3", "--include_path", "c", "--no_offline", "--config", str(file)]
    options = parse([*words, "--gen-kwargs", "max_tokens=5", "--perception=caption"])[1]
    assert (options.limit, options.include_path, options.offline) == (3, ["c"], False)
    assert (options.gen_kwargs, options.perception) == ("max_tokens=5", "caption")
    assert options.model == "sums"


def test_positional_words_come_from_both(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("what: tiny/vision_sr1\nsettings: {max_steps: 3, lr: 1e-6}\nnproc: 2\n")
    options = parse(["train", "grpo", "max_steps=5", "--config", str(file)])[1]
    assert (options.action, options.what, options.nproc) == ("grpo", "tiny/vision_sr1", 2)
    assert options.settings == ["max_steps=3", "lr=1e-6", "max_steps=5"]  # the last one counts
    file.write_text("runs: [a, b]\ndelta: true\nexplain_diff: [x, y]\n")
    options = parse(["table", "--config", str(file)])[1]
    assert (options.runs, options.delta) == ([Path("a"), Path("b")], "auto")
    assert options.explain_diff == [Path("x"), Path("y")]
    assert parse(["table", "c", "--config", str(file)])[1].runs == [Path("c")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limt: 3", "unknown key 'limt'; did you mean limit"),
        ("config: a.yaml", "unknown key 'config'"),
        ("help: true", "unknown key 'help'"),
        ("limit: 0.1", "--limit 0.1: wanted a number of samples; 0.1 would be 100 of demo"),
        ("offline: 3", "offline: 3: wanted true or false"),
        ("judge: yes", "judge: True: wanted a number or a text"),
        ("tasks: {a: [1]}\ninclude_path: [{a: 1}]", "include_path: {'a': 1}: wanted a text"),
        ("prompt: 2020-01-01", "prompt: datetime.date(2020, 1, 1): wanted a text"),
        ("model: a\nmodel: b", "'model' is given twice"),
        ("- model", "wanted lines NAME: VALUE"),
        ("a: [", "not readable as YAML"),
        ("a: !!python/name:os.system x", "not readable as YAML"),
        (None, "No such file"),
    ],
)
def test_what_is_wrong_is_one_line(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    if text is not None:
        file.write_text(text)
    assert main(["run", "--model", "m", "--tasks", "demo", f"--config={file}"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_takes_one(name: str, tmp_path: Path) -> None:
    """A file with every flag of the command, by its default, says what no flag says."""
    parser = parser_of(name)
    defaults = {
        action.dest: action.default
        for action in parser._actions
        if isinstance(action.default, str | int) and action.default != argparse.SUPPRESS
    }
    file = tmp_path / "flags.yaml"
    file.write_text(yaml.safe_dump(defaults))
    needed = [word for action in parser._actions if action.required for word in _example(action)]
    read = parser.parse_args(with_config(parser, [*needed, "--config", str(file)]))
    assert vars(read) == vars(parser.parse_args(needed))


def _example(action: argparse.Action) -> list[str]:
    if not action.option_strings and action.nargs in ("*", "?"):
        return []
    value = str(next(iter(action.choices))) if action.choices else "x"
    return [f"{action.option_strings[0]}={value}"] if action.option_strings else [value]


def test_only_one_file(file: Path) -> None:
    with pytest.raises(UsageError, match="wanted one file"):
        with_config(parser_of("run"), ["--config", str(file), "--config", str(file)])


@pytest.mark.parametrize(
    "line",
    [
        "--model m --tasks a,b --seed -1 --num_samples 4 --shard 1/4 --include_path x --offline",
        "-m m --gen_kwargs temperature=0.50,top_p=1e-3 --model_args dtype=auto,seed=007",
        "--model m --revision 1e5 --perception --blind drop,noise --limit=0012",
        '--model m --gen_kwargs \'stop=["A","b=c"],x={"a": [1, 2]}\' --system_instruction "a: b"',
    ],
)
def test_a_command_becomes_a_file_and_back(line: str, tmp_path: Path) -> None:
    parser, words = parser_of("run"), shlex.split(line)
    file = tmp_path / "again.yaml"
    file.write_text(as_yaml(parser, words, ["a comment"]))
    assert file.read_text().startswith("# a comment\n")
    required = ["--tasks", "t"]
    again = parser.parse_args([*with_config(parser, ["--config", str(file)]), *required])
    assert vars(again) == vars(parser.parse_args([*words, *required]))


def test_plug_ins_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = plugins(tmp_path / "p")
    monkeypatch.setenv("VSR1_INCLUDE_PATH", f"{folder}{os.pathsep}")
    assert get_task("adding").name == "adding"
    assert get_task("adding", [str(folder)]) is get_task("adding")
    monkeypatch.setenv("VSR1_INCLUDE_PATH", str(tmp_path / "none"))
    assert main(["ls", "tasks"]) == 2
    assert f"VSR1_INCLUDE_PATH {tmp_path / 'none'}: not a folder" in capsys.readouterr().err


def test_the_recorded_command_has_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VSR1_INCLUDE_PATH", os.pathsep.join(["a", "b"]))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://h/v1")
    with typed_as(["--model", "m", "--include_path=c"]):
        assert command_line() == (
            "vsr1-bench --model m --include_path=c --include_path a --include_path b"
        )
    with typed_as(["--backend", "openai", "--include_path", "a"]):
        assert command_line() == (
            "vsr1-bench --backend openai --include_path a --include_path b --base_url http://h/v1"
        )
    with typed_as(["view"]):
        assert command_line(()) == "VSR1_INCLUDE_PATH=a:b vsr1-bench view"


def test_the_endpoint_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://h/v1")
    given = {"model": "m", "tasks": "demo"}
    assert RunFlags.of(given).base_url is None  # a model of this machine stays here
    assert RunFlags.of({**given, "backend": "openai"}).base_url == "http://h/v1"
    typed = {**given, "backend": "openai", "base_url": "http://other/v1"}
    assert RunFlags.of(typed).base_url == "http://other/v1"
