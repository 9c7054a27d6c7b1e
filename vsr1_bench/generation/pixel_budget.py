"""A bound on the decoded images of all requests under way.

A limit on requests alone would not do: 512 of them take from 2 MB to 50 GB, depending on their
images. An image counts once, however many requests show it, because its requests share the decoded
image and vLLM's cache of processed ones.

Its pixels are freed when the last of these requests ends. vLLM 0.32 keeps the patches of an image
until its request ends, because a preempted request is encoded again. Its outputs do not tell when
an image has been encoded.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping

from vsr1_bench._util.memory import local_share

BYTES = 27
"""Memory of a pixel: RGB, then patches of two frames in float32."""
LEAST = 128_000_000
"""The default budget in pixels on a small machine, 3.5 GB."""


def default_budget(*, on_gpu: bool) -> int:
    """Pixels that may be held at once, by the memory of the machine.

    With a GPU, images may take half of the memory: 512 images of 4 megapixels on a machine of
    128 GB. On CPU they may take an eighth, because the model and its cache are there, too.
    """
    return max(LEAST, local_share() // (2 if on_gpu else 8) // BYTES)


class PixelBudget:
    """Lets threads hold images while their pixels fit."""

    def __init__(self, pixels: int) -> None:
        """Start with this many pixels free."""
        self._size = pixels
        self._used = 0
        self._images: dict[Hashable, tuple[int, set[str]]] = {}
        """Image -> its pixels, and the requests that hold it."""
        self._held: dict[str, tuple[Hashable, ...]] = {}
        """Request -> its images."""
        self._changed = threading.Condition()

    def take(self, key: str, images: Mapping[Hashable, int]) -> None:
        """Wait until a request's images fit; a request may always pass if nothing is held.

        Args:
            key: The request.
            images: What identifies an image -> its pixels.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._fits(images))
            self._held[key] = tuple(images)
            for image, pixels in images.items():
                if image not in self._images:
                    self._images[image] = (pixels, set())
                    self._used += pixels
                self._images[image][1].add(key)

    def _fits(self, images: Mapping[Hashable, int]) -> bool:
        new = sum(pixels for image, pixels in images.items() if image not in self._images)
        return not new or not self._images or self._used + new <= self._size

    def give_back(self, key: str) -> None:
        """Free the images that only this request held."""
        with self._changed:
            for image in self._held.pop(key, ()):
                pixels, holders = self._images[image]
                holders.discard(key)
                if not holders:
                    del self._images[image]
                    self._used -= pixels
            self._changed.notify_all()

    def open(self) -> None:
        """Let every waiting thread pass, because no pixels will be freed any more."""
        with self._changed:
            self._size = 2**62
            self._changed.notify_all()
