"""JSON rows: types stay those of the row, what cannot be read names file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from vsr1_bench.data.json_rows import MOST_FIELDS, JsonTable
from vsr1_bench.errors import RowError, TaskError


def written(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def read(*files: Path) -> list[dict[str, Any]]:
    table = JsonTable(files)
    return [table[n] for n in range(len(table))]


def test_every_value_keeps_its_own_type(tmp_path: Path) -> None:
    """One column of all kinds; Arrow would guess one for all, or refuse the file."""
    values = [None, 1, "1", 1.5, True, "2012-01-01", "2012-01-01T10:00:00Z", [1, "a"], {"a": 1}]
    values += [2**70, "\U0001f600", "", []]
    found = read(written(tmp_path, [{"id": v} for v in values]))
    assert [row["id"] for row in found] == values
    assert [type(row["id"]) for row in found] == [type(v) for v in values]


def test_images_that_come_late_in_a_large_file(tmp_path: Path) -> None:
    pad = "word " * 400
    rows: list[Any] = [{"id": n, "problem": pad, "images": None} for n in range(6000)]
    rows += [{"id": "last", "problem": "<image>?", "images": ["r.png"], "more": {"x": 1}}]
    file = written(tmp_path, rows)
    assert file.stat().st_size > 10_000_000
    table = JsonTable([file])
    assert len(table) == 6001
    assert table[6000] == rows[-1]
    assert table[0] == {**rows[0], "more": None}  # absent and null are the same, as in parquet


def test_names_of_nested_objects_are_filled_alike(tmp_path: Path) -> None:
    rows = [
        {"turns": [{"from": "a"}, {"from": "b", "value": "x"}], "meta": None},
        {"turns": [], "meta": {"k": {"z": 1}}},
        {"meta": {"l": 2}},
    ]
    assert read(written(tmp_path, rows)) == [
        {
            "turns": [{"from": "a", "value": None}, {"from": "b", "value": "x"}],
            "meta": None,
        },
        {"turns": [], "meta": {"k": {"z": 1}, "l": None}},
        {"turns": None, "meta": {"k": None, "l": 2}},
    ]


def test_an_object_with_keys_of_its_own_in_each_row_is_left_as_it_is(tmp_path: Path) -> None:
    rows = [{"by_id": {f"k{n}": n}} for n in range(MOST_FIELDS + 1)]
    assert read(written(tmp_path, rows)) == rows


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"a": 1}\n\n  \n{"a": 2}'),
        ("a.jsonl", '{"a": 1}\r\n{"a": 2}\r\n'),
        ("a.jsonl", '\ufeff{"a": 1}\n{"a": 2}\n'),
        ("a.json", '[{"a": 1},\n {"a": 2}]'),
        ("a.jsonl", ' [{"a": 1}, {"a": 2}]'),
        ("a.json", '{"a": 1}\n{"a": 2}\n'),
    ],
)
def test_forms_of_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read(tmp_path / name) == [{"a": 1}, {"a": 2}]


def test_one_object_over_several_lines_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"a": [1], "b": "x"}, indent=1))
    assert read(tmp_path / "a.json") == [{"a": [1], "b": "x"}]


def test_shards_have_each_others_names_and_places(tmp_path: Path) -> None:
    first = written(tmp_path, [{"a": 1}], "x-0.jsonl")
    second = written(tmp_path, [{"b": 2}, {"b": 3}], "x-1.jsonl")
    assert read(first, second) == [{"a": 1, "b": None}, {"a": None, "b": 2}, {"a": None, "b": 3}]
    table = JsonTable([first, second])
    assert [table.place(n) for n in range(3)] == [
        "x-0.jsonl, line 1",
        "x-1.jsonl, line 1",
        "x-1.jsonl, line 2",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1}\n{"a": "\xe9t\xe9"}\n', r"line 2: not UTF-8 \(byte 0xe9\).*Latin-1"),
        ('{"a": "é"}'.encode("utf-16"), "line 1: UTF-16, wanted JSON in UTF-8"),
        ('{"a": "é"}'.encode("utf-16-le"), "line 1: UTF-16, wanted JSON in UTF-8"),
        ('[{"a": "é"}]'.encode("utf-16-be"), "line 1: UTF-16, wanted JSON in UTF-8"),
        ('{"a": "é"}'.encode("utf-32"), "line 1: UTF-32, wanted JSON in UTF-8"),
        (gzip.compress(b'{"a": 1}', mtime=0), "line 1: packed, wanted JSON in UTF-8"),
        (b'{"a": 1}\n{"a": 2\n', "line 2, column 8: not JSON"),
        (b'{"a": 1}{"a": 2}\n', "line 1, column 9: not JSON: Extra data"),
        (b'{"a": 1}\n[1, 2]\n', "line 2: list; wanted an object"),
        (b'{"a": 1}\n"text"\n', "line 2: str; wanted an object"),
        (b'[{"a": 1}, 5]', "item 1: int; wanted an object"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 1: JSON that cannot be read"),
        (b"problem,answer\nx,y\n", "line 1, column 1: not JSON"),
    ],
)
def test_what_cannot_be_read_names_file_and_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_bytes(content)
    with pytest.raises(TaskError, match=rf"odd\.jsonl, {said}") as error:
        JsonTable([file])
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_changes(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cannot be read: No such file"):
        JsonTable([tmp_path / "none.jsonl"])
    file = written(tmp_path, [{"a": 1}, {"a": 2}])
    table = JsonTable([file])
    file.write_text("x")
    with pytest.raises(RowError, match="changed while it was being read"):
        table[1]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("\n")
    assert len(JsonTable([tmp_path / "none.jsonl"])) == 0
