"""What a benchmark file states: where its rows are and how a row becomes a `Sample`.

A task file holds one or more module-level `Task` objects and nothing that runs at import; it must
not import torch, datasets or other heavy packages at module level, because `ls tasks` imports it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vsr1_bench.errors import RowError
from vsr1_bench.prompts.judge_prompts import JudgePrompt
from vsr1_bench.records import AnswerType, EncodedImage, ImagePlace, Outcome, Part, Sample

Row = Mapping[str, Any]

ROW_NUMBER = "__row__"
"""The key under which `to_sample` finds its row's number, from 0: for sets without ids."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a task's rows are: a data set of the hub, or the same layout in a local mirror."""

    hub_id: str
    split: str
    config: str | tuple[str, ...] | None = None
    """One configuration, or several that are read one after another as one set."""
    revision: str | None = None
    """Commit to load; None = the newest, whose commit is then recorded with the run."""
    images: tuple[str, ...] = ()
    """Columns that hold an image, or a list of images. `to_sample` sees them as `EncodedImage`."""
    n: int | None = None
    """Number of rows that its publishers state; only shown. None = unknown."""


@dataclass(frozen=True, slots=True)
class UserDataset:
    """Rows that the user names by `--dataset`: a file, a folder, or a data set of the hub."""

    images: tuple[str, ...] = ()
    split: str = "test"
    """The split of a folder or a data set of the hub, unless `--split` names another."""


@dataclass(frozen=True, slots=True)
class Procedural:
    """Rows that are generated, not loaded."""

    make: Callable[[int], Row]
    """Row number -> row; the same number always gives the same row."""
    n: int
    fingerprint: str
    """Changes whenever any row changes."""
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExternalTask:
    """Rows, prompts and scoring of another harness's task (`vsr1_bench.harness`)."""

    harness: str
    """The harness's name; it is also the name of its scorer as a judge."""
    name: str
    """The task's name there; `GROUP/NAME` for a member of a group that may change its settings."""
    include_path: tuple[str, ...] = ()
    """Further folders that may contain the task's file."""
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """The rows of a benchmark as somebody else published them."""

    source: Source
    to_sample: Callable[[Row], Sample | tuple[Sample, ...]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a task. The kinds are those of `vsr1_bench.scoring.metrics`."""

    name: str
    kind: str = "accuracy"
    """`accuracy`, `graded_mean`, `all_correct_by`, `mean_by`, `pass_at`, `majority_at`."""
    by: tuple[str, ...] = ()
    """Group names: the unit that must be answered entirely right, or over which a mean is taken."""
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of a group name and the groups that count; all conditions must hold."""


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark: data, mapping, and how it is judged and summed up."""

    name: str
    version: int | str
    """`2`, or `"2.1"`: shown in every table. The first number rises when rows, mapping or prompt
    change: another question, another run. The second rises when only reading or scoring change:
    stored responses are judged again, and nothing is generated again."""
    source: Source | Procedural | UserDataset | ExternalTask
    to_sample: Callable[[Row], Sample | tuple[Sample, ...]]
    """One row -> its sample, or its `per_row` samples."""
    answer_type: AnswerType | None
    """The samples' answer type; None if it differs from sample to sample."""
    license: str
    description: str
    judge: str = "string_match"
    """Spec of its judge: a name, or `cascade:math,gemini`."""
    judge_fallback: str | None = None
    """Rule judge to use, with a footnote, if the judging model has no key or endpoint."""
    judge_prompt: JudgePrompt | None = None
    """This benchmark's own prompt for judging models; takes precedence over `--judge_prompt`."""
    metrics: tuple[Metric, ...] = (Metric("accuracy"),)
    suites: tuple[str, ...] = ()
    cluster: str | None = None
    """Group key whose members are not independent (one image, several questions)."""
    citation: str = ""
    native_prompt: str | None = None
    """The benchmark's own wording after the question, used by `--prompt native`."""
    verdict_of_label: Callable[[Sample, str], Outcome | None] | None = None
    """The outcome that a label of a judge or a person (e.g. `unclear`) means for a sample; None =
    the usual outcome."""
    example: Callable[[], Row] | None = None
    """A generated row with the real columns; `validate` uses it if the data are missing."""
    train: Source | Procedural | None = None
    """Rows to train on, disjoint from `source`."""
    per_row: int = 1
    """Samples in each row."""
    parts: tuple[str, Mapping[str, str]] | None = None
    """A merged set: a group name, and group -> the task that its samples belong to. The paper's raw
    outputs to the merged set are kept as runs of those tasks."""

    @property
    def spec_version(self) -> int:
        """The whole number of the version. Only this part belongs to a run's spec."""
        return int(str(self.version).partition(".")[0])

    copies: Mapping[str, Copy] = field(default_factory=dict)
    """Other publications of the same rows, chosen by `--source NAME`: `lmms_eval`, `paper`, …"""
    title: str = ""
    """Its name in a paper's table; empty = `name`."""


def part_of(task: Task, sample: Sample) -> str:
    """Name of the task that a sample of a merged set belongs to; else the task's own name."""
    group, names = task.parts or ("", {})
    return names.get(sample.groups.get(group, ""), task.name)


@dataclass(frozen=True, slots=True)
class GroupMean:
    """One number over several tasks."""

    name: str
    tasks: tuple[str, ...]
    weighted: bool
    """True = weighted by the number of samples (pooled accuracy); False = tasks weigh the same."""
    description: str


@dataclass(frozen=True, slots=True)
class Group:
    """A benchmark of several tasks, named as one, with its overall numbers."""

    name: str
    tasks: tuple[str, ...]
    means: tuple[GroupMean, ...] = ()
    metrics: tuple[Metric, ...] = ()
    """Metrics over the samples of all tasks as one set: the tasks are splits of one benchmark."""
    title: str = ""
    """Its name in a paper's table; empty = `name`."""


def numbered_images(row: Row, columns: Sequence[str]) -> tuple[EncodedImage, ...]:
    """The images of columns that are filled from the first on, as `image_1`, `image_2`, ….

    Raises:
        RowError: an empty column before a filled one, which would shift images to other marks.
    """
    cells = [row.get(column) for column in columns]
    images = tuple(cell for cell in cells if cell is not None)
    if None in cells[: len(images)]:
        raise RowError(f"column {columns[cells.index(None)]} is empty and a later one is not")
    return images


def interleave(
    text: str, images: Sequence[EncodedImage] | None, mark: str = r"<image ?(\d*)>"
) -> tuple[tuple[Part, ...], tuple[EncodedImage, ...]]:
    """Put images at their marks in `text`.

    `<image N>` takes image N (from 1), `<image>` the next one in order; repeats and any order are
    kept. One image with several numbered marks is shown once, at the first mark, and the later
    marks stay as text. Images that no mark names come first.

    Args:
        text: The question with its marks.
        images: The row's images in order; None = the question is asked without images on purpose,
            and its marks stay as text.
        mark: Regular expression of a mark; group 1 is the number or empty.

    Returns:
        The parts in reading order, and the images they refer to.

    Raises:
        RowError: a mark names an image that the row does not have.
    """
    (parts,), shown = interleave_all((text,), images, mark)
    return parts, shown


def interleave_all(
    texts: Sequence[str],
    images: Sequence[EncodedImage] | None,
    mark: str = r"<image ?(\d*)>",
    *,
    one_for_all: bool = True,
) -> tuple[tuple[tuple[Part, ...], ...], tuple[EncodedImage, ...]]:
    """Put images at their marks in several texts that are read one after another.

    For example the question and its options; an option may name an image that the question does
    not. The rules are those of `interleave`. Images that no text names come first in the first
    text.

    Args:
        texts: The texts with their marks.
        images: As for `interleave`.
        mark: As for `interleave`.
        one_for_all: If there is only one image, every numbered mark means it (MATH-Vision's picture
            of all options). False: a number beyond the images is an error.

    Raises:
        RowError: a mark names an image that the row does not have.
    """
    if images is None:
        return tuple((text,) if text else () for text in texts), ()
    placed: set[int] = set()
    following = 0
    texts_parts: list[list[Part]] = []
    for text in texts:
        parts: list[Part] = []
        end = 0
        for match in re.finditer(mark, text):
            number = int(match.group(1)) - 1 if match.group(1) else following
            if match.group(1) and len(images) == 1 and (one_for_all or number == 0):
                if placed:
                    continue
                number = 0
            if not 0 <= number < len(images):
                raise RowError(
                    f"mark {match.group(0)!r} asks for image {number + 1}, "
                    f"the row has {len(images) or 'none'}"
                )
            parts += [text[end : match.start()], ImagePlace(number)]
            placed.add(number)
            end, following = match.end(), number + 1
        texts_parts.append([*parts, text[end:]])
    unplaced = [ImagePlace(i, marked=False) for i in range(len(images)) if i not in placed]
    texts_parts[0] = [*unplaced, *texts_parts[0]]
    kept = tuple(tuple(part for part in parts if part != "") for parts in texts_parts)
    return kept, tuple(images)


def example_image(width: int = 56, height: int = 56) -> EncodedImage:
    """Draw a plain image, for the generated rows that `validate` falls back on."""
    from PIL import Image as Pil

    buffer = io.BytesIO()
    Pil.new("RGB", (width, height), (200, 220, 240)).save(buffer, "PNG")
    return EncodedImage(data=buffer.getvalue())
