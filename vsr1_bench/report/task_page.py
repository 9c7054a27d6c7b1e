"""Write one task: its list in columns, and its samples in chunks that are loaded on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.report.columns import BLIND_RIGHT, CHANGED, Coded, RunColumns
from vsr1_bench.report.details import (
    AskAgain,
    OpenRun,
    asked,
    left_out_detail,
    one_line,
    run_detail,
    same_question,
    texts_of,
)
from vsr1_bench.report.folder import SCHEMA, ReportFolder
from vsr1_bench.report.grams import gram_bits
from vsr1_bench.report.images import Images
from vsr1_bench.report.located import Located, Record
from vsr1_bench.report.task_runs import TaskRun
from vsr1_bench.scoring.seeing import readers_of

CHUNK_BYTES = 600_000
"""Of journals, in a chunk; one sample is never divided."""
CHUNK_SAMPLES = 400
TITLE_CHARACTERS, GOLD_CHARACTERS = 90, 60


@dataclass(slots=True)
class Written:
    """What the overview says of a task's samples."""

    samples: int
    groups: list[str]
    has_golds: bool
    has_questions: bool
    has_images: bool


def write_task(
    folder: ReportFolder,
    number: int,
    runs: Sequence[TaskRun],
    images: Images,
    ask_again: Sequence[AskAgain],
    *,
    progress: bool = True,
) -> Written:
    """Write a task's list and chunks.

    Args:
        folder: The report.
        number: Of the task in the report.
        runs: Its runs, in the order of the report.
        images: Those that are here.
        ask_again: Of each run.
        progress: Show a bar.

    Raises:
        DamagedRunError: a run cannot be read.
        StoreError: the report cannot be written.
    """
    with ExitStack() as stack:
        opened = [
            OpenRun(
                stack.enter_context(Located(run.folder, run.judges)),
                readers_of(run.folder),
                again,
                _base(runs, place),
                run.spec.variant,
            )
            for place, (run, again) in enumerate(zip(runs, ask_again, strict=True))
        ]
        page = _TaskPage(folder, number, runs, opened, images)
        with progress_bar(len(page.ids), f"view {runs[0].task}", "sample", shown=progress) as bar:
            for samples in page.chunks():
                page.write_chunk(samples)
                bar.update(len(samples))
        return page.finish()


def _base(runs: Sequence[TaskRun], place: int) -> int:
    """The run whose questions a run's are compared with: the first of its variant."""
    variant = runs[place].spec.variant
    return next(i for i, run in enumerate(runs) if run.spec.variant == variant)


class _TaskPage:
    """A task that is being written."""

    def __init__(
        self,
        folder: ReportFolder,
        number: int,
        runs: Sequence[TaskRun],
        opened: Sequence[OpenRun],
        images: Images,
    ) -> None:
        self._folder, self._number = folder, number
        self._runs, self._opened, self._images = runs, opened, images
        # Runs on the same data ask the same: their questions need no comparison.
        self._other_data = [
            run.located.spec.data != opened[run.base].located.spec.data for run in opened
        ]
        self.ids = list(dict.fromkeys(name for run in opened for name in run.located.samples))
        self._columns = [
            RunColumns(run.located.per_sample, second_pass=bool(run.readers)) for run in opened
        ]
        self._titles: list[str] = []
        self._golds: list[str | None] = []
        self._image_counts: list[int] = []
        self._thumbs: list[str | None] = []
        self._groups: list[dict[str, str]] = []
        self._starts: list[int] = []
        self._grams: list[str] = []

    def chunks(self) -> Iterator[list[str]]:
        """Yield the samples of each chunk."""
        held: list[str] = []
        size = 0
        for name in self.ids:
            grows = sum(run.located.size(name) for run in self._opened)
            if held and (size + grows > CHUNK_BYTES or len(held) >= CHUNK_SAMPLES):
                yield held
                held, size = [], 0
            held.append(name)
            size += grows
        if held:
            yield held

    def write_chunk(self, names: Sequence[str]) -> None:
        """Read the samples of a chunk, take them into the columns, and write them."""
        first, place = len(self._titles), len(self._starts)
        details = [self._sample(name) for name in names]
        self._starts.append(first)
        self._grams.append("")
        document = {"task": self._number, "first": first, "samples": details}
        self._folder.write_data(f"task-{self._number}-chunk-{place}", document)

        def note_grams() -> None:
            self._grams[place] = gram_bits(text for one in details for text in texts_of(one))

        self._folder.later(note_grams)

    def _sample(self, name: str) -> dict[str, Any]:
        records = [run.located.sample(name) for run in self._opened]
        shown = self._shown(records)
        record = records[shown]
        assert record is not None
        question = asked(record, self._opened[shown].withheld)
        details = [
            self._run_detail(place, name, records, record["row"]) for place in range(len(records))
        ]
        images = [self._images.ref(str(sha)) for sha in record.get("images") or ()]
        self._note_sample(question, record, images)
        self._note_runs(details)
        return {
            "id": name,
            "row": record["row"],
            "answer_type": record["answer_type"],
            "groups": record["groups"],
            "images": images,
            "runs": details,
            **question,
        }

    def _shown(self, records: Sequence[Record | None]) -> int:
        """The run whose record of a sample is shown: the first with question and gold answer."""
        there = [place for place, record in enumerate(records) if record is not None]
        whole = [place for place in there if not self._opened[place].withheld]
        return (whole or there)[0]

    def _run_detail(
        self, place: int, name: str, records: Sequence[Record | None], row: int
    ) -> dict[str, Any] | None:
        run = self._opened[place]
        record = records[place]
        if record is None:
            reason = run.located.left_out.get(row)
            return None if reason is None else left_out_detail(reason)
        base = records[run.base]
        change = None
        if base is not None and self._other_data[place] and not same_question(base, record):
            change = asked(record, run.withheld)
        return run_detail(run, name, change)

    def _note_sample(
        self, question: dict[str, Any], record: Record, images: Sequence[dict[str, Any]]
    ) -> None:
        text = " ".join(part for part in question["question"] or () if isinstance(part, str))
        gold = question["answer"]
        self._titles.append(one_line(text, TITLE_CHARACTERS))
        self._golds.append(None if gold is None else one_line(gold, GOLD_CHARACTERS))
        self._image_counts.append(len(images))
        self._thumbs.append(images[0]["thumb"] if images else None)
        self._groups.append(record["groups"])

    def _note_runs(self, details: Sequence[dict[str, Any] | None]) -> None:
        """Take a sample into the columns, blind runs first: the others say what they got right."""
        order = sorted(range(len(details)), key=lambda place: self._runs[place].blind_of is None)
        blind_right = set()
        for place in order:
            detail, blind_of = details[place], self._runs[place].blind_of
            flags = CHANGED if detail is not None and detail["changed"] is not None else 0
            flags |= BLIND_RIGHT if place in blind_right else 0
            self._columns[place].add(detail, flags)
            if blind_of is not None and self._columns[place].right():
                blind_right.add(blind_of)

    def finish(self) -> Written:
        """Write the list, when all chunks are there."""
        self._folder.finish()
        names = useful_names(self._groups)
        groups = {name: self._coded(name) for name in names}
        thumbs = {"thumbs": self._thumbs} if any(self._thumbs) else {}
        document = {
            "schema": SCHEMA,
            "task": self._number,
            "ids": self.ids,
            "titles": self._titles,
            "golds": self._golds,
            "images": self._image_counts,
            "groups": groups,
            "runs": [columns.document() for columns in self._columns],
            "chunks": self._starts,
            "grams": True,
            **thumbs,
        }
        self._folder.write_data(f"task-{self._number}", document)
        bits = {"task": self._number, "bits": self._grams}
        self._folder.write_data(f"task-{self._number}-grams", bits)
        return Written(
            len(self.ids),
            names,
            any(gold is not None for gold in self._golds),
            any(self._titles),
            any(self._thumbs),
        )

    def _coded(self, name: str) -> dict[str, Any]:
        column = Coded()
        for groups in self._groups:
            column.add(groups.get(name))
        return column.document()


def useful_names(groups: Sequence[dict[str, str]]) -> list[str]:
    """Names of groups that are categories, by the rule of `scoring.score.useful_groups`."""
    values: dict[str, set[str]] = {}
    for of_one in groups:
        for name, value in of_one.items():
            values.setdefault(name, set()).add(value)
    most = max(20, len(groups) // 10)
    return [name for name, found in sorted(values.items()) if len(found) <= most]
