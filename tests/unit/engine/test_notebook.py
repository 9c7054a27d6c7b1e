"""The Python API, with the scripted backend and on stored runs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from cli import QUESTIONS, loaded, plugins, script
from scored import spec_of, stored_run

import vsr1_bench
from vsr1_bench import evaluate, load_runs
from vsr1_bench._util.flag_values import command_words
from vsr1_bench.api import HEADLINE_COLUMNS, SAMPLE_COLUMNS, SCORE_COLUMNS, Results
from vsr1_bench.cli.main import parse
from vsr1_bench.cli.rerun import plan_rerun, rerun_arguments
from vsr1_bench.cli.run import run_flags
from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.pipeline.flags import RunFlags
from vsr1_bench.store.run_folder import RunFolder


def answers(folder: Path, wrong: int = 3) -> Path:
    lines = [
        {"id": f"q{n:03d}", "response": f"\\boxed{{{2 * n + (n < wrong)}}}"}
        for n in range(QUESTIONS)
    ]
    return script(folder / "answers.jsonl", *lines)


def added(folder: Path, **changes: object) -> Results:
    return evaluate(
        "sums",
        ["adding"],
        output_path=folder / "runs",
        backend="scripted",
        model_args={"script": folder / "answers.jsonl"},
        include_path=plugins(folder / "plugins"),
        progress=False,
        **changes,  # type: ignore[arg-type]
    )


def test_evaluate_returns_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers(tmp_path)
    found = added(tmp_path, limit=20)
    assert capsys.readouterr().out == ""
    assert found.complete and len(found.runs) == 1 and len(found.samples) == 20
    assert list(found.samples.columns[: len(SAMPLE_COLUMNS)]) == list(SAMPLE_COLUMNS)
    assert list(found.scores.columns) == list(SCORE_COLUMNS)
    assert found.samples["correct"].sum() == 17
    assert found.samples.loc[0, ["sample_id", "answer", "extracted", "outcome"]].tolist() == [
        "q000", "0", "1", "incorrect",
    ]  # fmt: skip
    (accuracy,) = found.scores.query("metric == 'accuracy'").to_dict("records")
    assert accuracy["value"] == pytest.approx(17 / 20) and accuracy["n"] == 20
    assert repr(found) == "Results(1 runs, 20 responses, 2 scores)"


def test_evaluate_continues_and_takes_other_settings(tmp_path: Path) -> None:
    answers(tmp_path)
    first = added(tmp_path, limit=5)
    assert added(tmp_path, limit=10).runs == first.runs
    other = added(tmp_path, limit=5, gen_kwargs={"temperature": 0.5, "stop": ["a", "b"]}, seed=3)
    assert other.runs != first.runs and set(other.samples["seed"]) == {3}
    assert len(load_runs(tmp_path / "runs").runs) == 2


def test_what_a_notebook_made_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel-1.json"])

    async def cell() -> Results:  # a notebook has a running event loop
        return added(tmp_path, limit=5, system_instruction='it\'s "quoted"')

    (path,) = asyncio.run(cell()).runs
    run = RunFolder(path)
    assert "kernel" not in run.meta()["command"]
    words, withheld = rerun_arguments(run, tmp_path / "again")
    assert "--limit=5" in words
    again = plan_rerun(run, tmp_path / "again", withheld)  # its plug-ins, allowed again
    assert again.unknown is None and again.differences == ()


def test_load_runs_by_judge_and_before_any_judge(tmp_path: Path) -> None:
    answers(tmp_path)
    unjudged = added(tmp_path, limit=4, predict_only=True)
    assert unjudged.scores.empty and unjudged.samples["judge"].isna().all()
    assert not load_runs(tmp_path / "runs").complete  # no response has a verdict
    added(tmp_path, limit=4)
    assert load_runs(tmp_path / "runs").complete
    added(tmp_path, limit=4, judge="exact_bounded")
    both = load_runs(tmp_path / "runs")
    assert set(both.samples["judge"]) == {"exact", "exact_bounded"} and len(both.samples) == 8
    one = load_runs(tmp_path / "runs", judge="exact")
    assert set(one.samples["judge"]) == {"exact"} == set(one.scores["judge"])
    with pytest.raises(UsageError, match="'exakt' has judged none of them; did you mean exact"):
        load_runs(tmp_path / "runs", judge="exakt")


def test_a_wrong_flag_is_the_command_lines_error(tmp_path: Path) -> None:
    answers(tmp_path)
    with pytest.raises(UsageError, match="unknown flag --promt"):
        added(tmp_path, promt="cot")
    with pytest.raises(UsageError, match=r"help\(evaluate\)"):
        added(tmp_path, help=True)
    with pytest.raises(UsageError, match="wanted a text"):
        added(tmp_path, judge_model=object())


def test_importing_the_package_loads_nothing() -> None:
    assert loaded("import vsr1_bench", "pandas", "numpy") == ([], [])
    assert {"evaluate", "load_runs"} <= set(dir(vsr1_bench))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vsr1_bench.nothing


def test_a_response_without_its_sample(tmp_path: Path) -> None:
    answers(tmp_path)
    (path,) = added(tmp_path, limit=3).runs
    (path / "samples.jsonl").write_text("")
    with pytest.raises(StoreError, match="a sample that its samples journal does not have"):
        load_runs(path)


def test_the_headline_table_is_one_number_a_task_and_escaped(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\nm"
    stored_run(tmp_path / "runs", spec_of(name, "alpha", n=2), [1.0, 1.0, 1.0, 0.0], limit=2)
    stored_run(tmp_path / "runs", spec_of(name, "graded"), [0.5, 0.25])
    found = load_runs(tmp_path / "runs")
    assert list(found.headline.columns) == list(HEADLINE_COLUMNS)
    rows = {row["task"]: row for row in found.headline.to_dict("records")}
    assert rows["alpha"]["value"] == 0.75 and rows["alpha"]["scored/total"] == "4/4"
    assert rows["alpha"]["footnote"] == "partial: the first 2 samples"
    assert rows["graded"]["metric"] == "mean_grade" and rows["graded"]["value"] == 0.375
    # What a mean over all metrics would say is another number.
    every = found.scores.query("task == 'alpha'")["value"]
    assert len(every) > 2 and every.mean() != 0.75
    page = found._repr_html_()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<td>75.0</td>" in page and "<td>37.5</td>" in page
    assert set(found.scores["precision"]) == {"unknown"}
    (run,) = [run for run in found.runs if "alpha" in run.name]
    assert load_runs(run).headline["model"].tolist() == [name]


def test_results_without_scores_have_a_page_too(tmp_path: Path) -> None:
    stored_run(tmp_path / "runs", spec_of("m", "alpha"), [1.0], score=False)
    found = load_runs(tmp_path / "runs")
    assert found.headline.empty and "0 scores, incomplete" in found._repr_html_()


EVERY_KIND_OF_FLAG = {
    "model": "~/m",
    "tasks": "a,b",
    "output_path": Path("out"),
    "limit": 5,
    "blind": "drop,noise",
    "perception": True,
    "reader": "openai",
    "reader_args": {"max_tokens": 64},
    "judge": "cascade:math,openai",
    "judge_args": {"temperature": 0.5, "safety": None},
    "judge_all": True,
    "max_cost": 1.5,
    "thinking_tags": ["note", "cot"],
    "gen_kwargs": {"temperature": 1, "stop": ["END", "a,b"], "do_sample": True},
    "model_args": {"dtype": "float32", "script": Path("s.jsonl"), "flags": [1, 2], "eager": False},
    "batch_size": 4,
    "shard": (1, 4),
    "offline": False,
    "seed": 3,
    "data_root": Path("mirror"),
    "include_path": ["~/one", Path("two")],
}


def test_the_recorded_command_says_what_was_given() -> None:
    """Read as a command line, it makes the flags that `evaluate` had."""
    flags = RunFlags.of(EVERY_KIND_OF_FLAG)
    _, options = parse(["run", *command_words(EVERY_KIND_OF_FLAG)])
    assert run_flags(options) == flags
    assert flags.shard == (1, 4) and flags.perception == "self" and flags.max_cost == 1.5
    assert flags.sampling_fields()["stop"] == ("END", "a,b")


def test_the_api_knows_the_commands_flags_and_their_defaults() -> None:
    _, options = parse(["run", "--model", "m", "--tasks", "t"])
    assert vars(options).keys() == RunFlags.model_fields.keys()
    assert run_flags(options) == RunFlags(model="m", tasks="t")


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("limit", 0, "--limit 0: wanted"),
        ("shard", "4/4", "wanted i/n"),
        ("shard", (4, 4), "wanted i/n"),
        ("seed", "x", "--seed 'x': wanted"),
        ("verbosity", "loud", "--verbosity 'LOUD': wanted 'DEBUG'"),
        ("judge_args", 5, "wanted a mapping"),
        ("gen_kwargs", {"stop": [1]}, "wanted a text, or a list"),
        ("max_cost", float("nan"), "--max_cost nan: wanted"),
        ("judge_model", True, "wanted a text"),
    ],
)
def test_a_value_that_a_flag_cannot_have(flag: str, value: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RunFlags.of({"model": "m", "tasks": "t", flag: value})


def test_a_mapping_need_not_be_text() -> None:
    """A path with commas and `=`, which the command line would split, arrives whole."""
    flags = RunFlags.of({"model": "m", "tasks": "t", "model_args": {"script": Path("a,b=c/s")}})
    assert flags.backend_args() == {"script": "a,b=c/s"}
