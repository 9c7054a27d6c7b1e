"""Journals of a training: what a resumed run makes again is dropped, however much there is."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from vsr1_bench.errors import StoreError
from vsr1_bench.train.core.metrics import forget_after


def test_steps_after_a_checkpoint_are_forgotten_line_by_line(tmp_path: Path) -> None:
    """In a small part of the memory that the journal would fill."""
    path = tmp_path / "rank-0.jsonl"
    lines = [json.dumps({"step": n, "said": "word " * 4000}) + "\n" for n in range(1, 401)]
    path.write_text("".join(lines))
    tracemalloc.start()
    forget_after(path, 390)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    left = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["step"] for record in left] == list(range(1, 391))
    assert peak < path.stat().st_size / 20
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_journal_without_later_steps_stays_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    forget_after(path, 0)
    assert not path.exists()
    path.write_text('{"step": 1}\n')
    before = path.stat().st_ino
    forget_after(path, 1)
    assert path.stat().st_ino == before


def test_a_damaged_journal_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 9}\nno record\n')
    with pytest.raises(StoreError, match=r"metrics\.jsonl:3"):
        forget_after(path, 1)
    assert path.read_text() == '{"step": 1}\n{"step": 9}\nno record\n'
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
