"""What stands in results/ is what its commands make of it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from cli import cli
from tree import ROOT

from vsr1_bench.publish.unpack import download
from vsr1_bench.store.run_folder import RunFolder

RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    (run,) = download(
        str(RESULTS / "tiny" / "demo"), tmp_path_factory.mktemp("tiny"), progress=False
    ).new
    return run


@pytest.mark.parametrize("form", ["markdown", "csv", "html"])
def test_the_leaderboard_is_made_of_them(measured: RunFolder, form: str) -> None:
    done = cli("table", measured.path, "--results", RESULTS / "paper", "--format", form)
    assert done.returncode == 0, done.stderr
    suffix = {"markdown": "md"}.get(form, form)
    stored = (RESULTS / f"leaderboard.{suffix}").read_text("utf-8")
    assert stored == done.stdout, "run `make results`"


def test_the_leaderboard_has_every_reported_row_and_a_measured_one() -> None:
    rows = list(csv.DictReader(io.StringIO((RESULTS / "leaderboard.csv").read_text("utf-8"))))
    tables = [json.loads(path.read_text("utf-8")) for path in (RESULTS / "paper").glob("*.json")]
    reported = {(row["model"], row["setting"]) for table in tables for row in table["rows"]}
    assert len([row for row in rows if row["kind"] == "reported"]) >= len(reported) > 10
    assert [row["model"] for row in rows if row["kind"] == "measured"] == ["tiny"]


def test_the_scores_follow_from_the_verdicts(measured: RunFolder) -> None:
    from vsr1_bench.scoring.runs import score_run

    (stored,) = measured.scores()
    made = score_run(measured, stored["judge"])
    assert made["rates"] == stored["rates"] and made["n"] == stored["n"] == 1000
    for name, value in made["metrics"].items():
        for part in ("value", "low", "high"):  # the last bits are a matter of the machine
            assert value[part] == pytest.approx(stored["metrics"][name][part], abs=1e-6)


def test_the_embedded_model_still_answers_so(measured: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    flags = ("--backend", "transformers", "--tasks", "demo", "--limit", "24", "--predict_only")
    done = cli("run", "--model", "tiny", *flags, "-o", tmp_path / "runs", timeout=240)
    assert done.returncode == 0, done.stderr
    (meta,) = (tmp_path / "runs").rglob("run.json")
    again = RunFolder(meta.parent)
    # Weights, prompt, sampling, task and data are the same, or the run is another.
    assert again.spec() == measured.spec(), "run `make measure results`"
    theirs = {made.key: made.text for made in measured.generations().values()}
    same = [made.text == theirs[made.key] for made in again.generations().values()]
    # Greedy, in fp32: another processor may turn a near tie.
    assert len(same) == 24 and sum(same) >= 22
