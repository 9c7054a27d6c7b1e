"""Forms of other tools get one line with the words that work here; lists fit the terminal."""

from __future__ import annotations

import json
import os
import sys

import pytest

from vsr1_bench._util import columns as columns_module
from vsr1_bench._util.columns import columns, fit_markdown
from vsr1_bench.cli.main import main

RUN = "--model tiny --tasks demo"


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        # lm-eval and lmms-eval
        (
            "--model vllm --model_args pretrained=org/M,dtype=auto --tasks demo",
            "--model org/M --backend vllm",
        ),
        ("--model hf --model_args pretrained=org/M --tasks demo", "--backend transformers"),
        ("--model qwen2_5_vl --model_args pretrained=org/M --tasks demo", "--model org/M"),
        ("--model local-chat-completions --model_args model=m --tasks demo", "--base_url URL"),
        ("--model hf --tasks demo", "--model ORG/NAME --backend transformers"),
        (f"{RUN} --temperature 0.5", "--gen_kwargs temperature=0.5"),
        (f"{RUN} --max-new-tokens=64", "--gen_kwargs max_tokens=64"),
        (f"{RUN} --dtype float32", "--model_args dtype=float32"),
        ("--model tiny --tasks list", "vsr1-bench ls tasks"),
        ("--model tiny --tasks MMMU_Pro", "here it is mmmu_pro"),
        ("--model tiny --tasks mmmu_val", "here it is mmmu,"),
        ("--model tiny --tasks MathVista_MINI", "here it is mathvista,"),
        # inspect
        (
            "--model openai/gpt-4o --tasks demo",
            "--model gpt-4o --base_url https://api.openai.com/v1",
        ),
        ("--model anthropic/claude-x --tasks demo", "--model claude-x --base_url URL"),
        ("--model vllm/org/M --tasks demo", "--model org/M --backend vllm"),
        # trainers
        ("train grpo tiny/vision_sr1 --max_steps 3", "without dashes: max_steps=3"),
        ("validate --tasks mmmu", "vsr1-bench validate mmmu"),
        (f"{RUN} --output_dir out", "--output_path out"),
    ],
)
def test_a_habit_gets_the_line_that_works_here(
    typed: str, instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert instead in error


@pytest.mark.parametrize("typed", [f"{RUN} --seed_everything 1", f"{RUN} --frobnicate"])
def test_an_unknown_flag_is_still_one(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed.split()) == 2
    assert f"unknown flag {typed.split()[4]}" in capsys.readouterr().err


def test_a_hub_model_of_openai_is_no_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--model openai/gpt-oss-20b --tasks demo --offline".split()) == 1
    assert "available from the hub" in capsys.readouterr().err


def test_lists_are_objects_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "tasks", "--json"]) == 0
    tasks = {task["task"]: task for task in json.loads(capsys.readouterr().out)}
    assert tasks["mmmu"]["n"] == 900
    assert tasks["mmmu"]["suites"] == ["paper"]
    assert tasks["custom"]["n"] is None


def test_suites_and_groups_name_their_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "suites"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (paper,) = [line.split() for line in lines if line.startswith("paper ")]
    assert int(paper[1]) == len(paper) - 2
    assert main(["ls", "groups"]) == 0
    assert "mmmu_pro_4 mmmu_pro_10 mmmu_pro_vision" in capsys.readouterr().out


def test_a_list_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["ls", "tasks"]) == 0
    piped = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        columns_module.shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((100, 24))
    )
    assert main(["ls", "tasks"]) == 0
    fitted = capsys.readouterr().out
    assert max(map(len, piped.splitlines())) > 100 >= max(map(len, fitted.splitlines()))
    assert piped.count("\n") < fitted.count("\n")
    assert sorted("".join(piped.split())) == sorted("".join(fitted.split()))  # nothing is cut off
    names = {line.split(" ")[0] for line in piped.splitlines()}
    assert names <= {line.split(" ")[0] for line in fitted.splitlines()}  # and no name is broken


def test_wide_characters_and_long_words_stay_in_their_columns() -> None:
    text = columns(("name", "what"), [("模型" * 6, "x" * 40), ("b", "short")], 30)
    assert all(columns_module._width(line) <= 30 for line in text.splitlines())
    assert text.replace("\n", "").replace(" ", "").count("x") == 40


def test_a_markdown_table_becomes_columns_only_where_it_does_not_fit() -> None:
    table = "| model | task |\n|:---|---|\n| a\\|b | " + "long " * 12 + "|\n\nremark"
    assert fit_markdown(table, None) == fit_markdown(table, 200) == table
    lines = fit_markdown(table, 40).splitlines()
    assert lines[0].split() == ["model", "task"]
    assert lines[1].startswith("a|b")
    assert lines[-1] == "remark"
    assert all(len(line) <= 40 for line in lines)


def test_no_terminal_no_bound() -> None:
    """Without a terminal it is markdown, as a file needs it."""
    assert columns_module.terminal_width() is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_flags(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("shtab", reason="the completion extra is not installed here")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("perceive", "judge_base_url", "grpo"))


def test_without_shtab_one_line_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "completion needs shtab: " in capsys.readouterr().err
