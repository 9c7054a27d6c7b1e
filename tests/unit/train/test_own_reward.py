"""A reward of the user's own: refused before training, excluded during it, never a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from doc_blocks import blocks_of
from rollouts import PROMPT, SAMPLE, Echo, OneRank, recipe, scripted

from vsr1_bench.errors import UsageError
from vsr1_bench.judging.open import open_judge
from vsr1_bench.train.core.metrics import StepMetrics
from vsr1_bench.train.plan import describe
from vsr1_bench.train.rl.objectives import advantages_of, group_advantages, weighted_advantages
from vsr1_bench.train.rl.own_reward import OwnReward, RewardError, Scored, recorded
from vsr1_bench.train.rl.rollouts import Rollout, collect, note_rollouts

TAKES = "def score(text, description, reading, verdicts, sample):\n    "


def written(folder: Path, body: str, head: str = TAKES) -> str:
    path = folder / "my_reward.py"
    path.write_text(head + body + "\n")
    return f"{path}:score"


def opened(folder: Path, body: str, **changes: Any) -> OwnReward:
    spec = written(folder, body)
    own = OwnReward(spec)
    own.check(SAMPLE, recipe(reward=spec, **changes))
    return own


def rollouts(own: OwnReward, **changes: Any) -> list[Rollout]:
    told = recipe(reward=own.spec, **changes)
    with open_judge("string_match") as judge:
        engine: Any = Echo(scripted)
        return collect(engine, [(0, SAMPLE, PROMPT)], told, judge, step=1, own=own).groups[0]


def test_what_it_returns_is_the_reward(tmp_path: Path) -> None:
    """Rollout 0 is right and read right, 1 wrong, 2 has no description, 3 is truncated, 4 fails."""
    body = (
        "return {'seen': verdicts['description_accuracy'], 'blind': -(description is None),\n"
        "            'told': 0.5 * (reading is not None and sample.answer in text)}"
    )
    own = opened(tmp_path, body)
    group = rollouts(own)
    assert own.names == ("seen", "blind", "told")
    assert [r.reward for r in group] == [1.5, 1.0, -1.0, -1.0, None]
    assert group[1].components == {"seen": 1.0, "blind": 0.0, "told": 0.0}
    assert group[1].verdicts["accuracy"] == 0.0 and group[4].failure == "broken image"
    told = recipe(reward=own.spec)
    assert advantages_of(group, told)[0] == group_advantages([r.reward for r in group])
    weights = {"seen": 1.0, "blind": 1.0, "told": 0.3}
    told = recipe(reward=own.spec, objective="multi_advantage", component_weights={"told": 0.3})
    parts = {name: [r.components[name] for r in group] for name in weights}
    assert advantages_of(group, told)[0] == weighted_advantages(parts, weights)
    line = group[0].journal(1, dropped=False, advantages=(0.0, None))
    assert line["verdicts"]["accuracy"] == 1.0 and line["components"]["seen"] == 1.0
    metrics = StepMetrics()
    note_rollouts(metrics, [group])
    logged = metrics.combined(OneRank())  # type: ignore[arg-type]
    assert logged["reward/seen"] == 0.5 and logged["verdict/accuracy"] == 0.5
    # The punishment of DAPO is added to it.
    shaped = rollouts(own, overlong_tokens=2, max_tokens=4)
    assert [r.reward for r in shaped] == [1.0, 0.5, -1.5, -2.0, None]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "return {'a': 1 / len(description or '')}",
            "ZeroDivisionError: division by zero (line 2)",
        ),
        ("return {'a': 1.0} if description else None", "returned None"),
        ("return {'a' if description else 'b': 1}", "returned ['b'], at first ['a']"),
        ("return {'a': 1.0 if description else float('nan')}", "'a': nan; wanted a finite number"),
        ("return {'a': 1.0 if description else 'x'}", "'a': 'x'; wanted a finite number"),
        ("return {'a': 1.0} if description else 3", "returned int; wanted numbers by name"),
        ("import sys; return {'a': 1} if description else sys.exit(3)", "SystemExit: 3 (line 2)"),
    ],
)
def test_what_goes_wrong_excludes_a_rollout_and_is_counted(
    tmp_path: Path, body: str, why: str
) -> None:
    group = rollouts(opened(tmp_path, body))
    assert [r.reward is None for r in group] == [False, False, True, True, True]
    assert why in str(group[2].failure) and "\n" not in str(group[2].failure)
    metrics = StepMetrics()
    note_rollouts(metrics, [group])
    assert metrics.combined(OneRank())["excluded_share"] == pytest.approx(3 / 5)  # type: ignore[arg-type]
    answers, _ = advantages_of(group, recipe(reward="x.py:score"))
    assert [a is None for a in answers] == [False, False, True, True, True]


def test_it_cannot_change_what_it_is_told(tmp_path: Path) -> None:
    own = opened(tmp_path, "verdicts['accuracy'] = 9\n    return {'a': 1}")
    assert rollouts(own)[0].verdicts["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "return {'a': sample.groups['level']}",
            "KeyError: 'level' (line 2), on a recorded rollout",
        ),
        ("return None", "returned None, on a recorded rollout"),
        ("return {}", "returned dict; wanted numbers by name"),
        ("return {'a': verdicts}", "wanted a finite number by name"),
        ("return {'overlong': 1}", "overlong is the name of overlong_tokens' own"),
        ("return {'a': 1}", "component_weights ['told']: "),
    ],
)
def test_a_recorded_rollout_comes_first(tmp_path: Path, body: str, why: str) -> None:
    spec = written(tmp_path, body)
    told = recipe(reward=spec, component_weights={"told": 1}, overlong_tokens=9)
    with pytest.raises(UsageError) as error:
        OwnReward(spec).check(SAMPLE, told)
    assert why in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("def scores(**rollout):\n    ", "has no function score; did you mean scores?"),
        ("def score(text):\n    ", "got an unexpected keyword argument 'description'"),
        ("import nothing_like_it\n", "does not import: ModuleNotFoundError"),
        ("def score(:\n    ", "does not import: SyntaxError"),
        ("raise SystemExit(2)\n", "does not import: SystemExit: 2 (line 1)"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, head: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        OwnReward(written(tmp_path, "pass", head))
    assert why in str(error.value) and "\n" not in str(error.value)


def test_names_of_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "my_reward.py").write_bytes(b"\xff")
    (tmp_path / "notes.txt").write_text("")
    for spec, why in (
        ("no.py:score", "wanted FILE.py:FUNCTION"),
        (str(tmp_path / "notes.txt"), "wanted FILE.py:FUNCTION"),
        (f"{tmp_path}/notes.txt:score", "is not a Python file"),
        (f"{tmp_path}/my_reward.py:score", "cannot be read"),
    ):
        with pytest.raises(UsageError, match=why):
            OwnReward(spec)


def test_a_run_keeps_its_file_and_resumes_with_the_same_only(tmp_path: Path) -> None:
    own = opened(tmp_path, "return {'a': 1}")
    copy = tmp_path / "run" / "reward.py"
    copy.parent.mkdir()
    own.keep(copy, resumed=False)
    own.keep(copy, resumed=True)
    other = opened(tmp_path, "return {'a': 2}")
    with pytest.raises(UsageError, match="has changed since the checkpoint"):
        other.keep(copy, resumed=True)
    other.keep(copy, resumed=False)
    assert copy.read_text() == other.source


def test_the_example_of_the_page_scores_and_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = (b for b in blocks_of(Path("docs/training.md")) if b.name == "my_reward.py")
    (tmp_path / block.name).write_text(block.text)
    monkeypatch.chdir(tmp_path)
    own = OwnReward("my_reward.py:score")
    told = recipe(reward=own.spec)
    assert own.check(SAMPLE, told) == {"both": 1.0, "states_answer": 0.0}
    assert [r.reward for r in rollouts(own)] == [1.0, 0.0, 0.0, 0.0, None]
    seen = recorded(SAMPLE, reads=True)
    stated = Scored(seen.text, "The answer is 2.", seen.reading, seen.verdicts, SAMPLE)
    assert own(stated)["states_answer"] == -0.5
    assert "rollout with a right answer: both 1, states_answer -0" in describe(told, world=1)
    with pytest.raises(RewardError, match="KeyError: 'description_accuracy'"):
        own(recorded(SAMPLE, reads=False))
    failing = recipe(reward=written(tmp_path, "return {'a': sample.groups['level']}"))
    assert "training tries again with its first row" in describe(failing, world=1)
