"""Journal lines of records: JSON values out of them, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

import msgspec

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


def generation_of_record(record: dict[str, Any]) -> Generation:
    """Read a generation's journal line."""
    return _convert(record, Generation)


def perception_of_record(record: dict[str, Any]) -> Perception:
    """Read a perception's journal line."""
    return _convert(record, Perception)


def judgment_of_record(record: dict[str, Any]) -> Judgment:
    """Read a judgment's journal line."""
    return _convert(record, Judgment)


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
