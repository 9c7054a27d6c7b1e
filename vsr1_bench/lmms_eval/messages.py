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
    chat: Sequence[Mapping[str, Any]],
) -> tuple[tuple[Message, ...], tuple[EncodedImage, ...]]:
    """Convert lmms-eval's chat messages; every text and image keeps its place.

    Raises:
        TaskError: a part that is neither text nor image, or an image that cannot be read.
    """
    images: list[EncodedImage] = []
    messages = []
    for message in chat:
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
                raise TaskError(f"it shows {part['type']}; only text and images are supported here")
        messages.append(Message(role, tuple(parts)))
    return tuple(messages), tuple(images)


def read_image(value: Any) -> EncodedImage:
    """Encode an image without loss: its pixels stay as the task hands them over.

    Raises:
        TaskError: it is neither an image in memory nor a file.
    """
    from PIL import Image as Pil

    if isinstance(value, Pil.Image):
        return EncodedImage(data=_encode(value))
    if isinstance(value, str) and Path(value).is_file():
        return EncodedImage(path=Path(value))
    raise TaskError(f"an image as {type(value).__name__} {str(value)[:80]!r}; wanted one in memory")


def _encode(image: Image) -> bytes:
    # Neither format keeps the EXIF orientation: the task has seen the image unrotated.
    written = image
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "1"):
        written = image.convert("RGB")
        written.info.pop("transparency", None)  # a colour of the old mode, invalid in RGB
    buffer = io.BytesIO()
    if written.mode in ("RGB", "L") and "transparency" not in written.info:
        # Plain pixels: compressing a photograph takes longer than everything else done with it.
        written.save(buffer, "PPM")
    else:
        written.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def sampling_of(settings: Mapping[str, Any] | None, *, stop: bool) -> dict[str, Any]:
    """The fields of `Sampling` that a task's generation settings set.

    Greedy unless they set a temperature and do not forbid sampling. The run decides what they leave
    open. `max_new_tokens` is a limit, not a hint (lmms-eval's vLLM model raises 16 to 4,096).

    Args:
        settings: The task's `generation_kwargs`.
        stop: Whether `until` counts; lmms-eval adds one if the task sets none.
    """
    settings = settings or {}
    sampling: dict[str, Any] = {}
    temperature = float(settings.get("temperature") or 0.0)
    sampling["temperature"] = 0.0 if settings.get("do_sample") is False else temperature
    if settings.get("max_new_tokens"):
        sampling["max_tokens"] = int(settings["max_new_tokens"])
    if sampling["temperature"] > 0:
        if settings.get("top_p"):
            sampling["top_p"] = float(settings["top_p"])
        if settings.get("top_k"):
            sampling["top_k"] = int(settings["top_k"])
    if settings.get("repetition_penalty"):
        sampling["repetition_penalty"] = float(settings["repetition_penalty"])
    until = settings.get("until") if stop else None
    words = [until] if isinstance(until, str) else list(until or ())
    if words := [word for word in words if isinstance(word, str) and word]:
        sampling["stop"] = tuple(words)
    return sampling
