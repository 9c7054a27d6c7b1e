"""From a request to what a local engine eats: prompt text and decoded images.

Shared by the backends that load weights themselves, so that they see the same characters and the
same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoProcessor, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from vsr1_bench.answers.marks import split_channels
from vsr1_bench.errors import ModelError
from vsr1_bench.images import decode
from vsr1_bench.models import ModelInfo
from vsr1_bench.prompts import to_chat
from vsr1_bench.records import ImagePlace, Request

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request made ready: its text, with the model's own image placeholders, and its images."""

    request: Request
    text: str
    images: list[Image]


class ChatRenderer:
    """A model's processor (or tokenizer, where it reads text only) and chat template."""

    def __init__(self, model: ModelInfo, *, trust_remote_code: bool = False) -> None:
        """Load the processor.

        Raises:
            ModelError: the folder holds none, or no chat template.
        """
        try:
            self.config = AutoConfig.from_pretrained(
                model.path, trust_remote_code=trust_remote_code
            )
            self.sees = type(self.config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
            kind = AutoProcessor if self.sees else AutoTokenizer
            self.processor: Any = kind.from_pretrained(
                model.path, trust_remote_code=trust_remote_code
            )
        except Exception as error:  # the library raises many kinds, all of them about this folder
            raise cannot_load(model, "transformers", error) from error
        self.tokenizer = self.processor.tokenizer if self.sees else self.processor
        self.keeps_marks = split_channels(self.tokenizer.all_special_tokens)
        """Whether special tokens stay in the text, because they mark its channels."""
        if self.processor.chat_template is None and self.tokenizer.chat_template is None:
            raise ModelError(f"model {model.id!r} has no chat template; use an instruction model")
        self.context: int | None = getattr(
            self.config.get_text_config(), "max_position_embeddings", None
        )

    def render(self, request: Request) -> Prompt:
        """Apply the chat template and decode the images, in the order of their places.

        A prompt of words over the request's `prompt_limit` loses its end, whatever stands there.

        Raises:
            ValueError: images for a model that reads text only.
            ImageError: an image cannot be decoded.
        """
        if request.images and not self.sees:
            raise ValueError("the sample has images and the model reads text only")
        sampling = request.sampling
        images = [
            decode(request.images[part.index], sampling.min_pixels, sampling.max_pixels)
            for message in request.messages
            for part in message.content
            if isinstance(part, ImagePlace)
        ]
        chat: list[dict[str, Any]] = to_chat(request.messages)
        if not self.sees:
            chat = [
                {"role": m.role, "content": "".join(p for p in m.content if isinstance(p, str))}
                for m in request.messages
            ]
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        if request.prompt_limit is not None and not images:
            text = self._cut(text, request.prompt_limit)
        return Prompt(request, text, images)

    def _cut(self, text: str, limit: int) -> str:
        """The first `limit` tokens of a prompt, whole characters only."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        if len(ids) <= limit:
            return text
        kept = self.tokenizer.decode(ids[:limit], clean_up_tokenization_spaces=False)
        return str(kept).rstrip("\ufffd")


def cannot_load(model: ModelInfo, library: str, error: Exception) -> ModelError:
    """Say in one line that a library cannot load a model's folder."""
    reason = " ".join(str(error).split())[:300]
    kind = type(error).__name__
    return ModelError(f"model {model.id!r} cannot be loaded by {library}: {kind}: {reason}")
