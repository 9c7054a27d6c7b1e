"""Rows from a mirror: layout, image cells, fingerprints, and what is said when data are missing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.data.rows import load_files, mirror_files
from vsr1_bench.errors import RowError, TaskError
from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.task import Procedural, Row, Source, Task

SOURCE = Source("org/set", split="test", config="main", images=("image",))


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


RED, BLUE = png((255, 0, 0)), png((0, 0, 255))


def to_sample(row: Row) -> Sample:
    image = row["image"]
    images = image if isinstance(image, tuple) else (image,)
    return Sample(str(row["id"]), (row["question"],), row["answer"], "text", images=images)


def task(source: Source | Procedural = SOURCE) -> Task:
    return Task("set", 1, source, to_sample, "text", "MIT", "a test")


def write_parquet(folder: Path, name: str = "test.parquet", image: object = None) -> Path:
    import datasets

    folder.mkdir(parents=True, exist_ok=True)
    rows = {
        "id": [1, 2],
        "question": ["q1", "q2"],
        "answer": ["a", "b"],
        "image": image or [{"bytes": RED, "path": None}, {"bytes": BLUE, "path": None}],
    }
    features = datasets.Features(
        {
            "id": datasets.Value("int64"),
            "question": datasets.Value("string"),
            "answer": datasets.Value("string"),
            "image": datasets.Image(),
        }
    )
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / name)
    return folder / name


def write_jsonl(folder: Path, name: str = "test.jsonl", path: str = "img/{}.png") -> Path:
    (folder / "img").mkdir(parents=True, exist_ok=True)
    for stem, data in (("1", RED), ("2", BLUE)):
        (folder / "img" / f"{stem}.png").write_bytes(data)
    rows = [
        {"id": n, "question": f"q{n}", "answer": "ab"[n - 1], "image": path.format(n)}
        for n in (1, 2)
    ]
    (folder / name).write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder / name


@pytest.mark.parametrize("write", [write_parquet, write_jsonl])
def test_a_mirror_is_read(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    write(tmp_path / "org/set/main")
    data = open_data(task(), DataOptions(tmp_path))
    samples = list(data.samples())
    assert [s.id for s in samples] == ["1", "2"]
    assert [s.images[0].read() for s in samples] == [RED, BLUE]
    assert data.n_rows == 2 and data.spec.revision is None


def test_the_fingerprint_is_of_the_content_not_of_the_container(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a/org/set/main")
    write_jsonl(tmp_path / "b/org/set/main")
    parquet, jsonl = (open_data(task(), DataOptions(tmp_path / d)).spec for d in "ab")
    assert parquet.fingerprint == jsonl.fingerprint
    (tmp_path / "b/org/set/main/img/2.png").write_bytes(RED)
    data_file = tmp_path / "b/org/set/main/test.jsonl"
    data_file.write_text(data_file.read_text() + "\n")  # its memo must not hide the change
    changed = open_data(task(), DataOptions(tmp_path / "b")).spec
    assert changed.fingerprint != jsonl.fingerprint


def test_a_changed_image_beside_an_unchanged_jsonl_is_another_fingerprint(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "org/set/main")
    before = open_data(task(), DataOptions(tmp_path)).spec.fingerprint
    (tmp_path / "org/set/main/img/2.png").write_bytes(RED)
    assert open_data(task(), DataOptions(tmp_path)).spec.fingerprint != before


def test_test_is_never_testmini(tmp_path: Path) -> None:
    folder = tmp_path / "org/set/main"
    folder.mkdir(parents=True)
    for name in ("testmini.parquet", "test-00001-of-00002.parquet", "test-00000-of-00002.parquet"):
        (folder / name).touch()
    names = [f.name for f in mirror_files(SOURCE, "main", tmp_path)]
    assert names == ["test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]


def test_an_image_path_cannot_leave_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(RED)
    write_jsonl(tmp_path / "org/set/main", path="../../../secret.png")
    with pytest.raises(RowError, match=r"row 0 of org/set.*leaves the folder"):
        list(open_data(task(), DataOptions(tmp_path)).samples())


def test_a_missing_image_file_fails_its_sample_only(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "org/set/main")
    (tmp_path / "org/set/main/img/1.png").unlink()
    samples = list(open_data(task(), DataOptions(tmp_path)).samples())
    assert samples[0].images[0].sha256().startswith("unreadable")
    assert samples[1].images[0].read() == BLUE


def test_missing_data_name_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(TaskError) as error:
        open_data(task(), DataOptions(tmp_path, offline=True))
    line = str(error.value)
    for needed in ("'set'", "org/set", "'main'", "'test'", "--data_root", "VSR1_DATA_ROOT"):
        assert needed in line
    assert "\n" not in line


def test_wrong_columns_name_the_row(tmp_path: Path) -> None:
    write_parquet(tmp_path / "org/set/main")
    broken = Task("set", 1, SOURCE, lambda row: row["nothing"], "text", "MIT", "a test")
    with pytest.raises(TaskError, match=r"row 0 of org/set.*nothing"):
        list(open_data(broken, DataOptions(tmp_path)).samples())


def test_an_id_that_stands_twice_is_refused() -> None:
    source = Procedural(lambda n: {"id": 7, "question": "q", "answer": "a", "image": None}, 2, "f")
    with pytest.raises(TaskError, match="'7' occurs twice"):
        list(open_data(task(source), DataOptions()).samples())


def test_limit_takes_the_first_rows() -> None:
    source = Procedural(lambda n: {"id": n, "question": "q", "answer": "a", "image": RED}, 9, "f")
    source = Procedural(source.make, 9, "f", images=("image",))
    data = open_data(task(source), DataOptions())
    assert [s.id for s in data.samples(3)] == ["0", "1", "2"]
    assert next(data.samples(1)).images == (EncodedImage(data=RED),)


def test_a_data_root_that_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskError, match="is not a folder"):
        DataOptions.from_flags(tmp_path / "nowhere", False)
    monkeypatch.setenv("VSR1_DATA_ROOT", str(tmp_path))
    assert DataOptions.from_flags(None, True) == DataOptions(tmp_path, True)


def test_a_row_that_cannot_be_mapped_is_left_out_and_told() -> None:
    def make(n: int) -> Row:
        return {"id": n, "question": "q", "answer": None if n == 4 else "a", "image": None}

    odd = Task("set", 1, Procedural(make, 8, "f"), to_text, "text", "MIT", "a test")
    told: list[str] = []
    data = open_data(odd, DataOptions())
    found = list(data.placed_samples(None, lambda places, error: told.append(str(error))))
    assert [place for place, _ in found] == [0, 1, 2, 3, 5, 6, 7]
    assert len(told) == 1 and "row 4" in told[0]


def to_text(row: Row) -> Sample:
    if row["answer"] is None:
        raise TaskError("no answer")
    return Sample(str(row["id"]), ("q",), row["answer"], "text")


def test_rows_that_are_all_unusable_are_other_data() -> None:
    source = Procedural(lambda n: {"id": n, "answer": None}, 9, "f")
    other = Task("set", 1, source, to_text, "text", "MIT", "a test")
    told: list[str] = []
    with pytest.raises(TaskError, match="row 2"):
        list(
            open_data(other, DataOptions()).placed_samples(
                None, lambda places, e: told.append(str(e))
            )
        )
    assert len(told) == 2


def test_a_row_with_an_id_that_stands_twice_is_left_out_and_told() -> None:
    source = Procedural(lambda n: {"id": n // 2, "answer": "a"}, 4, "f")
    two = Task("set", 1, source, to_text, "text", "MIT", "a test")
    told: list[range] = []
    data = open_data(two, DataOptions())
    found = list(data.placed_samples(None, lambda places, error: told.append(places)))
    assert [place for place, _ in found] == [0, 2]
    assert told == [range(1, 2), range(3, 4)]


def test_rows_of_this_task_that_are_all_odd_are_left_out_one_by_one() -> None:
    """A `RowError` says that the columns are this task's: the run goes on to its end."""

    def odd(row: Row) -> Sample:
        raise RowError("no answer")

    source = Procedural(lambda n: {"id": n}, 5, "f")
    told: list[str] = []
    data = open_data(Task("set", 1, source, odd, "text", "MIT", "a test"), DataOptions())
    assert not list(data.placed_samples(None, lambda places, e: told.append(str(e))))
    assert len(told) == 5


@pytest.mark.parametrize(
    "error", [AttributeError("x"), RecursionError("x"), StopIteration(), ZeroDivisionError()]
)
def test_whatever_a_row_does_to_its_mapping_names_the_row(error: Exception) -> None:
    def broken(row: Row) -> Sample:
        if row["id"] == 1:
            raise error
        return to_text(row)

    source = Procedural(lambda n: {"id": n, "answer": "a"}, 3, "f")
    told: list[str] = []
    data = open_data(Task("set", 1, source, broken, "text", "MIT", "a test"), DataOptions())
    found = list(data.placed_samples(None, lambda places, e: told.append(str(e))))
    assert len(found) == 2 and len(told) == 1
    assert "row 1 of set" in told[0] and type(error).__name__ in told[0]


def test_more_options_than_letters_are_refused_of_every_task() -> None:
    def many(row: Row) -> Sample:
        return Sample("1", ("q",), "A", "choice", choices=tuple(map(str, range(row["n"]))))

    def told(n: int) -> Sample:
        source = Procedural(lambda _: {"n": n}, 1, "f")
        data = open_data(Task("set", 1, source, many, "choice", "MIT", "a test"), DataOptions())
        return next(data.samples())

    assert len(told(26).choices or ()) == 26
    with pytest.raises(RowError, match="27 options"):
        told(27)


def test_a_parquet_file_without_rows_is_left_out_or_named(tmp_path: Path) -> None:
    files = [tmp_path / f"test-{n}.parquet" for n in range(2)]
    table = pa.table({"problem": ["a", "b"], "answer": ["1", "2"]})
    pq.write_table(table.slice(0, 0), files[0])
    with pytest.raises(TaskError, match=r"test-0\.parquet: no rows in it"):
        load_files(files[:1])
    pq.write_table(table, files[1])
    assert load_files(files)["answer"] == ["1", "2"]
