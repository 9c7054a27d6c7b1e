"""Convert a request into the input of a local engine: prompt text and decoded images.

Shared by the backends that load weights themselves, so that they see the same characters and the
same pixels.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from transformers import AutoConfig, AutoProcessor, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from vsr1_bench.answers.marks import split_channels
from vsr1_bench.errors import ModelError
from vsr1_bench.generation.families import unknown_family
from vsr1_bench.generation.images import blackened, decode, mask_seed
from vsr1_bench.generation.models import EMBEDDED, ModelInfo
from vsr1_bench.prompts.formats import to_chat
from vsr1_bench.records import EncodedImage, ImagePlace, Message, Request

if TYPE_CHECKING:
    from PIL.Image import Image

_SENSES = re.compile(r"(?i)image|video|vision|audio|img")
_OPENED = re.compile(r"(<think(?:ing)?>)\s*\Z")

ImageKey = tuple[EncodedImage, int, int]
"""An image, and the least and most pixels it is scaled to."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered request: its text, with the model's own image placeholders, and its images."""

    request: Request
    text: str
    images: list[Image]

    @property
    def pixels(self) -> dict[Hashable, int]:
        """What identifies each image -> its number of pixels after scaling."""
        shown = _shown(self.request)
        sizes = (image.width * image.height for image in self.images)
        return dict(zip((_key(image, self.request) for image in shown), sizes, strict=True))

    def masked(self) -> Prompt:
        """The same prompt with masked images (`images.blackened`)."""
        return replace(self, images=blackened(self.images, mask_seed(self.request)))


class ChatRenderer:
    """A model's processor (or tokenizer, if it reads text only) and chat template."""

    def __init__(self, model: ModelInfo, *, trust_remote_code: bool = False) -> None:
        """Load the processor.

        Raises:
            ModelError: the folder has no processor, or no chat template.
        """
        try:
            self.config = AutoConfig.from_pretrained(
                model.path, trust_remote_code=trust_remote_code
            )
            self.sees = type(self.config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
            if model.id == EMBEDDED and model.path and find_spec("torchvision") is None:
                self.processor: Any = _by_pillow(model.path)
            else:
                kind = AutoProcessor if self.sees else AutoTokenizer
                self.processor = kind.from_pretrained(
                    model.path, trust_remote_code=trust_remote_code
                )
        except Exception as error:  # the library raises many kinds, all of them about this folder
            unknown = None if trust_remote_code else unknown_family(model)
            raise unknown or cannot_load(model, "transformers", error) from error
        self.tokenizer = self.processor.tokenizer if self.sees else self.processor
        self.keeps_marks = split_channels(special_tokens(self.tokenizer))
        """Whether special tokens stay in the text, because they mark its channels."""
        if self.processor.chat_template is None and self.tokenizer.chat_template is None:
            raise ModelError(f"model {model.id!r} has no chat template; use an instruction model")
        self.context: int | None = getattr(
            self.config.get_text_config(), "max_position_embeddings", None
        )
        self._images: WeakValueDictionary[ImageKey, Image] = WeakValueDictionary()
        """Decoded images that a request holds: the samples of a prompt share them."""
        self.reserved = reserved_tokens(self.config, self.processor, self.tokenizer)

    @cached_property
    def opened(self) -> str:
        """The tag with which the chat template begins a response (`<think>`); often empty.

        It belongs to the prompt: responses do not contain it.
        """
        found = _OPENED.search(self._prompt((Message("user", ("-",)),)))
        return found[1] if found else ""

    def _prompt(self, messages: tuple[Message, ...]) -> str:
        """The chat template's text for messages, with the beginning of the response."""
        chat: list[dict[str, Any]] = to_chat(messages)
        if not self.sees:
            chat = [
                {"role": m.role, "content": "".join(p for p in m.content if isinstance(p, str))}
                for m in messages
            ]
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return str(text)

    def render(self, request: Request) -> Prompt:
        """Apply the chat template and decode the images, in the order of their placeholders.

        A text-only prompt that is longer than the request's `prompt_limit` is truncated at its end.

        Raises:
            ValueError: there are images but the model reads text only, or the text contains an
                image token, which engines would handle as an image, each differently.
            ImageError: an image cannot be decoded.
        """
        if request.images and not self.sees:
            raise ValueError("the sample has images and the model reads text only")
        for message in request.messages:
            self.refuse_reserved(part for part in message.content if isinstance(part, str))
        images = [self._decoded(image, request) for image in _shown(request)]
        text = self._prompt(request.messages)
        if request.prompt_limit is not None and not images:
            text = self._cut(text, request.prompt_limit)
        return Prompt(request, text, images)

    def _decoded(self, image: EncodedImage, request: Request) -> Image:
        """Decode an image, or return it if another request still holds it; never changed."""
        key = _key(image, request)
        if (known := self._images.get(key)) is not None:
            return known
        self._images[key] = decoded = decode(image, *key[1:])
        return decoded

    def refuse_reserved(self, texts: Iterable[str]) -> None:
        """Refuse texts that contain an image token.

        Raises:
            ValueError: with the token.
        """
        for text in texts:
            for token in self.reserved:
                if token in text:
                    raise ValueError(
                        f"the text holds {token!r}, by which the model knows images; wanted text "
                        "without it"
                    )

    def _cut(self, text: str, limit: int) -> str:
        """The first `limit` tokens of a prompt, whole characters only."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        if len(ids) <= limit:
            return text
        kept = self.tokenizer.decode(ids[:limit], clean_up_tokenization_spaces=False)
        return str(kept).rstrip("\ufffd")


def _shown(request: Request) -> list[EncodedImage]:
    """The images of a request in the order of their placeholders."""
    return [
        request.images[part.index]
        for message in request.messages
        for part in message.content
        if isinstance(part, ImagePlace)
    ]


def _key(image: EncodedImage, request: Request) -> ImageKey:
    return image, request.sampling.min_pixels, request.sampling.max_pixels


def reserved_tokens(config: Any, processor: Any, tokenizer: Any) -> tuple[str, ...]:
    """The tokens that mark images, videos and sounds for a model, as text.

    These are the tokens that its configuration and its processor name, and special tokens with
    such names (`<|vision_pad|>`). A model that reads text only has none.
    """
    if processor is tokenizer:
        return ()
    ids = media_ids(config)
    names = ("image_token", "video_token", "audio_token")
    named = {getattr(processor, name, None) for name in names}
    return tuple(
        sorted(
            token.content
            for number, token in tokenizer.added_tokens_decoder.items()
            if number in ids
            or token.content in named
            or (token.special and _SENSES.search(token.content))
        )
    )


def _by_pillow(path: Path) -> Any:
    """The processor of the embedded model without torchvision, which transformers needs for videos.

    Other models need torchvision: Pillow scales images to other pixels. The embedded model's images
    are whole patches, so nothing is scaled.
    """
    from transformers import AutoImageProcessor
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor

    class ImagesAlone(Qwen2_5_VLProcessor):
        """The processor without its part for videos."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name != "video_processor":
                return super().check_argument_for_proper_class(argument_name, argument)

    return ImagesAlone(
        AutoImageProcessor.from_pretrained(path, backend="pil"),
        AutoTokenizer.from_pretrained(path),
        None,
        chat_template=(path / "chat_template.jinja").read_text("utf-8"),
    )


def special_tokens(tokenizer: Any) -> set[str]:
    """The tokens that decoding drops from a text: the named ones, and those that its file marks."""
    try:
        added = tokenizer.added_tokens_decoder.values()
    except NotImplementedError:  # of mistral-common, which names all of them
        added = ()
    marked = (token.content for token in added if token.special)
    return {*tokenizer.all_special_tokens, *marked}


def media_ids(config: Any) -> set[int]:
    """The ids of tokens that a model's configuration names for images, videos and sounds."""
    return {
        value
        for name, value in vars(config).items()
        if isinstance(value, int) and _SENSES.search(name) and name.endswith(("_id", "_index"))
    }


def cannot_load(model: ModelInfo, library: str, error: Exception) -> ModelError:
    """Say in one line that a library cannot load a model's folder."""
    reason = " ".join(str(error).split())[:300]
    kind = type(error).__name__
    return ModelError(f"model {model.id!r} cannot be loaded by {library}: {kind}: {reason}")
