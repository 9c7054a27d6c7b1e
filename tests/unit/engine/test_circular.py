"""CircularEval: the options in every order, and what a run of them adds to a score."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import script

from vsr1_bench.data.circular import (
    FIXED_OPTIONS,
    NO_GOLD,
    NO_OPTIONS,
    REFERS,
    CircularData,
    fixed,
    rotated,
)
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import UsageError
from vsr1_bench.leaderboard import render
from vsr1_bench.leaderboard.shortcuts import fold_blind
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.pipeline.stream import TaskRun
from vsr1_bench.publish.gold_answers import matching_data
from vsr1_bench.publish.verify import differences
from vsr1_bench.records import LETTERS, EncodedImage, ImagePlace, Sample
from vsr1_bench.registry import get_task
from vsr1_bench.report.task_runs import runs_by_task
from vsr1_bench.scoring.circular import CIRCULAR_METRICS, position_bias
from vsr1_bench.scoring.metrics import Response, compute
from vsr1_bench.scoring.runs import judge_and_score, score_document
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Metric

PLUGIN = '''
"""Multiple choice: 4 options, 2 at every third question; every fifth question is free-form."""

from vsr1_bench.errors import RowError
from vsr1_bench.records import Sample
from vsr1_bench.task import Procedural, Task


def to_sample(row):
    n = row["n"]
    if n == 7:
        raise RowError("broken")
    if n % 5 == 4:
        return Sample(f"q{n}", (f"Count {n}.",), "3", "number")
    options = ("red", "blue") if n % 3 == 2 else ("red", "blue", "green", "pink")
    return Sample(
        f"q{n}", (f"Which {n}?",), "ABCD"[n % len(options)], "choice",
        choices=options, groups={"figure": f"f{n // 2}"},
    )


def free(row):
    return Sample(f"q{row['n']}", ("Count.",), "3", "number")


def task(name, mapper, answer_type, cluster=None):
    return Task(
        name=name, version=1, source=Procedural(lambda n: {"n": n}, 12, name), to_sample=mapper,
        answer_type=answer_type, license="Apache-2.0", description="for tests", cluster=cluster,
    )


QUIZ = task("quiz", to_sample, None)
FIGURES = task("quiz_figures", to_sample, None, "figure")
FREE = task("free", free, "number")
'''
OPTIONS = Sample("s", ("Which?",), "B", "choice", choices=("w", "x", "y", "z"))


def plugins(folder: Path) -> str:
    path = folder / "plugins"
    path.mkdir(exist_ok=True)
    (path / "quiz.py").write_text(PLUGIN, "utf-8")
    return str(path)


def options(folder: Path, lines: list[dict[str, Any]], limit: int, **more: Any) -> RunOptions:
    fields: dict[str, Any] = {
        "model": "m",
        "tasks": "quiz",
        "output_path": folder / "runs",
        "backend": "scripted",
        "model_args": {"script": str(script(folder / "script.jsonl", *lines))},
        "limit": limit,
        "include_path": (plugins(folder),),
        "progress": False,
        "circular": True,
    }
    return RunOptions(**(fields | more))


def score(runs: list[TaskRun], folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for run in sorted(runs, key=lambda run: not run.blind):
        document = judge_and_score(run.folder, None, (plugins(folder),), progress=False)
        found[run.spec.variant] = document
    return found


def says(name: str, letter: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "response": f"\\boxed{{{letter}}}", **more}


def golds(n: int, count: int) -> dict[str, str]:
    """Id -> gold letter, of a question in all orders."""
    first = {f"q{n}": LETTERS[n % count]}
    return first | {f"q{n}@{by}": LETTERS[(n - by) % count] for by in range(1, count)}


def test_the_gold_answer_moves_with_its_option() -> None:
    parts = (("w",), (ImagePlace(0),), ("y",), ("z",))
    sample = replace(OPTIONS, choice_parts=parts, images=(EncodedImage(data=b"x"),))
    orders = [sample, *(rotated(sample, by) for by in (1, 2, 3))]
    assert orders[1].choices == ("x", "y", "z", "w") and orders[1].answer == "A"
    assert orders[3].choices == ("z", "w", "x", "y") and orders[3].answer == "C"
    for one in orders:
        assert one.choices and one.choice_parts
        assert one.choices[LETTERS.index(one.answer)] == "x"
        assert one.choice_parts[LETTERS.index(one.answer)] == (ImagePlace(0),)
        assert one.images == sample.images and one.question == sample.question
    for at in range(4):  # each option is at each position once
        assert {one.choices[at] for one in orders if one.choices} == {"w", "x", "y", "z"}
    assert [one.id for one in orders] == ["s", "s@1", "s@2", "s@3"]
    assert orders[2].groups == {"circular_of": "s", "rotation": "2/4"}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, None),
        ({"choices": None}, NO_OPTIONS),
        ({"choices": ("one",)}, NO_OPTIONS),
        ({"choices_in_image": True}, FIXED_OPTIONS),
        ({"answer": "E"}, NO_GOLD),
        ({"answer": "AB"}, NO_GOLD),
        ({"answer": ""}, NO_GOLD),
        ({"choices": ("w", "x", "Both A and B")}, REFERS),
        ({"choices": ("w", "x", "A, B and C.")}, REFERS),
        ({"choices": ("w", "x", "A bus and B roads")}, None),
    ],
)
def test_why_options_cannot_change_places(changed: dict[str, Any], why: str | None) -> None:
    assert fixed(replace(OPTIONS, **changed)) == why


def test_a_larger_limit_only_adds_orders(tmp_path: Path) -> None:
    data = open_data(get_task("quiz", (plugins(tmp_path),)), DataOptions())
    few, whole = (CircularData(data, n, progress=False) for n in (5, None))
    found = [dict(one.placed_samples(unusable=lambda *_: None)) for one in (few, whole)]
    assert found[1].items() >= found[0].items() and len(found[1]) > len(found[0])
    assert [one.id for one in found[0].values()] == [
        *("q0@1", "q0@2", "q0@3", "q1@1", "q1@2", "q1@3", "q2@1", "q3@1", "q3@2", "q3@3", "q4"),
    ]
    assert len(whole) == len(found[1]) + 1  # q7 cannot be read, and has a place of its own
    assert (few.rotatable, whole.rotatable) == (4, 9)


def quiz_lines() -> list[dict[str, Any]]:
    """Of q0 to q3: q0 and q2 always right, q1 right only at A, q3 wrong in one order."""
    right = golds(0, 4) | golds(2, 2) | golds(3, 4) | {"q3@2": "D"}
    return [
        says(name, letter) for name, letter in (right | dict.fromkeys(golds(1, 4), "A")).items()
    ]


def test_a_question_is_right_if_it_is_right_in_every_order(tmp_path: Path) -> None:
    runs = generate(options(tmp_path, [*quiz_lines(), says("q4", "3")], 5))
    assert {run.spec.variant: run.skipped for run in runs} == {
        "none": {},
        "circular": {NO_OPTIONS: 1},
    }
    documents = score(runs, tmp_path)
    document = documents["none"]
    part = document["circular"]
    assert (part["n"], part["uncounted"], part["left_out"]) == (4, 0, {NO_OPTIONS: 1})
    # In the first order: q0, q2 and q3 of the four; q1 says A, and B is right.
    assert part["accuracy"]["value"] == 0.75
    assert document["metrics"]["accuracy"]["value"] == 0.8  # with q4
    units = [Response(f"q{n}", {}, float(n in (0, 2))) for n in range(4)]
    wanted = compute(Metric("accuracy"), units, None)
    value = document["metrics"]["circular_accuracy"]
    assert (value["value"], value["low"], value["high"], value["n"]) == (
        *(0.5, pytest.approx(wanted.low), pytest.approx(wanted.high), 4),
    )
    positions = {letter: one["value"] for letter, one in part["by_position"].items()}
    # q3's gold is D; two options further it is B, where q1 is wrong, too.
    assert positions == {"A": 1.0, "B": 0.5, "C": 2 / 3, "D": 2 / 3}
    assert document["metrics"]["position_bias"] == part["position_bias"]
    rates = documents["circular"]["rates"]
    assert (rates["scored"], rates["total"]) == (10, 10)


def test_the_table_shows_the_metrics_in_the_runs_own_rows(tmp_path: Path) -> None:
    documents = score(generate(options(tmp_path, quiz_lines(), 4)), tmp_path)
    assert fold_blind(list(documents.values())) == [documents["none"]]
    text = render(list(documents.values()), "markdown")
    assert "circular_accuracy" in text and "position_bias" in text
    # Too few verdicts on the other orders must not be overlooked.
    documents["circular"]["rates"] |= {"ranked": False}
    assert len(fold_blind(list(documents.values()))) == 2


def test_the_run_itself_is_the_same_with_and_without(tmp_path: Path) -> None:
    plain = generate(options(tmp_path, quiz_lines(), 4, circular=False))
    both = generate(options(tmp_path, quiz_lines(), 4))
    assert [run.spec.variant for run in both] == ["none", "circular"]
    assert both[0].folder.path == plain[0].folder.path
    assert [run.reused for run in both] == [4, 0]
    document = score(plain, tmp_path)["none"]  # nobody has judged the other orders yet
    assert "circular" not in document and "position_bias" not in document["metrics"]


def test_shards_and_a_larger_limit_ask_what_one_run_asks(tmp_path: Path) -> None:
    lines = [*quiz_lines(), says("q4", "3")]
    for number in ("whole", "parts"):
        (tmp_path / number).mkdir()
    whole = generate(options(tmp_path / "whole", lines, 5))[1]
    generate(options(tmp_path / "parts", lines, 3))
    for shard in ((0, 2), (1, 2)):
        part = generate(options(tmp_path / "parts", lines, 5, shard=shard))[1]
    assert part.folder.generations().keys() == whole.folder.generations().keys()
    assert part.folder.skipped() == whole.folder.skipped()


def test_questions_without_a_verdict_on_every_order_are_counted(tmp_path: Path) -> None:
    lines = [line for line in quiz_lines() if line["id"] != "q0@2"]
    failed = {"id": "q0@2", "error": "no luck"}
    documents = score(generate(options(tmp_path, [*lines, failed], 4)), tmp_path)
    part = documents["none"]["circular"]
    assert (part["n"], part["uncounted"]) == (3, 1)
    assert part["circular_accuracy"]["value"] == pytest.approx(1 / 3)


def test_several_responses_count_by_the_share_right_in_every_order(tmp_path: Path) -> None:
    gold = golds(0, 4)
    lines = [says(name, letter, index=i) for name, letter in gold.items() for i in range(4)]
    lines[5] = says("q0@1", "A", index=1)  # the second response is wrong in one order
    several = {"n": 4, "temperature": 1.0}
    documents = score(generate(options(tmp_path, lines, 1, gen_kwargs=several)), tmp_path)
    assert documents["none"]["metrics"]["circular_accuracy"]["value"] == 0.75


def test_clusters_of_the_task_are_kept_together(tmp_path: Path) -> None:
    runs = generate(options(tmp_path, quiz_lines(), 4, tasks="quiz_figures"))
    value = score(runs, tmp_path)["none"]["metrics"]["circular_accuracy"]
    units = [Response(f"q{n}", {"figure": f"f{n // 2}"}, float(n in (0, 2))) for n in range(4)]
    wanted = compute(Metric("accuracy"), units, "figure")
    assert (value["low"], value["high"]) == pytest.approx((wanted.low, wanted.high))


def test_the_orders_of_a_question_are_one_cluster_of_their_own_run(tmp_path: Path) -> None:
    circular = score(generate(options(tmp_path, quiz_lines(), 4)), tmp_path)["circular"]
    right = {0: (1, 1, 1), 1: (1, 0, 0), 2: (1,), 3: (1, 0, 1)}
    units = [
        Response(f"q{n}@{by}", {"of": f"q{n}"}, float(one))
        for n, found in right.items()
        for by, one in enumerate(found, start=1)
    ]
    wanted = compute(Metric("accuracy"), units, "of")
    found = circular["metrics"]["accuracy"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )


def test_a_task_without_options_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UsageError, match="no sample of free has options that can change places"):
        generate(options(tmp_path, [], 4, tasks="free"))
    with caplog.at_level(logging.WARNING):
        runs = generate(options(tmp_path, quiz_lines(), 4, tasks="free,quiz"))
    assert "task free has no options that can change places" in caplog.text
    assert [(run.task.name, run.spec.variant) for run in runs] == [
        ("free", "none"),
        ("quiz", "none"),
        ("quiz", "circular"),
    ]


def test_gold_answers_that_were_withheld_come_from_the_same_orders(tmp_path: Path) -> None:
    run = generate(options(tmp_path, quiz_lines(), 4))[1]
    data = matching_data(run.folder, DataOptions(), (plugins(tmp_path),))
    found = dict(data.samples(run.folder.wanted()))
    assert found == RunFolder(run.folder.path).placed_samples()


def test_the_report_shows_the_orders_only_by_themselves(tmp_path: Path) -> None:
    runs = [run.folder for run in generate(options(tmp_path, quiz_lines(), 4))]
    shown = [[one.spec.variant for one in runs_by_task(which, [], {}, None)["quiz"]] for which in
             (runs, runs[1:])]  # fmt: skip
    assert shown == [["none"], ["circular"]]


def test_a_bundle_without_the_orders_states_what_cannot_be_checked(tmp_path: Path) -> None:
    runs = generate(options(tmp_path, quiz_lines(), 4))
    stated = score(runs, tmp_path)["none"]
    without = {name: value for name, value in stated.items() if name != "circular"}
    kept = {n: v for n, v in stated["metrics"].items() if n not in CIRCULAR_METRICS}
    assert not list(differences(stated, {**without, "metrics": kept}))
    (run, name) = (runs[0].folder, stated["judge"])
    wrong = json.loads(json.dumps(stated))
    wrong["circular"]["circular_accuracy"]["value"] = 0.9
    (found,) = differences(wrong, score_document(run, name, (plugins(tmp_path),)))
    assert found[0] == ("circular", "circular_accuracy", "value")


def test_withheld_gold_answers_keep_what_was_published_of_positions(tmp_path: Path) -> None:
    runs = generate(options(tmp_path, quiz_lines(), 4))
    stated = score(runs, tmp_path)["none"]
    folder = runs[0].folder
    meta = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps(meta | {"withheld": ["answer"]}))
    again = score_document(RunFolder(folder.path), stated["judge"], (plugins(tmp_path),))
    assert again["circular"] == stated["circular"]
    assert again["metrics"]["position_bias"] == stated["metrics"]["position_bias"]


def drawn(effects: list[float], n: int, seed: int) -> list[Any]:
    """Verdicts by position on n questions of different difficulty."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.3, 0.7, size=(n, 1)) + np.array(effects)
    return list((rng.random((n, len(effects))) < chance).astype(float))


@pytest.mark.parametrize("effects", [[0.0] * 4, [0.2, 0.0, -0.1, -0.1], [0.15, -0.15]])
def test_position_bias_is_not_made_by_noise_and_its_interval_holds(effects: list[float]) -> None:
    truth = float(np.std(effects))
    names = [str(n) for n in range(60)]
    found = [position_bias(drawn(effects, 60, seed), names) for seed in range(150)]
    covered = [one.low <= truth <= one.high for one in found]  # type: ignore[operator]
    assert np.mean(covered) > 0.9
    # Its square is unbiased up to the cut at 0.
    assert np.mean([(one.value or 0) ** 2 for one in found]) == pytest.approx(truth**2, abs=2e-3)


def test_position_bias_is_the_deviation_of_recalls() -> None:
    effects = [0.2, 0.0, -0.1, -0.1]
    shares = drawn(effects, 20_000, 0)
    value = position_bias(shares, [str(n) for n in range(len(shares))])
    recalls = np.mean(shares, axis=0)
    assert value.value == pytest.approx(np.std(recalls), abs=1e-3)
    # Copies of the questions in their clusters add nothing.
    twice = position_bias(shares[:100] * 2, [str(n) for n in range(100)] * 2)
    once = position_bias(shares[:100], [str(n) for n in range(100)])
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high))


def test_position_bias_of_a_model_that_says_a(tmp_path: Path) -> None:
    always = position_bias([np.array([1.0, 0, 0, 0])] * 10, [str(n) for n in range(10)])
    assert always.value == pytest.approx(np.std([1, 0, 0, 0])) and always.low is None
    never = position_bias([np.ones(4)] * 10, [str(n) for n in range(10)])
    assert (never.value, never.low, never.n) == (0.0, None, 10)
    assert position_bias([np.ones(4)] * 2, ["a", "b"]).value is None
