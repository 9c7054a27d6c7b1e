"""One odd row fails alone, by name: marks without images, options, image cells, golds, ids.

Every case is tried as a file of rows, with sound rows around the odd one.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from cli import here
from PIL import Image

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.data.problem_rows import list_cells, problem_row, read_list
from vsr1_bench.data.rows import to_images
from vsr1_bench.errors import RowError
from vsr1_bench.imports import responses
from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import EncodedImage, ImagePlace
from vsr1_bench.registry import get_task
from vsr1_bench.store.run_folder import find_runs

CUSTOM = get_task("custom")
ONE, TWO = EncodedImage(data=b"1"), EncodedImage(data=b"2")


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def tried(folder: Path, odd: dict[str, Any]) -> tuple[list[int], list[str]]:
    """The places of the rows that can be used, and what is said of the others."""
    (folder / "r.png").write_bytes(png())
    sound = {"problem": "<image>Which color?", "answer": "red", "images": ["r.png"]}
    words = {"problem": "What is 2 + 2?", "answer": "4"}
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (sound, odd, words)))
    data = open_data(CUSTOM, DataOptions(dataset=str(file)))
    told: list[str] = []
    found = data.placed_samples(None, lambda places, error: told.append(str(error)))
    return [place for place, _ in found], told


MARKED = {"problem": "<image>Which color?", "answer": "red"}


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        # marks without their images
        (MARKED | {"images": None}, "asks for image 1, the row has none"),
        (MARKED | {"images": []}, "asks for image 1, the row has none"),
        (MARKED, "asks for image 1, the row has none"),
        (MARKED | {"images": [None]}, "image 1 of 1 is null"),
        (MARKED | {"images": [None, "r.png"]}, "image 1 of 2 is null"),
        (MARKED | {"images": ["r.png", None]}, "image 2 of 2 is null"),
        (MARKED | {"image": None}, "asks for image 1, the row has none"),
        (
            {"problem": "<image> or <image>?", "answer": "1", "images": ["r.png"]},
            "asks for image 2, the row has 1",
        ),
        (
            {"problem": "<image 1> or <image 2>?", "answer": "1", "images": ["r.png"]},
            "asks for image 2, the row has 1",
        ),
        ({"problem": "See <image1>.", "answer": "1", "images": []}, "the row has none"),
        (
            {"problem": "Which?", "answer": "A", "options": ["<image>", "<image>"]},
            "asks for image 1, the row has none",
        ),
        # image cells
        (MARKED | {"images": [{"path": None, "bytes": None}]}, "neither bytes nor a path"),
        (MARKED | {"images": {"path": None, "bytes": None}}, "neither bytes nor a path"),
        (
            MARKED | {"images": [{"bytes": base64.b64encode(png()).decode(), "path": "r.png"}]},
            "written as text",
        ),
        (MARKED | {"images": {"bytes": [[1], [2]], "path": ["r.png"]}}, "bytes: list, path: list"),
        (MARKED | {"images": {"bytes": None, "path": ["r.png"]}}, "bytes: NoneType, path: list"),
        (MARKED | {"images": float("nan")}, "column images: an image cell of type float"),
        (MARKED | {"images": [float("nan")]}, "an image cell of type float"),
        (MARKED | {"images": 5}, "an image cell of type int"),
        (MARKED | {"images": True}, "an image cell of type bool"),
        (MARKED | {"images": [["r.png"]]}, "image 1 of 1 is a list"),
        (MARKED | {"images": "../secret.png"}, "leaves the folder"),
        (MARKED | {"images": "/etc/hostname"}, "leaves the folder"),
        (MARKED | {"images": ""}, "an empty image path"),
        (MARKED | {"images": ["a\0b.png"]}, "is not a path: "),
        # problems, golds
        ({"problem": None, "answer": "blue"}, "problem None: wanted a text"),
        ({"answer": "blue"}, "problem None: wanted a text"),
        ({"problem": 5, "answer": "blue"}, "problem 5: wanted a text"),
        ({"problem": ["a"], "answer": "blue"}, r"problem \['a'\]: wanted a text"),
        ({"problem": "  ", "answer": "blue"}, "an empty problem without an image"),
        ({"problem": "Why?"}, "answer None: wanted a text or a number"),
        ({"problem": "Why?", "answer": float("nan")}, "answer nan: wanted"),
        ({"problem": "Why?", "answer": float("-inf")}, "answer -inf: wanted"),
        (MARKED | {"images": ["https://example.org/r.png"]}, "is a URL; wanted a file's path"),
        (MARKED | {"images": "data:image/png;base64,iVBO"}, "is a URL; wanted a file's path"),
        ({"problem": "Why?", "answer": ["a", "b"]}, "wanted a text or a number"),
        ({"problem": "Why?", "answer": ""}, "an empty answer"),
    ],
)
def test_an_odd_row_fails_alone_and_is_named(
    tmp_path: Path, odd: dict[str, Any], said: str
) -> None:
    places, told = tried(tmp_path, odd)
    assert places == [0, 2] and len(told) == 1
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(told[0])
    assert "row 1 of rows.jsonl (all; line 2)" in told[0] and "\n" not in told[0]
    assert "do not have the columns" not in told[0]


@pytest.mark.parametrize(
    ("column", "answer", "said"),
    [
        (["dog", "cat"], 1, "answer '1' is none of the 2 options .*write its letter or its text"),
        (["dog", "cat"], 0, "answer '0' is none of the 2 options"),
        (["dog", "cat"], "2", "answer '2' is none of"),
        (["A", "B", "C"], 2, "answer '2' is none of the 3 options"),
        (["dog", "cat"], "C", "answer 'C' is none of .*write its letter or its text"),
        (["dog", "cat"], 1.0, "answer '1.0' is none of .*write its letter or its text"),
        (["dog", "cat", "Cat"], "cat", "answer 'cat' is several of the 3 options .*its letter"),
        (["1.5", "2", "2"], 2, "answer '2' is several of the 3 options"),
        (["dog", "cat"], "horse", "answer 'horse' is none of"),
        (["dog", "cat"], "no", "answer 'no' is none of"),
        ("['dog' 'cat']", "B", "no commas between its texts"),
        ("['dog'\n 'cat']", "B", "no commas between its texts"),
        ("['dog', 'cat' 'horse']", "B", "no commas between its texts"),
        ("[1 2 3]", "B", "wanted a list"),
        ("[1. 2.5]", "B", "wanted a list"),
        ("array(['dog', 'cat'], dtype=object)", "B", "wanted a list"),
        ("dog, cat", "B", "column options: 'dog, cat': wanted a list"),
        ("A. dog\nB. cat", "B", "wanted a list"),
        ("{'dog', 'cat'}", "B", "wanted a list"),
        ({"A": "dog", "B": "cat"}, "B", "wanted a list"),
        ([["dog"], ["cat"]], "B", r"an entry is \['dog'\]"),
        ("[['dog', 'cat']]", "B", r"an entry is \['dog', 'cat'\]"),
        ([{"text": "dog"}, {"text": "cat"}], "B", "an entry is {'text': 'dog'}"),
        (["dog"], "A", "1 options .*wanted 2 to 26"),
        (["dog", None], "A", "1 options .*wanted 2 to 26"),
        ([f"animal {n}" for n in range(27)], "B", "27 options .*wanted 2 to 26"),
        (["dog", None, "cat"], "B", "answer 'B' is none of"),
        (["dog", "cat", None, None], "D", "answer 'D' is none of"),
        (5, "B", "5: wanted a list"),
    ],
)
def test_options_that_cannot_be_read_or_do_not_hold_the_gold(
    tmp_path: Path, column: Any, answer: Any, said: str
) -> None:
    odd = {"problem": "Which animal is it?", "answer": answer, "options": column}
    places, told = tried(tmp_path, odd)
    assert places == [0, 2] and len(told) == 1
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(told[0])


@pytest.mark.parametrize(
    ("column", "answer", "letter", "options"),
    [
        (["dog", "cat", None, None], "B", "B", ("dog", "cat")),
        (["dog", "cat", "", "  "], "B", "B", ("dog", "cat")),
        (["dog", "cat", float("nan")], "cat", "B", ("dog", "cat")),
        # a letter counts the options as the column lists them; what is shown has no gap
        (["dog", None, "cat"], "C", "B", ("dog", "cat")),
        ([None, "dog", "cat"], "(C)", "B", ("dog", "cat")),
        (["dog", None, "cat"], "A", "A", ("dog", "cat")),
        (["dog", None, "cat"], "cat", "B", ("dog", "cat")),
        ('["dog", null, "cat"]', "cat", "B", ("dog", "cat")),
        ("['dog', None, 'cat']", "cat", "B", ("dog", "cat")),
        ("('dog', 'cat')", "b", "B", ("dog", "cat")),
        ([3, 4.5], "4.5", "B", ("3", "4.5")),
        ([10, 20], 20, "B", ("10", "20")),
        (["yes", "no"], "no", "B", ("yes", "no")),
        (["it's", 'a "b"'], "B", "B", ("it's", 'a "b"')),
    ],
)
def test_options_that_are_read(
    column: Any, answer: Any, letter: str, options: tuple[str, ...]
) -> None:
    sample = problem_row({"problem": "Which?", "answer": answer, "options": column})
    assert (sample.answer_type, sample.answer, sample.choices) == ("choice", letter, options)
    (message,) = build_messages(sample, get_format("direct"))
    lines = str(message.content[0]).splitlines()[1:-1]
    assert lines == [f"{'AB'[n]}. {text}" for n, text in enumerate(options)]


def shown(row: dict[str, Any]) -> str:
    (message,) = build_messages(problem_row(row), get_format("direct"))
    return "".join(part for part in message.content if isinstance(part, str))


@pytest.mark.parametrize("count", [10, 11, 12, 26])
def test_up_to_26_options_go_out_with_the_question(count: int) -> None:
    texts = [f"animal {n} of all" for n in range(count)]
    letter = chr(ord("A") + count - 1)
    row = {"problem": "Which?", "answer": texts[-1], "options": texts}
    assert problem_row(row).answer == letter
    assert shown(row).count(f"\n{letter}. {texts[-1]}") == 1
    inline = "Which?\n" + "\n".join(f"{chr(ord('A') + n)}. {text}" for n, text in enumerate(texts))
    sample = problem_row({"problem": inline, "answer": texts[-1]})
    assert (sample.answer, len(sample.choices or ())) == (letter, count)
    assert shown(row | {"problem": inline}).count(texts[-1]) == 1  # not a second time


@pytest.mark.parametrize(
    ("problem", "options", "twice"),
    [
        # words of the options in the question are no options that are shown
        ("In picture 12, how many are red?", ["1", "2"], True),
        ("Is it a dog or a cat?", ["dog", "cat"], True),
        ("Point (A) or point (B): which is red?", ["the left", "the right"], True),
        ("Which? (A) dog (B) cat", ["dog", "cat"], False),
        ("Which? (A) dog (B) cat", ["dog", "cow"], True),
        ("Which?\n1. dog\n2. cat", ["dog", "cat"], False),
        ("Which? a) dog b) cat", ["dog", "cat"], False),
        ("Which? (A) cat (B) dog", ["dog", "cat"], True),
    ],
)
def test_the_question_never_goes_out_without_the_options_it_is_judged_by(
    problem: str, options: list[str], twice: bool
) -> None:
    sample = problem_row({"problem": problem, "answer": "B", "options": options})
    assert sample.choices == tuple(options) and sample.answer == "B"
    text = shown({"problem": problem, "answer": "B", "options": options})
    assert (f"\nA. {options[0]}\nB. {options[1]}" in text) is twice


def test_variables_and_roman_numbers_are_no_options() -> None:
    problem = "Which?\nA. dog\nB. cat\nX. is Tom, V. is Eve"
    assert problem_row({"problem": problem, "answer": "B"}).choices is not None
    # a letter beyond J without options is no choice: it may be a unit, a variable
    assert problem_row({"problem": "Which unit?", "answer": "N"}).answer_type != "choice"


def test_images_stand_at_the_marks_of_options() -> None:
    row = {"problem": "Like <image>?", "options": ["<image>", "none"], "answer": "A"}
    sample = problem_row(row | {"images": (ONE, TWO)})
    assert sample.question == ("Like ", ImagePlace(0), "?")
    assert sample.choice_parts == ((ImagePlace(1),), ("none",))
    with pytest.raises(RowError, match="asks for image 2, the row has 1"):
        problem_row(row | {"images": (ONE,)})


def test_a_nan_id_is_none() -> None:
    row = {"problem": "Why?", "answer": "5", "id": float("nan")}
    assert problem_row(row).id == problem_row({"problem": "Why?", "answer": "5"}).id


def test_lists_of_other_tasks() -> None:
    assert list_cells(["a", None]) == ("a", None)
    assert read_list(["a", "b", None, None]) == ("a", "b")
    assert list_cells(float("nan")) == list_cells("  ") == ()
    with pytest.raises(RowError, match="an empty entry before one that is not"):
        read_list(["a", None, "b"])


def test_image_cells_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "r.png").write_bytes(png())
    by_path = EncodedImage(path=(tmp_path / "r.png").resolve())
    assert to_images("r.png", tmp_path) == by_path
    assert to_images({"path": "r.png"}, tmp_path) == by_path
    assert to_images({"bytes": b"x", "path": "gone.png"}, tmp_path) == EncodedImage(data=b"x")
    assert to_images([bytearray(b"x")], None) == (EncodedImage(data=b"x"),)
    assert to_images(None, None) is None and to_images([], None) == ()
    with pytest.raises(RowError, match="no folder"):
        to_images("r.png", None)


def tried_command(*words: object) -> tuple[int, str, str]:
    done = here(*words)
    return done.returncode, done.stdout, done.stderr


SCRIPT = '{"id": "*", "response": "\\\\boxed{red}"}\n'


def test_a_run_over_odd_rows_only_scores_none_and_names_each(tmp_path: Path) -> None:
    (tmp_path / "script.jsonl").write_text(SCRIPT)
    rows = [MARKED | {"id": str(n), "images": [None] * n} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = tried_command(
        *("run", "--model", "tiny", "--backend", "scripted", "--tasks", "custom"),
        *("--model_args", f"script={tmp_path / 'script.jsonl'}"),
        *("--dataset", str(tmp_path / "rows.jsonl"), "--output_path", str(tmp_path / "runs")),
    )
    assert code == 75 and "0/4" in out and "unexpected" not in err
    for n in range(3):
        assert f"row {n} of rows.jsonl (all; line {n + 1})" in err
    assert "1 of 4 failed: for 1 other reasons" in err


def test_validate_fails_on_odd_rows_and_images_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "r.png").write_bytes(png())
    (tmp_path / "text.png").write_text("no picture")
    rows: list[dict[str, Any]] = [MARKED | {"id": f"ok{n}", "images": ["r.png"]} for n in range(3)]
    rows += [MARKED | {"id": "gone", "images": ["gone.png"]}]
    rows += [MARKED | {"id": "text", "images": ["r.png", "text.png"]}]
    rows += [{"id": "index", "problem": "Which?", "options": ["a", "b"], "answer": 1}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("validate", "custom", "--dataset", str(file))
    code, out, _ = tried_command(*command, "--limit", "3")
    assert code == 0 and out.startswith("ok   custom: gold 1, empty 0 on 3 rows")
    code, out, _ = tried_command(*command, "--all")
    assert code == 1 and out.startswith("FAIL custom: 3 faults")
    assert "sample gone: image 1 of 1: image cannot be read: FileNotFoundError (gone.png)" in out
    assert "sample text: image 2 of 2: image cannot be decoded" in out
    assert "row 5 of rows.jsonl (all; line 6): answer '1' is none of the 2 options" in out


@pytest.mark.parametrize("content", [b"problem,answer\n", b'{"problem": "\xe9"}\n', b""])
def test_validate_never_takes_an_example_of_its_own_for_a_data_set_that_was_named(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    code, out, _ = tried_command("validate", "custom", "--dataset", str(file))
    assert code == 1 and out.startswith("FAIL custom") and "0 of 1 tasks are sound" in out
    code, out, _ = tried_command("validate", "custom", "--dataset", "org/none", "--offline")
    assert code == 1 and "ok" not in out.split()


def test_a_mirror_that_is_there_and_cannot_be_read_is_no_missing_one(tmp_path: Path) -> None:
    folder = tmp_path / "HuggingFaceH4/MATH-500"
    folder.mkdir(parents=True)
    command = ("validate", "math500", "--data_root", str(tmp_path), "--offline")
    code, out, _ = tried_command(*command)
    assert code == 0 and "a generated row" in out  # nothing there: an example, and it says so
    (folder / "test.jsonl").write_bytes(b"{")
    code, out, _ = tried_command(*command)
    assert code == 1 and out.startswith("FAIL math500") and "test.jsonl, line 1" in out


@pytest.mark.parametrize("by", ["row", "id"])
def test_responses_are_imported_around_an_odd_row(
    tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": f"q{n}", "problem": f"{n} + 1?", "answer": str(n + 1)} for n in range(4)]
    rows[1] |= {"problem": "<image>How many?", "images": None}
    said = [{"id": f"q{n}", "response": f"\\boxed{{{n + 1}}}"} for n in range(4) if n != 1]
    if by == "row":
        said.insert(1, {"id": "q1", "response": "\\boxed{2}"})
    for name, lines in (("rows", rows), ("said", said)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    told: list[Any] = []
    monkeypatch.setattr(responses.log, "warning", lambda *said: told.append(said))
    code, _, _ = tried_command(
        *("import", "--task", "custom", "--dataset", tmp_path / "rows.jsonl", "--by", by),
        *("--responses", tmp_path / "said.jsonl", "--model", "m"),
        *("--output_path", tmp_path / "runs"),
    )
    assert code == 0
    assert [(count, "row 1 of rows.jsonl" in str(first)) for _, count, first in told] == [(1, True)]
    code, out, _ = tried_command("judge", tmp_path / "runs")
    assert code == 75 and "3/4" in out
    (run,) = find_runs(tmp_path / "runs")
    assert {g.sample_id: g.text for g in run.generations().values()} == {
        f"q{n}": f"\\boxed{{{n + 1}}}" for n in (0, 2, 3)
    }
