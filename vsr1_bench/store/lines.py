"""Convert records to journal lines (JSON values) and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict, TypeVar

import msgspec

from vsr1_bench.errors import StoreError
from vsr1_bench.records import (
    SCHEMA_VERSION,
    Dependence,
    Generation,
    ImagePlace,
    Judgment,
    Perception,
    Sample,
)
from vsr1_bench.store.journal import bad_line, parse_line, read_journal

Record = TypeVar("Record")
_LINES: tuple[type[Any], ...] = (Generation, Perception, Judgment, Dependence)
_FIELDS = {kind: frozenset(field.name for field in fields(kind)) for kind in _LINES}


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

    Fields that a published run withholds (`RunFolder.withheld`) are null there and empty here.
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
    """What joining needs of a sample: its place and its groups."""

    row: int
    """Place in the data set, from 0."""
    schema: int
    id: str | None = None
    groups: dict[str, str] | None = None
    skipped: str | None = msgspec.field(default=None, name="left_out")
    """Why the sample was skipped; such a record has neither an id nor groups."""


_place = msgspec.json.Decoder(Place).decode


def place_of_line(path: Path, number: int, line: bytes) -> Place:
    """Read what joining needs from a line of `samples.jsonl`.

    Raises:
        StoreError: the line is not such a record; names file:line.
    """
    try:
        place = _place(line)
        whole = place.id is not None and place.groups is not None
        if place.schema == SCHEMA_VERSION and (whole or place.skipped is not None):
            return place
    except (msgspec.MsgspecError, RecursionError):
        pass  # json reads lines that msgspec cannot
    record = parse_line(line)
    if record is None:
        raise bad_line(path, number)
    return decoded(path, number, record, _place_of_record)


def _place_of_record(record: dict[str, Any]) -> Place:
    if "left_out" in record:
        return Place(record["row"], SCHEMA_VERSION, skipped=record["left_out"])
    return Place(record["row"], SCHEMA_VERSION, record["id"], record["groups"])


def read_records(path: Path, decode: Callable[[dict[str, Any]], Record]) -> Iterator[Record]:
    """Yield a journal's records, decoded.

    Raises:
        StoreError: a line is not what `decode` reads; names file:line.
    """
    for number, record in enumerate(read_journal(path), start=1):
        yield decoded(path, number, record, decode)


def decoded(
    path: Path, number: int, record: dict[str, Any], decode: Callable[[dict[str, Any]], Record]
) -> Record:
    """Decode a journal's record.

    Args:
        path: The journal.
        number: Of the record's line, from 1.
        record: Its JSON values.
        decode: Reads them.

    Raises:
        StoreError: another schema version, or not what `decode` reads; names file:line.
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


def record_as(kind: type[Record], record: dict[str, Any]) -> Record:
    """Build a `Generation`, `Perception` or `Judgment` from the JSON values of its line.

    Raises:
        TypeError: a field is missing, unknown, or of another kind.
    """
    if unknown := record.keys() - _FIELDS[kind]:
        raise TypeError(f"unknown {', '.join(sorted(unknown))}")
    try:
        return msgspec.convert(record, kind)  # several times faster than Python
    except msgspec.ValidationError as error:
        raise TypeError(str(error)) from error


class _ValueLine(TypedDict):
    """A number with its interval."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: NotRequired[str]


class _RatesLine(TypedDict):
    total: int
    scored: int
    ranked: bool
    unparsed: float
    truncated: float
    failed: float


class _JudgingLine(TypedDict):
    models: list[str]
    prompts: list[str]
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


class _ReaderLine(TypedDict):
    label: str
    digest: str


class _CellsLine(TypedDict):
    """The 2 x 2 table of one category."""

    n: int
    metrics: dict[str, _ValueLine]
    cut_readings: NotRequired[int]


class _PassLine(_CellsLine):
    """The numbers of one reader's second pass."""

    reader: _ReaderLine
    uncounted: int
    by: NotRequired[dict[str, dict[str, _CellsLine]]]
    members: NotRequired[list[str]]


class _FirstPassLine(_PassLine):
    others: list[_PassLine]


class _BlindLine(TypedDict):
    spec_hash: str
    n: int


class _ScoreLine(TypedDict):
    """The fields of a score document that readers rely on; it may have more."""

    model: str
    task: str
    version: int | str
    judge: str
    prompt: str
    variant: str
    spec_hash: str
    metrics: Annotated[dict[str, _ValueLine], msgspec.Meta(min_length=1)]
    rates: _RatesLine
    by: dict[str, dict[str, _ValueLine]]
    n: NotRequired[int]
    verdicts: NotRequired[str | None]
    footnote: NotRequired[str | None]
    judging: NotRequired[_JudgingLine | None]
    perception: NotRequired[_FirstPassLine]
    blind: NotRequired[dict[str, _BlindLine]]
    circular: NotRequired[_BlindLine]


class _MetaLine(TypedDict):
    """`run.json`; `RunSpec` checks the fields of its spec."""

    spec: dict[str, Any]
    samples: Annotated[int, msgspec.Meta(ge=0)]
    spec_hash: NotRequired[str]
    limit: NotRequired[Annotated[int, msgspec.Meta(ge=0)] | None]
    versions: NotRequired[dict[str, str] | None]
    withheld: NotRequired[list[str]]
    origin: NotRequired[dict[str, Any]]
    backend: NotRequired[str | None]
    command: NotRequired[str | None]
    git: NotRequired[str | None]
    created: NotRequired[str]
    updated: NotRequired[str]
    gen_kwargs: NotRequired[dict[str, Any]]


def score_fault(document: Any) -> str | None:
    """Why a document is not a score file (field and type); None = it is valid."""
    return _fault(document, _ScoreLine)


def meta_fault(document: Any) -> str | None:
    """Why a document is not a `run.json` (field and type); None = it is valid."""
    return _fault(document, _MetaLine)


def _fault(document: Any, kind: Any) -> str | None:
    try:
        msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return None
