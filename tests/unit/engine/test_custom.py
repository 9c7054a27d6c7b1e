"""Rows of the layout problem / answer / images: what is read off them, and sets of one's own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from judged import BLUE, RED, judged, mirrored
from PIL import Image

from vsr1_bench.answers import read_options
from vsr1_bench.cli.main import main
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.data.problem_rows import open_question, problem_row, read_kind, read_list
from vsr1_bench.errors import RowError, TaskError, UsageError
from vsr1_bench.imports.responses import ImportOptions, import_responses
from vsr1_bench.pipeline.plan import RunOptions, plan
from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import AnswerType, ImagePlace, Sample
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.task import ROW_NUMBER

CUSTOM = get_task("custom")


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        ("Which?\nA. red\nB. blue", ("red", "blue")),
        ("Which?\nA) red\nB) blue\nC) green", ("red", "blue", "green")),
        ("Which?\n(A) red\n(B) blue", ("red", "blue")),
        ("Which?\nChoices:\nA:65°\nB:50°", ("65°", "50°")),
        ("Which?\n a. red\n b. blue", ("red", "blue")),
        ("Which?\nOptions: A: red, B: blue, C: green", ("red", "blue", "green")),
        ("Which? (A) red (B) blue", ("red", "blue")),
        ("Which? A. red B. blue", ("red", "blue")),
        ("Options: A. red\nB. blue", ("red", "blue")),
        # brackets inside options are text, not marks
        ("X? (a) (40, 50) degrees (b) (80, 90) degrees", ("(40, 50) degrees", "(80, 90) degrees")),
        # the instruction after the options is no part of the last one
        ("Which?\nA. red\nB. blue\nAnswer with the letter.", ("red", "blue")),
        # an option of several lines; nobody can say where the last one ends
        ("Which?\nA. red\nor so\nB. blue\nor so", ("red\nor so", "blue\nor so")),
        ("\n".join(f"{c}. {n}" for n, c in enumerate("ABCDEFGHIJ")), tuple("0123456789")),
        # a mark elsewhere in the question does not hide options at line starts
        ("At A. Which? See (B).\nA. red\nB. blue", ("red", "blue")),
    ],
)
def test_options_that_stand_in_a_question(problem: str, options: tuple[str, ...]) -> None:
    assert read_options(problem) == options


@pytest.mark.parametrize(
    "problem",
    [
        "How many?",
        "A. red only",
        "A. red\nC. blue",
        "B. red\nC. blue",
        "A. red\nB.",
        "point (A) and (B): (A) 5 (B) 6",
        "A. red\nB. blue\nA. red\nB. blue",
        "A. 1\nB. 2\n(a) 3\n(b) 4",
        "the end. A dog. B flat",
        "e.g. a.b or A.B",
        "",
    ],
)
def test_options_in_doubt_are_none(problem: str) -> None:
    assert read_options(problem) is None


COLOURS = ("red", "blue", "4 cm")


@pytest.mark.parametrize(
    ("answer", "options", "kind", "gold"),
    [
        ("B", COLOURS, "choice", "B"),
        ("b", COLOURS, "choice", "B"),
        ("(B)", COLOURS, "choice", "B"),
        ("B.", COLOURS, "choice", "B"),
        (r"\text{(B)}", COLOURS, "choice", "B"),
        ("blue", COLOURS, "choice", "B"),
        ("Blue.", COLOURS, "choice", "B"),
        ("B. blue", COLOURS, "choice", "B"),
        ("4", COLOURS, "choice", "C"),
        # options may be part of the picture
        ("B", None, "choice", "B"),
        ("(J)", None, "choice", "J"),
        # more letters than the options that were read: those were none
        ("E", COLOURS, "choice", "E"),
        ("h", COLOURS, "math", "h"),
        ("b", None, "math", "b"),
        ("K", None, "math", "K"),
        ("yes", None, "yes_no", "yes"),
        ("No.", None, "yes_no", "No."),
        ("no", COLOURS, "yes_no", "no"),
        ("no", ("yes", "no"), "choice", "B"),
        ("true", None, "text", "true"),
        ("5", None, "number", "5"),
        ("1,000", None, "number", "1,000"),
        ("-1/2", None, "number", "-1/2"),
        ("5 cm", None, "number", "5 cm"),
        ("50%", None, "number", "50%"),
        ("5 or 6", None, "math", "5 or 6"),
        (r"\frac{1}{2}\pi", None, "math", r"\frac{1}{2}\pi"),
        ("x+1", None, "math", "x+1"),
        ("(1, 2]", None, "math", "(1, 2]"),
        ("Tampa", None, "text", "Tampa"),
        ("10 hours and 04 minutes", None, "text", "10 hours and 04 minutes"),
        # not the letter of an option although one stands in it
        ("triangle (A) is larger", COLOURS, "text", "triangle (A) is larger"),
    ],
)
def test_the_gold_answer_says_what_is_wanted(
    answer: str, options: tuple[str, ...] | None, kind: AnswerType, gold: str
) -> None:
    found, read, choices = read_kind(answer, options)
    assert (found, read) == (kind, gold)
    in_range = kind == "choice" and options and gold < chr(ord("A") + len(options))
    assert choices == (options if in_range else None)


def parts(sample: Sample) -> list[object]:
    return [p.index if isinstance(p, ImagePlace) else p for p in sample.question]


@pytest.mark.parametrize(
    ("problem", "images", "wanted"),
    [
        ("<image>Why?", (RED,), [0, "Why?"]),
        ("<image>Why?", RED, [0, "Why?"]),
        ("Is <image> like <image>?", (RED, BLUE), ["Is ", 0, " like ", 1, "?"]),
        ("Why?", (RED, BLUE), [0, 1, "Why?"]),
        ("Why?", None, ["Why?"]),
        ("Is <image 2> like <image 1>?", (RED, BLUE), ["Is ", 1, " like ", 0, "?"]),
        # with `<image>` marks a numbered one is text, as in the paper's own reading
        (
            "<image><image>Is <image 2> it?",
            (RED, BLUE),
            [0, 1, "Is <image 2> it?"],
        ),
    ],
)
def test_images_stand_at_their_marks(problem: str, images: object, wanted: list[object]) -> None:
    sample = problem_row({"problem": problem, "answer": "5", "images": images})
    assert parts(sample) == wanted


def test_one_image_in_a_column_of_its_own_and_more_marks_than_images() -> None:
    assert problem_row({"problem": "Why?", "answer": "5", "image": RED}).images == (RED,)
    with pytest.raises(TaskError, match="asks for image 3, the row has 2"):
        problem_row({"problem": "<image>" * 3, "answer": "5", "images": (RED, BLUE)})


def test_options_are_shown_once_and_known_to_the_judge() -> None:
    def prompt(row: dict[str, Any]) -> str:
        (message,) = build_messages(problem_row(row), get_format("direct"))
        return "".join(part for part in message.content if isinstance(part, str))

    inline = {"problem": "Which?\nA. red\nB. blue", "answer": "B"}
    assert prompt(inline).count("B. blue") == 1
    assert judged(CUSTOM, problem_row(inline), r"\boxed{blue}").outcome == "correct"
    # options of a column: added where the problem lacks them, not where it holds them
    column = {"problem": "Which?", "answer": "B", "options": "['red', 'blue']"}
    assert prompt(column).count("B. blue") == 1
    assert prompt(column | {"problem": "Which? 1) red 2) blue"}).count("blue") == 1
    # a gold that is none of them: the question never goes out without its options
    with pytest.raises(RowError, match="'5' is none of the 2 options"):
        prompt(column | {"answer": "5"})


@pytest.mark.parametrize("answer", [None, ["a"], True, {"a": 1}, b"5"])
def test_an_answer_that_is_no_single_value_is_refused(answer: object) -> None:
    with pytest.raises(TaskError, match="wanted a text or a number"):
        problem_row({"problem": "Why?", "answer": answer})


@pytest.mark.parametrize("cell", ["A. red\nB. blue", "red", {"A": "red"}, "{'A': 'red'}", 5])
def test_options_that_are_no_list_are_refused(cell: object) -> None:
    with pytest.raises(TaskError, match="wanted a list"):
        read_list(cell)


def test_lists_and_alternatives() -> None:
    assert read_list(None) == read_list("") == read_list("[]") == read_list([]) == ()
    assert read_list("['a', 3]") == read_list(["a", 3]) == ("a", "3")
    sample = problem_row({"problem": "Which? (A) x (B) y", "answer": "B"})
    city = open_question(sample, "['Tampa', 'Florida']")
    assert (city.answer, city.answer_type, city.choices) == ("Tampa", "text", None)
    assert city.extra == {"alternatives": ["Tampa", "Florida"]}
    assert open_question(sample, "['1/2', '0.5']").answer_type == "number"
    assert open_question(sample, "[0, 1)").answer == "[0, 1)"  # an interval, not a list of answers


def test_ids_are_the_rows_own_or_its_number_and_content() -> None:
    row = {"problem": "Why?", "answer": "5"}
    assert problem_row(row | {"id": 7}).id == "7"
    first, second, other = (
        problem_row(row | {ROW_NUMBER: n, "problem": text}).id
        for n, text in ((0, "Why?"), (1, "Why?"), (1, "How?"))
    )
    assert len({first, second, other}) == 3
    assert first.startswith("00000-") and first[6:] == second[6:] != other[6:]
    assert problem_row(row | {"id": 7, ROW_NUMBER: 1}, own_id=False).id == second


ROWS: list[dict[str, Any]] = [
    {"problem": "<image>Which?\nA. red\nB. blue", "answer": "B", "images": ["a.png"]},
    {"problem": "<image>Which?\nA. red\nB. blue", "answer": "A", "images": ["b.png"]},
    {"problem": "Half of one?", "answer": "1/2", "images": None},
    {"problem": "Is it?", "answer": "Yes", "images": []},
]
RESPONSES = [r"\boxed{B}", r"\boxed{blue}", r"\boxed{0.5}", "Yes."]


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder: Path, kind: str, stem: str = "test") -> Path:
    """The rows as a file of some kind; images beside it, or inside."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes(png("red" if name == "a" else "blue"))
    file = folder / f"{stem}.{kind}"
    if kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "json":
        file.write_text(json.dumps(ROWS, indent=1))
    else:
        import datasets

        cells = [
            [{"bytes": (folder / name).read_bytes(), "path": name} for name in row["images"] or ()]
            for row in ROWS
        ]
        features = datasets.Features(
            {
                "problem": datasets.Value("string"),
                "answer": datasets.Value("string"),
                "images": datasets.List(datasets.Image()),
            }
        )
        rows = [row | {"images": cell} for row, cell in zip(ROWS, cells, strict=True)]
        datasets.Dataset.from_list(rows, features=features).to_parquet(file)
    return file


def accuracy(tmp_path: Path, data: DataOptions) -> float:
    responses = mirrored(tmp_path, "said", [{"response": text} for text in RESPONSES])
    options = ImportOptions(
        task="custom",
        responses=responses,
        model="theirs",
        by="row",
        output_path=tmp_path / "runs",
        data=data,
        progress=False,
    )
    run = import_responses(options)
    assert str(tmp_path) not in run.spec().model_dump_json()
    value: float = judge_and_score(run, None, progress=False)["metrics"]["accuracy"]["value"]
    return value


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_a_file_of_ones_own(tmp_path: Path, kind: str) -> None:
    file = write(tmp_path / "mine", kind)
    data = DataOptions.from_flags(None, True, dataset=str(file))
    opened = open_data(CUSTOM, data)
    samples = list(opened.samples())
    assert [s.answer_type for s in samples] == ["choice", "choice", "number", "yes_no"]
    assert [len(s.images) for s in samples] == [1, 1, 0, 0]
    assert samples[1].images[0].read() == png("blue")
    spec = opened.spec
    assert (spec.id, spec.config, spec.split, spec.revision) == (file.name, None, "all", None)
    assert accuracy(tmp_path, data) == 3 / 4  # `blue` where red was wanted


def test_folders_hold_splits_as_copies_of_hub_repositories_do(tmp_path: Path) -> None:
    write(tmp_path / "mine", "jsonl", "val")
    write(tmp_path / "mine/data", "parquet", "test-00000-of-00001")
    for split, kind in ((None, "parquet"), ("val", "jsonl")):
        data = DataOptions.from_flags(None, True, dataset=str(tmp_path / "mine"), split=split)
        opened = open_data(CUSTOM, data)
        assert (opened.spec.id, opened.spec.split) == ("mine", split or "test"), kind
        assert opened.n_rows == 4
    with pytest.raises(UsageError, match=r"no train\.parquet.*--split"):
        open_data(CUSTOM, DataOptions(dataset=str(tmp_path / "mine"), split="train"))


def test_a_hub_id_is_looked_up_in_the_mirror_first(tmp_path: Path) -> None:
    write(tmp_path / "root/org/set", "jsonl", "val")
    data = DataOptions.from_flags(tmp_path / "root", True, dataset="org/set", split="val")
    assert open_data(CUSTOM, data).spec.id == "org/set"
    with pytest.raises(TaskError, match=r"org/other.*offline"):
        open_data(CUSTOM, DataOptions(tmp_path / "root", True, dataset="org/other"))


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("nowhere.jsonl", "no such file"),
        ("org/nowhere.jsonl", "no such file"),
        ("./org/set", "no such file"),
        ("set.csv", r"wanted a \.parquet"),
    ],
)
def test_a_data_set_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set.csv").write_text("problem,answer\n")
    with pytest.raises(UsageError, match=said):
        open_data(CUSTOM, DataOptions(dataset=dataset))


def test_flags_that_contradict_each_other(tmp_path: Path) -> None:
    file = str(write(tmp_path, "json"))
    with pytest.raises(UsageError, match="is one file"):
        DataOptions.from_flags(None, True, dataset=file, split="test")
    with pytest.raises(UsageError, match="goes with --dataset"):
        DataOptions.from_flags(None, True, split="test")
    with pytest.raises(UsageError, match="give --dataset"):
        open_data(CUSTOM, DataOptions())
    with pytest.raises(UsageError, match="add --tasks custom"):
        plan(RunOptions(model="tiny", tasks="demo", data=DataOptions(dataset=file)))


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "mine", "jsonl")
    assert main(["validate", "custom", "--dataset", str(file), "--offline"]) == 0
    assert "gold 1, empty 0 on 4 rows (test.jsonl, 4 rows" in capsys.readouterr().out
    arguments = ["validate", "custom", "--dataset", str(file.parent), "--split", "nope"]
    assert main(arguments) == 2
    assert "no nope.parquet" in capsys.readouterr().err
