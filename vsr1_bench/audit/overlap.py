"""Overlap: which items of a benchmark are in training data, by their picture or their question.

The training rows are read once, in blocks, so their number does not matter for the memory.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.audit.items import SEEN_PIXELS, Items
from vsr1_bench.audit.pictures import Gallery, Near, Pictures, picture_of
from vsr1_bench.audit.wording import Questions
from vsr1_bench.data.dataset import FIRST_ROWS, DataOptions, TaskData, open_data
from vsr1_bench.data.training_rows import Content, content_of, open_rows
from vsr1_bench.errors import RowError, TaskError, UsageError
from vsr1_bench.generation.images import ImageError, decode
from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.registry import get_task, load_registry
from vsr1_bench.task import Task

BOTH, IMAGE, QUESTION = "image and question", "image", "question"
KINDS = (BOTH, IMAGE, QUESTION)
"""The most serious first."""
ROWS = 256
"""Training rows of a block."""
KEPT = 20
"""Rows that are kept per item and kind; the others are counted."""
TRAINING = ":train"
"""`TASK:train` names the training rows that a task states."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Training rows by number."""

    name: str
    count: int
    content: Callable[[int], Content]
    """Raises `TaskError` for a row that cannot be used."""
    place: Callable[[int], str] = lambda number: ""
    """A row's id, or its position in its file."""


@dataclass(frozen=True, slots=True)
class Match:
    """An item and a training row that has it."""

    item: int
    row: int
    place: str
    kind: str
    distance: float
    """Of an image 1 minus the correlation, of a question 1 minus the similarity; 0 = equal."""


@dataclass(slots=True)
class Overlap:
    """The items of a benchmark that are in one training set."""

    name: str
    rows: int
    """Rows of the training set."""
    compared: int = 0
    """Rows that were compared; fewer if the time was over."""
    images: int = 0
    """Images of these rows, each counted once."""
    unreadable: int = 0
    """Images that cannot be decoded."""
    unusable: Counter[str] = field(default_factory=Counter)
    """Rows that cannot be used, by reason."""
    matches: list[Match] = field(default_factory=list)
    """By item, the nearest first; at most `KEPT` per item and kind."""
    pairs: Counter[str] = field(default_factory=Counter)
    """All pairs per kind."""
    flat: int = 0
    """Images of the benchmark that show nothing, and are not looked for."""

    def items(self, kind: str | None = None) -> set[int]:
        """Numbers of the items with a match of a kind, or of any."""
        return {match.item for match in self.matches if kind in (None, match.kind)}


def open_training(
    name: str,
    options: DataOptions,
    downloads: Path,
    include_path: Sequence[str | Path] = (),
) -> TrainingSet:
    """Open a file, a folder, a hub id, or the training rows of a task (`TASK:train`).

    Args:
        name: What the user names.
        options: Where a task's rows are.
        downloads: Folder for the files of a hub id.
        include_path: Folders of plug-ins.

    Raises:
        UsageError: there is no such data set, or the task states no training rows.
        TaskError: it cannot be read, or has no rows.
    """
    if name.endswith(TRAINING) and not Path(name).exists():
        task = get_task(name.removesuffix(TRAINING), include_path)
        return of_task_data(name, open_data(training_side(task, f"--against {name}"), options))
    if not Path(name).expanduser().exists() and name in load_registry(include_path).tasks:
        raise UsageError(
            f"--against {name}: a task, not a training set; its training rows are {name}{TRAINING}"
        )
    rows = open_rows([name], None, downloads, offline=options.offline)
    if not len(rows):
        raise TaskError(f"--against {name}: the data set has no rows")
    return TrainingSet(
        Path(name).name if Path(name).expanduser().exists() else name,
        len(rows),
        lambda number: content_of(rows[number]),
        rows.place,
    )


def training_side(task: Task, asked: str) -> Task:
    """A task whose rows are those that it states for training.

    Raises:
        UsageError: it states none.
    """
    if task.train is None:
        raise UsageError(f"{asked}: task {task.name!r} states no training rows")
    return replace(task, source=task.train, copies={})


def of_task_data(name: str, data: TaskData) -> TrainingSet:
    """The samples of a task's data as training rows."""
    return TrainingSet(name, len(data), lambda number: _shown(data.sample(number)))


def _shown(sample: Sample) -> Content:
    texts = [part for part in sample.question if isinstance(part, str)]
    choices = [*(sample.choices or ())] if not sample.choices_in_image else []
    question = " ".join(texts)
    return Content((question, " ".join((question, *choices))), sample.images)


def find_overlap(
    found: Items,
    training: TrainingSet,
    *,
    seconds: float | None = None,
    progress: bool = True,
) -> Overlap:
    """Look for the items of a benchmark in a training set.

    Args:
        found: The benchmark, read with its pictures.
        training: The training set.
        seconds: Stop after this time; the rows are then taken in a random order. None = all rows.
        progress: Whether to show a bar.

    Raises:
        TaskError: none of the first rows has a question or an image.
    """
    search = _Search(found, training)
    order: Iterable[int] = range(training.count)
    if seconds is not None:
        order = np.random.default_rng(0).permutation(training.count).tolist()
    numbers, begun = list(order), time.monotonic()
    with (
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
        progress_bar(len(numbers), f"compare {training.name}", "row", shown=progress) as bar,
    ):
        for start in range(0, len(numbers), ROWS):
            if seconds is not None and start and time.monotonic() - begun > seconds:
                break
            block = numbers[start : start + ROWS]
            search.block(block, pool)
            bar.update(len(block))
    return search.result()


class _Search:
    """One pass over a training set."""

    def __init__(self, found: Items, training: TrainingSet) -> None:
        self.found, self.training = found, training
        self.gallery = Gallery(found.pictures)
        self.questions = Questions(found.items)
        self.overlap = Overlap(training.name, training.count)
        self.overlap.flat = int(np.sum(np.array(found.readable, bool) & ~self.gallery.shown))
        self.shown_by: dict[int, list[int]] = defaultdict(list)
        """Number of a picture -> items that show it."""
        for number, item in enumerate(found.items):
            for image in dict.fromkeys(item.images):
                self.shown_by[image].append(number)
        self.by_sha = {sha: number for number, sha in enumerate(found.shas)}
        self.seen: dict[str, tuple[Near, ...]] = {}
        """Hash of a training image -> pictures of the benchmark that it shows."""
        self.best: dict[tuple[int, str], list[Match]] = defaultdict(list)

    def block(self, numbers: Sequence[int], pool: ThreadPoolExecutor) -> None:
        """Compare some training rows."""
        contents: list[tuple[int, Content]] = []
        for number in numbers:
            self.overlap.compared += 1
            try:
                contents.append((number, self.training.content(number)))
            except TaskError as error:
                self._refuse(error)
        shas = [[image.sha256() for image in content.images] for _, content in contents]
        self._look(contents, shas, pool)
        texts = [(place, text) for place, (_, c) in enumerate(contents) for text in c.texts]
        asked: dict[tuple[int, int], float] = {}
        for near in self.questions.near([text for _, text in texts]):
            pair = (texts[near.text][0], near.item)
            asked[pair] = min(near.distance, asked.get(pair, 1.0))
        for place, (number, content) in enumerate(contents):
            pictures: dict[int, float] = {}
            for sha in shas[place]:
                for match in self.seen.get(sha, ()):
                    for item in self.shown_by[match.own]:
                        pictures[item] = min(match.distance, pictures.get(item, 1.0))
            for item, distance in pictures.items():
                both = self.questions.asked(item, content.texts) is not None
                self._add(item, number, BOTH if both else IMAGE, distance)
            for (where, item), distance in asked.items():
                if where != place or item in pictures:
                    continue
                if self.questions.tells(item, pictured=bool(content.images)):
                    self._add(item, number, QUESTION, distance)

    def _refuse(self, error: TaskError) -> None:
        """Count a row that cannot be used; if none of the first ones can, the data are wrong."""
        overlap = self.overlap
        reason = str(error).rpartition(": ")[2] if isinstance(error, RowError) else str(error)
        overlap.unusable[reason] += 1
        if overlap.compared == sum(overlap.unusable.values()) == min(FIRST_ROWS, overlap.rows):
            raise TaskError(f"{self.training.name}: no row can be used: {error}") from error

    def _look(
        self,
        contents: Sequence[tuple[int, Content]],
        shas: Sequence[Sequence[str]],
        pool: ThreadPoolExecutor,
    ) -> None:
        """Find the pictures of the images that were not seen before."""
        new: dict[str, EncodedImage] = {}
        for (_, content), names in zip(contents, shas, strict=True):
            for sha, image in zip(names, content.images, strict=True):
                if sha not in self.seen:
                    new.setdefault(sha, image)
        pictures = dict(zip(new, pool.map(_picture, new.values()), strict=True))
        readable = [sha for sha, picture in pictures.items() if picture is not None]
        self.overlap.images += len(new)
        self.overlap.unreadable += len(new) - len(readable)
        self.seen |= dict.fromkeys(new, ())
        others = Pictures.of([p for sha in readable if (p := pictures[sha]) is not None])
        for near in self.gallery.near(others, pool):
            sha = readable[near.other]
            self.seen[sha] = (*self.seen[sha], near)
        for sha in readable:
            self._same_bytes(sha)

    def _same_bytes(self, sha: str) -> None:
        """Equal bytes have the distance 0, whatever the alignment made of them."""
        own = self.by_sha.get(sha)
        if own is not None and self.gallery.shown[own]:
            others = tuple(near for near in self.seen[sha] if near.own != own)
            self.seen[sha] = (Near(own, 0, 0.0), *others)

    def _add(self, item: int, row: int, kind: str, distance: float) -> None:
        self.overlap.pairs[kind] += 1
        kept = self.best[item, kind]
        kept.append(Match(item, row, self.training.place(row), kind, max(0.0, distance)))
        if len(kept) > 2 * KEPT:
            self.best[item, kind] = _nearest(kept)

    def result(self) -> Overlap:
        """What was found."""
        self.overlap.matches = [m for key in sorted(self.best) for m in _nearest(self.best[key])]
        return self.overlap


def _nearest(matches: Sequence[Match]) -> list[Match]:
    return sorted(matches, key=lambda match: (match.distance, match.row))[:KEPT]


def _picture(image: EncodedImage) -> Pictures | None:
    try:
        return picture_of(decode(image, 1, SEEN_PIXELS))
    except ImageError:
        return None
