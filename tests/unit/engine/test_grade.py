"""Grading a file: the fixed form of its lines, whole output or none, errors that name the line."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from vsr1_bench.errors import UsageError
from vsr1_bench.judging.grade_file import grade_file, read_lines
from vsr1_bench.records import AnswerType


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def grade(tmp_path: Path, judge: str, *rows: Any) -> list[dict[str, Any]]:
    out = tmp_path / "out.jsonl"
    grade_file(write(tmp_path / "in.jsonl", *rows), judge, out, progress=False)
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def row(response: str, answer: Any, **more: Any) -> dict[str, Any]:
    return {"id": "1", "response": response, "answer": answer, **more}


def test_the_fixed_form(tmp_path: Path) -> None:
    got = grade(
        tmp_path,
        "string_match",
        {"id": "z", "response": r"\boxed{B}", "answer": "B", "choices": ["cat", "dog"]},
        {"id": 7, "response": "A", "answer": "dog", "choices": ["cat", "dog"], "question": "?"},
        {"id": "é", "response": "", "answer": "yes", "answer_type": "yes_no"},
        {"id": "a", "response": "B", "answer": "?", "answer_type": "choice"},
    )
    assert got == [
        {"id": "z", "verdict": "correct", "extracted": "B", "unparsed": False, "reason": None},
        {"id": 7, "verdict": "incorrect", "extracted": "A", "unparsed": False, "reason": None},
        {"id": "é", "verdict": "incorrect", "extracted": None, "unparsed": True, "reason": "empty"},
        {
            "id": "a",
            "verdict": "unscored",
            "extracted": None,
            "unparsed": False,
            "reason": "gold_unreadable",
        },
    ]


def test_counts(tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.jsonl",
        row("5", 5),
        row("6", 5),
        row("", 5),
        row("x", "", answer_type="text"),
    )
    counts = grade_file(source, "string_match", tmp_path / "new" / "out.jsonl", progress=False)
    assert counts == {"total": 4, "correct": 1, "incorrect": 2, "unscored": 1, "unparsed": 1}


def test_order_and_ids_survive_a_judge_in_a_worker(tmp_path: Path) -> None:
    rows = [{"id": i % 3, "response": f"\\boxed{{{i}}}", "answer": i} for i in range(40)]
    got = grade(tmp_path, "math", *rows)
    assert [line["id"] for line in got] == [r["id"] for r in rows]
    assert [line["extracted"] for line in got] == [str(i) for i in range(40)]
    assert {line["verdict"] for line in got} == {"correct"}


@pytest.mark.parametrize(
    ("answer", "more", "default", "expected"),
    [
        ("B", {"choices": ["x", "y"]}, "text", "choice"),
        ("B", {"choices": ["x", "y"]}, "math", "choice"),
        ("B", {"choices": ["x", "y"], "answer_type": "text"}, "text", "text"),
        ("B", {"choices": []}, "text", "text"),
        ("B", {"choices": None, "answer_type": None}, "text", "text"),
        ("cat", {}, "text", "text"),
        ("Yes", {}, "text", "yes_no"),
        ("5", {}, "text", "number"),
        (5, {}, "text", "number"),
        (0.5, {}, "text", "number"),
        ("5 cats", {}, "text", "text"),
        ("5", {}, "math", "math"),
        ("yes", {}, "math", "math"),
    ],
)
def test_the_answer_type_where_none_is_given(
    answer: Any, more: dict[str, Any], default: AnswerType, expected: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "in.jsonl", row("r", answer, **more))
    [(_, item)] = read_lines(path, default)
    assert item.answer_type == expected
    assert item.answer == str(answer)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("{", "not a line of JSON"),
        ("[" * 100_000, "not a line of JSON"),
        ('{"id": 1' + "0" * 5000 + "}", "not a line of JSON"),
        ("[1]", "list, not an object"),
        ({"response": "r", "answer": "a"}, "`id` must be"),
        ({"id": True, "response": "r", "answer": "a"}, "`id` must be"),
        ({"id": "1", "answer": "a"}, "`response` must be"),
        ({"id": "1", "response": None, "answer": "a"}, "`response` must be"),
        ({"id": "1", "response": "r"}, "`answer` must be"),
        ({"id": "1", "response": "r", "answer": True}, "`answer` must be"),
        ('{"id": "1", "response": "r", "answer": NaN}', "`answer` must be"),
        (row("r", "a", choices="AB"), "`choices` must be a list"),
        (row("r", "a", choices=["x"] * 27), "at most 26"),
        (row("r", "a", choices=[None]), "a choice must be"),
        (row("r", "a", answer_type="letter"), "unknown `answer_type` 'letter'"),
        (row("r", "a", answer_type="yesno"), "did you mean yes_no?"),
        (row("r", "a", question=5), "`question` must be"),
    ],
)
def test_a_bad_line_names_file_and_line_and_leaves_no_output(
    bad: Any, words: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.jsonl", row("5", "5"), "", bad)
    with pytest.raises(UsageError) as caught:
        grade_file(source, "string_match", tmp_path / "out.jsonl", progress=False)
    assert f"{source}:3: " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_bytes_that_are_not_utf8_are_named_too(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'{"id": "1", "response": "\xff", "answer": "a"}\n')
    with pytest.raises(UsageError, match=r"in\.jsonl:1: not a line of JSON in UTF-8"):
        list(read_lines(source))


def test_a_byte_order_mark_and_odd_line_ends_are_read(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    line = json.dumps(row("a\u2028b", "a"), ensure_ascii=False)
    source.write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\r\n{line}".encode())
    assert [item.response for _, item in read_lines(source)] == ["a\u2028b"] * 2


def test_lone_surrogates_come_back(tmp_path: Path) -> None:
    [line] = grade(tmp_path, "string_match", row("\ud800", "\ud800"))
    assert (line["verdict"], line["extracted"]) == ("correct", "\ud800")


def test_an_old_output_stays_when_grading_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    source = write(tmp_path / "in.jsonl", row("5", "5"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        grade_file(source, "string_match", out, progress=False)
    assert out.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]


def test_a_pipe_can_be_graded(tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out.jsonl"
    os.mkfifo(pipe)
    line = json.dumps(row("5", "5")) + "\n"
    writer = threading.Thread(target=pipe.write_text, args=(line,), daemon=True)
    writer.start()
    assert grade_file(pipe, "string_match", out, progress=False)["correct"] == 1
    writer.join()


def test_an_empty_input_gives_an_empty_output(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("")
    assert grade_file(source, "mathruler", out, progress=False)["total"] == 0
    assert out.read_text() == ""


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", row("5", "5"))
    with pytest.raises(UsageError, match="is the input, too"):
        grade_file(source, "string_match", source)
    with pytest.raises(UsageError, match="is a folder"):
        grade_file(source, "string_match", tmp_path)
    with pytest.raises(UsageError, match="string_match"):
        grade_file(source, "string_mach", tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match=r"missing\.jsonl: No such file"):
        grade_file(tmp_path / "missing.jsonl", "string_match", tmp_path / "out.jsonl")
    assert source.read_text().startswith("{")
    assert os.listdir(tmp_path) == ["in.jsonl"]
