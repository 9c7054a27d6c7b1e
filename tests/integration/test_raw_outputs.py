"""The authors' raw outputs in their exact layout, thirteen small runs, from a stand-in hub."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli import command, error_line
from hub import Hub, Repositories, commit_of
from rawoutputs import EACH, FAULTS, N, read_lines, right, write_lines, write_raw
from rawoutputs import write_sets as write_data
from servers import ChatServer, Reply, chat

from judges import KEY
from vsr1_bench.imports.vision_sr1 import (
    JUDGED,
    RUNS,
    boxed_answer,
    published_verdict,
    same_gold,
    tasks_of_sets,
)

MERGED = ("mmmu_pro_4", "clevr_count", "mmvet", "mathverse", "mathvista", "mathvision")
MERGED += ("realworldqa",)
"""The tasks that the rows of MLLM_test belong to, in its order."""
OTHERS = ("mmmu_pro_10", "mmmu_pro_vision", "mmmu", "visnumbench", "hallusionbench_image")
TASKS = (*MERGED, *OTHERS)
HUANG = "7B-Vision-R1(By Huang)"


class Bench:
    """The command line beside the stand-in."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.folder, self.hub = folder, hub
        self.raw = folder / "served/datasets/DingZhenDojoCat/Raw-Outputs/main"
        self.environment = hub.environment(folder / "home") | {"HF_HUB_DISABLE_XET": "1"}

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            env=self.environment | {"VSR1_JUDGE_API_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def scores(self, runs: Path, *arguments: object) -> dict[tuple[str, str], dict[str, Any]]:
        done = self("score", runs, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return {(d["model"], d["task"]): d for d in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("raw")
    repositories = Repositories(folder / "served")
    write_data(repositories)
    write_raw(repositories.write())
    with Hub(folder / "served") as hub:
        yield Bench(folder, hub)


@pytest.fixture(scope="module")
def runs(bench: Bench) -> Path:
    """All thirteen runs."""
    done = bench("download", "vision-sr1", "--to", bench.folder / "runs")
    assert done.returncode == 0, done.stderr
    assert "no task reads unheard-of" in done.stderr
    commit = commit_of(bench.raw)
    assert f"again with --revision {commit}" in done.stderr
    return bench.folder / "runs"


def rows_of_task(task: str) -> range:
    """The lines of its file that are a task's."""
    start = EACH * MERGED.index(task) if task in MERGED else 0
    return range(start, start + (EACH if task in MERGED else N))


def honest(run: str, task: str) -> float:
    rows = rows_of_task(task)
    return sum(right(run, row) for row in rows) / len(rows)


def free(run: str, row: int) -> bool:
    """Whether the published scorer gives a point that nobody has given."""
    return not right(run, row) and row % 2 == 1


def published(run: str, task: str) -> float:
    rows = rows_of_task(task)
    points = sum(free(run, row) for row in rows) if task in MERGED else 0
    return honest(run, task) + points / len(rows)


def test_thirteen_runs_of_every_set(bench: Bench, runs: Path) -> None:
    metas = [json.loads(path.read_text()) for path in runs.rglob("run.json")]
    assert len(metas) == len(RUNS) * len(TASKS) == 156
    assert {meta["spec"]["task"]["name"] for meta in metas} == set(TASKS)
    assert {meta["samples"] for meta in metas} == {EACH, N}
    assert {meta["spec"]["model"]["id"] for meta in metas} == set(RUNS) and len(RUNS) == 13
    commit = commit_of(bench.raw)
    assert {meta["spec"]["model"]["revision"] for meta in metas} == {commit}
    origins = [m["origin"] for m in metas if m["spec"]["model"]["id"] == HUANG]
    assert {origin["answer_form"] for origin in origins} == {"<answer>, repeated in a box"}
    assert not (runs / ".download").exists()


def test_published_scores_without_asking_anybody(bench: Bench, runs: Path) -> None:
    stored = {path: path.read_bytes() for path in runs.rglob("scores/published.json")}
    found = bench.scores(runs, "--judge", "published")
    assert len(stored) == 156 and all(path.read_bytes() == text for path, text in stored.items())
    for run in RUNS:
        for task in TASKS:
            metric = "graded_mean" if task == "mmvet" else "accuracy"
            value = found[run, task]["metrics"][metric]["value"]
            assert value == pytest.approx(published(run, task)), (run, task)
        # The paper's own number of MMMU-Pro: its three sets, pooled.
        pooled = found[run, "mmmu_pro"]["metrics"]["paper_weighted"]
        sizes = {"mmmu_pro_4": EACH, "mmmu_pro_10": N, "mmmu_pro_vision": N}
        wanted = sum(published(run, task) * n for task, n in sizes.items()) / sum(sizes.values())
        assert pooled["value"] == pytest.approx(wanted) and pooled["n"] == sum(sizes.values())


def test_honest_scores_and_the_delta(bench: Bench, runs: Path) -> None:
    judged = [*runs.glob("*/realworldqa-*"), *(runs / "3B-SFT").glob("*")]
    done = bench("judge", *judged, "--judge", "mathruler")
    assert done.returncode == 0, done.stderr
    done = bench("table", runs, "--delta", "published", "--judge", "mathruler", "--format", "json")
    found = json.loads(done.stdout)
    assert len(found) == len(RUNS) + len(TASKS) - 1
    causes = ("failed_call", "empty_reply", "no_verdict")
    for cell in found:
        run, task = cell["model"], cell["task"]
        assert cell["new_value"] == pytest.approx(honest(run, task)), cell
        assert cell["old_value"] == pytest.approx(published(run, task)), cell
        given = [row for row in rows_of_task(task) if free(run, row) and task in MERGED]
        for fault, cause in zip(FAULTS, causes, strict=True):
            assert cell["lost"][cause] == sum(FAULTS[row // 2 % 3] == fault for row in given), cell
        assert cell["lost"]["other_verdict"] == cell["gained"] == 0
    done = bench("table", runs, "--delta", "--judge", "mathruler")
    assert done.returncode == 0 and "failed call" in done.stdout


def test_the_papers_table_beside_the_reported_rows(bench: Bench, runs: Path) -> None:
    flags = ("--judge", "published", "--results", "--tasks", "paper", "--format", "csv")
    done = bench("table", runs, *flags)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["model"] for row in rows if row["kind"] == "measured"} == set(RUNS)
    (row,) = (row for row in rows if row["model"] == "7B-Vision-SR1")
    assert float(row["mathverse"]) == pytest.approx(100 * published("7B-Vision-SR1", "mathverse"))
    assert "another version" not in done.stdout
    (row,) = (row for row in rows if row["model"] == "Vision-SR1 7B" and row["setting"] == "–")
    assert row["kind"] == "reported" and float(row["mathverse"]) == 54.5


def test_the_published_scorer_against_an_honest_one(bench: Bench, runs: Path) -> None:
    """The same replies of a judging model, some of them no verdict, read by both."""

    def plan(number: int, asked: Any) -> Reply:
        said = ("", "They do not agree.", "<judgment>incorrect</judgment>")
        digest = sum(map(ord, asked.text)) % len(said)
        return Reply(200, chat(said[digest]))

    (one,) = runs.glob("3B-baseline/mathvista-*")
    with ChatServer(plan) as server:
        flags = ("--judge_base_url", server.url, "--judge_model", "m", "--judge_prompt", "paper")
        for judge in ("legacy_vsr1:mathruler,openai", "cascade:mathruler,openai"):
            done = bench("judge", one, "--judge", judge, *flags)
            assert done.returncode in (0, 75), done.stderr
    done = bench(
        *("table", one, "--delta", "legacy_vsr1", "--judge", "cascade:mathruler,openai"),
        *("--format", "json"),
    )
    (cell,) = json.loads(done.stdout)
    points = cell["lost"]["empty_reply"] + cell["lost"]["no_verdict"]
    assert points > 0 and cell["unscored_by_new"] == points
    assert cell["lost"]["failed_call"] == cell["lost"]["other_verdict"] == cell["gained"] == 0


def test_one_run_at_a_pinned_commit_twice(bench: Bench, tmp_path: Path) -> None:
    asked = ("download", "vision-sr1", "--runs", HUANG, "--revision", commit_of(bench.raw))
    for _ in range(2):
        done = bench(*asked, "--to", tmp_path / "runs")
        assert done.returncode == 0, done.stderr
    for journal in (tmp_path / "runs").rglob("generations.jsonl"):
        assert len(read_lines(journal)) == len(rows_of_task(journal.parent.name[:-9]))
    assert len(list((tmp_path / "runs").rglob("run.json"))) == len(TASKS)
    done = bench("download", "vision-sr1", "--runs", "7B-Vision-SR2", "--to", tmp_path / "x")
    assert "did you mean 7B-Vision-SR1" in error_line(done.returncode, 2, done.stderr)


def test_what_does_not_fit_its_data_is_not_taken(bench: Bench, tmp_path: Path) -> None:
    name = "MLLM_test.jsonl"
    short, order, swapped, broken = spoilt = ("3B-SFT", "3B-baseline", "7B-SFT", "7B-baseline")
    kept = {
        path: path.read_text()
        for run in spoilt
        for path in (bench.raw / run / name, bench.raw / JUDGED / run / name)
    }
    write_lines(bench.raw / short / name, read_lines(bench.raw / short / name)[:-1])
    judged = bench.raw / JUDGED / order / name
    write_lines(judged, read_lines(judged)[::-1])
    judged = bench.raw / JUDGED / swapped / name
    first, *rest = read_lines(judged)
    write_lines(judged, [first | {"response": "another"}, *rest])
    lines = read_lines(bench.raw / broken / name)
    write_lines(bench.raw / broken / name, [*lines[:2], {"answer": "x"}, *lines[3:]])
    try:
        done = bench("download", "vision-sr1", "--runs", ",".join(spoilt), "--to", tmp_path / "r")
    finally:
        for path, text in kept.items():
            path.write_text(text)
    assert done.returncode == 75, done.stderr
    for said in (
        f"{short}/{name}: 27 lines for 28 rows of zli12321/MLLM_test",
        f"{order}/{name}: 28 of 28 gold answers are not those of zli12321/MLLM_test, first row 0: "
        "'5' and '2'",
        f"{swapped}/{name}:1: another response than line 1",
        f'{broken}/{name}:3: wanted {{"response": "…"}}',
    ):
        assert said in done.stderr, done.stderr
    assert len(list((tmp_path / "r").rglob("run.json"))) == len(spoilt) * len(OTHERS)


@pytest.mark.parametrize(
    ("response", "read"),
    [
        ("<think>\\boxed{17}</think><answer>So. Final Answer: B</answer>", "B"),
        ("Final Answer: <answer> 42 </answer>", "42"),
        (
            "<answer>no words</answer> then <answer>Final answer: \\frac{1}{2}</answer>",
            "\\frac{1}{2}",
        ),
        ("<answer>Final Answer: </answer>", None),
        ("<answer>\\frac{1}{2</answer>", None),
        ("no tags, \\boxed{3}", None),
        ("<answer>Final Answer: \\boxed{7}</answer>", None),
    ],
)
def test_the_answer_form_of_one_run(response: str, read: str | None) -> None:
    wanted = response if read is None else f"{response}\n\\boxed{{{read}}}"
    assert boxed_answer(response) == wanted


@pytest.mark.parametrize(
    ("said", "outcome", "free"),
    [
        ("correct", "correct", False),
        ("incorrect", "incorrect", False),
        ("Incorrect.", "incorrect", True),
        ("error", "correct", True),
        ("", "correct", True),
        ("not right", "correct", True),
        (None, "unscored", True),
    ],
)
def test_the_published_rule(said: str | None, outcome: str, free: bool) -> None:
    verdict = published_verdict({"accuracy_judgment": said})
    assert (verdict.outcome, verdict.reason is not None) == (outcome, free)


def test_golds_that_are_one() -> None:
    assert same_gold(" A ", "a") and same_gold("\\boxed{12}", 12)
    assert same_gold("<answer> 3 </answer>", "3") and not same_gold("A", "B")


def test_every_set_of_the_authors_that_a_task_reads() -> None:
    found = tasks_of_sets()
    wanted = {"mmmu_pro_10options", "mmmu-pro-vision", "mmmu", "visnumbench", "hallusionbench"}
    wanted |= {"mllm_test", "mmstar", "mmsi", "mathverse", "mathvision", "mathvista", "realworldqa"}
    assert wanted <= found.keys()
