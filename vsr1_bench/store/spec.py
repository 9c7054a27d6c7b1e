"""The spec of a run: everything that can change its answers.

Two runs with equal specs are the same run and share a folder; any difference is another folder, so
results are never mixed. What does not change the question (backend, batch size, `--limit`, shard)
is not part of it. Which of a backend's arguments do is marked where they are declared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from vsr1_bench.records import EncodedImage, ImagePlace, Message


class Strict(BaseModel):
    """Base of specs: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PrecisionSpec(Strict):
    """At what precision weights are computed, `auto` resolved (see `generation.precision`)."""

    dtype: str
    """`float32`, `bfloat16` or `float16`."""
    quantization: str | None
    """Method of quantized weights; None = they are not."""
    kv_cache_dtype: str


UNKNOWN, UNVERIFIED = "unknown", "unverified"


class ModelSpec(Strict):
    """Which weights answered."""

    id: str
    """Hub id, the name of the embedded model, the folder's name, or an endpoint's served id."""
    revision: str | None = None
    fingerprint: str
    """Hash of the weights' content; for an endpoint of its URL and served id."""
    verified: bool = True
    """False for endpoints: nobody can hash what they serve."""
    precision: PrecisionSpec | None = None
    """None if no weights were loaded here, and in runs that were made before it was recorded."""

    @property
    def precision_label(self) -> str:
        """In words: `bfloat16`, with what is unusual; `unknown`; `unverified` (an endpoint)."""
        if self.precision is None:
            return UNKNOWN if self.verified else UNVERIFIED
        told = [self.precision.dtype]
        if self.precision.quantization is not None:
            told.append(f"quantization {self.precision.quantization}")
        if self.precision.kv_cache_dtype != self.precision.dtype:
            told.append(f"KV cache {self.precision.kv_cache_dtype}")
        return ", ".join(told)


class SamplingSpec(Strict):
    """Backend-independent sampling, every field explicit (see `records.Sampling`)."""

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


class PromptSpec(Strict):
    """How questions were put."""

    format: str
    hash: str
    chat_template_hash: str | None
    """None if the template is on the other side of an endpoint."""
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


class RunSpec(Strict):
    """One model, one task, one way of asking."""

    schema_version: int = 1
    model: ModelSpec
    sampling: SamplingSpec | None
    """None for responses made elsewhere: nobody here knows how they were drawn."""
    prompt: PromptSpec
    task: TaskSpec
    data: DataSpec
    variant: str = "none"
    """`none`, or what was done to the images of a blind run."""

    imported_per_sample: int = 1
    """Responses per sample among those made elsewhere."""
    engine: dict[str, bool | int | float | str | None] = {}
    """What else of `--model_args` was given and can change an answer (`generation.identity`)."""

    @property
    def responses_per_sample(self) -> int:
        """How many responses were asked for, for each sample."""
        return self.sampling.n if self.sampling else self.imported_per_sample

    def digest(self) -> str:
        """SHA-256 over the canonical JSON of every field.

        What is empty and came later is left out: a run that was stored before it keeps its hash.
        """
        document = self.model_dump(mode="json")
        if document["model"]["precision"] is None:
            del document["model"]["precision"]
        if not document["engine"]:
            del document["engine"]
        return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, ASCII only: equal values give equal bytes."""
    return _encode(value)


# `json.dumps` would make an encoder anew for each value: half the time of a key.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def request_key(
    spec_digest: str,
    sample_id: str,
    messages: Sequence[Message],
    images: Sequence[EncodedImage],
    index: int,
) -> str:
    """Key of a response: spec, sample, full messages, image bytes, index. The only cache key.

    Image hashes are in the positions of the images, so the same words with another image, or with
    two images swapped, are another request. The sample's id is included because two samples may
    ask the same thing (many do, in a blind run) and each must have its own response.
    """
    told = [
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
        canonical_json([spec_digest, sample_id, told, index]).encode()
    ).hexdigest()[:32]
