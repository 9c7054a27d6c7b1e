"""A journal's records without their texts, from an index beside it.

Most of a journal is text that joining, counting and resuming do not read. A large journal has an
index beside it, `.<name>.index`, with what they do read: a few dozen bytes per record. The index
holds no information of its own. It is valid only for the file that it was made from (inode, size,
modification time, and the last bytes), or for that file with more appended; the appended part is
read from the journal. A missing, stale or damaged index is rebuilt. If it cannot be written,
reading takes longer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, get_type_hints

import msgspec

from vsr1_bench.errors import DamagedRunError
from vsr1_bench.records import SCHEMA_VERSION, Generation, Judgment, Outcome, Perception
from vsr1_bench.store.journal import bad_line, parse_line, read_lines
from vsr1_bench.store.lines import decoded, record_as

log = logging.getLogger(__name__)

VERSION = 2
WORTH_BYTES = 4_000_000
"""An index is written where so much of a journal is not in one."""
BATCH = 500
"""Records in a line of an index."""
TAIL_BYTES = 65_536
TRAILER_BYTES = 1024


class OutputSummary(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A response, a caption or a reading without its text."""

    key: str
    sample_id: str
    index: int
    failed: bool
    truncated: bool


class VerdictSummary(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A verdict without the judge's text."""

    key: str
    outcome: Outcome
    score: float | None
    extracted: str | None
    unparsed: bool
    reason: str | None
    """Why the response is unscored; None for other outcomes."""
    judge_model: str | None
    prompt_hash: str | None
    asked: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None


Summary = TypeVar("Summary", OutputSummary, VerdictSummary)


@dataclass(frozen=True)
class JournalKind(Generic[Summary]):
    """A kind of journal and the summary of its records."""

    record: type[Any]
    """The dataclass of its lines."""
    summary: type[Summary]
    summarize: Callable[[Any], Summary]

    def reader(self, path: Path) -> Callable[[int, bytes], Summary]:
        """A function from a line and its number to its summary; it checks every field."""
        hints = get_type_hints(self.record)
        # Not the dataclass itself, which accepts unknown fields and is slower to create.
        line = msgspec.defstruct(
            self.record.__name__,
            [
                (field.name, hints[field.name])
                if field.default is field.default_factory  # neither is given: both are MISSING
                else (field.name, hints[field.name], field.default)
                for field in fields(self.record)
                if field.name != "schema"
            ]
            + [("schema", int)],
            kw_only=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        decode = msgspec.json.Decoder(line).decode

        def read(number: int, text: bytes) -> Summary:
            try:
                full: Any = decode(text)
            except (msgspec.MsgspecError, RecursionError):
                full = None
            if full is not None and full.schema == SCHEMA_VERSION:
                return self.summarize(full)
            # json reads lines that msgspec cannot, and the error names what is wrong with others.
            record = parse_line(text)
            if record is None:
                raise bad_line(path, number)
            return self.summarize(decoded(path, number, record, partial(record_as, self.record)))

        return read


def _output_summary(record: Any) -> OutputSummary:
    return OutputSummary(
        record.key,
        record.sample_id,
        record.index,
        record.error is not None,
        record.finish_reason == "length",
    )


def _verdict_summary(record: Any) -> VerdictSummary:
    verdict, usage = record.verdict, record.usage
    return VerdictSummary(
        record.key,
        verdict.outcome,
        verdict.score,
        verdict.extracted,
        verdict.unparsed,
        verdict.reason if verdict.outcome == "unscored" else None,
        record.judge_model,
        record.prompt_hash,
        record.asked,
        usage.prompt_tokens,
        usage.completion_tokens,
        record.cost,
    )


GENERATIONS = JournalKind(Generation, OutputSummary, _output_summary)
PERCEPTIONS = JournalKind(Perception, OutputSummary, _output_summary)
JUDGMENTS = JournalKind(Judgment, VerdictSummary, _verdict_summary)


def index_path(journal: Path) -> Path:
    """Path of a journal's index."""
    return journal.with_name(f".{journal.name}.index")


class _Trailer(msgspec.Struct, frozen=True):
    """The last line of an index: which journal it is of, and a checksum."""

    version: int
    kind: str
    inode: int
    modified: int
    """Nanoseconds."""
    size: int
    """Bytes of the journal that the index holds."""
    lines: int
    tail: str
    """Hash of the journal's bytes before that size."""
    body: int
    """Bytes of the index before this line."""
    checksum: int
    """Of those."""


def summaries(path: Path, kind: JournalKind[Summary]) -> Iterator[Summary]:
    """Yield the summaries of a journal's records in their order, without a torn last line.

    Raises:
        StoreError: the journal is damaged, or of another version; names file:line.
    """
    try:
        journal = path.open("rb")
    except OSError:  # missing, or `read_lines` raises why it cannot be read
        yield from (kind.reader(path)(number, line) for number, line in read_lines(path))
        return
    read = kind.reader(path)
    with journal, contextlib.ExitStack() as stack:
        known = _open_index(path, journal, kind)
        end, lines = 0, 0
        if known is not None:
            index, trailer = known
            stack.callback(index.close)
            yield from _stored(index, trailer.body, kind)
            end, lines = trailer.size, trailer.lines
        if os.fstat(journal.fileno()).st_size - end < WORTH_BYTES:
            for number, line in read_lines(path, end, lines):
                yield read(number, line)
            return
        writer = _Writer(path, journal, kind)
        stack.callback(writer.discard)
        if known is not None:
            writer.copy(*known)
        batch: list[Summary] = []
        for number, line in read_lines(path, end, lines):
            record = read(number, line)
            end, lines = end + len(line), number
            batch.append(record)
            if len(batch) == BATCH:
                writer.add(batch)
                batch = []
            yield record
        writer.add(batch)
        writer.finish(end, lines)


def _tail(journal: BinaryIO, size: int) -> str:
    """Hash of the bytes before a place in the journal."""
    start = max(0, size - TAIL_BYTES)
    return hashlib.sha256(os.pread(journal.fileno(), size - start, start)).hexdigest()


def _open_index(
    path: Path, journal: BinaryIO, kind: JournalKind[Summary]
) -> tuple[BinaryIO, _Trailer] | None:
    """The index of a journal, open at its beginning; None if there is no valid one."""
    try:
        index = index_path(path).open("rb")
    except OSError:
        return None
    try:
        end = index.seek(0, os.SEEK_END)
        index.seek(max(0, end - TRAILER_BYTES))
        trailer = msgspec.json.decode(index.read().rpartition(b"\n")[2], type=_Trailer)
        if _counts(trailer, journal, kind) and _checksum(index, trailer.body) == trailer.checksum:
            index.seek(0)
            return index, trailer
        log.debug("%s is stale", index.name)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        log.debug("%s is damaged (%s)", index.name, error)
    index.close()
    return None


def _counts(trailer: _Trailer, journal: BinaryIO, kind: JournalKind[Summary]) -> bool:
    """Whether an index is of the journal as it is, or as it was before lines were appended."""
    stat = os.fstat(journal.fileno())
    return (
        (trailer.version, trailer.kind, trailer.inode)
        == (VERSION, kind.record.__name__, stat.st_ino)
        and stat.st_size >= trailer.size
        and (stat.st_size > trailer.size or stat.st_mtime_ns == trailer.modified)
        and _tail(journal, trailer.size) == trailer.tail
    )


def _checksum(index: BinaryIO, size: int) -> int:
    index.seek(0)
    checksum = 0
    while size > 0 and (piece := index.read(min(size, 1 << 20))):
        checksum, size = zlib.crc32(piece, checksum), size - len(piece)
    return checksum if size == 0 else -1


def _stored(index: BinaryIO, size: int, kind: JournalKind[Summary]) -> Iterator[Summary]:
    """Yield the summaries in the first `size` bytes of an index."""
    decode = msgspec.json.Decoder(list[kind.summary]).decode  # type: ignore[name-defined]
    while size > 0:
        line = index.readline()
        size -= len(line)
        try:
            yield from decode(line)
        except msgspec.MsgspecError:  # only json reads half a surrogate pair
            yield from msgspec.convert(json.loads(line), list[kind.summary])  # type: ignore[name-defined]


class _Writer:
    """Writes an index, which appears only when complete; a failure to write is not an error."""

    def __init__(self, path: Path, journal: BinaryIO, kind: JournalKind[Any]) -> None:
        self._path, self._journal, self._kind = index_path(path), journal, kind
        self._temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        self._body, self._checksum = 0, 0
        self._file: BinaryIO | None = None
        self._encode = msgspec.json.Encoder().encode
        with self._trying():
            self._file = self._temporary.open("wb")

    @contextlib.contextmanager
    def _trying(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            log.debug("%s cannot be written (%s)", self._path, error)
            self.discard()

    def _write(self, piece: bytes) -> None:
        if self._file is not None:
            with self._trying():
                self._file.write(piece)
            self._body += len(piece)
            self._checksum = zlib.crc32(piece, self._checksum)

    def copy(self, index: BinaryIO, trailer: _Trailer) -> None:
        """Copy an older index."""
        index.seek(0)
        left = trailer.body
        while left > 0 and (piece := index.read(min(left, 1 << 20))):
            self._write(piece)
            left -= len(piece)

    def add(self, batch: list[Any]) -> None:
        """Write records."""
        if not batch or self._file is None:
            return
        try:
            line = self._encode(batch)
        except UnicodeEncodeError:  # half a surrogate pair
            line = json.dumps(msgspec.to_builtins(batch)).encode("ascii")
        self._write(line + b"\n")

    def finish(self, size: int, lines: int) -> None:
        """Move the index to its place."""
        with self._trying():
            self._finish(size, lines)

    def _finish(self, size: int, lines: int) -> None:
        if self._file is None:
            return
        stat = os.fstat(self._journal.fileno())
        if not os.path.samestat(stat, os.stat(self._journal.name)):
            return self.discard()  # the journal was replaced meanwhile
        # 0 if the journal has grown since: its time is then of later lines.
        modified = stat.st_mtime_ns if stat.st_size == size else 0
        kind, tail = self._kind.record.__name__, _tail(self._journal, size)
        trailer = _Trailer(
            VERSION, kind, stat.st_ino, modified, size, lines, tail, self._body, self._checksum
        )
        self._file.write(self._encode(trailer))
        self._file.close()
        self._temporary.replace(self._path)
        self._file = None

    def discard(self) -> None:
        """Delete a half-written index."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink()


def check_asked(folder: Path, stored: Set[str], answered: Set[str]) -> None:
    """Check that a run's folder has the samples of all its responses.

    Raises:
        DamagedRunError: `samples.jsonl` has lost some.
    """
    if lost := sorted(answered - stored):
        raise DamagedRunError(
            f"{folder / 'samples.jsonl'}: {len(lost)} samples that have responses are missing "
            f"(first {lost[0]!r:.60}); restore it from a copy, or run the command that made this "
            "run again",
            folder,
        )
