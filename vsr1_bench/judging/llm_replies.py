"""The stored replies of judging models, so that no reply is paid for twice.

A verdict depends on more than the model's reply: on the rule before it, on other votes and on the
parser. So replies are stored separately, each under the hash of its request, in one journal per
model, prompt and sampling. Every judge that makes the same request reuses them: the model alone, a
cascade whose rule was edited, or a majority that was interrupted.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from vsr1_bench.errors import StoreError
from vsr1_bench.records import SCHEMA_VERSION, Completion, Usage
from vsr1_bench.store.journal import Journal, Lock, read_journal


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply and its cost."""

    completion: Completion
    cost: float | None = None
    """None if no price is known."""


def replies_path(folder: Path, name: str, identity: str) -> Path:
    """Journal of one model's replies in a folder."""
    return folder / f"{quote(name, safe='')}-{identity[:8]}.jsonl"


def read_replies(path: Path) -> dict[str, Reply]:
    """Hash of the request -> the last reply to it.

    Raises:
        StoreError: the journal is damaged, or has another version.
    """
    replies: dict[str, Reply] = {}
    for number, record in enumerate(read_journal(path), start=1):
        try:
            if record["schema"] != SCHEMA_VERSION:
                raise ValueError(f"schema {record['schema']!r}")
            key, usage = record["key"], Usage(**record["usage"])
            completion = Completion(key, record["text"], record["finish_reason"], usage=usage)
            replies[key] = Reply(completion, record["cost"])
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{path}:{number}: not a judge's reply ({type(error).__name__}: {error}); restore "
                "the file from a copy, or move it away to call the judge again"
            ) from error
    return replies


class ReplyJournal:
    """Stores replies, which may arrive in any thread."""

    def __init__(self, path: Path, held: set[str]) -> None:
        """Lock the journal; the first reply creates its file.

        Args:
            path: The journal.
            held: Keys of the stored replies, which are not written again.

        Raises:
            StoreError: another process writes it, or the folder is not writable.
        """
        self.path = path
        self._lock = Lock(path.with_name(f".{path.stem}.lock"))
        self.held = held
        self._journal: Journal | None = None
        self._turn = threading.Lock()
        self._closed = False

    def add(self, key: str, reply: Reply) -> None:
        """Store a reply once; it is on disk when this returns.

        Raises:
            StoreError: it could not be written.
        """
        with self._turn:
            if key in self.held or self._closed:
                return
            self._lock.check()
            if self._journal is None:
                self._journal = Journal(self.path)
            completion = reply.completion
            self._journal.append(
                {
                    "schema": SCHEMA_VERSION,
                    "key": key,
                    "text": completion.text,
                    "finish_reason": completion.finish_reason,
                    "usage": asdict(completion.usage),
                    "cost": reply.cost,
                }
            )
            self.held.add(key)

    def close(self) -> None:
        """Sync and close the journal, and release its lock.

        Raises:
            StoreError: the disk reports a late error.
        """
        with self._turn:
            self._closed = True
            try:
                if self._journal is not None:
                    self._journal.close()
            finally:
                self._lock.release()
