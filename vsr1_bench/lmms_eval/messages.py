"""Translate lmms-eval's messages and generation settings into our terms."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import TaskError
from vsr1_bench.records import EncodedImage, ImagePlace, Message, Part

if TYPE_CHECKING:
    from PIL.Image import Image

ROLES = ("system", "user", "assistant")


def read_messages(
    told: Sequence[Mapping[str, Any]],
) -> tuple[tuple[Message, ...], tuple[EncodedImage, ...]]:
    """Take over its chat messages: every text and image at its place.

    Raises:
        TaskError: something that is neither text nor image, or an image that is none.
    """
    images: list[EncodedImage] = []
    messages = []
    for message in told:
        role, content = message["role"], message["content"]
        if role not in ROLES:
            raise TaskError(f"a message of role {role!r}; wanted one of {', '.join(ROLES)}")
        parts: list[Part] = []
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                parts.append(str(part["text"]))
            elif part["type"] == "image":
                parts.append(ImagePlace(len(images)))
                images.append(read_image(part["url"]))
            else:
                raise TaskError(f"it shows {part['type']}; only text and images are asked here")
        messages.append(Message(role, tuple(parts)))
    return tuple(messages), tuple(images)


def read_image(told: Any) -> EncodedImage:
    """Encode an image, losslessly: decoded, it has the pixels that its task hands over.

    Raises:
        TaskError: neither an image in memory nor a file.
    """
    from PIL import Image as Pil

    if isinstance(told, Pil.Image):
        return EncodedImage(data=_encode(told))
    if isinstance(told, str) and Path(told).is_file():
        return EncodedImage(path=Path(told))
    raise TaskError(f"an image as {type(told).__name__} {str(told)[:80]!r}; wanted one in memory")


def _encode(image: Image) -> bytes:
    # Neither form takes the tags along that would turn a photo: its task has seen it as it is.
    written = image
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "1"):
        written = image.convert("RGB")
        written.info.pop("transparency", None)  # a colour of the old mode, which no RGB image has
    buffer = io.BytesIO()
    if written.mode in ("RGB", "L") and "transparency" not in written.info:
        # Plain pixels: to compress a photograph takes longer than all else that is done with it.
        written.save(buffer, "PPM")
    else:
        written.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def sampling_of(told: Mapping[str, Any] | None, *, stop: bool) -> dict[str, Any]:
    """The fields of `Sampling` that its generation settings set.

    Greedy unless they say `do_sample` and a temperature. What they leave open stays with the run;
    `max_new_tokens` is a bound, not a hint (its own vLLM model raises 16 to 4,096).

    Args:
        told: Its `generation_kwargs`.
        stop: Whether `until` counts: it is put in where the task says nothing.
    """
    told = told or {}
    found: dict[str, Any] = {}
    temperature = float(told.get("temperature") or 0.0)
    found["temperature"] = 0.0 if told.get("do_sample") is False else temperature
    if told.get("max_new_tokens"):
        found["max_tokens"] = int(told["max_new_tokens"])
    if found["temperature"] > 0:
        if told.get("top_p"):
            found["top_p"] = float(told["top_p"])
        if told.get("top_k"):
            found["top_k"] = int(told["top_k"])
    if told.get("repetition_penalty"):
        found["repetition_penalty"] = float(told["repetition_penalty"])
    until = told.get("until") if stop else None
    words = [until] if isinstance(until, str) else list(until or ())
    if words := [word for word in words if isinstance(word, str) and word]:
        found["stop"] = tuple(words)
    return found
