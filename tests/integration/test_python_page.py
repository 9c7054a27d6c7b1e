"""docs/python.md: its blocks run as they stand, and compute what they say."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("torch", reason="the page's model is run by backend transformers")

PAGE = Path(__file__).parents[2] / "docs/python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def run_block(source: str, names: dict[str, Any]) -> list[Any]:
    """Run a block; the values of the lines that are expressions, as a notebook would show them."""
    shown = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Expr):
            expression = ast.Expression(statement.value)
            shown.append(eval(compile(expression, "python.md", "eval"), names))
        else:
            exec(compile(ast.Module([statement], []), "python.md", "exec"), names)
    return shown


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 2
    names: dict[str, Any] = {}
    shown, head, wrong, kinds, pivot, by_kind = run_block(BLOCKS[0], names)
    (score,) = tmp_path.glob("runs/tiny/demo-*/scores/string_match.json")
    metrics = json.loads(score.read_text())["metrics"]
    accuracy = metrics["accuracy"]["value"]
    assert 0.3 < accuracy < 1 and len({value["value"] for value in metrics.values()}) > 0
    assert pivot.to_numpy().tolist() == [[accuracy]]
    assert head["value"].tolist() == [accuracy] and head["metric"].tolist() == ["accuracy"]
    assert len(wrong) == round(100 * (1 - accuracy)) and isinstance(kinds, pd.Series)
    assert by_kind["value"].tolist() == [metrics["mean_by_kind"]["value"]]
    assert f"<td>{100 * accuracy:.1f}</td>" in shown._repr_html_()
    assert run_block(BLOCKS[1], names)[-1][0] == 0.25
