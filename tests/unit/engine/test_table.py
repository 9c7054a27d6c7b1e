"""Tables: what a row says, what is footnoted, what cannot break out of a cell."""

from __future__ import annotations

import json
from typing import Any

from vsr1_bench.leaderboard import render
from vsr1_bench.leaderboard.table import long_rows


def document(**changes: Any) -> dict[str, Any]:
    value = {"value": 0.625, "low": 0.5, "high": 0.75, "n": 40}
    rates = {"total": 40, "scored": 40, "unparsed": 0.05, "truncated": 0.1, "failed": 0.0}
    return {
        "model": "tiny",
        "task": "demo",
        "version": 1,
        "judge": "string_match",
        "prompt": "see_think",
        "variant": "none",
        "spec_hash": "0123456789abcdef",
        "n": 40,
        "metrics": {"accuracy": value, "accuracy_strict": {**value, "value": 0.6}},
        "rates": {**rates, "ranked": True},
        "by": {"kind": {"count": value}},
        **changes,
    }


def test_a_row_says_what_makes_the_number_believable() -> None:
    (row,) = long_rows([document()])
    assert row["value"] == "62.5" and row["95 % interval"] == "50.0 to 75.0"
    assert row["scored/total"] == "40/40" and row["n"] == "40"
    assert (row["unparsed %"], row["truncated %"], row["failed %"]) == ("5.0", "10.0", "0.0")
    assert "prompt" not in row and "spec" not in row


def test_an_underscored_cell_is_footnoted_and_strict_accuracy_shown() -> None:
    rates = {**document()["rates"], "scored": 30, "ranked": False}
    text = render([document(rates=rates)], "markdown")
    assert "62.5 †" in text and "60.0 †" in text and "30/40" in text
    assert "not to be ranked" in text
    assert "†" not in render([document()], "markdown")


def test_runs_that_differ_say_in_what() -> None:
    rows = long_rows([document(), document(prompt="cot", spec_hash="ffff")])
    assert [row["prompt"] for row in rows] == ["see_think", "cot"]
    assert not any("spec" in row for row in rows)
    seeds = long_rows([document(), document(spec_hash="ffff0000")])
    assert [row["spec"] for row in seeds] == ["01234567", "ffff0000"]


def test_groups_on_demand() -> None:
    rows = long_rows([document()], by="kind")
    assert [row["metric"] for row in rows] == ["accuracy", "accuracy [kind=count]"]


def test_a_name_cannot_break_out_of_its_cell() -> None:
    text = render([document(model="a|b\n<script>")], "markdown")
    assert len(text.splitlines()) == 3
    assert "a\\|b &lt;script>" in text


def test_json_is_the_documents_unrounded() -> None:
    assert json.loads(render([document()], "json")) == [document()]


def test_no_scores() -> None:
    assert render([], "markdown") == "(no scores)"
