"""The items of a benchmark as an audit sees them: texts, answers, and digests of the images.

No image is kept: each is decoded once, to a perceptual hash and a thumbnail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.audit.pictures import NO_PICTURE, Pictures, picture_of
from vsr1_bench.data.dataset import FIRST_ROWS, TaskData
from vsr1_bench.errors import RowError, TaskError
from vsr1_bench.generation.images import ImageError, decode
from vsr1_bench.records import LETTERS, EncodedImage, Part, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

SEEN_PIXELS = 256 * 256
"""Images are scaled down to this area before they are hashed."""
THUMBNAIL = 16
"""Side of a thumbnail in pixels."""
HASHED = 32
"""Side of the grey image that the perceptual hash transforms."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a benchmark."""

    place: int
    """Place in the data, from 0."""
    id: str
    question: str
    """Its text, each image as `<image>`."""
    options: tuple[str, ...]
    """Texts of the options, images in them as `<image>`; empty if there are none."""
    answer: str
    """The gold answer as the task states it."""
    answer_type: str
    groups: dict[str, str]
    images: tuple[int, ...]
    """Numbers of its images in `Items.images`, in order."""

    @property
    def form(self) -> str:
        """Answer type and number of options: what anyone can tell of the answer from its format."""
        return f"{self.answer_type} of {len(self.options)}" if self.options else self.answer_type

    @property
    def gold_text(self) -> str:
        """The gold answer in words: the text of the gold option if it is one."""
        place = LETTERS.find(self.answer) if len(self.answer) == 1 else -1
        is_option = self.answer_type == "choice" and 0 <= place < len(self.options)
        return normal(self.options[place] if is_option else self.answer)

    @property
    def text(self) -> str:
        """Question and options, normalized."""
        return normal(" ".join((self.question, *self.options)))


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with one item."""

    kind: str
    id: str
    detail: str


@dataclass(slots=True)
class Items:
    """All items that map, and what is wrong with rows and images."""

    items: list[Item] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    shas: list[str] = field(default_factory=list)
    """Hash of the bytes of each distinct image."""
    readable: list[bool] = field(default_factory=list)
    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Perceptual hash of each distinct image, (I,); 0 if it is not readable."""
    thumbnails: NDArray[np.uint8] = field(
        default_factory=lambda: np.zeros((0, THUMBNAIL, THUMBNAIL, 3), np.uint8)
    )
    """(I, 16, 16, 3)."""
    pictures: Pictures = field(default_factory=lambda: Pictures.of([]))
    """What is looked for in training data, (I,); empty unless it was asked for."""


def read_items(
    data: TaskData, limit: int | None = None, *, pictures: bool = False, progress: bool = True
) -> Items:
    """Read a benchmark once.

    Args:
        data: Its rows.
        limit: First samples only; None = all.
        pictures: Whether to keep a picture of each image, 29 kB each.
        progress: Whether to show a bar.

    Raises:
        TaskError: the data set has no rows, or not the columns that the task reads.
    """
    found = Items()
    numbers: dict[str, int] = {}
    digests: list[tuple[int, NDArray[np.uint8]]] = []
    kept: list[Pictures] | None = [] if pictures else None
    ids: set[str] = set()
    total = len(data) if limit is None else min(limit, len(data))
    if not total:
        raise TaskError(f"task {data.task.name!r}: the data set has no rows")
    fits = False
    with progress_bar(total, f"read {data.task.name}", "item", shown=progress) as bar:
        for place in range(total):
            bar.update()
            try:
                sample = data.sample(place)
            except TaskError as error:
                fits = fits or isinstance(error, RowError)
                if not fits and place >= min(FIRST_ROWS, total) - 1:
                    raise
                found.faults.append(Fault("row that cannot be used", f"row {place}", str(error)))
                continue
            fits = True
            if sample.id in ids:
                detail = f"item {place} has the id of an earlier item"
                found.faults.append(Fault("repeated id", sample.id, detail))
            ids.add(sample.id)
            places = []
            for number, image in enumerate(sample.images, start=1):
                sha = image.sha256()
                if sha.startswith("unreadable:"):
                    sha = f"{sha}:{place}:{number}"  # nobody knows whether two are the same
                if sha not in numbers:
                    numbers[sha] = len(numbers)
                    found.shas.append(sha)
                    found.readable.append(_add_digest(image, digests, kept))
                places.append(numbers[sha])
                if not found.readable[numbers[sha]]:
                    detail = f"image {number} of {len(sample.images)}: {_why(image)}"
                    found.faults.append(Fault("unreadable image", sample.id, detail))
            item = item_of(place, sample, tuple(places))
            found.faults += _gold_faults(item, sample)
            found.items.append(item)
    if digests:
        found.hashes = np.array([value for value, _ in digests], np.uint64)
        found.thumbnails = np.stack([thumbnail for _, thumbnail in digests])
    found.pictures = Pictures.of(kept or [])
    return found


def item_of(place: int, sample: Sample, images: tuple[int, ...]) -> Item:
    """The item of a sample; its images are known by their numbers."""
    options = tuple(map(_plain, sample.choice_parts)) if sample.choice_parts else sample.choices
    return Item(
        place,
        sample.id,
        _plain(sample.question),
        options or (),
        sample.answer.strip(),
        sample.answer_type,
        dict(sample.groups),
        images,
    )


def _plain(parts: tuple[Part, ...]) -> str:
    return "".join(part if isinstance(part, str) else " <image> " for part in parts).strip()


def normal(text: str) -> str:
    """Text without case, punctuation at the ends and repeated spaces."""
    return " ".join(text.casefold().split()).strip(" .:;?!\"'")


def _gold_faults(item: Item, sample: Sample) -> list[Fault]:
    """What is wrong with the gold answer of an item."""
    kind, answer = "gold answer that cannot be right", item.answer
    if not answer:
        return [Fault(kind, item.id, "the gold answer is empty")]
    if item.answer_type == "choice":
        known = len(item.options) or len(LETTERS)
        if len(answer) != 1 or not 0 <= LETTERS.find(answer) < known:
            what = f"letters A to {LETTERS[known - 1]}" if item.options else "one letter"
            return [Fault(kind, item.id, f"gold {answer!r} is no option; wanted {what}")]
        same = [o for o in map(normal, item.options) if o == item.gold_text]
        if len(same) > 1 and "<image>" not in item.gold_text and item.gold_text:
            detail = f"{len(same)} options have the text of gold option {answer}"
            return [Fault(kind, item.id, detail)]
    elif item.answer_type == "yes_no" and answer.lower() not in ("yes", "no"):
        return [Fault(kind, item.id, f"gold {answer!r}; wanted yes or no")]
    elif item.answer_type == "number" and not re.search(r"\d", answer):
        return [Fault(kind, item.id, f"gold {answer!r} is no number")]
    return []


def _add_digest(
    image: EncodedImage,
    digests: list[tuple[int, NDArray[np.uint8]]],
    pictures: list[Pictures] | None,
) -> bool:
    """Append the digests of an image, and its picture; whether it is readable."""
    try:
        seen = decode(image, 1, SEEN_PIXELS)
    except ImageError:
        digests.append((0, np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)))
        if pictures is not None:
            pictures.append(NO_PICTURE)
        return False
    digests.append(_digests(seen))
    if pictures is not None:
        pictures.append(picture_of(seen))
    return True


def _why(image: EncodedImage) -> str:
    if image.data is None and image.path is None:
        return "the row has no image"
    try:
        decode(image, 1, SEEN_PIXELS)
    except ImageError as error:
        return str(error)
    return "readable"


def image_digests(image: EncodedImage) -> tuple[int, NDArray[np.uint8]]:
    """Perceptual hash of 64 bits, and a thumbnail (16, 16, 3).

    The hash is the usual pHash: signs, around their median, of the 8 x 8 lowest frequencies of a
    cosine transform of the grey image of 32 x 32 pixels (the first, the mean, not counted in the
    median).

    Raises:
        ImageError: the image cannot be decoded.
    """
    return _digests(decode(image, 1, SEEN_PIXELS))


def _digests(seen: Image) -> tuple[int, NDArray[np.uint8]]:
    from PIL import Image as Pil
    from scipy.fft import dctn

    grey = np.asarray(
        seen.convert("L").resize((HASHED, HASHED), Pil.Resampling.LANCZOS), dtype=np.float64
    )
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low[1:])
    thumbnail = seen.resize((THUMBNAIL, THUMBNAIL), Pil.Resampling.BOX)
    value = int("".join("1" if bit else "0" for bit in bits), 2)
    return value, np.asarray(thumbnail, dtype=np.uint8)
