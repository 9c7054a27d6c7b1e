"""The record of batches: every step is there before what it announces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.generation import batch_book
from vsr1_bench.generation.base import Home
from vsr1_bench.generation.batch_book import BatchBook


def book(folder: Path, *stored: str) -> BatchBook:
    return BatchBook(Home(folder, "-x", set(stored)))


def planned(folder: Path, *keys: str) -> BatchBook:
    one = book(folder)
    for key in keys:
        assert one.add(key, json.dumps(key).encode()) is None
    assert one.planned() is not None
    return one


def test_every_step_survives(tmp_path: Path) -> None:
    with planned(tmp_path, "a", "b") as one:
        [batch] = one.open.values()
        assert (one.requests(batch)).read_text() == '"a"\n"b"\n'
    with book(tmp_path) as one:
        [batch] = one.open.values()
        assert batch.waiting == {"a", "b"} and batch.creating is None and batch.remote is None
        one.creating(batch)
    with book(tmp_path) as one:
        [batch] = one.open.values()
        assert batch.creating is not None and one.holding("a") is batch and not one.holding("c")
        one.submitted(batch, "batch_1")
    with book(tmp_path) as one:
        [batch] = one.open.values()
        assert batch.remote == "batch_1" and list(one.lines(batch)) == [b'"a"', b'"b"']
        with pytest.raises(UsageError, match="add --batch to collect it"):
            one.refuse_single("b")
        one.refuse_single("c")
        one.close_batch(batch, "collected")
    assert not list(tmp_path.iterdir()), "without open batches there is no record"


def test_a_death_before_the_plan_leaves_nothing(tmp_path: Path) -> None:
    one = book(tmp_path)
    one.add("a", b"{}")
    one.close()
    assert not list(tmp_path.iterdir())


def test_a_torn_last_line_is_as_if_it_was_never_written(tmp_path: Path) -> None:
    with planned(tmp_path, "a") as one:
        one.creating(next(iter(one.open.values())))
        path = one.folder / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with book(tmp_path) as one:
        [batch] = one.open.values()
        assert batch.creating is None
        one.creating(batch)
    assert len(path.read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    "line",
    ["{}", "[]", '{"schema": 2, "batch": "b", "event": "planned", "keys": [], "tries": {}}',
     '{"schema": 1, "batch": "b", "event": "closed"}', '{"schema": 1, "batch": "b", "event": "?"}'],
)  # fmt: skip
def test_a_damaged_record_is_an_error(tmp_path: Path, line: str) -> None:
    folder = tmp_path / ".batches-x"
    folder.mkdir()
    (folder / "journal.jsonl").write_text(line + "\n")
    with pytest.raises(StoreError, match=r"journal\.jsonl:1: "):
        book(tmp_path)


def test_batches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_book, "MOST_REQUESTS", 3)
    with book(tmp_path) as one:
        full = [one.add(f"k{n}", b"{}") for n in range(7)]
        assert [batch is not None for batch in full] == [False, False, True] * 2 + [False]
    monkeypatch.setattr(batch_book, "MOST_REQUESTS", 100)
    monkeypatch.setattr(batch_book, "MOST_BYTES", 25)
    with book(tmp_path / "bytes") as one:
        assert [one.add(f"k{n}", b"x" * 10) is None for n in range(5)] == [1, 1, 0, 1, 0]
        last = one.planned()
        assert last is not None and last.waiting == {"k4"}
        assert [len(batch.waiting) for batch in one.open.values()] == [2, 2, 1]
