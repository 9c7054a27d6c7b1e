"""`import`: store responses that were generated elsewhere as a run."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vsr1_bench._util.memo import file_sha256
from vsr1_bench._util.progress import progress_bar
from vsr1_bench.data.dataset import DataOptions, TaskData, open_data
from vsr1_bench.errors import TaskError, UsageError, nearest
from vsr1_bench.records import Generation, Sample
from vsr1_bench.registry import get_task
from vsr1_bench.store.environment import run_facts
from vsr1_bench.store.run_folder import RunFolder, utc_now
from vsr1_bench.store.spec import ModelSpec, PromptSpec, RunSpec, TaskSpec, request_key
from vsr1_bench.store.writer import RunWriter
from vsr1_bench.task import Task

log = logging.getLogger(__name__)

FINISHES = ("stop", "length")


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What to import; the fields are the flags of `vsr1-bench import`."""

    task: str
    responses: Path
    model: str
    by: Literal["id", "row"] = "id"
    response_field: str = "response"
    output_path: Path = Path("runs")
    data: DataOptions = field(default_factory=DataOptions)
    include_path: tuple[str, ...] = ()
    progress: bool = True


def import_responses(options: ImportOptions) -> RunFolder:
    """Store a file of responses as a run.

    By id, each line's `id` names its sample, in any order; several lines with the same id are
    several responses. By row, line k answers row k of the data. Blank lines are ignored, and a
    null response counts as empty. The whole file is checked before anything is written.

    Raises:
        UsageError: a line that is not usable, an id that the task does not have, more lines than
            rows; names file:line.
        TaskError: the task's data are missing.
        StoreError: the run cannot be written.
    """
    task = get_task(options.task, options.include_path)
    data = open_data(task, options.data)
    lines = list(_read_lines(options))
    if not lines:
        raise UsageError(f"{options.responses}: no responses in it")
    per_sample = 1
    if options.by == "id":
        known = {sample.id for _, sample in data.placed_samples(unusable=_pass_over)}
        for number, line in lines:
            if line["id"] not in known:
                raise UsageError(
                    f"{options.responses}:{number}: task {task.name!r} has no sample "
                    f"{line['id']!r}; {nearest(line['id'], tuple(known))[:200]}; "
                    "for a file in the data's order: --by row"
                )
        per_sample = max(Counter(line["id"] for _, line in lines).values())
    elif len(lines) > len(data):
        raise UsageError(
            f"{options.responses}: {len(lines)} lines for {len(data)} rows of {data.spec.id} "
            f"({data.spec.split}); it was made on other data"
        )
    fingerprint = file_sha256(options.responses)[:32]
    model = ModelSpec(id=options.model, fingerprint=fingerprint, verified=False)
    spec = imported_spec(model, task, data).model_copy(update={"imported_per_sample": per_sample})
    folder = RunFolder.of(options.output_path, spec)
    writer = RunWriter(folder)
    try:
        folder.write_meta(spec, len(data), run_facts("import", None))
        _write(writer, spec, options, data, lines)
    finally:
        writer.close()
    return folder


def imported_spec(model: ModelSpec, task: Task, data: TaskData) -> RunSpec:
    """The spec of responses that were made elsewhere: how they were made is not known."""
    return RunSpec(
        model=model,
        sampling=None,
        prompt=PromptSpec(format="imported", hash="", chat_template_hash=None, system=None),
        task=TaskSpec(name=task.name, version=task.spec_version),
        data=data.spec,
    )


def _read_lines(options: ImportOptions) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, checked line); ids as strings."""
    path = options.responses
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--responses {path}: {error.strerror}") from error
    wanted = f'wanted {{"{options.response_field}": "…"' + (
        ', "id": …}' if options.by == "id" else "}"
    )
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():  # as `grade` does
            continue
        try:
            line = json.loads(raw)
            text = line[options.response_field]
            if options.by == "id":
                line["id"] = str(line["id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UsageError(f"{path}:{number}: {wanted}, one a line") from None
        if text is None:  # the model said nothing
            line[options.response_field] = text = ""
        if not isinstance(text, str):
            raise UsageError(f"{path}:{number}: {options.response_field!r} is no text; {wanted}")
        if line.get("finish_reason") is None:
            line["finish_reason"] = "stop"
        if line["finish_reason"] not in FINISHES:
            raise UsageError(f"{path}:{number}: finish_reason: wanted one of {FINISHES}")
        yield number, line


def _write(
    writer: RunWriter,
    spec: RunSpec,
    options: ImportOptions,
    data: TaskData,
    lines: list[tuple[int, dict[str, Any]]],
) -> None:
    """Write samples and generations in data order; existing records stay unchanged."""
    digest = spec.digest()
    by_id: dict[str, list[dict[str, Any]]] = {}
    if options.by == "id":
        for _, line in lines:
            by_id.setdefault(line["id"], []).append(line)
    bar = progress_bar(len(data), f"import {options.task}", "row", shown=options.progress)
    with bar:
        in_order = lines if options.by == "row" else []
        unusable: list[TaskError] = []
        found = data.placed_samples(unusable=lambda places, error: unusable.append(error))
        for row, sample in found:
            writer.add_sample(sample, row)
            own = [line for _, line in in_order[row : row + 1]]
            answers = by_id.get(sample.id, []) if options.by == "id" else own
            for index, line in enumerate(answers):
                text = line[options.response_field]
                add_response(writer, digest, sample, text, line["finish_reason"], index)
            bar.update()
    if unusable:
        log.warning("%d rows are left out and stay unscored; first: %s", len(unusable), unusable[0])


def _pass_over(places: range, error: TaskError) -> None:
    """Ignore an unusable row: no response can belong to it."""


def add_response(
    writer: RunWriter, digest: str, sample: Sample, text: str, finish: str = "stop", index: int = 0
) -> Generation:
    """Store a response, unless it is there already.

    Args:
        writer: Of the run.
        digest: Of the run's spec.
        sample: Which was answered.
        text: The response.
        finish: One of `FINISHES`.
        index: Which of the sample's responses.
    """
    key = request_key(digest, sample.id, (), sample.images, index)
    made = Generation(key, sample.id, index, text, finish, created=utc_now())
    if key not in writer.finished:
        writer.add(made)
    return made
