"""A cache between runs for small values: hashes of large files and data sets.

The cache only saves time: every entry can be deleted, and a folder that cannot be written is no
error. Model outputs are never cached here; the run journals are their only store.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

CACHE_VARIABLE = "VSR1_CACHE"


def cache_folder() -> Path:
    """Folder of the cache: `VSR1_CACHE`, else the user's cache folder (XDG)."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vsr1_bench"


@dataclass(frozen=True, slots=True)
class Memo:
    """One cached string."""

    path: Path

    def read(self) -> str | None:
        """Return what was written, or None."""
        try:
            return self.path.read_text("utf-8") or None
        except (OSError, UnicodeDecodeError):
            return None

    def write(self, value: str) -> None:
        """Cache a value; a folder that cannot be written is not an error."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
                file.write(value)
            os.replace(file.name, self.path)


def memo_file(kind: str, key: str) -> Memo:
    """The memo of a key among those of a kind."""
    return Memo(cache_folder() / kind / hashlib.sha256(key.encode()).hexdigest()[:32])


def file_sha256(path: Path) -> str:
    """Hash a file's content; the hash is cached by path, size, modification time and inode."""
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
    memo = memo_file("files", key)
    if (known := memo.read()) is not None:
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    memo.write(digest)
    return digest
