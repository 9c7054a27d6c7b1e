"""The hub's `.eval_results`: the score of a whole run, with its bundle as the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundles import made_run
from cli import error_line, here
from huggingface_hub import parse_eval_result_entries
from picture_runs import both, run_and_score
from picture_runs import plugins as pictures

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.errors import UsageError
from vsr1_bench.export.hub import source_url
from vsr1_bench.imports.responses import ImportOptions, import_responses
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.store.run_folder import RunFolder

BUNDLE = "hf://datasets/org/results@0123abc"
SUMS = """
from vsr1_bench.records import Sample
from vsr1_bench.task import Source, Task


def to_sample(row):
    return Sample(str(row["n"]), (f"{row['n']} + 0?",), str(row["n"]), "number")


SUMS = Task(
    name="hub_sums", version=1, source=Source("org/sums", split="test"), to_sample=to_sample,
    answer_type="number", license="MIT", description="for tests",
)
"""


def whole_run(folder: Path, right: int = 3) -> RunFolder:
    """Four answers to every row of a data set of the hub."""
    (folder / "tasks").mkdir()
    (folder / "tasks/hub_sums.py").write_text(SUMS, "utf-8")
    rows = folder / "mirror/org/sums/test.jsonl"
    rows.parent.mkdir(parents=True)
    rows.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(4)))
    said = [{"id": str(n), "response": f"\\boxed{{{n if n < right else 99}}}"} for n in range(4)]
    (folder / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    paths = (str(folder / "tasks"),)
    run = import_responses(
        ImportOptions(
            "hub_sums",
            folder / "said.jsonl",
            "org/model",
            output_path=folder / "runs",
            data=DataOptions(folder / "mirror"),
            include_path=paths,
            progress=False,
        )
    )
    judge_and_score(run, None, paths, progress=False)
    return run


def hub(runs: Path, *flags: object) -> Any:
    return here("export", runs, "--format", "hub", "-o", runs.parent / "out", *flags)


def test_the_score_of_a_whole_run_with_its_bundle_as_source(tmp_path: Path) -> None:
    run = whole_run(tmp_path)
    flags = ["--include_path", tmp_path / "tasks", "--task_ids", "hub_sums=sums"]
    done = hub(run.path.parents[1], "--source", BUNDLE, *flags)
    assert done.returncode == 0, done.stderr
    path = tmp_path / f"out/org--model/.eval_results/{run.path.name}.yaml"
    assert done.stdout == f"{path}\n"
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text("utf-8")))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/sums", "sums", 75.0)
    assert entry.source_url == "https://huggingface.co/datasets/org/results/tree/0123abc"
    assert entry.date == run.meta()["updated"] and entry.verify_token is None
    assert entry.notes is not None and "judge string_match, scored 4/4" in entry.notes
    (score,) = run.scores()
    low, high = (100 * score["metrics"]["accuracy"][name] for name in ("low", "high"))
    assert f"95 % interval {low:.1f} to {high:.1f}" in entry.notes


def test_what_is_no_result_of_a_benchmark_is_refused(tmp_path: Path) -> None:
    for name, reason in {
        "part": "12 of the 1,319 rows",
        "generated": "are not a data set of the hub",
        "unjudged": "no score by 'string_match'; run: vsr1-bench judge",
        "outdated": "its score covers 2 of the 4 responses",
        "own unit": "its accuracy is in a unit of its own",
        "another judge": "no score by 'string_match'",
        "other": "no score by 'math'",
        "unscored": "only 2 of 4 responses are scored",
    }.items():
        root = tmp_path / name
        root.mkdir()
        flags: list[object] = ["--source", BUNDLE]
        if name == "part":
            run = made_run(root)
        elif name == "generated":
            run_and_score(
                root, [x for n in range(2) for x in both(n, sufficient=True, right=True)], 2
            )
            run = RunFolder(root / "runs")
            flags += ["--include_path", pictures(root)]
        else:
            run = whole_run(root)
            flags += ["--include_path", root / "tasks"]
        if name == "unjudged":
            (run.path / "scores/string_match.json").unlink()
            (next((run.path / "judgments").iterdir())).unlink()
        if name == "other":
            flags += ["--judge", "math"]
        if name in ("unscored", "outdated", "own unit", "another judge"):
            path = run.path / "scores/string_match.json"
            document = json.loads(path.read_text())
            if name == "own unit":
                document["metrics"]["accuracy"]["unit"] = "own"
            elif name == "another judge":
                document["judge"] = "exact"
            elif name == "outdated":
                document["rates"] |= {"total": 2, "scored": 2}
            else:
                document["rates"] |= {"scored": 2, "ranked": False}
            path.write_text(json.dumps(document))
        done = hub(run.path, *flags)
        assert reason in error_line(done.returncode, 2, done.stderr)
        assert not (run.path.parent / "out").exists()


def test_other_runs_are_written_when_one_is_refused(tmp_path: Path) -> None:
    whole_run(tmp_path)
    made_run(tmp_path)
    done = hub(tmp_path / "runs", "--source", BUNDLE, "--include_path", tmp_path / "tasks")
    assert done.returncode == 75 and "skipped: " in done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "address",
    ["results", "hf://models/org/x", "http://host/x", "https://user:key@host/x", "https://a b", ""],
)
def test_a_source_that_nobody_can_open_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="wanted the address of the published bundle"):
        source_url(address)


def test_flags_of_one_format(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    done = hub(run.path)
    assert "say where the runs are published: --source URL" in error_line(
        done.returncode, 2, done.stderr
    )
    done = here("export", run.path, "--format", "parquet", "--source", BUNDLE)
    assert "--source is only for --format hub" in error_line(done.returncode, 2, done.stderr)
    done = hub(run.path, "--source", BUNDLE, "--task_ids", "gsm8K=gsm8k")
    wanted = "--task_ids gsm8K: no run of this task; here: gsm8k"
    assert wanted in error_line(done.returncode, 2, done.stderr)
    done = here("export", run.path, "--format", "hub", "--task_ids", "x")
    assert "wanted TASK=ID" in error_line(done.returncode, 2, done.stderr)
    assert source_url("https://host.example/b/?key=1#x") == "https://host.example/b/"
