"""Blind runs: the same questions without the image, with noise, or with another sample's image.

Answers that are still right then come from language alone. Each variant is a separate run
(`RunSpec.variant`). Its effect on a sample depends on the sample, the seed and, for `swap`, on the
whole data set; never on the shard, on `--limit` or on other runs. Blind runs skip samples without
an image, because they would be the same question again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.data.circular import CIRCULAR, shown_rotated
from vsr1_bench.data.dataset import TaskData
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.generation.images import ImageError, image_size
from vsr1_bench.prompts.formats import without_images
from vsr1_bench.records import EncodedImage, Sample

VARIANTS = ("drop", "guess", "noise", "swap")
NONE = "none"
"""The variant of an ordinary run."""
NO_IMAGE = "no image"
GUESS = "The image of this question is withheld. Answer nevertheless: guess.\n"
"""Before the question in `guess`. Other words are another variant: a spec has only its name."""
NO_PARTNER = "no other sample has as many images, all of them different"


Variant = Callable[[int, Sample], Sample | str]
"""(place in the data set from 0, sample) -> the sample that is asked instead, or why it is
skipped."""


def parse_variants(text: str | None) -> tuple[str, ...]:
    """Read `drop,swap`.

    Raises:
        UsageError: an unknown variant.
    """
    names = tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
    for name in names:
        if name not in VARIANTS:
            raise UsageError(f"--blind {name}: no such variant; {nearest(name, VARIANTS)}")
    return names


def run_label(task: str, variant: str) -> str:
    """A run's task as messages name it: with its variant, unless it is an ordinary run."""
    if variant in (NONE, CIRCULAR):
        return task if variant == NONE else f"{task} ({CIRCULAR})"
    return f"{task} (blind: {variant})"


def open_variant(name: str, data: TaskData, seed: int, *, progress: bool = True) -> Variant:
    """The variant of this name for a task's samples; `swap` reads all of them at its first use."""
    if name == NONE:
        return lambda place, sample: sample
    if name == CIRCULAR:
        return shown_rotated
    if name == "drop":
        return drop
    if name == "guess":
        return guess
    if name == "noise":
        return partial(noise, seed)
    swap = Swap(data.whole, seed, progress=progress)
    return lambda place, sample: swap(data.place_in_whole(place), sample)


def drop(place: int, sample: Sample) -> Sample | str:
    """Remove the images; options that contain images keep their texts."""
    if not sample.images:
        return NO_IMAGE
    return replace(sample, question=without_images(sample.question), images=(), choice_parts=None)


def guess(place: int, sample: Sample) -> Sample | str:
    """Remove the images like `drop`, and say so: the model is told to guess.

    The guess mode of arXiv 2603.21687 in this project's words; `drop` is its mirage mode.
    """
    shown = drop(place, sample)
    if isinstance(shown, str):
        return shown
    return replace(shown, question=(GUESS, *shown.question))


def noise(seed: int, place: int, sample: Sample) -> Sample | str:
    """Replace each image by noise of the same size; equal images get different noise."""
    if not sample.images:
        return NO_IMAGE
    shown = []
    for number, image in enumerate(sample.images):
        try:
            width, height = image_size(image)
        except ImageError:  # it fails here for the same reason as in the ordinary run
            shown.append(image)
        else:
            words = f"vsr1-noise:{seed}:{sample.id}:{number}"
            shown.append(NoiseImage(width=width, height=height, seed=words))
    return replace(sample, images=tuple(shown))


@dataclass(frozen=True, slots=True)
class NoiseImage(EncodedImage):
    """Independent uniform pixels, drawn on each read, so that a run holds none in memory."""

    width: int = 1
    height: int = 1
    seed: str = ""

    def read(self) -> bytes:
        """Draw it, as BMP: noise cannot be compressed."""
        from PIL import Image

        # SHAKE gives the same bytes under every version of everything.
        pixels = hashlib.shake_256(self.seed.encode()).digest(3 * self.width * self.height)
        buffer = io.BytesIO()
        Image.frombytes("RGB", (self.width, self.height), pixels).save(buffer, "BMP")
        return buffer.getvalue()

    def sha256(self) -> str:
        """Hash of the size and seed, which decide every pixel; nothing is drawn."""
        words = f"noise\0{self.width}\0{self.height}\0{self.seed}"
        return hashlib.sha256(words.encode()).hexdigest()


class Swap:
    """Gives each sample the images of another one; no two samples get the same ones.

    Pairs are drawn among the samples with equally many images, over the whole data set. Samples
    that share an image (by the hash of its bytes), directly or through others, are never paired.
    """

    def __init__(self, data: TaskData, seed: int, *, progress: bool = True) -> None:
        """Bind to a task's samples; the first call reads them."""
        self._data, self._seed, self._progress = data, seed, progress
        self._partners: dict[int, int] | None = None

    def __call__(self, place: int, sample: Sample) -> Sample | str:
        """Replace the sample's images by its partner's."""
        if not sample.images:
            return NO_IMAGE
        if self._partners is None:
            self._partners = self._pair()
        partner = self._partners.get(place)
        if partner is None:
            return NO_PARTNER
        return replace(sample, images=self._data.sample(partner).images)

    def _pair(self) -> dict[int, int]:
        """Read every sample once and keep only hashes."""
        shown: dict[int, list[str]] = {}
        name = self._data.task.name
        bar = progress_bar(len(self._data), f"swap {name}", "row", shown=self._progress)
        with bar:
            for place, sample in self._data.placed_samples(unusable=lambda places, error: None):
                if sample.images:
                    shown[place] = [image.sha256() for image in sample.images]
                bar.update()
        labels = components(shown)
        pairs: dict[int, int] = {}
        for count in {len(hashes) for hashes in shown.values()}:
            alike = {place: labels[place] for place, own in shown.items() if len(own) == count}
            pairs |= derangement(alike, self._seed)
        return pairs


def components(shown: Mapping[int, list[str]]) -> dict[int, int]:
    """Give samples that share an image, directly or through others, the same number."""
    above: dict[int, int] = {place: place for place in shown}

    def top(place: int) -> int:
        while above[place] != place:
            above[place] = above[above[place]]
            place = above[place]
        return place

    first: dict[str, int] = {}
    for place, hashes in shown.items():
        for image in hashes:
            above[top(place)] = top(first.setdefault(image, place))
    return {place: top(place) for place in shown}


def derangement(labels: Mapping[int, Hashable], seed: int) -> dict[int, int]:
    """Pair each place with one of another label; each is the partner of at most one other.

    The places are sorted in a seeded order in which members of a label are adjacent. This order is
    rotated by the size of the largest label, so that no place meets its own label. If one label has
    more than half of all members, only members without a partner are skipped.
    """
    line = sorted(labels, key=lambda p: hashlib.sha256(f"vsr1-swap:{seed}:{p}".encode()).digest())
    together: dict[Hashable, list[int]] = {}
    for place in line:
        together.setdefault(labels[place], []).append(place)
    groups = list(together.values())
    largest = max(groups, key=len, default=[])
    del largest[len(largest) - max(0, 2 * len(largest) - len(line)) :]
    line = [place for group in groups for place in group]
    return {place: line[(n + len(largest)) % len(line)] for n, place in enumerate(line)}
