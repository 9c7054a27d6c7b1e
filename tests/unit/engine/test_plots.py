"""Drawings: the files are what they claim to be, and hold what was asked."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from scored import spec_of, stored_run, tasks_folder
from tree import ROOT

from vsr1_bench.cli.main import main


def plot(root: Path, output: Path, *flags: str) -> int:
    words = ["plot", str(root / "runs"), "--output", str(output)]
    return main([*words, "--include_path", str(tasks_folder(root)), *flags])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    groups = [{"kind": "ab"[i % 2]} for i in range(40)]
    for prompt, right in (("cot", 30), ("direct", 10)):
        verdicts = [1.0] * right + [0.0] * (40 - right)
        stored_run(tmp_path / "runs", spec_of("m$x$<b>", "alpha", prompt), verdicts, groups=groups)
    return tmp_path


def test_intervals_as_svg_and_png(runs: Path) -> None:
    assert plot(runs, runs / "deep" / "a.svg") == 0
    text = (runs / "deep" / "a.svg").read_text("utf-8")
    assert "m$x$&lt;b&gt; (cot)" in text and "(direct)" in text and "alpha" in text
    assert plot(runs, runs / "b.svg") == 0
    assert (runs / "b.svg").read_text("utf-8") == text
    assert plot(runs, runs / "a.png") == 0
    assert (runs / "a.png").read_bytes().startswith(b"\x89PNG")


def test_categories(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plot(runs, runs / "c.svg", "--kind", "categories", "--by", "kind") == 0
    text = (runs / "c.svg").read_text("utf-8")
    assert "alpha by kind" in text and ">a<" in text and ">b<" in text
    assert plot(runs, runs / "d.svg", "--kind", "categories", "--by", "colour") == 2
    assert "there is: kind" in capsys.readouterr().err


def test_shortcuts_against_accuracy(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plot(runs, runs / "l.svg", "--kind", "lsr") == 2
    assert "no run has a language shortcut rate" in capsys.readouterr().err
    paper = str(ROOT / "results")
    assert plot(runs, runs / "l.svg", "--kind", "lsr", "--results", paper) == 0
    text = (runs / "l.svg").read_text("utf-8")
    assert "Vision-SR1 7B (without self-reward)" in text and "visnumbench" in text


def test_what_cannot_be_drawn(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plot(runs, runs / "a.doc") == 2
    assert "ends in .png, .svg, .pdf" in capsys.readouterr().err
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert plot(runs, runs / "a.png") == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["vsr1-bench: plots need matplotlib, which is not installed: "
                    "pip install 'vsr1-bench[plots]'"]  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_a_long_name_leaves_room_for_the_points(tmp_path: Path) -> None:
    runs = tmp_path / "long"
    stored_run(runs, spec_of("/models/" + "x" * 100, "alpha"), [1.0, 0.0])
    assert main(["plot", str(runs), "--output", str(tmp_path / "long.png")]) == 0
