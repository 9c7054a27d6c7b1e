"""The spec of a run: everything that can change its answers.

Two runs with equal specs are the same run and share a folder. Any difference gives another folder,
so that results are never mixed. Settings that do not change the question (backend, batch size,
`--limit`, shard) are not part of it. Each argument of a backend is marked where it is declared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from vsr1_bench.records import EncodedImage, ImagePlace, Message


class Strict(BaseModel):
    """Base of specs: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PrecisionSpec(Strict):
    """The precision of the computation, with `auto` resolved (see `generation.precision`)."""

    dtype: str
    """`float32`, `bfloat16` or `float16`."""
    quantization: str | None
    """Method of quantization; None = the weights are not quantized."""
    kv_cache_dtype: str


UNKNOWN, UNVERIFIED = "unknown", "unverified"


class ModelSpec(Strict):
    """Which weights answered."""

    id: str
    """Hub id, the name of the embedded model, the folder's name, or an endpoint's served id."""
    revision: str | None = None
    fingerprint: str
    """Hash of the weights' content; for an endpoint, of its URL and served id."""
    verified: bool = True
    """False for endpoints, whose weights cannot be hashed."""
    adapter: str | None = None
    """Hash of the LoRA adapter that is merged into the weights; `id` and `fingerprint` are of
    both."""
    precision: PrecisionSpec | None = None
    """None if no weights were loaded here, and in runs of versions that did not record it."""

    @property
    def precision_label(self) -> str:
        """In words: `bfloat16` and anything unusual; `unknown`; `unverified` (an endpoint)."""
        if self.precision is None:
            return UNKNOWN if self.verified else UNVERIFIED
        words = [self.precision.dtype]
        if self.precision.quantization is not None:
            words.append(f"quantization {self.precision.quantization}")
        if self.precision.kv_cache_dtype != self.precision.dtype:
            words.append(f"KV cache {self.precision.kv_cache_dtype}")
        return ", ".join(words)


class SamplingSpec(Strict):
    """Sampling, every field explicit; the last four are omitted if not set (`records.Sampling`)."""

    temperature: Annotated[float, Field(ge=0, le=2)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: Annotated[int, Field(ge=-1)]
    min_p: Annotated[float, Field(ge=0, le=1)]
    repetition_penalty: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    max_tokens: Annotated[int, Field(ge=1)]
    stop: tuple[Annotated[str, Field(min_length=1)], ...]
    seed: int
    n: Annotated[int, Field(ge=1)]
    min_pixels: Annotated[int, Field(ge=1)]
    max_pixels: Annotated[int, Field(ge=1)]
    reasoning_effort: str | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    extra_body: str | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit what no run had when specs were first stored, so that they keep their hashes."""
        document: dict[str, Any] = write(self)
        return {name: value for name, value in document.items() if value is not None}


class PromptSpec(Strict):
    """How questions were asked."""

    format: str
    hash: str
    chat_template_hash: str | None
    """None if an endpoint applies the template."""
    system: str | None


class TaskSpec(Strict):
    """Which mapping and scoring rules."""

    name: str
    version: int


class DataSpec(Strict):
    """Which rows a run saw; their number follows from the fingerprint."""

    id: str
    config: str | None
    split: str
    revision: str | None
    """Commit of the hub; None for a mirror or generated rows."""
    fingerprint: str
    """Hash of every row's content, images included; the same however the rows came."""


class SelectionSpec(Strict):
    """Which samples of the data; one of the two (see `data.selection`)."""

    sample_seed: int | None = None
    """Seed of a random order of the samples, of which a run asks the first ones."""
    sample_ids: str | None = None
    """SHA-256 of the sorted ids that were asked for."""

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit the one that is not used."""
        document: dict[str, Any] = write(self)
        return {name: value for name, value in document.items() if value is not None}


class RunSpec(Strict):
    """One model, one task, one way of asking."""

    schema_version: int = 1
    model: ModelSpec
    sampling: SamplingSpec | None
    """None for imported responses, whose sampling is unknown."""
    prompt: PromptSpec
    task: TaskSpec
    data: DataSpec
    variant: str = "none"
    """`none`, or the variant of a blind run: what was done to its images."""

    imported_per_sample: int = 1
    """Responses per sample of an imported run."""
    engine: dict[str, bool | int | float | str | None] = {}
    """Further `--model_args` that can change an answer (`generation.identity`)."""
    selection: SelectionSpec | None = None
    """None = the first samples, in data order."""

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit what no run had when specs were first stored, so that they keep their hashes."""
        document: dict[str, Any] = write(self)
        if document["selection"] is None:
            del document["selection"]
        return document

    @property
    def responses_per_sample(self) -> int:
        """Number of responses per sample."""
        return self.sampling.n if self.sampling else self.imported_per_sample

    def digest(self) -> str:
        """SHA-256 over the canonical JSON of every field.

        Fields that were added later are omitted if empty, so that older runs keep their hash.
        """
        document = self.model_dump(mode="json")
        if document["model"]["precision"] is None:
            del document["model"]["precision"]
        if document["model"]["adapter"] is None:
            del document["model"]["adapter"]
        if not document["engine"]:
            del document["engine"]
        return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, ASCII only: equal values give equal bytes."""
    return _encode(value)


# `json.dumps` would create an encoder for each value: half the time of a key.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def request_key(
    spec_digest: str,
    sample_id: str,
    messages: Sequence[Message],
    images: Sequence[EncodedImage],
    index: int,
) -> str:
    """Key of a response: spec, sample, full messages, image bytes, index. The only cache key.

    Image hashes are at the positions of the images, so the same text with another image, or with
    two images swapped, is another request. The sample's id is included because two samples can
    have the same messages (many do, in a blind run), and each must have its own response.
    """
    content = [
        [
            message.role,
            *(
                {"image": images[part.index].sha256()} if isinstance(part, ImagePlace) else part
                for part in message.content
            ),
        ]
        for message in messages
    ]
    return hashlib.sha256(
        canonical_json([spec_digest, sample_id, content, index]).encode()
    ).hexdigest()[:32]
