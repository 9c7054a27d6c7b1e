"""`import`: responses made elsewhere become a run, to be judged and scored like any other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from vsr1_bench.cache import file_sha256
from vsr1_bench.data import DataOptions, TaskData, data_spec, open_data
from vsr1_bench.environment import run_facts
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.progress import progress_bar
from vsr1_bench.records import Generation, Sample
from vsr1_bench.registry import get_task
from vsr1_bench.run_writer import RunWriter
from vsr1_bench.spec import ModelSpec, PromptSpec, RunSpec, TaskSpec, request_key
from vsr1_bench.store import RunFolder, utc_now

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
    """Take a file of responses into the run store.

    By id, a line's `id` names its sample, in any order; several lines of one id are several
    responses. By row, line k answers row k of the data. Blank lines are passed over, a null
    response is an empty one. The whole file is checked before anything is written.

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
        known = {sample.id for sample in data.samples()}
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
            f"{options.responses}: {len(lines)} lines for {len(data)} rows of {data.info.id} "
            f"({data.info.split}); it was made on other data"
        )
    fingerprint = file_sha256(options.responses)[:32]
    spec = RunSpec(
        model=ModelSpec(id=options.model, fingerprint=fingerprint, verified=False),
        sampling=None,
        prompt=PromptSpec(format="imported", hash="", chat_template_hash=None, system=None),
        task=TaskSpec(name=task.name, version=task.version),
        data=data_spec(data.info),
        imported_per_sample=per_sample,
    )
    folder = RunFolder.of(options.output_path, spec)
    writer = RunWriter(folder)
    try:
        folder.write_meta(spec, len(data), run_facts("import", None))
        _write(writer, spec, options, data, lines)
    finally:
        writer.close()
    return folder


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
    """Write samples and generations in data order; what is there already is left alone."""
    digest = spec.digest()
    by_id: dict[str, list[dict[str, Any]]] = {}
    if options.by == "id":
        for _, line in lines:
            by_id.setdefault(line["id"], []).append(line)
    bar = progress_bar(len(data), f"import {options.task}", "row", shown=options.progress)
    with bar:
        in_order = lines if options.by == "row" else []
        for row, (sample, pair) in enumerate(zip_longest(data.samples(), in_order)):
            writer.add_sample(sample, row)
            answers = by_id.get(sample.id, []) if options.by == "id" else [pair[1]] if pair else []
            for index, line in enumerate(answers):
                _add(writer, digest, sample, index, line, options.response_field)
            bar.update()


def _add(
    writer: RunWriter, digest: str, sample: Sample, index: int, line: dict[str, Any], field: str
) -> None:
    key = request_key(digest, sample.id, (), sample.images, index)
    if key in writer.finished:
        return
    finish = line["finish_reason"]
    writer.add(Generation(key, sample.id, index, line[field], finish, created=utc_now()))
