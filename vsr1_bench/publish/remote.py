"""The interface of a remote: fetch files, and publish to it."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vsr1_bench.errors import ExchangeError
from vsr1_bench.publish.bundle import Manifest

Moved = Callable[[int], object]
"""Callback for progress, with the number of bytes received."""

BLOCK = 1 << 20
STAGING = ".download"
"""Folder for unfinished transfers, below the target folder."""
WANTED = "wanted hf://datasets/ORG/NAME[@REVISION], https://HOST/FOLDER, file://FOLDER or a folder"


def shown(address: str) -> str:
    """An address without user, password and query, which may contain keys."""
    return re.sub(r"://[^/?#]*@", "://", address).partition("?")[0]


def sha256_of(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bounded_copy(
    blocks: Iterable[bytes], out: BinaryIO, have: int, most: int, where: str, moved: Moved
) -> int:
    """Append blocks to a file that has `have` bytes; return how many it has then.

    Raises:
        ExchangeError: it would have more than `most` bytes; names `where`.
    """
    for block in blocks:
        have += len(block)
        if have > most:
            raise ExchangeError(f"{where}: longer than the {most:,} bytes it may have; refused")
        out.write(block)
        moved(len(block))
    return have


class NotThereError(ExchangeError):
    """A repository, a revision or a file that does not exist, as far as this token can see."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What is published."""

    folder: Path
    """Holds the packed files and the manifest."""
    manifest: Manifest
    """The manifest of everything that will be at the remote."""
    packed: Sequence[str]
    """The files to upload; the manifest's other files are at the remote already."""
    known: Manifest | None
    """The current manifest; None = there is none."""
    note: str
    """The commit message."""
    beside: Sequence[str] = ()
    """Further files to upload, which the manifest does not name."""
    stale: Sequence[str] = ()
    """Files at the remote that the manifest does not name, to be removed or replaced."""


class Remote(ABC):
    """A remote: a folder of files somewhere."""

    name: str
    """The address as it may be shown and stored: without user, password or query."""

    @abstractmethod
    def fetch(self, path: str, target: Path, size: int | None, most: int, moved: Moved) -> None:
        """Download a file, resuming after the bytes already in `target`.

        Args:
            path: Its path below this remote.
            target: The local file.
            size: Its size, if known: the transfer is complete at this size.
            most: At most so many bytes are written.
            moved: Callback for progress.

        Raises:
            ExchangeError: it is not there, cannot be read, or is longer than it may be.
            TransferError: the transfer broke off repeatedly.
        """

    @abstractmethod
    def listing(self) -> list[str] | None:
        """The files below this remote; None if it cannot list them."""

    def writing(self) -> AbstractContextManager[None]:
        """Keep others from publishing here meanwhile, if this remote has locks.

        Raises:
            ExchangeError: somebody else is publishing here, or this remote cannot be written.
        """
        return nullcontext()

    def next_root(self, known: Manifest | None) -> str:
        """Folder below this remote for the next manifest's files; empty = the remote itself."""
        return known.root if known is not None else ""

    @abstractmethod
    def push(self, upload: Upload) -> str:
        """Upload a bundle, its manifest last, and remove files that it no longer names.

        Returns:
            Where it went.

        Raises:
            ExchangeError: this remote cannot be written.
        """
