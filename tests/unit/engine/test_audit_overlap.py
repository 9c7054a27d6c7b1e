"""`audit --against`: copies of test images and questions are found, and nothing else is."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import here
from PIL import Image as Pil
from PIL import ImageDraw
from scored import spec_of, stored_run, tasks_folder

from vsr1_bench.audit import pictures
from vsr1_bench.audit.items import Items, read_items
from vsr1_bench.audit.overlap import (
    KEPT,
    Overlap,
    TrainingSet,
    find_overlap,
    of_task_data,
    open_training,
)
from vsr1_bench.audit.overlap_section import overlap_part
from vsr1_bench.audit.pictures import Gallery, Pictures, picture_of
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.data.training_rows import Content, content_of
from vsr1_bench.errors import RowError, TaskError, UsageError
from vsr1_bench.records import EncodedImage, ImagePlace, Sample
from vsr1_bench.registry import get_task
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Procedural, Task
from vsr1_bench.tiny.scenes import EMPTY, Draw, Scene, render

CROPS = [(0.0, 0.0, 0.0, 0.0), (0.05, 0.0, 0.02, 0.05), (0.0, 0.05, 0.05, 0.0), (0.05,) * 4]


def photo(seed: int) -> Pil.Image:
    shades = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Pil.fromarray(shades).resize((320, 240), Pil.Resampling.BICUBIC)


def figure(seed: int) -> Pil.Image:
    corners = [tuple(p) for p in np.random.default_rng(seed).uniform(30, 210, (4, 2)).tolist()]
    image = Pil.new("RGB", (320, 240), "white")
    ImageDraw.Draw(image).polygon(corners, outline="black", width=2)
    return image


def page(seed: int) -> Pil.Image:
    random = np.random.default_rng(seed)
    image = Pil.new("RGB", (480, 320), "white")
    for line in range(8):
        words = " ".join(random.choice(["find", "the", "area", "of", "a", "triangle", "if"], 8))
        ImageDraw.Draw(image).text((12, 12 + 28 * line), words, fill="black", font_size=18)
    return image


def grid(*cells: str) -> Pil.Image:
    scene = Scene((*cells, *([EMPTY] * (16 - len(cells)))))
    return Pil.open(io.BytesIO(render(scene, Draw("pixels")))).convert("RGB")


def encoded(image: Pil.Image, form: str = "PNG", **options: int) -> EncodedImage:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return EncodedImage(data=buffer.getvalue())


def copy_of(image: Pil.Image, crop: tuple[float, ...], scale: float, quality: int) -> EncodedImage:
    left, top, right, bottom = crop
    width, height = image.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    cropped = image.crop(tuple(map(round, box)))
    size = (round(cropped.width * scale), round(cropped.height * scale))
    return encoded(cropped.resize(size, Pil.Resampling.BICUBIC), "JPEG", quality=quality)


def seen(image: EncodedImage) -> Pictures:
    return picture_of(Pil.open(io.BytesIO(image.read())).convert("RGB"))


ALIKE = [
    photo(1),
    photo(2),
    figure(1),
    figure(2),
    page(1),
    page(2),
    grid("red", EMPTY, "blue", "blue", EMPTY, "green", "red"),
    grid("red", EMPTY, "blue", "blue", EMPTY, "green", "pink"),  # one dot of another colour
    grid("red", EMPTY, "blue", "blue", EMPTY, "green"),  # one dot less
]


def same(own: Pictures, others: Pictures) -> list[tuple[int, int]]:
    with ThreadPoolExecutor(2) as pool:
        return [(near.own, near.other) for near in Gallery(own).near(others, pool)]


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("scale", "quality"), [(0.5, 50), (2.0, 95)])
def test_copies_are_found_and_images_that_look_alike_are_not(
    crop: tuple[float, ...], scale: float, quality: int
) -> None:
    own = Pictures.of([picture_of(image) for image in ALIKE])
    copies = Pictures.of([seen(copy_of(image, crop, scale, quality)) for image in ALIKE])
    every = [(n, n) for n in range(len(ALIKE))]
    assert same(own, copies) == every
    # The benchmark can hold the crop, and the training data the whole image.
    assert same(copies, own) == every


def test_a_picture_without_content_is_not_looked_for() -> None:
    white = Pictures.of([picture_of(Pil.new("RGB", (90, 90), "white")), picture_of(photo(1))])
    assert same(white, white) == [(1, 1)]
    assert same(Pictures.of([]), white) == []
    assert same(white, Pictures.of([])) == []


def test_the_sizes_of_the_parts_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Pictures.of([picture_of(image) for image in ALIKE])
    copies = Pictures.of([seen(copy_of(image, CROPS[-1], 0.5, 50)) for image in ALIKE])
    whole = same(own, copies)
    for block, pairs in ((256, 2), (2, 128), (2, 1)):
        monkeypatch.setattr(pictures, "_BLOCK", block)
        monkeypatch.setattr(pictures, "_PAIRS", pairs)
        assert same(own, copies) == whole == [(n, n) for n in range(len(ALIKE))]


def read(*samples: Sample) -> Items:
    source = Procedural(lambda number: {"number": number}, len(samples), "1")
    task = Task(
        name="planted",
        version=1,
        source=source,
        to_sample=lambda row: samples[row["number"]],
        answer_type=None,
        license="",
        description="",
    )
    return read_items(open_data(task, DataOptions()), pictures=True, progress=False)


def asked(name: str, text: str, image: Pil.Image | None = None, *options: str) -> Sample:
    kind = "choice" if options else "text"
    shown = () if image is None else (encoded(image),)
    parts = (text,) if image is None else (ImagePlace(0), text)
    return Sample(name, parts, "A", kind, images=shown, choices=options or None)


def training(*contents: Content) -> TrainingSet:
    return TrainingSet("planted", len(contents), lambda row: contents[row])


def kinds(overlap: Overlap) -> set[tuple[int, int, str]]:
    return {(match.item, match.row, match.kind) for match in overlap.matches}


SPECIFIC = "How many of the seven boats on the lake at Lucerne carry a white flag at the stern"
WORDY = "A train leaves Bern at nine and drives 80 km per hour; when is it in Chur, 240 km away"


def test_what_a_training_row_has_of_an_item() -> None:
    found = read(
        asked("0", f"{SPECIFIC}?", photo(1)),
        asked("1", "What is it?", photo(2), "a cat", "a dog"),
        asked("2", "What is it?", figure(1), "a cat", "a dog"),
        asked("3", f"{WORDY}?"),
        asked("4", "What is 2 + 2?"),
        asked("5", "What is 2 + 3?"),
        *(asked(f"{n}", "What is it?", photo(n), "a cat", "a dog") for n in range(6, 30)),
    )
    small = (copy_of(photo(2), CROPS[1], 0.7, 60),)
    overlap = find_overlap(
        found,
        training(
            Content((f"<image>\n{SPECIFIC.upper()}? Answer with a number.",), ()),
            Content(("<image>What is it?\nA. a cat\nB. a dog",), small),
            Content(("Describe the picture.",), (encoded(figure(1)),)),
            Content(("Be brief.", WORDY.replace("nine", "ten")), ()),
            Content(("what is 2 + 2",), ()),
            Content(("What is it? a cat a dog",), (encoded(photo(99)),)),  # a template
            Content((SPECIFIC,), (encoded(photo(98)),)),  # may be one, too
        ),
        progress=False,
    )
    assert kinds(overlap) == {
        (0, 0, "question"),
        (1, 1, "image and question"),
        (2, 2, "image"),
        (3, 3, "question"),
        (4, 4, "question"),
    }
    distances = {match.item: match.distance for match in overlap.matches}
    assert distances[2] == 0 and distances[4] == 0  # equal bytes, equal text
    assert 0 < distances[1] < 0.08 and 0 < distances[3] <= 0.2
    assert overlap.images == 4 and overlap.compared == 7


def test_an_image_of_many_rows_is_compared_once_and_its_pairs_are_bounded() -> None:
    found = read(asked("0", "What is it?", photo(1)))
    same = Content(("Where?",), (copy_of(photo(1), CROPS[1], 1, 80),))
    overlap = find_overlap(found, training(*[same] * 100), progress=False)
    assert overlap.images == 1 and overlap.pairs["image"] == 100
    assert [match.row for match in overlap.matches] == list(range(KEPT))


def test_a_bounded_search_takes_rows_from_everywhere() -> None:
    found = read(asked("0", "What is it?"))
    rows: list[int] = []

    def content(row: int) -> Content:
        rows.append(row)
        return Content(("?",), ())

    overlap = find_overlap(found, TrainingSet("many", 10_000, content), seconds=0.0, progress=False)
    assert overlap.compared == len(rows) == 256 and overlap.rows == 10_000
    assert max(rows) > 9000 and min(rows) < 1000


def test_rows_that_cannot_be_used() -> None:
    found = read(asked("0", "What is it?", photo(1)))
    broken = Content(("?",), (EncodedImage(data=b"x"), encoded(photo(1))))

    def content(row: int) -> Content:
        if row % 2:
            return broken
        raise RowError(f"row {row}: no question")

    overlap = find_overlap(found, TrainingSet("odd", 6, content), progress=False)
    assert overlap.unusable == {"no question": 3} and overlap.unreadable == 1
    assert kinds(overlap) == {(0, row, "image") for row in (1, 3, 5)}
    wrong = TrainingSet("wrong", 9, lambda row: content_of({"row": row}))
    with pytest.raises(TaskError, match="wrong: no row can be used: none of the columns"):
        find_overlap(found, wrong, progress=False)


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"problem": "Why?", "answer": "x", "solution": "y"}, ("Why?",)),
        ({"instruction": "Add.", "input": "1 2", "history": [["Q", "R"]]}, ("Add.\n1 2", "Q")),
        (
            {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "R"}]},
            ("Q",),
        ),
        ({"conversations": [{"from": "human", "value": "<image>Q"}, "odd", {"from": "gpt"}]},
         ("<image>Q",)),
        ({"image": EncodedImage(data=b"x")}, ()),
    ],
)  # fmt: skip
def test_questions_of_training_rows(row: dict[str, Any], texts: tuple[str, ...]) -> None:
    assert content_of(row).texts == texts


def test_scores_without_the_overlap(tmp_path: Path) -> None:
    task = get_task("alpha", [str(tasks_folder(tmp_path))])
    runs = [
        stored_run(tmp_path / "runs", spec_of("cheat", "alpha"), [1, 1, 1, 0, 0, None]),
        stored_run(tmp_path / "runs", spec_of("fair", "alpha"), [0, 1, 0, 1, 1, 1]),
    ]
    found = read(*(asked(f"q{n}", "What is it?", photo(n)) for n in range(6)))
    overlap = find_overlap(
        found,
        training(*(Content(("?",), (encoded(photo(n)),)) for n in range(3))),
        progress=False,
    )
    part = overlap_part(task, found.items, overlap, [RunFolder(run.path) for run in runs])
    assert part.findings == ("3 of 6 items (50.0 %) are in planted: 3 by image",)
    (document,) = part.document["overlap"]
    scores = {s["model"]: (s["n"], s["accuracy"], s["without"], s["overlap"], s["without_n"])
              for s in document["scores"]}  # fmt: skip
    assert scores == {
        "cheat": (5, 0.6, 0.0, 1.0, 2),
        "fair": (6, pytest.approx(4 / 6), 1.0, pytest.approx(1 / 3), 3),
    }
    assert [row[4] for row in part.sections[0].tables[-1].rows] == [
        "100.0 % (43.9 to 100.0, n = 3)",
        "0.0 % (0.0 to 65.8, n = 2)",
    ]


def test_the_command(tmp_path: Path) -> None:
    demo = open_data(get_task("demo"), DataOptions())
    rows = []
    for number in range(4):
        sample = demo.sample(number)
        image = Pil.open(io.BytesIO(sample.images[0].read())).convert("RGB")
        (tmp_path / f"{number}.jpg").write_bytes(copy_of(image, CROPS[1], 1.5, 80).read())
        text = str(sample.question[-1]) if number < 2 else "Look."
        turns = [{"from": "human", "value": f"<image>{text}"}, {"from": "gpt", "value": "x"}]
        rows.append(json.dumps({"conversations": turns, "images": [f"{number}.jpg"]}))
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    (tmp_path / "texts.json").write_text(json.dumps([{"problem": "1 + 1?", "answer": "2"}] * 3))
    pages = tmp_path / "pages"
    against = ["--against", tmp_path / "rows.jsonl", tmp_path / "texts.json"]
    done = here("audit", "demo", "--limit", 40, *against, "-o", pages)
    assert done.returncode == 0, done.stderr
    line = "4 of 40 items (10.0 %) are in rows.jsonl: 2 by image and question, 2 by image"
    assert line in done.stdout
    document = json.loads((pages / "demo.json").read_text())
    first, second = document["overlap"]
    assert first["items"] == {"image and question": 2, "image": 2, "question": 0, "any": 4}
    assert first["matches"][0]["place"] == "rows.jsonl, line 1"
    assert second["items"]["any"] == 0 and second["images"] == 0
    text = (pages / "demo.md").read_text()
    assert "only the questions were compared" in text and "No item was found" in text


def test_training_data_that_is_not_there(tmp_path: Path) -> None:
    options = DataOptions(offline=True)
    for name, error, said in (
        ("nowhere/set", UsageError, "no such file or folder, and the hub does not provide it"),
        ("demo", UsageError, "a task, not a training set; its training rows are demo:train"),
        ("mathvision:train", UsageError, "'mathvision' states no training rows"),
        ("demmo:train", UsageError, "unknown task 'demmo'; did you mean demo"),
        (str(tmp_path), UsageError, "no parquet, jsonl or json file"),
    ):
        with pytest.raises(error, match=said):
            open_training(name, options, tmp_path / "data")
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(TaskError, match="has no rows"):
        open_training(str(tmp_path / "none.jsonl"), options, tmp_path / "data")
    done = here("audit", "demo", "--limit", 2, "--against", tmp_path / "gone", "--offline")
    assert done.returncode == 2 and "gone" in done.stderr and "Traceback" not in done.stderr


def test_demo_trains_on_other_scenes_than_it_tests() -> None:
    """Grids of dots all look alike."""
    found = read_items(
        open_data(get_task("demo"), DataOptions()), 150, pictures=True, progress=False
    )
    rows = open_training("demo:train", DataOptions(), Path())
    some = TrainingSet(rows.name, 512, rows.content)
    overlap = find_overlap(found, some, progress=False)
    assert overlap.images == 512 and overlap.matches == []
    own = of_task_data("demo", open_data(get_task("demo"), DataOptions()))
    same = find_overlap(found, TrainingSet(own.name, 150, own.content), progress=False)
    assert kinds(same) == {(n, n, "image and question") for n in range(150)}
    assert {match.distance for match in same.matches} == {0.0}
