"""Who reads the descriptions of the second pass, and how: part of every perception's key.

The reader `self` is the model that wrote them. Any other reader is an LLM that is called like a
judge: `openai`, `gemini` (as in the paper) or `vllm`. Readers are greedy, whatever the sampling of
the first pass, because the question is what the description contains, not how a sample uses it.
Only models that refuse temperature 0 get another, by `--reader_args temperature=1`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer

from vsr1_bench.answers import final_region, mark_tags, read_description
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.generation.connect import CONNECT, Connection, ConnectOptions, split_args
from vsr1_bench.generation.costs import Spending
from vsr1_bench.generation.flags import Flags
from vsr1_bench.prompts.formats import (
    CAPTION,
    CAPTION_VERSION,
    DEFAULT_FORMAT,
    FORMATS,
    THINK,
    ImageOrder,
    reader_hash,
    wording_hash,
)
from vsr1_bench.records import Sampling
from vsr1_bench.store.spec import RunSpec, SamplingSpec, Strict, canonical_json

SELF = "self"
Descriptions = Literal["response", "caption"]
"""Where descriptions are: in the responses, or requested in a separate call."""
READERS = (SELF, *CONNECT)
PAID = ("openai", "gemini")
"""Readers whose calls may cost money."""
READER_FLAGS = Flags(
    *("reader", "--reader_model", "--reader_base_url", "--reader_args"),
    *("VSR1_READER_API_KEY", "VSR1_READER_HEADERS"),
)


@dataclass(frozen=True, slots=True)
class ReaderOptions(ConnectOptions):
    """The options of the reader, from the command line."""

    flags: Flags = READER_FLAGS
    name: str = SELF
    spending: Spending = field(default_factory=Spending)
    """Prices and the cost limit, for judges and reader together."""
    thinking_tags: tuple[str, ...] = ()
    """Further tags of thinking (`answers.mark_tags`), which contain no description."""

    def own_temperature(self) -> float:
        """The temperature of the evaluated model's own readings and captions; usually 0, greedy.

        Raises:
            UsageError: one that is not valid.
        """
        return _checked(split_args(self, {})[0]).temperature if self.name == SELF else 0.0


class ReaderSpec(Strict):
    """Everything that affects a reader's answer, except the description and the question."""

    name: str
    """`self`, `openai`, `gemini` or `vllm`."""
    model: str
    fingerprint: str
    verified: bool
    sampling: SamplingSpec
    told: dict[str, Any]
    """Other settings that can change an answer (`safety`, `dtype`)."""
    prompt_hash: str
    system: str | None
    descriptions: Descriptions
    caption_hash: str | None
    """Hash of the prompt for a description; None if the responses contain them."""
    thinking_tags: tuple[str, ...] = ()
    """Further tags of thinking, which affect what counts as a description."""

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit empty tags, so that the digest of a reader without tags stays as before."""
        fields: dict[str, Any] = write(self)
        if not self.thinking_tags:
            fields.pop("thinking_tags", None)
        return fields

    @property
    def label(self) -> str:
        """The name that is shown: `self`, or `gemini:gemini-2.5-flash`."""
        return SELF if self.name == SELF else f"{self.name}:{self.model}"

    @property
    def layout(self) -> tuple[ImageOrder, str]:
        """Where the first pass had its images, and the tag around the reasoning."""
        layouts = {(f.images, f.thinking) for f in FORMATS.values()}
        known = {reader_hash(*layout): layout for layout in layouts}
        return known.get(self.prompt_hash, ("mark", THINK))

    def digest(self) -> str:
        """Hash over every field."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()


def self_reader(
    spec: RunSpec,
    descriptions: Descriptions,
    thinking_tags: tuple[str, ...] = (),
    temperature: float = 0.0,
) -> ReaderSpec:
    """The model of a run as the reader of its own descriptions.

    It reads in the layout of the run's prompt format. System message, limits, stop strings and
    repetition penalty are those of the run.

    Raises:
        UsageError: the run's responses were made elsewhere, so its model cannot be called.
    """
    if spec.sampling is None:
        raise UsageError("responses made elsewhere can only be read by another model: --reader …")
    asked = FORMATS.get(spec.prompt.format, FORMATS[DEFAULT_FORMAT])
    return ReaderSpec(
        name=SELF,
        model=spec.model.id,
        fingerprint=spec.model.fingerprint,
        verified=spec.model.verified,
        sampling=_checked(second_sampling(spec.sampling, temperature)),
        told={},
        prompt_hash=reader_hash(asked.images, asked.thinking),
        system=spec.prompt.system,
        descriptions=descriptions,
        caption_hash=_caption_hash(descriptions),
        thinking_tags=thinking_tags,
    )


def second_sampling(sampling: SamplingSpec | Sampling, temperature: float = 0.0) -> Sampling:
    """The sampling of the second pass: the limits of this one, and one reply; 0 = greedy."""
    fields = sampling.model_dump() if isinstance(sampling, SamplingSpec) else asdict(sampling)
    plain = {"temperature": temperature, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "n": 1}
    return Sampling(**(fields | plain))


def _checked(sampling: Sampling) -> SamplingSpec:
    """The sampling as a spec.

    Raises:
        UsageError: a value is out of range.
    """
    try:
        return SamplingSpec(**asdict(sampling))
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{READER_FLAGS.args} {first['loc'][0]}={first['input']}"
        raise UsageError(f"{name}: {first['msg']}") from None


def _caption_hash(descriptions: Descriptions) -> str | None:
    return wording_hash(CAPTION_VERSION, CAPTION) if descriptions == "caption" else None


def external_reader(
    options: ReaderOptions, descriptions: Descriptions
) -> tuple[ReaderSpec, Connection]:
    """Another model as the reader, and its connection; nothing is loaded or called.

    Raises:
        UsageError: the reader is unknown, an option is missing, or the cost is limited and the
            price is unknown.
    """
    if options.name not in CONNECT:
        raise UsageError(f"--reader {options.name}: {nearest(options.name, READERS)}")
    connection = CONNECT[options.name](options)
    if options.name in PAID:
        options.spending.check(connection.model)
    sampling = connection.sampling
    if sampling.temperature == 0:  # the greedy readers of old had no other top_p
        sampling = second_sampling(sampling)
    spec = ReaderSpec(
        name=options.name,
        model=connection.model,
        fingerprint=connection.mark,
        verified=options.name == "vllm",
        sampling=_checked(sampling),
        told=dict(connection.settings),
        prompt_hash=reader_hash("mark"),
        system=None,
        descriptions=descriptions,
        caption_hash=_caption_hash(descriptions),
        thinking_tags=options.thinking_tags,
    )
    return spec, connection


def description_in(
    text: str, descriptions: Descriptions, thinking_tags: Sequence[str] = ()
) -> str | None:
    """The description in a response or caption; None if there is none.

    Text in `thinking_tags`, as in those of all known families, is thinking. A caption is the reply
    to a request for a description: if it has no description tags, all its text outside the
    thinking is the description.
    """
    text = mark_tags(text, thinking_tags)
    found = read_description(text)
    if found is None and descriptions == "caption":
        return final_region(text).strip() or None
    return found


def description_hash(description: str) -> str:
    """Hash of a description's text."""
    return hashlib.sha256(description.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def perception_key(source: str, reader: str, description: str) -> str:
    """Key of a reading: the source of the description, its reader and its text.

    The source's key covers the run's spec, the sample and its images.
    """
    return reading_key(source, reader, description_hash(description))


def reading_key(source: str, reader: str, hashed: str) -> str:
    """`perception_key` for a known hash of the description."""
    words = canonical_json([source, reader, hashed])
    return hashlib.sha256(words.encode()).hexdigest()[:32]
