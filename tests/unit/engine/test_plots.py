"""Drawings: the files are what they claim to be, and hold what was asked."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from scored import spec_of, stored_run, tasks_folder
from tree import ROOT

from vsr1_bench._util.installing import install_command
from vsr1_bench._util.look import axis_range, plot_style
from vsr1_bench.cli.main import main
from vsr1_bench.leaderboard.collect import collect
from vsr1_bench.leaderboard.plots import Drawn, draw_figure
from vsr1_bench.leaderboard.reported import load_reported
from vsr1_bench.store.run_folder import find_runs


def plot(root: Path, output: Path, *flags: str) -> int:
    words = ["plot", str(root / "runs"), "--output", str(output)]
    return main([*words, "--include_path", str(tasks_folder(root)), *flags])


def drawn(root: Path, kind: str, **more: Any) -> Any:
    """The figure of some stored runs."""
    runs = list(find_runs(root / "runs")) if (root / "runs").exists() else []
    of = Drawn(collect(runs, [str(tasks_folder(root))]), **more)
    with plot_style():
        figure = draw_figure(kind, of)
        figure.draw_without_rendering()
    return figure


def titles(figure: Any) -> list[str]:
    return [panel.get_title(loc="left") for panel in figure.axes]


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


def test_a_panel_per_task_and_none_that_is_empty(tmp_path: Path) -> None:
    for model, verdicts in (("a", [1.0, 0.0] * 20), ("b", [1.0] * 40)):
        stored_run(tmp_path / "runs", spec_of(model, "alpha"), verdicts)
    stored_run(tmp_path / "runs", spec_of("a", "beta"), [None] * 40)  # no verdict: no value
    figure = drawn(tmp_path, "intervals", tasks=("alpha", "beta"))
    assert titles(figure) == ["alpha"]
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a (cot)", "b (cot)"]
    assert [text.get_text() for text in panel.texts] == ["50.0", "100.0"]
    assert panel.get_xlabel() == "% · n = 40"


def test_axes_follow_the_data_and_stay_within_percentages(tmp_path: Path) -> None:
    stored_run(tmp_path / "runs", spec_of("m", "alpha"), [1.0, 1.0, 1.0, 0.0, 0.0])
    stored_run(tmp_path / "runs", spec_of("m", "beta"), [1.0] * 300)
    figure = drawn(tmp_path, "intervals", tasks=("alpha", "beta"))
    assert titles(figure) == ["alpha", "beta"]
    low, high = figure.axes[0].get_xlim()
    assert 0 < low < 30 and 80 < high < 100  # the interval of 3 in 5 is 23 to 88
    assert figure.axes[1].get_xlim() == (80, 100)  # at least 20 points
    assert figure.axes[1].get_xlabel() == "% · n = 300"


@pytest.mark.parametrize(
    ("values", "least", "wanted"),
    [
        ([], 10, (0, 100)),
        ([50.0], 20, (40, 60)),
        ([99.0, None], 10, (90, 100)),
        ([0.0, 1.0], 10, (0, 10)),
        ([12.9, 89.5], 20, (10, 90)),
        ([-12.0, 3.0], 10, (-12, 4)),
        ([0.31, 0.34], 0, (0.31, 0.34)),
        ([float("nan"), 5.0], 10, (0, 10)),
    ],
)
def test_a_range_has_round_ends(values: Any, least: float, wanted: Any) -> None:
    assert axis_range(values, least=least) == pytest.approx(wanted)


def test_shortcuts_have_a_panel_per_task_and_a_number_per_row(tmp_path: Path) -> None:
    figure = drawn(tmp_path, "lsr", reported=load_reported(ROOT / "results"))
    assert titles(figure) == [
        "mmmu_pro", "mmmu", "realworldqa", "visnumbench", "mathverse", "mathvision",
        "hallusionbench_image",
    ]  # fmt: skip
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [
        "1  Vision-SR1 3B",
        "2  Vision-SR1 3B (without self-reward)",
        "3  Vision-SR1 7B",
        "4  Vision-SR1 7B (without self-reward)",
    ]
    for panel in figure.axes:
        assert [text.get_text() for text in panel.texts] == ["1", "2", "3", "4"]
        points = [line.get_xydata()[0] for line in panel.get_lines()]
        for (low, high), values in zip(
            (panel.get_xlim(), panel.get_ylim()), zip(*points, strict=True), strict=True
        ):
            assert low <= min(values) and max(values) <= high
            assert high - low <= max(7, 1.8 * (max(values) - min(values)))
    # The key is below the panels and covers none of them.
    top = legend.get_window_extent().y1
    assert all(panel.get_window_extent().y0 > top for panel in figure.axes)


def test_categories_leave_out_tasks_and_categories_without_a_number(tmp_path: Path) -> None:
    groups = [{"kind": "ab"[i % 2]} for i in range(40)]
    verdicts = [1.0 if i % 2 else None for i in range(40)]
    stored_run(tmp_path / "runs", spec_of("m", "alpha"), verdicts, groups=groups)
    stored_run(tmp_path / "runs", spec_of("m", "beta"), [None] * 40, groups=groups)
    figure = drawn(tmp_path, "categories", by="kind")
    assert titles(figure) == ["alpha by kind"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b"]


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
                    f"{install_command('plots')}"]  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_a_long_name_leaves_room_for_the_points(tmp_path: Path) -> None:
    runs = tmp_path / "long"
    stored_run(runs, spec_of("/models/" + "x" * 100, "alpha"), [1.0, 0.0])
    assert main(["plot", str(runs), "--output", str(tmp_path / "long.png")]) == 0
