"""`compare`: what is paired, what is left out, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scored import spec_of, stored_run, tasks_folder
from statsmodels.stats.contingency_tables import mcnemar

from vsr1_bench.cli.main import main
from vsr1_bench.compare.compare import Comparison, compare_runs
from vsr1_bench.errors import UsageError

RIGHT, WRONG = 1.0, 0.0


def compare(root: Path, *paths: Path, **options: Any) -> list[Comparison]:
    return compare_runs(paths, include_path=[str(tasks_folder(root))], progress=False, **options)


def test_a_difference_is_the_later_minus_the_earlier(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, 80).astype(float), rng.integers(0, 2, 80).astype(float)
    one = stored_run(tmp_path / "runs", spec_of("a", "alpha"), list(a))
    other = stored_run(tmp_path / "runs", spec_of("b", "alpha"), list(b))
    (found,) = compare(tmp_path, one.path, other.path)
    assert found.paired.difference == pytest.approx(b.mean() - a.mean())
    assert (found.first, found.second) == ("a (cot)", "b (cot)")
    table = [[int(((a == i) & (b == j)).sum()) for j in (1, 0)] for i in (1, 0)]
    assert found.paired.mcnemar == pytest.approx(float(mcnemar(table, exact=True).pvalue))
    assert found.paired.wins == int((b > a).sum()) == sum(f.second > f.first for f in found.flips)
    assert len(found.flips) == found.paired.wins + found.paired.losses
    assert found.left_out == {} and found.judge == "string_match"


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    one = stored_run(tmp_path / "runs", spec_of("a", "alpha"), [None, RIGHT, WRONG, RIGHT, RIGHT])
    other = stored_run(tmp_path / "runs", spec_of("b", "alpha"), [None, None, RIGHT])
    (found,) = compare(tmp_path, one.path, other.path)
    assert found.paired.n == 1 and [flip.sample_id for flip in found.flips] == ["q2"]
    assert found.left_out == {
        "only in the first": 2,
        "no verdict in the first": 1,
        "no verdict in the second": 1,
    }


def test_samples_whose_question_changed_are_left_out(tmp_path: Path) -> None:
    one = stored_run(tmp_path / "runs", spec_of("a", "alpha"), [RIGHT, WRONG, RIGHT])
    spec = spec_of("b", "alpha")
    data = spec.data.model_copy(update={"fingerprint": "another"})
    other = stored_run(
        tmp_path / "runs", spec.model_copy(update={"data": data}), [RIGHT, RIGHT, WRONG]
    )
    lines = (other.path / "samples.jsonl").read_text().splitlines()
    lines[1] = lines[1].replace("question 1", "another question")
    (other.path / "samples.jsonl").write_text("\n".join(lines) + "\n")
    (found,) = compare(tmp_path, one.path, other.path)
    assert found.paired.n == 2
    assert found.left_out == {"the question or its answer changed": 1}


def test_folders_pair_task_by_task_with_holm_over_them(tmp_path: Path) -> None:
    for name, verdicts in (("a", [WRONG] * 30), ("b", [RIGHT] * 20 + [WRONG] * 10)):
        for task in ("alpha", "beta"):
            stored_run(tmp_path / name, spec_of(name, task), verdicts)
    stored_run(tmp_path / "b", spec_of("b", "figures"), [RIGHT] * 3)
    found = compare(tmp_path, tmp_path / "a", tmp_path / "b")
    assert [one.task for one in found] == ["alpha", "beta"]
    assert [one.holm for one in found] == pytest.approx([2 * one.paired.p_value for one in found])


def test_three_runs_are_compared_in_each_pair(tmp_path: Path) -> None:
    paths = [
        stored_run(
            tmp_path / "runs", spec_of("m", "alpha", seed=s), [float(s > i) for i in range(4)]
        )
        for s in range(3)
    ]
    found = compare(tmp_path, *(run.path for run in paths))
    assert [(one.first[-6:-1], one.second[-6:-1]) for one in found] == [
        ("seed=0", "seed=1"),
        ("seed=0", "seed=2"),
        ("seed=1", "seed=2"),
    ] or [one.first for one in found] == ["m (cot, seed=0)", "m (cot, seed=0)", "m (cot, seed=1)"]


def test_several_responses_are_a_share_without_mcnemar(tmp_path: Path) -> None:
    one = stored_run(tmp_path / "runs", spec_of("a", "alpha", n=2), [1.0, 0.0, 0.0, 0.0])
    other = stored_run(tmp_path / "runs", spec_of("b", "alpha", n=2), [1.0, 1.0, 0.0, 0.0])
    (found,) = compare(tmp_path, one.path, other.path)
    assert found.paired.mcnemar is None and found.paired.difference == 0.25
    assert found.flips[0].first == 0.5 and found.flips[0].second == 1.0


def test_refused_with_the_reason(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    alpha = stored_run(runs, spec_of("a", "alpha"), [RIGHT, WRONG])
    beta = stored_run(runs, spec_of("a", "beta"), [RIGHT, WRONG])
    with pytest.raises(UsageError, match="runs of different tasks"):
        compare(tmp_path, alpha.path, beta.path)

    graded = [
        stored_run(runs, spec_of(name, "graded"), [0.5, 1.0], judge="labels") for name in "ab"
    ]
    with pytest.raises(UsageError, match="gives grades between 0 and 1"):
        compare(tmp_path, *(run.path for run in graded))

    labels = stored_run(runs, spec_of("b", "alpha"), [RIGHT, WRONG], judge="labels")
    with pytest.raises(UsageError, match="no judge has judged all runs"):
        compare(tmp_path, alpha.path, labels.path)

    newer = stored_run(runs, spec_of("c", "alpha"), [RIGHT, WRONG], identity="1" * 8)
    with pytest.raises(UsageError, match="different versions or models"):
        compare(tmp_path, alpha.path, newer.path)

    unscored = stored_run(runs, spec_of("d", "alpha"), [None, None])
    with pytest.raises(UsageError, match="no sample in common"):
        compare(tmp_path, alpha.path, unscored.path)

    blind = spec_of("a", "alpha").model_copy(update={"variant": "drop"})
    twin = stored_run(tmp_path / "twins", blind, [WRONG, WRONG])
    stored_run(tmp_path / "twins", spec_of("a", "alpha"), [RIGHT, WRONG])
    (found,) = compare(tmp_path, tmp_path / "twins", twin.path)
    assert (found.paired.first, found.paired.second) == (0.5, 0.0)  # the one that sees, its twin

    with pytest.raises(UsageError, match="several runs of alpha; name one"):
        compare(tmp_path, runs, alpha.path)

    spec = spec_of("e", "alpha")
    other_version = spec.model_copy(update={"task": spec.task.model_copy(update={"version": 2})})
    old = stored_run(runs, other_version, [RIGHT, WRONG], score=False)
    with pytest.raises(UsageError, match="version 2"):
        compare(tmp_path, alpha.path, old.path)


def test_the_command_prints_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = [{"figure": f"f{i // 3}"} for i in range(60)]
    one = stored_run(tmp_path / "runs", spec_of("a|b", "figures"), [WRONG] * 60, groups=groups)
    other = stored_run(
        tmp_path / "runs", spec_of("<c>", "figures"), [RIGHT] * 30 + [WRONG] * 30, groups=groups
    )
    words = ["compare", str(one.path), str(other.path), "--verbosity", "ERROR"]
    words += ["--include_path", str(tasks_folder(tmp_path))]
    assert main([*words, "--flips", "2"]) == 0
    text = capsys.readouterr().out
    assert "60 (20 clusters)" in text and "+50.0" in text and "sign flips of clusters" in text
    assert "would give: figures ≤ 0.0001" in text and "28 more" in text
    assert "A = a\\|b" in text and "&lt;c>" in text
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (found,) = document["comparisons"]
    assert found["paired"]["clusters"] == 20 and len(found["flips"]) == 30
    assert main(["compare", str(one.path)]) == 2
    assert "wanted at least two runs" in capsys.readouterr().err


def test_a_copied_folder_pairs_too(tmp_path: Path) -> None:
    one = stored_run(tmp_path / "runs", spec_of("a", "alpha"), [RIGHT, WRONG, RIGHT])
    copied = shutil.copytree(one.path, tmp_path / "elsewhere" / "run")
    (found,) = compare(tmp_path, one.path, copied)
    assert found.paired.difference == 0 and found.paired.ties == 3


def _said(root: Path, *paths: Path, capsys: pytest.CaptureFixture[str]) -> str:
    words = ["--include_path", str(tasks_folder(root)), "--verbosity", "ERROR"]
    assert main(["compare", *map(str, paths), *words]) == 0
    return capsys.readouterr().out


def test_a_run_and_its_rerun_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = stored_run(tmp_path / "runs", spec_of("m", "alpha"), [RIGHT] * 9 + [WRONG])
    again = stored_run(tmp_path / "reruns", spec_of("m", "alpha"), [RIGHT] * 8 + [WRONG] * 2)
    text = _said(tmp_path, one.path, again.path, capsys=capsys)
    assert text.startswith(f"A = m (cot), {one.path}  \nB = m (cot), {again.path}\n")
    assert "| B − A " in text


def test_more_runs_than_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [
        stored_run(tmp_path / "runs", spec_of(f"m{i:02}", "alpha"), [RIGHT, WRONG]).path
        for i in range(28)
    ]
    text = _said(tmp_path, *paths, capsys=capsys)
    assert "Z = m25 (cot)" in text and "AB = m27 (cot)" in text and "| AB − AA " in text


def test_a_task_that_only_later_folders_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, tasks in (("a", ("alpha",)), ("b", ("alpha", "beta")), ("c", ("beta",))):
        for task in tasks:
            stored_run(tmp_path / folder, spec_of(folder, task), [RIGHT, WRONG])
    paths = [tmp_path / name for name in "abc"]
    found = compare(tmp_path, *paths)
    assert [(one.task, one.first_place, one.second_place) for one in found] == [
        ("alpha", 0, 1),
        ("beta", 1, 2),
    ]
    text = _said(tmp_path, *paths, capsys=capsys)
    assert f"Not all have alpha: there is no run of it in {paths[2]}." in text
    assert "| B − A " in text and "| C − B " in text


def test_samples_beyond_a_smaller_limit_are_left_out(tmp_path: Path) -> None:
    one = stored_run(tmp_path / "runs", spec_of("a", "alpha"), [RIGHT] * 10)
    other = stored_run(tmp_path / "runs", spec_of("b", "alpha"), [RIGHT] * 10)
    one.write_meta(one.spec(), 4, {"limit": 4})  # all ten stay stored
    (found,) = compare(tmp_path, one.path, other.path)
    assert found.paired.n == 4 and found.left_out == {"only in the second": 6}


def test_the_judge_is_named_as_it_is_stored(tmp_path: Path) -> None:
    name = "cascade:math,openai[org/M]"
    paths = [
        stored_run(tmp_path / "runs", spec_of(model, "alpha"), [RIGHT, WRONG], judge=name).path
        for model in "ab"
    ]
    for judge in (None, "cascade", "cascade:math,openai", name):
        (found,) = compare(tmp_path, *paths, judge=judge)
        assert found.judge == name
