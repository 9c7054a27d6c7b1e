"""The images of a report: originals as files under the hash of their bytes, and thumbnails."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection, Sequence
from typing import Any

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.errors import BenchError
from vsr1_bench.generation.images import ImageError, decode, image_size
from vsr1_bench.publish.gold_answers import matching_data
from vsr1_bench.records import EncodedImage
from vsr1_bench.report.folder import ReportFolder
from vsr1_bench.store.journal import read_lines
from vsr1_bench.store.run_folder import RunFolder

THUMB = 320
"""Pixels of a thumbnail's longer side."""
_SHOWN = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif"}
"""First bytes of formats that every browser shows; others are written as PNG."""
_LARGEST = 4_194_304
_IMAGES = re.compile(rb'"images":\s*\[\s*"')


def absent(sha256: str) -> dict[str, Any]:
    """An image that is not here."""
    return {"src": None, "thumb": None, "width": None, "height": None, "sha256": sha256}


class Images:
    """Images by the hash that a run has noted of them."""

    def __init__(self, folder: ReportFolder) -> None:
        """Bind to the report."""
        self._folder = folder
        self._known: dict[str, dict[str, Any]] = {}
        self.notices: list[str] = []

    def add_run(
        self,
        run: RunFolder,
        options: DataOptions,
        include_path: Sequence[str],
        ids: Collection[str] | None = None,
    ) -> None:
        """Write the images that a run was made on, as far as its data are on this machine.

        Args:
            run: A stored run.
            options: Where its data are.
            include_path: Folders of plug-ins.
            ids: Only those of these samples.
        """
        if not has_images(run):
            return
        try:
            data = matching_data(run, options, include_path)
            for _, sample in data.samples(run.wanted()):
                if ids is None or sample.id in ids:
                    for image in sample.images:
                        self._add(image)
        except BenchError as error:
            name = run.spec().task.name
            self.notices.append(f"{name}: no images, because its data are not here ({error})")

    def _add(self, image: EncodedImage) -> None:
        try:
            content = image.read()
        except OSError:
            return
        name = hashlib.sha256(content).hexdigest()
        if name in self._known:
            return
        try:
            self._known[name] = self._write(name, content)
        except ImageError:
            self._known[name] = absent(name)

    def _write(self, name: str, content: bytes) -> dict[str, Any]:
        image = EncodedImage(content)
        width, height = image_size(image)
        kind = next((kind for start, kind in _SHOWN.items() if content.startswith(start)), None)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            kind = "webp"
        if kind is None:
            content, kind = _png(decode(image, 1, _LARGEST)), "png"
        source = f"images/{name[:32]}.{kind}"
        self._folder.write(source, content)
        thumb = source
        if max(width, height) > THUMB:
            thumb = f"images/{name[:32]}-small.jpg"
            self._folder.write(thumb, _thumbnail(image, width, height))
        return {"src": source, "thumb": thumb, "width": width, "height": height, "sha256": name}

    def ref(self, sha256: str) -> dict[str, Any]:
        """What the viewer is told of an image: ImageRef of `web/src/types.ts`."""
        return self._known.get(sha256) or absent(sha256)

    def __len__(self) -> int:
        """How many are shown."""
        return sum(ref["src"] is not None for ref in self._known.values())


def has_images(run: RunFolder) -> bool:
    """Whether a sample of the run has an image."""
    journals = sorted(run.path.glob("samples*.jsonl"))
    return any(_IMAGES.search(line) for path in journals for _, line in read_lines(path))


def _thumbnail(image: EncodedImage, width: int, height: int) -> bytes:
    scale = THUMB / max(width, height)
    area = max(1, round(width * scale)) * max(1, round(height * scale))
    buffer = io.BytesIO()
    decode(image, 1, area).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
