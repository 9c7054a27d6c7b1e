"""Journal lines of records: JSON values out of them, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vsr1_bench.errors import StoreError
from vsr1_bench.journal import bad_line, parse_line, read_journal
from vsr1_bench.records import (
    SCHEMA_VERSION,
    Generation,
    ImagePlace,
    Judgment,
    Perception,
    Sample,
)

Kind = TypeVar("Kind")
LINES: tuple[type[Any], ...] = (Generation, Perception, Judgment)
FIELDS = {kind: frozenset(field.name for field in fields(kind)) for kind in LINES}


def record_of_sample(sample: Sample, row: int) -> dict[str, Any]:
    """Write a sample as JSON values; images become the hashes of their bytes."""
    return {
        "schema": SCHEMA_VERSION,
        "row": row,
        "id": sample.id,
        "question": [
            {"image": part.index} if isinstance(part, ImagePlace) else part
            for part in sample.question
        ],
        "answer": sample.answer,
        "answer_type": sample.answer_type,
        "choices": sample.choices,
        "choices_in_image": sample.choices_in_image,
        "groups": dict(sample.groups),
        "extra": dict(sample.extra),
        "images": [image.sha256() for image in sample.images],
    }


def sample_of_record(record: dict[str, Any]) -> Sample:
    """Read what `record_of_sample` wrote; the images themselves are not in it.

    What a published run came without (`RunFolder.withheld`) is null there, and empty here.
    """
    return Sample(
        id=record["id"],
        question=tuple(
            part if isinstance(part, str) else ImagePlace(part["image"])
            for part in record["question"] or ()
        ),
        answer=record["answer"] or "",
        answer_type=record["answer_type"],
        choices=tuple(record["choices"]) if record["choices"] is not None else None,
        choices_in_image=record["choices_in_image"],
        groups=record["groups"],
        extra=record["extra"] or {},
    )


class Place(msgspec.Struct, frozen=True, gc=False):
    """What joining has to know of a sample: where it stands, and which groups it is in."""

    row: int
    """Place in the data set, from 0."""
    schema: int
    id: str | None = None
    groups: dict[str, str] | None = None
    left_out: str | None = None
    """Why it has no part in the run; such a record has neither an id nor groups."""


_place = msgspec.json.Decoder(Place).decode


def place_of_line(path: Path, number: int, line: bytes) -> Place:
    """Read what joining has to know from a line of `samples.jsonl`.

    Raises:
        StoreError: the line is no such record; names file:line.
    """
    with contextlib.suppress(msgspec.MsgspecError, RecursionError):
        found = _place(line)
        whole = found.id is not None and found.groups is not None
        if found.schema == SCHEMA_VERSION and (whole or found.left_out is not None):
            return found
    record = parse_line(line)
    if record is None:
        raise bad_line(path, number)
    return decoded(path, number, record, _place_of_record)


def _place_of_record(record: dict[str, Any]) -> Place:
    if "left_out" in record:
        return Place(record["row"], SCHEMA_VERSION, left_out=record["left_out"])
    return Place(record["row"], SCHEMA_VERSION, record["id"], record["groups"])


def generation_of_record(record: dict[str, Any]) -> Generation:
    """Read a generation's journal line."""
    return _convert(record, Generation)


def perception_of_record(record: dict[str, Any]) -> Perception:
    """Read a perception's journal line."""
    return _convert(record, Perception)


def judgment_of_record(record: dict[str, Any]) -> Judgment:
    """Read a judgment's journal line."""
    return _convert(record, Judgment)


def read_records(path: Path, decode: Callable[[dict[str, Any]], Kind]) -> Iterator[Kind]:
    """Yield a journal's records, decoded.

    Raises:
        StoreError: a line is not what `decode` reads; names file:line.
    """
    for number, record in enumerate(read_journal(path), start=1):
        yield decoded(path, number, record, decode)


def decoded(
    path: Path, number: int, record: dict[str, Any], decode: Callable[[dict[str, Any]], Kind]
) -> Kind:
    """Decode a journal's record.

    Args:
        path: The journal.
        number: Of the record's line, from 1.
        record: Its JSON values.
        decode: Reads them.

    Raises:
        StoreError: they are of another version, or not what `decode` reads; names file:line.
    """
    if (schema := record.get("schema")) != SCHEMA_VERSION:
        raise StoreError(
            f"{path}:{number}: a record of schema {schema!r}, this vsr1-bench reads "
            f"{SCHEMA_VERSION}; use the version that run.json names"
        )
    try:
        return decode(record)
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{path}:{number}: not a record of this journal ({type(error).__name__}: {error}); "
            "restore the file from a copy"
        ) from error


def _convert(record: dict[str, Any], kind: type[Kind]) -> Kind:
    """Build a record from its JSON values; msgspec does so several times faster than Python.

    Raises:
        TypeError: a field is missing, unknown, or of another kind.
    """
    if unknown := record.keys() - FIELDS[kind]:
        raise TypeError(f"unknown {', '.join(sorted(unknown))}")
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise TypeError(str(error)) from error


SCORE_FIELDS = {
    "model", "task", "version", "judge", "prompt", "variant", "metrics", "rates", "by", "spec_hash",
}  # fmt: skip
VALUE_FIELDS = {"value", "low", "high", "n"}
RATE_FIELDS = {"total", "scored", "ranked", "unparsed", "truncated", "failed"}


def is_score(document: Any) -> bool:
    """Whether a score file has what everything that reads one relies on."""
    return (
        isinstance(document, dict)
        and document.keys() >= SCORE_FIELDS
        and all(isinstance(document[name], dict) for name in ("metrics", "rates", "by"))
        and len(document["metrics"]) > 0
        and all(
            isinstance(value, dict) and value.keys() >= VALUE_FIELDS
            for value in document["metrics"].values()
        )
        and document["rates"].keys() >= RATE_FIELDS
    )
