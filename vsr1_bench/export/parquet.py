"""Runs as parquet, as the hub's dataset viewer and `datasets` read it.

    samples/<model>--<task>-<8 hex>.parquet    a row per response that was asked for
    scores/<model>--<task>-<8 hex>.parquet     a row per judge and metric

Images are columns of the feature `Image`. Rows are written in row groups, so texts and images are
not held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.export.samples import ExportedRun, ExportedSample, verdict_of
from vsr1_bench.export.text import all_encodable, encodable
from vsr1_bench.leaderboard.collect import current_score
from vsr1_bench.perception.reader import description_in
from vsr1_bench.store.journal import replacing
from vsr1_bench.store.spec import RunSpec

SAMPLES, SCORES = "samples", "scores"
"""Folders, and the names of the hub's configurations."""
GROUP_ROWS, GROUP_BYTES = 1000, 32 << 20
"""Most rows of a row group, and about the most bytes of its images and texts."""

Row = dict[str, Any]


def sample_features() -> Any:
    """The columns of `samples/`, as `datasets.Features`."""
    from datasets import Features, Image, List, Value

    text, number, real, flag = (Value(kind) for kind in ("string", "int64", "float64", "bool"))
    judgment = {
        "judge": text,
        "verdict": text,
        "extracted": text,
        "unparsed": flag,
        "score": real,
        "label": text,
        "reason": text,
        "reply": text,
        "judge_model": text,
    }
    return Features(
        {
            **dict.fromkeys(("model", "task", "prompt", "variant", "spec_hash"), text),
            "id": text,
            "row": number,
            "index": number,
            "images": List(Image()),
            "question": text,
            "choices": List(text),
            "answer": text,
            "answer_type": text,
            "response": text,
            "verdict": text,
            "extracted": text,
            "unparsed": flag,
            "truncated": flag,
            "error": text,
            "description": text,
            "reading": text,
            "reading_verdict": text,
            "reader": text,
            "judge": text,
            "judgments": List(judgment),
            "prompt_tokens": number,
            "completion_tokens": number,
            "seconds": real,
            "seed": number,
            "created": text,
            "groups": text,
            "image_sha256": List(text),
        }
    )


def score_features() -> Any:
    """The columns of `scores/`, as `datasets.Features`."""
    from datasets import Features, Value

    text, number, real, flag = (Value(kind) for kind in ("string", "int64", "float64", "bool"))
    names = (
        *("model", "task", "task_version", "prompt", "variant", "spec_hash"),
        *("judge", "metric", "unit"),
    )
    return Features(
        {
            **dict.fromkeys(names, text),
            **dict.fromkeys(("value", "low", "high"), real),
            **dict.fromkeys(("n", "total", "scored"), number),
            "ranked": flag,
            **dict.fromkeys(("unparsed", "truncated", "failed"), real),
            "notes": text,
        }
    )


def write_samples(run: ExportedRun, path: Path, *, progress: bool = True) -> int:
    """Write the samples of a run.

    Args:
        run: An open run.
        path: The file; it appears only complete.
        progress: Show a bar.

    Returns:
        The number of rows.

    Raises:
        DamagedRunError: the run cannot be read.
        StoreError: the file cannot be written.
    """
    features = sample_features()
    with progress_bar(len(run), f"export {run.spec.task.name}", "sample", shown=progress) as bar:

        def rows() -> Iterator[Row]:
            for sample in run.samples():
                yield from _rows_of(run, sample)
                bar.update()

        return _write(path, features, rows())


def write_scores(run: ExportedRun, path: Path) -> int:
    """Write the stored scores of a run; nothing is written if it has none.

    Arguments, result and errors are those of `write_samples`.
    """
    documents = map(current_score, run.run.scores())
    rows = [row for document in documents for row in _score_rows(run.spec, document)]
    return _write(path, score_features(), iter(rows)) if rows else 0


def write_run(run: ExportedRun, folder: Path, name: str, *, progress: bool = True) -> list[str]:
    """Write both files of a run; returns their paths below the folder. Errors: `write_samples`."""
    samples, scores = (f"{kind}/{name}.parquet" for kind in (SAMPLES, SCORES))
    write_samples(run, folder / samples, progress=progress)
    return [samples, *([scores] if write_scores(run, folder / scores) else [])]


def _write(path: Path, features: Any, rows: Iterator[Row]) -> int:
    """Write rows, group by group, into a file that appears only complete."""
    import pyarrow
    from pyarrow import parquet

    schema = features.arrow_schema
    written = 0
    with (
        replacing(path) as part,
        parquet.ParquetWriter(part, schema, compression="zstd", write_page_index=True) as file,
    ):
        for group in _groups(rows):
            file.write_table(pyarrow.Table.from_pylist(group, schema=schema))
            written += len(group)
    return written


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += _size(row)
        if len(held) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _size(value: Any) -> int:
    """About how many bytes of texts and images a value holds."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 0


def _rows_of(run: ExportedRun, sample: ExportedSample) -> Iterator[Row]:
    spec = run.spec
    told = {
        "model": spec.model.id,
        "task": spec.task.name,
        "prompt": spec.prompt.format,
        "variant": spec.variant,
        "spec_hash": run.digest,
        "id": sample.id,
        "row": sample.row,
        "question": sample.question_text,
        "choices": sample.choices,
        "answer": sample.answer,
        "answer_type": sample.answer_type,
        "groups": json.dumps(sample.groups, ensure_ascii=False),
        "image_sha256": sample.hashes,
        "judge": next(iter(run.judges), None),
    }
    common: Row = all_encodable(told)
    common["images"] = [
        None if content is None else {"bytes": content, "path": None} for content in sample.images
    ]
    for index, response in enumerate(sample.responses):
        made = {} if response is None else _made(run, response)
        yield common | {"index": index, "verdict": verdict_of(response), **made}


def _made(run: ExportedRun, response: Row) -> Row:
    judgments = list(zip(run.judges, response["judgments"], strict=False))
    main = judgments[0][1] if judgments else None
    reader, reading = next(
        (one for one in zip(run.readers, response["readings"], strict=True) if one[1] is not None),
        (None, None),
    )
    read = next(iter(reading["judgments"]), None) if reading else None
    own = {"description": description_in(response["text"], "response")}
    return {
        "response": response["text"],
        "extracted": main["extracted"] if main else None,
        "unparsed": main["unparsed"] if main else None,
        "truncated": response["finish_reason"] == "length",
        "error": response["error"],
        "description": (reading or own)["description"],
        "reading": reading["text"] if reading else None,
        "reading_verdict": read["outcome"] if read else None,
        "reader": reader.label if reader else None,
        "judgments": [_judgment(name, one) for name, one in judgments if one is not None],
        **{
            name: response[name]
            for name in ("prompt_tokens", "completion_tokens", "seconds", "seed", "created")
        },
    }


def _judgment(judge: str, told: Row) -> Row:
    return {
        "judge": encodable(judge),
        "verdict": told["outcome"],
        "reply": told["raw"],
        "judge_model": told["model"],
        **{name: told[name] for name in ("extracted", "unparsed", "score", "label", "reason")},
    }


def _score_rows(spec: RunSpec, document: Row) -> Iterator[Row]:
    rates = document["rates"]
    for metric, value in document["metrics"].items():
        row = {
            "model": document["model"],
            "task": document["task"],
            "task_version": str(document["version"]),
            "prompt": document["prompt"],
            "variant": document["variant"],
            "spec_hash": document["spec_hash"],
            "judge": document["judge"],
            "metric": metric,
            "unit": value.get("unit", "share"),
            **{name: value[name] for name in ("value", "low", "high", "n")},
            **{
                name: rates[name]
                for name in ("total", "scored", "ranked", "unparsed", "truncated", "failed")
            },
            "notes": "; ".join(
                [*filter(None, [document.get("footnote")]), *document.get("notes", ())]
            ),
        }
        yield all_encodable(row)
