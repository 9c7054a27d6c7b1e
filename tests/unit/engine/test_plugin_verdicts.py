"""Verdicts of plug-ins: checked where they come from, whoever reads them."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from bundles import made_run

from vsr1_bench.cli.main import main
from vsr1_bench.errors import JudgeError
from vsr1_bench.judging.runs import judge_run

RULE = """
from vsr1_bench.judge import RuleJudge
from vsr1_bench.records import Verdict


def grade(item):
    return {verdict}


JUDGE = RuleJudge("own", 1, grade, "for tests", bounded={bounded})
"""
MODEL = """
from vsr1_bench.judge import Estimate, Judged, ModelJudge, JudgeRunner
from vsr1_bench.records import Verdict


class Own(JudgeRunner):
    name, identity = "own", "0" * 64

    def judge(self, items):
        for item in items:
            yield Judged(item, {verdict})

    def estimate(self, items):
        return Estimate()

    def close(self):
        pass


JUDGE = ModelJudge("own", 1, lambda context: Own(), "for tests")
"""
WRONG = {
    'Verdict("correct", score=7.0)': "score 7.0, wanted a number from 0 to 1",
    'Verdict("correct", score=-0.01)': "score -0.01",
    'Verdict("correct", score=float("nan"))': "score nan",
    'Verdict("correct", score=True)': "score True",
    'Verdict("correct", score="1")': "score '1'",
    'Verdict("maybe")': "outcome 'maybe', wanted correct, incorrect, unscored",
}


def plugin(folder: Path, text: str) -> list[str]:
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins/own.py").write_text(text)
    return [str(folder / "plugins")]


@pytest.mark.parametrize(
    ("form", "verdict"),
    # One is enough behind a worker, which takes seconds to start.
    [*product(["rule", "model"], WRONG), ("bounded", 'Verdict("correct", score=7.0)')],
)
def test_a_verdict_that_is_none_ends_the_judging_and_is_not_stored(
    tmp_path: Path, form: str, verdict: str
) -> None:
    text = MODEL if form == "model" else RULE
    paths = plugin(tmp_path, text.format(verdict=verdict, bounded=form == "bounded"))
    run = made_run(tmp_path)
    with pytest.raises(JudgeError, match="judge 'own' gave item ") as error:
        judge_run(run, "own", paths, progress=False)
    assert WRONG[verdict] in str(error.value) and "\n" not in str(error.value)
    assert not any(path.read_text() for path in (run.path / "judgments").glob("own*"))


def test_what_is_no_verdict_at_all_from_a_model_judge(tmp_path: Path) -> None:
    paths = plugin(tmp_path, MODEL.format(verdict='"correct"'))
    with pytest.raises(JudgeError, match="str, not a Verdict"):
        judge_run(made_run(tmp_path), "own", paths, progress=False)


@pytest.mark.parametrize("score", ["None", "0", "1", "0.5", "1.0"])
def test_a_score_from_0_to_1_is_kept(tmp_path: Path, score: str) -> None:
    paths = plugin(tmp_path, MODEL.format(verdict=f'Verdict("correct", score={score})'))
    path = judge_run(made_run(tmp_path), "own", paths, progress=False)
    assert len(path.read_text().splitlines()) == 12


def test_grade_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = plugin(tmp_path, RULE.format(verdict='Verdict("correct", score=2)', bounded=False))
    line = {"id": "a", "response": "\\boxed{1}", "answer": "1"}
    (tmp_path / "in.jsonl").write_text(json.dumps(line) + "\n")
    words = ["grade", str(tmp_path / "in.jsonl"), "--judge", "own", "--include_path", *paths]
    code = main([*words, "--output", str(tmp_path / "out.jsonl")])
    assert code == 75 and "judge 'own' gave item 'a' score 2" in capsys.readouterr().err
