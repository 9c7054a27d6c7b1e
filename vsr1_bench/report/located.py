"""Where each record of a run is in its journals, so that texts are read when they are written.

A report of 100,000 samples holds hundreds of megabytes of text. Here are their places only; which
record counts follows `scoring.join`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vsr1_bench._util.closing import Closing
from vsr1_bench._util.garbage import without_gc
from vsr1_bench.errors import DamagedRunError, StoreError
from vsr1_bench.store.journal import bad_line, parse_line, read_lines
from vsr1_bench.store.journal_index import (
    GENERATIONS,
    JUDGMENTS,
    PERCEPTIONS,
    OutputSummary,
    VerdictSummary,
    check_asked,
)
from vsr1_bench.store.lines import place_of_line
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec

Where = tuple[int, int, int]
"""Number of the journal, first byte of the line, its length in bytes."""
Record = dict[str, Any]
Read = TypeVar("Read")


@dataclass(slots=True)
class _Made:
    """The response of one sample and index that counts."""

    key: str
    failed: bool
    where: Where


@dataclass(slots=True)
class _Verdicts:
    """One judge's journals."""

    on_answers: dict[str, Where] = field(default_factory=dict)
    on_readings: dict[str, Where] = field(default_factory=dict)


class Located(Closing):
    """The records of one run: what there is, and how to read it. Close it after use."""

    @without_gc()
    def __init__(self, run: RunFolder, judges: Mapping[str, Path]) -> None:
        """Go through the journals once.

        Args:
            run: A stored run.
            judges: Judge → its journal of verdicts, in the order of the report.

        Raises:
            DamagedRunError: a journal is damaged, or of another version.
        """
        self.run = run
        self.spec: RunSpec = run.spec()
        self.per_sample = self.spec.responses_per_sample
        self._files: list[int] = []
        self._paths: list[Path] = []
        self._open = ExitStack()
        self.samples: dict[str, tuple[int, Where]] = {}
        """Sample id → its place in the data, and its record; in data order."""
        self.left_out: dict[int, str] = {}
        """Place in the data → why the sample there has no part in this run."""
        self._responses: dict[tuple[str, int], _Made] = {}
        self.captions: dict[str, Where] = {}
        self.readings: dict[str, tuple[bool, Where]] = {}
        self.verdicts: list[_Verdicts] = []
        try:
            stored = self._find_samples()
            check_asked(run.path, stored, self._find_responses())
            self._find_readings()
            self.verdicts = [self._find_verdicts(path) for path in judges.values()]
        except BaseException as error:
            self.close()
            if isinstance(error, StoreError) and not isinstance(error, DamagedRunError):
                raise DamagedRunError(str(error), run.path) from error
            raise

    def close(self) -> None:
        """Close the journals."""
        self._open.close()

    def _lines(
        self, path: Path, read: Callable[[int, bytes], Read]
    ) -> Iterator[tuple[Read, Where]]:
        """Yield what is read of each line, and where the line is."""
        if not path.exists():
            return
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
        self._open.callback(os.close, file)
        number, at = len(self._files), 0
        self._files.append(file)
        self._paths.append(path)
        for line_number, line in read_lines(path):
            yield read(line_number, line), (number, at, len(line))
            at += len(line)

    def _find_samples(self) -> set[str]:
        wanted = self.run.wanted()
        stored: set[str] = set()
        rows: list[tuple[int, str, Where]] = []
        for path in sorted(self.run.path.glob("samples*.jsonl")):
            for place, where in self._lines(path, partial(place_of_line, path)):
                if place.skipped is not None:
                    self.left_out[place.row] = place.skipped
                    continue
                assert place.id is not None
                stored.add(place.id)
                if 0 <= place.row < wanted:
                    rows.append((place.row, place.id, where))
        rows.sort(key=lambda one: one[0])
        self.samples = {name: (row, where) for row, name, where in rows}
        return stored

    def _find_responses(self) -> set[str]:
        keys: set[str] = set()
        asked: set[str] = set()
        for made, where in self._made("generations", GENERATIONS.reader):
            asked.add(made.sample_id)
            if made.index >= self.per_sample:
                continue
            place = (made.sample_id, made.index)
            known = self._responses.get(place)
            if made.key not in keys:
                keys.add(made.key)
                self._responses[place] = _Made(made.key, made.failed, where)
            elif known is not None and known.key == made.key and (not made.failed or known.failed):
                self._responses[place] = _Made(made.key, made.failed, where)
        return asked

    def _made(
        self, kind: str, reader: Callable[[Path], Callable[[int, bytes], OutputSummary]]
    ) -> Iterator[tuple[OutputSummary, Where]]:
        for path in sorted(self.run.path.glob(f"{kind}*.jsonl")):
            yield from self._lines(path, reader(path))

    def _find_readings(self) -> None:
        captions: dict[str, tuple[str, bool, Where]] = {}
        for made, where in self._made("captions", GENERATIONS.reader):
            known = captions.get(made.key)
            if known is None or known[1] or not made.failed:
                captions[made.key] = (made.sample_id, made.failed, where)
        self.captions = {name: where for name, _, where in captions.values()}
        for made, where in self._made("perceptions", PERCEPTIONS.reader):
            found = self.readings.get(made.key)
            if found is None or found[0] or not made.failed:
                self.readings[made.key] = (made.failed, where)

    def _find_verdicts(self, path: Path) -> _Verdicts:
        second = self.run.perception_judgment_path(path)
        return _Verdicts(self._told(path), self._told(second))

    def _told(self, path: Path) -> dict[str, Where]:
        found: dict[str, Where] = {}
        told: VerdictSummary
        for told, where in self._lines(path, JUDGMENTS.reader(path)):
            found[told.key] = where
        return found

    def size(self, sample_id: str) -> int:
        """About how many bytes of journal a sample has."""
        known = self.samples.get(sample_id)
        if known is None:
            return 0
        total = known[1][2]
        for index in range(self.per_sample):
            made = self._responses.get((sample_id, index))
            if made is not None:
                total += made.where[2]
                for verdicts in self.verdicts:
                    total += verdicts.on_answers.get(made.key, (0, 0, 0))[2]
        return total

    def record(self, where: Where) -> Record:
        """Read a record.

        Raises:
            DamagedRunError: it is not there any more.
        """
        file, at, size = where
        found = parse_line(os.pread(self._files[file], size, at))
        if found is None:  # it was read before, so somebody has changed the journal since
            raise DamagedRunError(str(bad_line(self._paths[file], 0)), self.run.path)
        return found

    def sample(self, sample_id: str) -> Record | None:
        """The record of a sample; None if this run did not ask it."""
        known = self.samples.get(sample_id)
        return None if known is None else self.record(known[1])

    def response(self, sample_id: str, index: int) -> Record | None:
        """The response that counts; None if it was never made."""
        made = self._responses.get((sample_id, index))
        return None if made is None else self.record(made.where)

    def caption(self, sample_id: str) -> Record | None:
        """The description that was asked for by itself."""
        where = self.captions.get(sample_id)
        return None if where is None else self.record(where)

    def reading(self, key: str) -> Record | None:
        """A reader's answer."""
        known = self.readings.get(key)
        return None if known is None else self.record(known[1])

    def judgments(self, key: str, *, readings: bool = False) -> list[Record | None]:
        """Every judge's verdict on a response, or on a reading, in the order of the judges."""
        found = []
        for verdicts in self.verdicts:
            where = (verdicts.on_readings if readings else verdicts.on_answers).get(key)
            found.append(None if where is None else self.record(where))
        return found
