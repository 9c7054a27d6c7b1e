"""Gold answers that the answers of several models speak against."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli import here
from scored import spec_of, stored_run
from tree import load_script

from vsr1_bench.audit.golds import SUSPECT, abilities, doubts
from vsr1_bench.audit.items import Item, item_of
from vsr1_bench.records import Sample


def choice(name: str, gold: str = "A") -> Item:
    return item_of(0, Sample(name, ("?",), gold, "choice", choices=tuple("wxyz")), ())


def asked(rows: dict[str, str]) -> tuple[list[Item], list[dict[str, str | None]], list[set[str]]]:
    """Items with gold answer A, and the answers of the runs, one letter each; - = unread."""
    items = [choice(name) for name in rows]
    runs = range(len(next(iter(rows.values()))))
    answers = [{n: None if row[r] == "-" else row[r] for n, row in rows.items()} for r in runs]
    return items, answers, [{n for n, row in rows.items() if row[r] == "A"} for r in runs]


# The first run is right on half of the plain items, the last on all.
PLAIN = {f"plain{n}": "A" * 6 if n % 2 else "BCDAAA" for n in range(40)}


def test_what_the_answers_say() -> None:
    rows = {**PLAIN, "wrong": "CBBBBB", "hard": "BCDBCA", "odd": "AAABDC", "all": "B" * 6}
    rows |= {"unread": "------", "sound": "AAAAAA"}
    found = {doubt.id: doubt for doubt in doubts(*asked(rows))}
    assert found["wrong"].suspect > 0.9 and found["wrong"].rival == "B"
    assert found["all"].suspect > 0.9 and found["all"].unanimous and found["all"].dead
    # Everybody errs differently, or gives no answer: nothing is said against the gold answer.
    for name in ("hard", "sound", "unread", "plain0"):
        assert found[name].suspect < SUSPECT, name
    assert found["unread"].rival is None and not found["unread"].unanimous
    assert found["odd"].against and found["odd"].outfit > 2
    assert found["sound"].dead and not found["sound"].against
    assert not found["plain0"].against and found["plain0"].outfit < 1


def test_abilities_follow_accuracies() -> None:
    theta = abilities(np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert theta[2] == pytest.approx(0, abs=1e-6) and theta[1] == pytest.approx(-theta[3])
    assert np.isfinite(theta).all() and (np.diff(theta) > 0).all()


def test_items_without_a_verdict_of_each_run_do_not_count() -> None:
    items, answers, hits = asked(PLAIN)
    del answers[2]["plain3"]
    assert "plain3" not in {doubt.id for doubt in doubts(items, answers, hits)}
    assert doubts(items[:1], [{}, {}], [set(), set()]) == []


def test_planted_wrong_golds_are_found() -> None:
    """Most suspects are planted, and most planted ones are suspects."""
    items, answers, hits, wrong = load_script("simulate_audit").answered(400, 8, 0.05, 1, 0.0)
    suspects = {d.id for d in doubts(items, answers, hits) if d.suspect >= SUSPECT}
    found = len(suspects & wrong)
    assert found >= 0.8 * len(suspects) and found >= 0.7 * len(wrong)


TASK = """
from vsr1_bench.records import Sample
from vsr1_bench.task import Procedural, Task

GIVEN = Task(
    name="given",
    version=1,
    source=Procedural(lambda n: {"n": n}, 8, "1"),
    to_sample=lambda row: Sample(f"q{row['n']}", ("?",), "A", "choice", choices=tuple("wxyz")),
    answer_type="choice",
    license="",
    description="for tests of audits",
)
"""


def test_the_page(tmp_path: Path) -> None:
    plugins, root = tmp_path / "plugins", tmp_path / "runs"
    plugins.mkdir()
    (plugins / "given.py").write_text(TASK)
    for n in range(5):
        # Wherever a response is wrong, its answer is B: all runs against the gold answer of q0.
        verdicts = [0.0, *(float(i <= n + 5) for i in range(1, 8))]
        stored_run(root, spec_of(f"m{n}", "given"), verdicts, score=False)
    flags = ["--include_path", plugins, "-o", tmp_path]
    done = here("audit", "given", "--runs", root, *flags)
    assert done.returncode == 0, done.stderr
    assert "gold answers are suspect" in done.stdout, done.stdout
    golds = json.loads((tmp_path / "given.json").read_text())["golds"]
    assert (golds["n"], golds["all_right"], golds["all_wrong"]) == (8, 5, 1)
    first = golds["suspects"][0]
    assert (first["id"], first["rival"]) == ("q0", "B")
    done = here("audit", "given", "--runs", root / "m0", root / "m1", *flags)
    assert done.returncode == 0
    assert "2 judged runs of given; wanted at least 5" in (tmp_path / "given.md").read_text()
