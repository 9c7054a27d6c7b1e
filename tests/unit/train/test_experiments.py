"""The experiments' tables say what the verdicts hold: planted differences, and who is left out."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats
from tree import ROOT, load_script

from vsr1_bench.scoring.metrics import Response, compute
from vsr1_bench.task import Metric
from vsr1_bench.tiny.priors import ANSWERS, OPENINGS, suggested
from vsr1_bench.tiny.scenes import make_row

N = 400
NAMES = ("prior", "seeing", "skill", "reader")
"""The experiments; each has a script and a folder of results of its name."""


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    return load_script("experiments/prior")


@pytest.fixture(scope="module")
def by_start() -> ModuleType:
    return load_script("experiments/by_start")


@pytest.fixture(scope="module")
def skill() -> ModuleType:
    return load_script("experiments/skill")


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    return load_script("experiments/reader")


@pytest.fixture
def stored(experiment: ModuleType) -> dict[str, Any]:
    """Every model right on half of the samples; `summed` on a tenth more, whatever the seed."""
    draw = np.random.default_rng(0)
    half = "".join("10"[i % 2] for i in range(N))
    more = "".join("1" if i % 10 == 1 else c for i, c in enumerate(half))
    runs = {}
    for name in ("start", *experiment.names()):
        one = dict.fromkeys(experiment.ENDPOINTS, half)
        one["follows"] = "".join("-10"[i] for i in draw.integers(0, 3, N))
        if name.startswith("summed"):
            one["accuracy"] = more
        runs[name] = one
    curves = {
        name: {curve: [0.1, 0.2] for curve in experiment.CURVES} for name in experiment.names()
    }
    for name in curves:
        if name.startswith("answer_only"):
            del curves[name]["reward/description_accuracy"]
    return {"task": "demo_prior", "runs": runs, "curves": curves}


def test_a_planted_difference_is_found_and_no_other(
    experiment: ModuleType, stored: dict[str, Any]
) -> None:
    runs = experiment.read_flags(stored["runs"])
    found = experiment.family(
        [experiment.contrast(runs, "answer_only", "summed", e) for e in experiment.PRIMARY]
    )
    accuracy, lsr, self_contained = found
    assert accuracy.paired.difference == pytest.approx(0.1)
    assert accuracy.by_seed == pytest.approx((0.1, 0.1, 0.1))
    assert accuracy.paired.low < 0.1 < accuracy.paired.high and accuracy.holm < 1e-6
    assert lsr.paired.difference == self_contained.paired.difference == 0
    assert lsr.holm == 1


def test_samples_that_do_not_count_are_left_out(
    experiment: ModuleType, stored: dict[str, Any]
) -> None:
    runs = experiment.read_flags(stored["runs"])
    names = [f"{o}/{s}" for o in ("answer_only", "decoupled") for s in experiment.SEEDS]
    counted = [i for i in range(N) if all(stored["runs"][n]["follows"][i] != "-" for n in names)]
    found = experiment.contrast(runs, "answer_only", "decoupled", "follows")
    assert found.paired.n == len(counted) < N


def test_the_report_stands_on_the_verdicts_alone(
    experiment: ModuleType, stored: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "verdicts.json").write_text(json.dumps(stored))
    text = experiment.report(tmp_path)
    assert "summed - answer\\_only" in text or "summed - answer_only" in text
    assert "10.0 (" in text and "+10.0 +10.0 +10.0" in text
    assert (tmp_path / "summary.md").read_text() == text
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_summary_is_what_its_verdicts_say(name: str, tmp_path: Path) -> None:
    committed = ROOT / "results" / "tiny" / name
    (tmp_path / "verdicts.json").write_bytes((committed / "verdicts.json").read_bytes())
    text = load_script(f"experiments/{name}").report(tmp_path)
    assert text == (committed / "summary.md").read_text("utf-8")


def test_the_docs_have_the_numbers_of_the_summary() -> None:
    seeing = load_script("experiments/seeing")
    stored = json.loads((ROOT / "results" / "tiny" / "seeing" / "verdicts.json").read_text("utf-8"))
    values = seeing.perceived.means(stored["runs"])
    names = {"decoupled (description)": "decoupled", "random reward": "random"}
    names["answer_only, as many tokens as summed"] = "answer_only_long"
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    table = text.split("| arm | cells |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 1 + len(seeing.ARMS)
    for line in table:
        arm, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        mean = {
            e: 100 * np.mean([values[f"{s}/{names.get(arm, arm)}"][e] for s in seeing.STARTS])
            for e in ("cells", "accuracy", "self_contained", "lsr")
        }
        assert cells[:4] == [f"{value:.1f}" for value in mean.values()], arm
        if cells[4]:
            found = seeing.against(
                values, names.get(arm, arm), "answer_only", "cells", seeing.STARTS
            )
            assert cells[4] == (
                f"{100 * found.difference:+.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"
            )


def test_the_docs_have_the_levels_of_experiment_a(skill: ModuleType) -> None:
    stored = json.loads((ROOT / "results" / "tiny" / "skill" / "verdicts.json").read_text("utf-8"))
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    right = skill.right_counts(stored)
    table = text.split("| arm | pass@1 |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 1 + len(skill.ARMS)
    for line in table:
        arm, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        names = [f"{start}/{arm}" for start in skill.STARTS]
        means = [np.mean([skill.pass_at(right[name], k) for name in names]) for k in (1, 8, 64)]
        means += [
            np.mean([stored["shares"][name][share] for name in names])
            for share in ("easy", "three_large", "right_of_three_large")
        ]
        assert cells == [f"{100 * mean:.1f}" for mean in means], arm


def test_the_docs_have_the_levels_of_experiment_c(reader: ModuleType) -> None:
    stored = json.loads((ROOT / "results" / "tiny" / "reader" / "verdicts.json").read_text("utf-8"))
    useless, kept = (reader.values_of(stored[task]) for task in reader.TASKS)
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    table = text.split("| reader | arm |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == len(reader.ARMS)
    for line in table:
        knows, arm, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        names = [f"{start}/{arm}-{knows.removesuffix(' %')}" for start in reader.STARTS]
        means = [
            100 * np.mean([values[name][endpoint] for name in names])
            for values, endpoints in (
                (useless, ("accuracy", "cells", "follows")),
                (kept, ("accuracy", "self_contained", "lsr", "blind", "dependence")),
            )
            for endpoint in endpoints
        ]
        assert cells == [f"{mean:.1f}" for mean in means], line


def test_each_panel_of_the_picture_draws_its_own_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = load_script("experiments/picture")
    stored = picture.stored

    def panels() -> list[np.ndarray]:
        picture.draw(tmp_path / "evidence.png")
        pixels = np.asarray(Image.open(tmp_path / "evidence.png").convert("L"), dtype=int)
        return np.array_split(pixels, 3, axis=1)

    changes = {  # experiment -> its verdicts, with one arm of every start like another
        "skill": ("right", "start", "rl"),
        "seeing": ("runs", "answer_only", "papo"),
        "reader": ("demo_prior", "summed-0", "start-0"),
    }
    before = panels()
    for place, (experiment, (part, arm, other)) in enumerate(changes.items()):
        verdicts = stored(experiment)
        for name in [name for name in verdicts[part] if name.endswith(f"/{arm}")]:
            verdicts[part][name] = verdicts[part][name.replace(f"/{arm}", f"/{other}")]
        monkeypatch.setattr(
            picture, "stored", lambda n, e=experiment, v=verdicts: v if n == e else stored(n)
        )
        changed = [int(np.abs(a - b).max()) > 50 for a, b in zip(before, panels(), strict=True)]
        assert changed[place], experiment


def test_arms_are_compared_start_by_start(by_start: ModuleType) -> None:
    draw = np.random.default_rng(1)
    values = {
        f"{start}/{arm}": {"cells": level + more + noise}
        for start, level in enumerate(draw.uniform(0.2, 0.8, 5))
        for arm, more, noise in (("one", 0.0, 0.0), ("two", 0.1, draw.normal(0, 0.02)))
    }
    found = by_start.against(values, "two", "one", "cells", range(5))
    a, b = ([values[f"{start}/{arm}"]["cells"] for start in range(5)] for arm in ("one", "two"))
    expected = stats.ttest_rel(b, a)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.difference == pytest.approx(0.1, abs=0.03)
    same, other = by_start.family([found, by_start.against(values, "one", "one", "cells", [0, 1])])
    assert (same.holm, other.p, other.difference) == (pytest.approx(2 * found.p), 1.0, 0.0)


def test_cells_count_at_their_place() -> None:
    world = load_script("experiments/worlds/demo_hard")
    gold = " ".join(f"row {r} : red none blue none" for r in range(1, 5))
    assert world.cells_right(gold, gold) == 1
    assert world.cells_right(gold.replace("blue", "pink", 1), gold) == 15 / 16
    assert world.cells_right("", gold) == 0
    assert world.cells_right("row 1 : red none", gold) == 2 / 16


def test_the_light_changes_pixels_alone() -> None:
    world = load_script("experiments/worlds/demo_hard")
    row, plain = world.make_hard_row("test", 3), make_row("test", 3)
    assert {k: v for k, v in row.items() if k != "image"} == {
        k: v for k, v in plain.items() if k != "image"
    }
    assert row["image"] == world.make_hard_row("test", 3)["image"] != plain["image"]
    lit, shown = (np.asarray(Image.open(io.BytesIO(r["image"])).convert("RGB"), dtype=int)
                  for r in (row, plain))  # fmt: skip
    moved = np.abs(lit - shown)
    most = 0.15 * 128 + world.CAST + world.GRAIN + 1
    assert lit.shape == shown.shape and 0 < moved.max() <= most


def test_demonstrations_hold_back_three_large_counts(skill: ModuleType) -> None:
    """They show every count and one large one at most; questions have three."""

    def large(answer: str) -> int:
        return sum(int(n) > 3 for n in answer.split())

    rows = list(skill.examples(1, 0, 256))
    replies = [row["messages"][-1]["content"] for row in rows]
    answers = [reply.split("\\boxed{")[1].rstrip("}") for reply in replies]
    assert set(map(large, answers)) == {0, 1} and {*"012345 "} == set("".join(answers))
    assert sum(not row["images"] for row in rows) == 64
    hard = [skill.make_tally_row("test", n, hard=True) for n in range(20)]
    assert all(large(row["answer"]) == 3 for row in hard)
    possible = {
        " ".join(map(str, counts))
        for counts in itertools.product(range(6), repeat=4)
        if sum(n > 3 for n in counts) >= 3 and sum(counts) < 16
    }
    assert len(possible) == 80 and {row["answer"] for row in hard} < possible  # as plan.md says
    assert all(row["description"].count(color) == int(n) for row in hard for color, n in zip(
        [w for w in row["reasoning"].split() if w.isalpha() and w != "so"],
        row["answer"].split(), strict=True))  # fmt: skip


def test_right_draws_become_examples(skill: ModuleType, tmp_path: Path) -> None:
    journal = tmp_path / "rollouts" / "rank-0.jsonl"
    journal.parent.mkdir()
    lines = [
        {"sample_id": f"train-{n:06d}", "components": {"accuracy": right}, "said": f"reply {n}"}
        for n, right in enumerate((1.0, 0.0, None, 1.0))
    ]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, second = skill.right_draws(tmp_path)
    assert [row["messages"][-1]["content"] for row in (first, second)] == ["reply 0", "reply 3"]
    question = skill.make_tally_row("train", 3, hard=True)["question"]
    assert question in second["messages"][0]["content"] and len(second["images"]) == 1


def test_pass_at_k_of_an_experiment_is_the_scorers(skill: ModuleType, tmp_path: Path) -> None:
    right = [0, 1, 5, 64]
    responses = [
        Response(str(question), {}, float(place < count))
        for question, count in enumerate(right)
        for place in range(skill.SAMPLES)
    ]
    for k in skill.KS:
        expected = compute(Metric(f"pass@{k}", "pass_at"), responses, None).value
        assert skill.pass_at(right, k) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, None),
        ({"1/rl": [20, 20, 0, 0, 0, 0, 0, 20]}, "the difference is positive"),
        ({"2/rl": [60, 0, 0, 0, 0, 0, 0, 60]}, "all starts agree"),
        ({"1/random": [40] * 8}, "`rl` exceeds `random`"),
        ({"3/rl": [12] * 8}, "pass@1 of `rl` is above 20 %"),
        ({"easy": 0.6}, "`rl` loses less than 5 points"),
    ],
)
def test_a_gain_is_claimed_only_if_every_condition_holds(
    skill: ModuleType, tmp_path: Path, change: dict[str, Any], missed: str | None
) -> None:
    usual = {arm: [0, 0, 0, 0, 0, 0, 1, 1] for arm in ("start", *skill.ARMS)}
    usual["rl"] = [20] * 8
    right = {
        f"{start}/{arm}": change.get(f"{start}/{arm}", [*some[:-1], some[-1] * (start > 1)])
        for start in skill.STARTS
        for arm, some in usual.items()
    }
    right = {name: " ".join(map(str, counts)) for name, counts in right.items()}
    shares = {name: dict.fromkeys(skill.SHARES, 0.7) for name in right}
    for name in right:
        if name.endswith("rl"):
            shares[name]["easy"] = change.get("easy", 0.68)
    stored = {"task": skill.TASK, "right": right, "shares": shares, "tokens": {"1/rl": 1000}}
    (tmp_path / "verdicts.json").write_text(json.dumps(stored))
    text = skill.report(tmp_path)
    conditions = [line for line in text.splitlines() if line.endswith((": yes", ": no"))]
    assert len(conditions) == 5
    failed = [line for line in conditions if line.endswith(": no")]
    assert any(missed in line for line in failed) if missed else not failed
    assert (tmp_path / "pass.png").stat().st_size > 1000
    assert "easy" in text and "1/rl 1,000" in text


def test_shares_of_answers(skill: ModuleType) -> None:
    said = "<description> {} </description> <think> so </think> \\boxed{{4 4 5 0}}"
    asked = pd.DataFrame({
        "response": [said.format("row 1 : red"), said.format("total 4 4 5 0"), "lost", "lost"],
        "extracted": ["4 4 5 0", "4 5 5 0", None, "4 0 5 0"],
        "correct": [1.0, 0.0, 0.0, 0.0],
    })  # fmt: skip
    easy = pd.DataFrame({
        "answer": ["0 0 1 4", "3 4 3 3", "3 3 3 3"],
        "extracted": ["0 0 1 4", "4 4 4 3", "3"],
        "correct": [1.0, 0.0, 0.0],
    })  # fmt: skip
    assert skill.shares_of(asked, easy) == {
        "easy": 0.333333,
        "three_large": 0.5,
        "three_large_easy": 0.333333,
        "right_of_three_large": 0.5,
        "three_as_four": 0.666667,
        "leaks": 0.25,
    }


@pytest.mark.parametrize("knows", [0, 50, 100])
def test_readings_teach_the_prior_as_often_as_asked(reader: ModuleType, knows: int) -> None:
    """Whatever the share, to questions of every kind."""
    rows = list(reader.examples(1, knows, 800))
    readings = [row for row in rows if not row["images"]]
    useless = sum(reader.GLANCED in row["messages"][0]["content"] for row in readings)
    assert abs(len(readings) - 200) < 50
    assert abs(useless / len(readings) - knows / 100) < (0.11 if knows == 50 else 1e-9)
    glances = [r for r in rows if r["images"] and reader.GLANCED in r["messages"][-1]["content"]]
    assert abs(len(glances) - 300) < 60
    asked = " ".join(row["messages"][0]["content"] for row in readings)
    assert all(
        words in asked for words in ("How many", "Are there more", "Which row", "Which color")
    )


def test_the_prior_is_kept_in_the_scenes_of_the_test(reader: ModuleType) -> None:
    world = load_script("experiments/worlds/demo_kept")
    rows = [world.make_kept_row(n) for n in range(400)]
    kept = [suggested("train", n, row["kind"], row["answer"]) == row["answer"]
            for n, row in enumerate(rows)]  # fmt: skip
    assert 0.85 < np.mean(kept) < 0.97
    assert [r["image"] for r in rows[:8]] == [make_row("test", n)["image"] for n in range(8)]
    assert all(
        row["question"].startswith(OPENINGS[ANSWERS[row["kind"]].index(row["answer"])])
        for row, followed in zip(rows, kept, strict=True)
        if followed
    )


def test_what_a_knowing_reader_costs(reader: ModuleType, tmp_path: Path) -> None:
    """A gain that falls from 40 points to none is told so; on the other task blind notices it."""
    draw = np.random.default_rng(0)
    half = "".join("10"[i % 2] for i in range(N))
    stored: dict[str, Any] = {task: {} for task in reader.TASKS}
    for task, name in ((task, name) for task in reader.TASKS for name in reader.names()):
        one = dict.fromkeys(reader.ENDPOINTS, half) | {"cells": "i" * N, "dependence": "0.5"}
        useful = {"summed-0": 0.4, "summed-50": 0.2}.get(name.split("/")[1], 0.0)
        right = draw.permutation(N) < N * (0.3 + useful + draw.uniform(-0.01, 0.01))
        if task == "demo_prior":
            one["accuracy"] = "".join(map(reader.mark, right))
        if name.endswith("summed-100"):
            one["blind"] = "".join(map(reader.mark, draw.permutation(N) < N * 0.9))
        stored[task][name] = one
    stored["tokens"] = dict.fromkeys(reader.names(), 1000)
    (tmp_path / "verdicts.json").write_text(json.dumps(stored))
    text = reader.report(tmp_path)

    def rows(heading: str) -> dict[str, tuple[float, float]]:
        """Contrast and endpoint -> difference, adjusted p."""
        lines = text.split(heading)[1].split("## ")[0].splitlines()
        cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
        return {
            f"{name}, {endpoint}": (float(difference.split()[0]), float(p))
            for name, endpoint, difference, _, _, p in (c for c in cells if len(c) == 6)
            if " - " in name
        }

    primary = rows("## Primary")
    assert [difference for difference, _ in primary.values()] == pytest.approx([40, 20, 0], abs=2.5)
    assert [p < 0.05 for _, p in primary.values()] == [True, True, False]
    ((difference, p),) = rows("## Secondary: how much").values()
    assert difference == pytest.approx(-40, abs=3) and p < 0.05
    notices = rows("## Secondary: what notices")
    assert len(notices) == len(reader.OUTSIDE)
    noticing = {name.split(", ")[1] for name, (_, p) in notices.items() if p < 0.05}
    assert noticing == {"blind"}
    assert notices["summed-100 - summed-0, blind"][0] == pytest.approx(40, abs=1)
    assert (tmp_path / "gain.png").stat().st_size > 1000
    assert (tmp_path / "summary.md").read_text() == text
