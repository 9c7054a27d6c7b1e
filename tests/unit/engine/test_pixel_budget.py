"""How many images are held at once: each counts once, and the machine's memory decides."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tests.models import demo_requests, tiny
from vsr1_bench._util import memory
from vsr1_bench.generation.chat import ChatRenderer, Prompt
from vsr1_bench.generation.pixel_budget import BYTES, LEAST, PixelBudget, default_budget
from vsr1_bench.records import EncodedImage, ImagePlace, Message, Request, Sampling

SIDE = 2048
FOUR_MP = SIDE * SIDE


def prompt(key: str, *names: str, side: int = SIDE) -> Prompt:
    """A rendered request of images that are known by their paths and were never decoded."""
    images = tuple(EncodedImage(path=Path(name)) for name in names)
    message = Message("user", (*(ImagePlace(i) for i in range(len(names))), "?"))
    sampling = Sampling(min_pixels=1, max_pixels=FOUR_MP)
    decoded: Any = [SimpleNamespace(width=side, height=side) for _ in names]
    return Prompt(Request(key, (message,), sampling, images, key), "?", decoded)


def waits(budget: PixelBudget, key: str, shown: Prompt) -> threading.Thread | None:
    """Take a request's pixels; the thread that still waits for them, or None."""
    thread = threading.Thread(target=budget.take, args=(key, shown.pixels), daemon=True)
    thread.start()
    thread.join(0.2)
    return thread if thread.is_alive() else None


def machine(monkeypatch: pytest.MonkeyPatch, gb: float, ranks: int = 1) -> None:
    monkeypatch.setattr(memory, "host_memory", lambda: int(gb * 1e9))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))


def test_512_requests_of_4_megapixels_run_at_once_on_a_host_of_128_gb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, 128)
    budget = PixelBudget(default_budget(on_gpu=True))
    for number in range(512):
        budget.take(f"k{number}", prompt(f"k{number}", f"{number}.png").pixels)
    assert 512 * FOUR_MP * BYTES < 64e9  # and they take at most half of its memory


def test_the_budget_is_a_share_of_the_memory_of_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 128)
    alone = default_budget(on_gpu=True)
    machine(monkeypatch, 128, ranks=4)
    assert default_budget(on_gpu=True) == pytest.approx(alone / 4, rel=1e-6)
    machine(monkeypatch, 1024)
    assert default_budget(on_gpu=True) == pytest.approx(8 * alone, rel=1e-6)
    assert default_budget(on_gpu=False) == pytest.approx(2 * alone, rel=1e-6)
    machine(monkeypatch, 4)
    assert default_budget(on_gpu=False) == LEAST


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = memory.host_memory()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMITS", (tmp_path / "none", limit))
    limit.write_text("1000000\n")
    assert memory.host_memory() == 1_000_000
    limit.write_text("max\n")
    assert memory.host_memory() >= whole


def test_an_image_counts_once_for_all_of_its_samples() -> None:
    budget = PixelBudget(FOUR_MP)
    for sample in range(8):
        assert waits(budget, f"a{sample}", prompt(f"a{sample}", "a.png", "a.png")) is None
    other = waits(budget, "b", prompt("b", "b.png"))
    assert other is not None
    for sample in range(7):
        budget.give_back(f"a{sample}")
    other.join(0.2)
    assert other.is_alive()  # one sample still shows the image
    budget.give_back("a7")
    other.join(5)
    assert not other.is_alive()


def test_other_pixels_of_an_image_are_another_image() -> None:
    large, small = prompt("large", "a.png"), prompt("small", "a.png", side=SIDE // 2)
    assert large.pixels.keys() == small.pixels.keys()  # the bounds are equal
    request = small.request
    sampling = Sampling(min_pixels=1, max_pixels=FOUR_MP // 4)
    bounded = Request("small", request.messages, sampling, request.images)
    assert large.pixels.keys() != Prompt(bounded, "?", small.images).pixels.keys()


def test_a_request_over_the_budget_passes_alone_and_texts_never_wait() -> None:
    budget = PixelBudget(FOUR_MP)
    assert waits(budget, "huge", prompt("huge", "a.png", "b.png", "c.png")) is None
    assert waits(budget, "text", prompt("text")) is None
    waiting = waits(budget, "next", prompt("next", "d.png"))
    assert waiting is not None
    budget.give_back("text")
    budget.give_back("unknown")
    waiting.join(0.2)
    assert waiting.is_alive()
    budget.give_back("huge")
    waiting.join(5)
    assert not waiting.is_alive()


def test_closing_frees_whoever_waits() -> None:
    budget = PixelBudget(1)
    budget.take("a", prompt("a", "a.png").pixels)
    waiting = waits(budget, "b", prompt("b", "b.png"))
    assert waiting is not None
    budget.open()
    waiting.join(5)
    assert not waiting.is_alive()


def test_samples_of_a_prompt_share_the_decoded_image() -> None:
    renderer = ChatRenderer(tiny())
    (request,) = demo_requests(1)
    first, second = renderer.render(request), renderer.render(request)
    assert first.images[0] is second.images[0]
    size = first.images[0].size
    del first, second
    assert not len(renderer._images)  # nothing is kept when no request holds it
    assert renderer.render(request).images[0].size == size


def test_an_image_of_equal_bytes_is_the_same_image() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (56, 56)).save(buffer, "PNG")
    data = buffer.getvalue()
    (request,) = demo_requests(1)
    renderer = ChatRenderer(tiny())
    twice = [
        Request(
            "k", request.messages, request.sampling, (EncodedImage(data=bytes(bytearray(data))),)
        )
        for _ in range(2)
    ]
    first, second = map(renderer.render, twice)
    assert first.images[0] is second.images[0]
    assert first.pixels == second.pixels
