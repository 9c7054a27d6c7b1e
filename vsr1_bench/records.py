"""The records that flow through the engine, from a data-set row to a verdict.

    Sample -> Request -> Completion -> Generation -> Judgment
    Generation's description -> Request -> Completion -> Perception -> Judgment

All are frozen and slotted. `Generation`, `Perception` and `Judgment` are journal lines: they carry
a schema version and hold nothing but JSON values, so a journal can be read without the engine that
wrote it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

SCHEMA_VERSION = 1

AnswerType = Literal["choice", "yes_no", "number", "math", "text"]
Role = Literal["system", "user", "assistant"]
Outcome = Literal["correct", "incorrect", "unscored"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)
Stage = Literal["answer", "caption", "reading"]
"""What a request is for: the first pass, a separate caption, or the second pass."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The letters of options. A question has at most this many options."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An encoded image. It is decoded only when a backend needs its pixels.

    Exactly one of `data` and `path` is given. A path is read each time it is needed, so that a run
    over many images keeps none of them in memory.
    """

    data: bytes | None = None
    path: Path | None = None

    def read(self) -> bytes:
        """Return the encoded bytes.

        Raises:
            OSError: the file cannot be read.
        """
        if self.data is not None:
            return self.data
        if self.path is None:
            raise OSError("an image with neither bytes nor a path")
        if not self.path.is_file() and self.path.exists():
            raise OSError("not a regular file")  # a FIFO or a device would be waited for
        return self.path.read_bytes()

    def sha256(self) -> str:
        """Hash of the encoded bytes; an unreadable file hashes to the reason it cannot be read."""
        try:
            return hashlib.sha256(self.read()).hexdigest()
        except OSError as error:
            return f"unreadable:{type(error).__name__}"


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """The position of image number `index` (from 0) inside a text."""

    index: int
    marked: bool = field(default=True, compare=False)
    """False if the row has no mark for it, so that this project chose the position."""


Part = str | ImagePlace


@dataclass(frozen=True, slots=True)
class Sample:
    """One question of a benchmark, in the same form for every benchmark."""

    id: str
    """Unique within the task; stays the same in later versions of this tool."""
    question: tuple[Part, ...]
    """Text and image positions in reading order, without the choices."""
    answer: str
    """Gold answer: a letter for `choice`, `yes` or `no`, a number, LaTeX, or a short text."""
    answer_type: AnswerType
    _: KW_ONLY
    images: tuple[EncodedImage, ...] = ()
    choices: tuple[str, ...] | None = None
    """Texts of the options, first = A; at most 26."""
    choice_parts: tuple[tuple[Part, ...], ...] | None = None
    """The options with their images in position, if options contain images."""
    choices_in_image: bool = False
    """The options are part of the image: the judge knows them, the prompt does not repeat them."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Named groups for breakdowns, clusters and all-of-a-group metrics (`subject`, `figure`)."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Values that only this task's prompt, judge or metric needs (JSON)."""

    @property
    def question_text(self) -> str:
        """The question as plain text, image places removed (for judges and the blind reader)."""
        return "".join(part for part in self.question if isinstance(part, str)).strip()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; an `ImagePlace` refers to the request's `images`."""

    role: Role
    content: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings. Every field is always sent, because engines have different defaults.

    The last four are sent only if they are set. The defaults are those of the authors' validation
    runs (Vision-SR1, section 3 of the settings): greedy, 4,096 new tokens, 262,144 to 4,194,304
    pixels per image.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = -1
    """-1 = off."""
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 4096
    stop: tuple[str, ...] = ()
    seed: int = 0
    n: int = 1
    """Responses per sample; each has its own seed (`Request.seed`)."""
    min_pixels: int = 262_144
    max_pixels: int = 4_194_304
    # Fields that only some backends have (`generation.further_fields`); None = not sent.
    reasoning_effort: str | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    extra_body: str | None = None
    """Further fields of the body of a request, as canonical JSON."""


@dataclass(frozen=True, slots=True)
class Request:
    """One response wanted from a model."""

    key: str
    messages: tuple[Message, ...]
    sampling: Sampling
    images: tuple[EncodedImage, ...] = ()
    sample_id: str = ""
    """The sample that is asked, for error messages and scripted answers."""
    index: int = 0
    """Which of the sample's n responses."""
    json_schema: Mapping[str, Any] | None = None
    """The answer must be JSON of this schema; a backend that cannot ensure it fails the request."""
    stage: Stage = "answer"
    prompt_limit: int | None = None
    """Truncate a prompt without images to so many tokens; only backends that render prompts do."""

    @property
    def seed(self) -> int:
        """Seed of this response, independent of its neighbours'.

        Not `seed + index`: runs with seeds 0 and 1 would share all but one of their draws, and all
        samples of a task would use one random stream, but intervals assume independent samples.
        """
        return response_seed(self.sampling.seed, self.sample_id, self.index)


def response_seed(seed: int, sample_id: str, index: int) -> int:
    """Seed of a response: `Request.seed`, where there is no request any more."""
    words = f"{seed}|{sample_id}|{index}"
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4]) >> 1


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request; None if the backend does not report them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """The result of a request: a text, or the reason why there is none."""

    key: str
    text: str = ""
    finish_reason: str = "stop"
    """`stop`, `length` (cut at max_tokens or the context's end), or `error`."""
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each drawn token under the distribution it was drawn from."""
    usage: Usage = Usage()
    error: str | None = None
    cached_tokens: int | None = None
    """Prompt tokens that the endpoint read from its cache. They only affect the cost, and are not
    stored."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the journal line of any finished or failed request has."""

    key: str
    sample_id: str
    index: int
    """Which of the sample's n responses, from 0."""
    text: str
    finish_reason: str
    usage: Usage = Usage()
    error: str | None = None
    seconds: float | None = None
    """From submission to completion."""
    created: str = ""
    """UTC, ISO 8601."""
    schema: int = SCHEMA_VERSION

    @property
    def truncated(self) -> bool:
        """Whether the text was cut at the token limit."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class Generation(Output):
    """Journal line of `generations.jsonl`: one response, or a caption in `captions.jsonl`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perception(Output):
    """Journal line of `perceptions.jsonl`: the reader's answer, given only the description.

    The key is a hash of the source's key, the reader and the description, so that a reading is
    never used for another response, reader or description.
    """

    source: str
    """Key of the generation that contains the description, or of the caption."""
    reader: str
    """Digest of the reader's spec, which is stored in `readers/`."""
    description_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """Journal line of `dependences.jsonl`: how much a response depends on the image."""

    key: str
    """Key of the generation."""
    sample_id: str
    index: int
    value: float | None
    """In nats per token; None = it could not be scored."""
    tokens: int
    """Number of its tokens."""
    error: str | None = None
    unscorable: str | None = None
    """Why no attempt can score it; such a line is not tried again."""
    created: str = ""
    """UTC, ISO 8601."""
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge decides about one response."""

    outcome: Outcome
    extracted: str | None = None
    """The final answer that was read from the response."""
    unparsed: bool = False
    """No final answer could be read; such a response is `incorrect`, never guessed."""
    reason: str | None = None
    label: str | None = None
    """The verdict in the words of the judge or annotator, e.g. `unclear`."""
    score: float | None = None
    """Graded benchmarks: 0 to 1."""
    how: str | None = field(default=None, compare=False)
    """The rule that read the final answer, or that found it unreadable (docs/answers.md); None in
    records of older versions, and if none of our rules read it."""
    span: tuple[int, int] | None = field(default=None, compare=False)
    """Start and end, in the response, of the words that the answer was read from."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """Journal line of `judgments/<judge>-<hash>.jsonl`.

    Its key is that of the judged generation, or of the perception in `perception_judgments/`.
    """

    key: str
    sample_id: str
    index: int
    verdict: Verdict
    created: str = ""
    text_hash: str = ""
    """Hash of the text that was judged: a verdict on another text does not count."""
    raw: str | None = None
    """An LLM judge's reply, word for word."""
    usage: Usage = Usage()
    cost: float | None = None
    """In the currency of the price file; None if the price is unknown."""
    judge_model: str | None = None
    prompt_hash: str | None = None
    """Hash of both forms of the judge's prompt."""
    asked: str | None = None
    """Hash of the request to the judge. Verdicts with the same hash share one reply, its tokens
    and its cost."""
    schema: int = SCHEMA_VERSION
