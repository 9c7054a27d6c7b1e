"""The interface of a remote: fetch files, and publish to it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from vsr1_bench.errors import ExchangeError
from vsr1_bench.publish.bundle import Manifest

Moved = Callable[[int], object]
"""Told how many bytes have come."""

BLOCK = 1 << 20
STAGING = ".download"
"""Folder, below the one that is filled, of what is still on its way."""
WANTED = "wanted hf://datasets/ORG/NAME[@REVISION], https://HOST/FOLDER, file://FOLDER or a folder"


def shown(address: str) -> str:
    """An address without user, password and query: these may hold keys."""
    return re.sub(r"://[^/?#]*@", "://", address).partition("?")[0]


class NotThereError(ExchangeError):
    """A repository, a revision or a file that does not exist, as far as this token can see."""


class Place(ABC):
    """A folder of files somewhere."""

    name: str
    """As it may be shown and written down: without user, password or query."""

    @abstractmethod
    def fetch(self, path: str, target: Path, size: int | None, most: int, moved: Moved) -> None:
        """Download a file, resuming after the bytes already in `target`.

        Args:
            path: Its path below this place.
            target: Where it goes.
            size: Its size, where known: the transfer is over when so much is there.
            most: More bytes than this are never written.
            moved: Told of progress.

        Raises:
            ExchangeError: it is not there, cannot be read, or is longer than it may be.
            TransferError: the transfer broke off, again and again.
        """

    @abstractmethod
    def listing(self) -> list[str] | None:
        """The files below this place; None if nobody can say."""

    def writing(self) -> AbstractContextManager[None]:
        """Keep others from publishing here meanwhile, where this place can.

        Raises:
            ExchangeError: somebody else is publishing here, or this place cannot be written.
        """
        return nullcontext()

    def next_root(self, known: Manifest | None) -> str:
        """Folder below this place for the files of the next manifest; empty = this place itself."""
        return known.root if known is not None else ""

    @abstractmethod
    def push(
        self,
        folder: Path,
        manifest: Manifest,
        packed: Sequence[str],
        known: Manifest | None,
        note: str,
    ) -> str:
        """Bring a bundle here, its manifest last, and take away what it no longer names.

        Args:
            folder: Holds the packed files and the manifest.
            manifest: Of everything that is to be here.
            packed: The files that are brought; the others of the manifest are here already.
            known: The manifest that is here; None = there is none.
            note: What is done, in a few words.

        Returns:
            Where it went.

        Raises:
            ExchangeError: this place cannot be written.
        """
