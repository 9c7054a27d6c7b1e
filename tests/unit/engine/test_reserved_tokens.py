"""A written image token is refused where prompts are made, so by both local engines alike."""

from __future__ import annotations

from functools import lru_cache

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from vsr1_bench.generation.chat import ChatRenderer
from vsr1_bench.generation.models import find_model
from vsr1_bench.records import ImagePlace, Message, Request, Role, Sampling
from vsr1_bench.task import example_image


@lru_cache(maxsize=1)
def renderer() -> ChatRenderer:
    return ChatRenderer(find_model("tiny", backend="transformers"))


def test_the_tokens_are_those_of_images_and_no_words() -> None:
    wanted = {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"}
    assert set(renderer().reserved) == wanted


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize("token", ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>"])
def test_a_written_token_is_refused_with_images_and_without(role: Role, token: str) -> None:
    asked = Message("user", (ImagePlace(0), "What is it?"))
    odd = Message(role, (f"What is {token} for?",))
    for messages, images in (((asked, odd), (example_image(),)), ((odd,), ())):
        request = Request("k", messages, Sampling(), images)
        with pytest.raises(ValueError, match="by which the model knows images"):
            renderer().render(request)


@pytest.mark.parametrize("text", ["<image>", "an image/video", "<|image|>", "vision_start", "<||>"])
def test_other_words_about_images_are_words(text: str) -> None:
    request = Request("k", (Message("user", (text,)),), Sampling())
    assert text in renderer().render(request).text
