"""The images of a run's samples, one sample at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from vsr1_bench.data.blind import NONE
from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.errors import BenchError
from vsr1_bench.generation.images import ImageError, image_size
from vsr1_bench.publish.bundle import image_kind
from vsr1_bench.publish.gold_answers import matching_data
from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.report.images import has_images
from vsr1_bench.store.run_folder import RunFolder


class Images(Protocol):
    """Where the images of a run are."""

    def of(self, row: int, hashes: Sequence[str]) -> list[bytes | None]:
        """The encoded images of the sample at a place in the data; None = not to be had.

        Args:
            row: The sample's place; calls are in data order.
            hashes: Hashes that the run has stored of its images.
        """


class NoImages:
    """No images are wanted, or none are here."""

    def of(self, row: int, hashes: Sequence[str]) -> list[bytes | None]:
        """Return None for each."""
        return [None] * len(hashes)


class DataImages:
    """The images in the data that a run was made on, read along with its samples."""

    def __init__(self, samples: Iterator[tuple[int, Sample]]) -> None:
        """Bind to the data's samples with their places, in data order."""
        self._samples = samples
        self._next: tuple[int, Sample] | None = None

    def of(self, row: int, hashes: Sequence[str]) -> list[bytes | None]:
        """Read the images whose hashes are those of the run."""
        while hashes and (self._next is None or self._next[0] < row):
            self._next = next(self._samples, None)
            if self._next is None:
                return [None] * len(hashes)
        if not hashes or self._next is None or self._next[0] != row:
            return [None] * len(hashes)
        known = {image.sha256(): image for image in self._next[1].images}
        return [_shown(known.get(one)) for one in hashes]


class PublishedImages:
    """The images in the folder of a published run."""

    def __init__(self, folder: Path) -> None:
        """List the files of `images/`, which are named by hash."""
        self._known = {path.stem: path for path in folder.glob("images/*")}

    def of(self, row: int, hashes: Sequence[str]) -> list[bytes | None]:
        """Read the files of these hashes."""
        found = (self._known.get(one) for one in hashes)
        return [None if path is None else _shown(EncodedImage(path=path)) for path in found]


def open_images(
    run: RunFolder, options: DataOptions | None, include_path: Sequence[str]
) -> tuple[Images, str | None]:
    """Open the images of a run.

    Args:
        run: A stored run.
        options: Where its data are; None = no images are wanted.
        include_path: Folders of plug-ins.

    Returns:
        The images, and why there are none, if some are wanted.
    """
    if options is None:
        return NoImages(), None
    # `noise` and `swap` show images that the data do not have at that place.
    if run.spec().variant != NONE or not has_images(run):
        return NoImages(), None
    if "content" in run.meta().get("origin", {}):  # downloaded: what was published, no more
        return PublishedImages(run.path), None
    try:
        data = matching_data(run, options, include_path)
    except BenchError as error:
        return NoImages(), f"{run.path}: no images, because its data are not here ({error})"
    return DataImages(iter(data.samples(run.wanted()))), None


def _shown(image: EncodedImage | None) -> bytes | None:
    """The bytes of an image that viewers can show; None for anything else."""
    if image is None:
        return None
    try:
        content = image.read()
        image_size(EncodedImage(content))
    except (OSError, ImageError):
        return None
    return content if image_kind(content) is not None else None
