"""Mirage score and B-Clean: what models get without the image, and the ranking on the rest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli import here
from scored import spec_of, stored_run, tasks_folder

from vsr1_bench.audit.blind import b_clean
from vsr1_bench.registry import get_task
from vsr1_bench.store.run_folder import RunFolder

Verdicts = Sequence[float | None]
# Strong guesses well: without what it guesses, weak sees more.
STRONG = ([1, 1, 1, 1, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0])
WEAK = ([0, 0, 1, 1, 1, 1, 0, None], [0, 1, 0, 0, 0, 0, 0, 0])


def pair(root: Path, model: str, seeing: Verdicts, blind: Verdicts | None) -> list[RunFolder]:
    runs = [stored_run(root, spec_of(model, "alpha"), seeing)]
    if blind is not None:
        spec = spec_of(model, "alpha", variant="drop")
        runs.append(stored_run(root, spec, blind))
    return runs


@pytest.fixture
def runs(tmp_path: Path) -> list[RunFolder]:
    root = tmp_path / "runs"
    return [
        *pair(root, "strong", *STRONG),
        *pair(root, "weak", *WEAK),
        *pair(root, "never-blind", [1] * 8, None),
    ]


def test_items_that_any_model_guesses_are_out(tmp_path: Path, runs: list[RunFolder]) -> None:
    task = get_task("alpha", [str(tasks_folder(tmp_path))])
    table = b_clean(task, runs)
    assert table is not None
    # q0 to q2 are guessed by one of them; q7 has no verdict of weak's.
    assert table.n == 7 and table.kept == ("q3", "q4", "q5", "q6")
    strong, weak = table.models
    assert (strong.model, strong.n, strong.seeing, strong.blind) == ("strong", 8, 5 / 8, 3 / 8)
    assert strong.mirage == pytest.approx(0.6)
    assert (weak.model, weak.n, weak.clean_n) == ("weak", 7, 4)
    assert weak.mirage == pytest.approx(0.25)
    assert (strong.clean, weak.clean) == (0.5, 0.75)
    assert (strong.rank, weak.rank, strong.clean_rank, weak.clean_rank) == (1, 2, 2, 1)
    assert table.reranked and table.without_blind == ("never-blind",)
    assert b_clean(task, runs, "noise") is None
    assert b_clean(task, runs, judge="other") is None


def test_nothing_clean_is_no_number(tmp_path: Path) -> None:
    task = get_task("alpha", [str(tasks_folder(tmp_path))])
    table = b_clean(task, pair(tmp_path / "runs", "m", [1, 0], [1, 1]))
    assert table is not None and table.kept == ()
    (model,) = table.models
    assert model.clean is None and model.clean_rank is None and not table.reranked
    (model,) = b_clean(task, pair(tmp_path / "none", "m", [0, 0], [1, 1])).models  # type: ignore[union-attr]
    assert model.mirage is None


def test_the_table_and_the_page(tmp_path: Path, runs: list[RunFolder]) -> None:
    plugins = ["--include_path", tasks_folder(tmp_path)]
    root = tmp_path / "runs"
    done = here("table", root, "--clean", *plugins)
    assert done.returncode == 0, done.stderr
    assert "4 of 7 items are clean" in done.stdout and "another one" in done.stdout
    assert "Without a blind run: never-blind" in done.stdout
    done = here("table", root, "--clean", "drop", "--format", "json", *plugins)
    (document,) = json.loads(done.stdout)
    assert [m["clean"] for m in document["models"]] == [0.5, 0.75]
    for form in ("csv", "latex", "html"):
        assert "strong" in here("table", root, "--clean", "--format", form, *plugins).stdout
    done = here("table", root, "--clean", "noise", *plugins)
    assert done.returncode == 1 and "--blind noise" in done.stderr
    done = here("table", root, "--clean", "drpo", *plugins)
    assert done.returncode == 2 and "did you mean drop" in done.stderr
    done = here("audit", "alpha", "--limit", 8, "--runs", root, *plugins, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the ranking changes on the 4 of 7 items" in done.stdout
    document = json.loads((tmp_path / "alpha.json").read_text())
    assert document["blind"]["drop"]["kept"] == ["q3", "q4", "q5", "q6"]
