"""The files of a sheet's page: whose images and texts they have, and which sheets are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import picture_runs
import pytest
from cli import error_line, here
from labelled import fill, sheet_rows, two_runs
from reports import data, written_run
from scored import spec_of


def drawn(tmp_path: Path, draw: int = 6) -> tuple[tuple[Any, ...], Path]:
    """A run with pictures and a second pass, and a sheet with some of its responses."""
    lines = [
        line for n in range(40) for line in picture_runs.both(n, sufficient=True, right=n % 2 == 0)
    ]
    picture_runs.run_and_score(tmp_path, lines, 40)
    words = (tmp_path / "runs", "--include_path", picture_runs.plugins(tmp_path))
    sheet = tmp_path / "sheet.csv"
    done = here("calibrate", *words, "--judge", "string_match", "--labels", sheet,
                "--draw", draw, "--seed", 3)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return words, sheet


def test_a_page_has_the_drawn_responses_and_their_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, sheet = drawn(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = here("view", *words, "--labels", sheet)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "labelling: labelling/index.html\n"
    folder, rows = tmp_path / "labelling", sheet_rows(sheet)
    page = data(folder, "labels")
    assert len(page["items"]) == len(page["rows"]) == len(rows) == 20
    for item, row in zip(page["items"], rows, strict=True):
        assert item["response"]["text"] == row["response"]
        assert item["reading"]["text"] == row["reading"]
        assert item["reading"]["description"] == row["description"]
        assert item["answer"] == row["gold_answer"] and item["given"] == ["", ""]
    assert page["rows"] == rows
    shown = {image["src"] for item in page["items"] for image in item["images"]}
    assert {f"images/{path.name}" for path in (folder / "images").iterdir()} == shown
    assert 'data-page="labels"' in (folder / "index.html").read_text("utf-8")
    # A report is not replaced by the page unless it is named.
    assert not (tmp_path / "report").exists()


def test_the_key_is_that_of_the_drawn_responses(tmp_path: Path) -> None:
    """Another order, labels and file name keep it; another draw has its own."""
    words, sheet = drawn(tmp_path)

    def key(path: Path) -> str:
        done = here("view", *words, "--labels", path, "--no_images", "-o", tmp_path / "page")
        assert done.returncode == 0, done.stderr
        return str(data(tmp_path / "page", "labels")["key"])

    first = key(sheet)
    other = tmp_path / "other.csv"
    lines = sheet.read_bytes()
    other.write_bytes(lines)
    fill(other, lambda row: {"label": "unclear", "reading_label": "yes"})
    head, *rest = other.read_text("utf-8").splitlines(keepends=True)
    other.write_text(head + "".join(reversed(rest)), "utf-8")
    assert key(other) == first
    assert data(tmp_path / "page", "labels")["items"][0]["given"] == ["unclear", "correct"]
    drawn_anew = tmp_path / "new.csv"
    assert here("calibrate", *words, "--judge", "string_match", "--labels", drawn_anew,
                "--draw", 6, "--seed", 4).returncode == 0  # fmt: skip
    assert key(drawn_anew) != first


def test_ids_that_a_spreadsheet_would_run_stay_escaped(tmp_path: Path) -> None:
    folder = str(picture_runs.plugins(tmp_path))
    written_run(
        tmp_path / "runs", spec_of("m", "mixed"), {"=1+1": "A", "'b": "B", "c": "A"}, folder
    )
    words = (tmp_path / "runs", "--include_path", folder)
    sheet, page = tmp_path / "sheet.csv", tmp_path / "page"
    assert here("calibrate", *words, "--judge", "string_match", "--labels", sheet).returncode == 0
    done = here("view", *words, "--labels", sheet, "-o", page)
    assert done.returncode == 0, done.stderr
    document = data(page, "labels")
    assert document["rows"] == sheet_rows(sheet)
    assert {row["id"] for row in document["rows"]} == {"'=1+1", "''b", "c"}
    assert {json.loads(item["id"])[1] for item in document["items"]} == {"=1+1", "'b", "c"}


def test_sheets_that_cannot_be_shown(tmp_path: Path) -> None:
    words, sheet = drawn(tmp_path)
    page = ("-o", tmp_path / "page")
    done = here("view", *words, "--labels", sheet, "--judge", "string_match", *page)
    assert "does not go with --judge" in error_line(done.returncode, 2, done.stderr)
    done = here("view", *words, "--labels", tmp_path / "none.csv", *page)
    assert "none.csv: cannot be read" in error_line(done.returncode, 2, done.stderr)
    (tmp_path / "others").mkdir()
    _, folder = two_runs(tmp_path / "others")
    done = here("view", tmp_path / "others" / "runs", "--include_path", folder,
                "--labels", sheet, *page)  # fmt: skip
    assert "which is not here; name the runs" in error_line(done.returncode, 1, done.stderr)
    fill(sheet, lambda row: {"id": "p99"} if row["id"] == sheet_rows(sheet)[0]["id"] else {})
    done = here("view", *words, "--labels", sheet, *page)
    assert "has no response 0 to 'p99'" in error_line(done.returncode, 1, done.stderr)
    sheet.write_text(sheet.read_text("utf-8").splitlines()[0] + "\n", "utf-8")
    done = here("view", *words, "--labels", sheet, *page)
    assert "has no rows" in error_line(done.returncode, 2, done.stderr)
    assert not (tmp_path / "page").exists()
