"""Write a labelling sheet as a page that people fill in: images, responses, buttons, no verdicts.

The page has neither model nor verdict, so that people are not led. What they say stays in their
browser until they download the filled-in sheet, which `calibrate --labels` takes.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench.calibration.sheet import Label, csv_cell, plain_word, read_labels, sheet_rows
from vsr1_bench.calibration.units import short_name
from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.report.details import OpenRun, asked, response_detail
from vsr1_bench.report.folder import SCHEMA, ReportFolder
from vsr1_bench.report.images import Images
from vsr1_bench.report.located import Located
from vsr1_bench.report.page import index_page
from vsr1_bench.report.report import Report
from vsr1_bench.scoring.seeing import readers_of
from vsr1_bench.store.run_folder import RunFolder

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LabellingOptions:
    """Where the page goes, and what is on it."""

    output: Path
    data: DataOptions | None = None
    """Where images come from; None = no images."""
    include_path: Sequence[str] = ()
    title: str = ""


def write_labelling(runs: Sequence[RunFolder], sheet: Path, options: LabellingOptions) -> Report:
    """Write the page of a sheet; it appears only complete, and replaces an earlier one.

    Args:
        runs: The runs that the sheet was drawn from.
        sheet: As `calibrate` wrote it; labels that it has are shown.
        options: What else.

    Raises:
        UsageError: the sheet cannot be read, or the output folder holds something else.
        StoreError: a run or a response of the sheet is missing, or the page cannot be written.
    """
    labels = {(label.run, *label.place): label for label in read_labels([sheet])}
    rows = [row for _, row in sheet_rows(sheet)]
    if not rows:
        raise UsageError(f"--labels {sheet}: has no rows; draw a sheet with vsr1-bench calibrate")
    found = [labels[str(row["run"]), str(row["id"]), int(float(row["index"]))] for row in rows]
    with ExitStack() as stack:
        folder = stack.enter_context(ReportFolder(options.output))
        folder.write("index.html", index_page(labelling=True))
        images = Images(folder)
        shown = _Shown(runs, sheet, found, stack)
        if options.data is not None:
            shown.add_images(images, options.data, options.include_path)
        folder.write_data(
            "labels",
            {
                "schema": SCHEMA,
                "title": options.title or f"Labels: {sheet.name}",
                "key": _key(found),
                "file": f"{sheet.stem}-filled{sheet.suffix}",
                "lines": sheet.suffix == ".jsonl",
                "rows": [_written(row, lines=sheet.suffix == ".jsonl") for row in rows],
                "items": [
                    {**shown.item(label, images), "id": _row_key(label), "given": _given(row)}
                    for label, row in zip(found, rows, strict=True)
                ],
                "notices": images.notices,
            },
        )
    return Report(options.output / "index.html", len(rows), folder.bytes, images.notices)


class _Shown:
    """The responses of a sheet, read from their runs."""

    def __init__(
        self, runs: Sequence[RunFolder], sheet: Path, labels: Sequence[Label], stack: ExitStack
    ) -> None:
        here = {short_name(run): run for run in runs}
        readers: dict[str, str | None] = {label.run: label.reader for label in labels}
        if missing := next((name for name in readers if name not in here), None):
            raise StoreError(
                f"{sheet}: has rows of run {missing}, which is not here; "
                "name the runs that the sheet was drawn from"
            )
        self._runs = {name: _opened(here[name], reader, stack) for name, reader in readers.items()}
        self._ids: dict[str, set[str]] = defaultdict(set)
        for label in labels:
            self._ids[label.run].add(label.place[0])

    def add_images(self, images: Images, data: DataOptions, include_path: Sequence[str]) -> None:
        """Write the images that the responses are about."""
        for name, run in self._runs.items():
            images.add_run(run.located.run, data, include_path, self._ids[name])

    def item(self, label: Label, images: Images) -> dict[str, Any]:
        """What people see of a response."""
        run, (sample_id, index) = self._runs[label.run], label.place
        record = run.located.sample(sample_id)
        made = run.located.response(sample_id, index)
        if record is None or made is None:
            raise StoreError(f"{run.located.run.path}: has no response {index} to {sample_id!r}")
        response = response_detail(run, sample_id, made, run.located.caption(sample_id))
        read = next(iter(response["readings"]), None)
        names = ("text", "pieces", "finish_reason")
        return {
            "row": record["row"],
            "groups": {},
            "images": [images.ref(str(sha)) for sha in record.get("images") or ()],
            **asked(record, run.withheld),
            "response": {name: response[name] for name in names},
            "reading": None
            if read is None or read["text"] is None
            else {name: read[name] for name in ("description", *names)},
        }


def _opened(run: RunFolder, reader: str | None, stack: ExitStack) -> OpenRun:
    """Open a run without its judges, and with the reader of the sheet."""
    readers = [found for found in readers_of(run) if found.digest() == reader]
    return OpenRun(stack.enter_context(Located(run, {})), readers, lambda row: "", 0)


def _row_key(label: Label) -> str:
    return json.dumps([label.run, *label.place])


def _given(row: Mapping[str, Any]) -> list[str]:
    """What the sheet says already of a response and its reading."""
    return [plain_word(row.get(name)) for name in ("label", "reading_label")]


def _key(labels: Sequence[Label]) -> str:
    """Under what a browser keeps the labels: which responses were drawn, in whatever order."""
    drawn = sorted(repr((label.run, label.place, label.drawn_by, label.reader)) for label in labels)
    return hashlib.sha256("\n".join(drawn).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _written(row: Mapping[str, Any], *, lines: bool) -> Row:
    """A row as its file has it."""
    if lines:
        return dict(row)
    # Reading has taken an apostrophe from these two.
    escaped = {name: csv_cell(row[name]) for name in ("id", "drawn_by")}
    return {name: "" if value is None else value for name, value in {**row, **escaped}.items()}
