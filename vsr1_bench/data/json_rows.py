"""Rows of JSON files, read line by line: each value keeps the type that its row gives it.

Columns have no type, so nothing is guessed: text-only rows can come first and images later, ids can
be numbers and texts, and a text that looks like a date stays a text. A first pass checks each line
and records where it begins. A row is parsed again on each access, so none is held in memory.
"""

from __future__ import annotations

import json
import os
import re
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from vsr1_bench.errors import RowError, TaskError

MOST_FIELDS = 256
"""A nested object with more names than this over all rows is a dictionary, and is not filled."""
OTHER_FILES = (
    (rb"\xff\xfe\0\0|\0\0\xfe\xff", "UTF-32"),
    (rb"\xff\xfe|\xfe\xff|[\[{ ]\0|\0[\[{ ]", "UTF-16"),
    (rb"\x1f\x8b|\x28\xb5\x2f\xfd|BZh|PK\x03\x04|\xfd7zXZ", "packed"),
    (rb"PAR1", "parquet"),
)
"""First bytes of files that are not JSON in UTF-8, and their kinds; with or without a BOM."""
UTF8_MARK = b"\xef\xbb\xbf"


class Shape:
    """The names of all objects at one place of the rows."""

    def __init__(self) -> None:
        self.fields: dict[str, Shape] = {}

    def note(self, value: Any) -> None:
        """Add a value's names; the items of a list share one place."""
        if isinstance(value, dict):
            for name, inner in value.items():
                field = self.fields.setdefault(name, Shape())
                if isinstance(inner, dict | list):
                    field.note(inner)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict | list):
                    self.note(item)

    def fill(self, value: Any) -> Any:
        """Give an object every name of its place, null where it has none.

        As in parquet, an omitted name and a null are equal.
        """
        if not self.fields:
            return value
        if isinstance(value, dict):
            if len(self.fields) > MOST_FIELDS:
                return value
            return {name: field.fill(value.get(name)) for name, field in self.fields.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        return value


class JsonFile:
    """The rows of one file by number: one object per line, or one JSON list of objects."""

    def __init__(self, path: Path, shape: Shape) -> None:
        """Check every row and record its place; adds the names to `shape`.

        Raises:
            TaskError: the file is not JSON in UTF-8; names the file and the line.
        """
        self.path = path
        self._starts, self._ends, self._lines = array("Q"), array("Q"), array("Q")
        self._held: list[dict[str, Any]] | None = None
        """The rows of a file that is one JSON value."""
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
            with open(self._descriptor, "rb", closefd=False) as file:
                self._open(file, shape)
        except OSError as error:
            raise TaskError(f"{path}: cannot be read: {error.strerror or error}") from error

    def __len__(self) -> int:
        return len(self._starts if self._held is None else self._held)

    def row(self, number: int) -> dict[str, Any]:
        """The row of a number, as written.

        Raises:
            RowError: the file has changed since it was opened.
        """
        if self._held is not None:
            return self._held[number]
        start = self._starts[number]
        try:
            # Not seek and read: threads may share the file.
            line = os.pread(self._descriptor, self._ends[number] - start, start)
            row = json.loads(line.decode())
        except (ValueError, RecursionError, OSError):
            row = None
        if not isinstance(row, dict):
            raise RowError("the file changed while it was being read")
        return row

    def place(self, number: int) -> str:
        """Where a row is, for a message."""
        if self._held is not None:
            return f"{self.path.name}, item {number}"
        return f"{self.path.name}, line {self._lines[number]}"

    def _open(self, file: BinaryIO, shape: Shape) -> None:
        first = file.read(64)
        for begins, name in OTHER_FILES:
            if re.match(begins, first):
                raise TaskError(
                    f"{self.path}, line 1: {name}, wanted JSON in UTF-8; write the file again"
                )
        begin = len(UTF8_MARK) if first.startswith(UTF8_MARK) else 0
        if first[begin:].lstrip().startswith(b"["):
            self._hold(file, begin, shape)
            return
        file.seek(begin)
        try:
            self._index(file, begin, shape)
        except TaskError:
            if self.path.suffix != ".json" or len(self):
                raise
            self._hold(file, begin, shape)  # one object over several lines

    def _index(self, file: BinaryIO, start: int, shape: Shape) -> None:
        """Record where each row is."""
        for number, line in enumerate(file, start=1):
            end = start + len(line)
            if line.strip():
                self._check(self._parsed(line.rstrip(b"\r\n"), number), f"line {number}", shape)
                self._starts.append(start)
                self._ends.append(end)
                self._lines.append(number)
            start = end

    def _hold(self, file: BinaryIO, begin: int, shape: Shape) -> None:
        """Read a file that is one JSON value: a list of rows, or a row."""
        file.seek(begin)
        value = self._parsed(file.read(), 1)
        rows = value if isinstance(value, list) else [value]
        for number, row in enumerate(rows):
            self._check(row, f"item {number}", shape)
        self._held = rows

    def _parsed(self, text: bytes, line: int) -> Any:
        """Parse a text that begins at a line."""
        try:
            return json.loads(text.decode())
        except UnicodeDecodeError as error:
            line += text.count(b"\n", 0, error.start)
            raise TaskError(
                f"{self.path}, line {line}: not UTF-8 (byte 0x{text[error.start]:02x}); if it is "
                "Latin-1: iconv -f latin1 -t utf-8 FILE"
            ) from error
        except json.JSONDecodeError as error:
            where = f"line {line + error.lineno - 1}, column {error.colno}"
            raise TaskError(f"{self.path}, {where}: not JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            # A number of more digits than Python reads, or brackets nested too deep.
            reason = str(error) or "nested too deep"
            raise TaskError(
                f"{self.path}, line {line}: JSON that cannot be read: {reason}"
            ) from error

    def _check(self, row: Any, where: str, shape: Shape) -> None:
        if not isinstance(row, dict):
            raise TaskError(
                f"{self.path}, {where}: {type(row).__name__}; wanted an object, {{…}}, for each row"
            )
        try:
            shape.note(row)
        except RecursionError as error:
            raise TaskError(f"{self.path}, {where}: objects nested too deep") from error


class JsonTable:
    """The rows of several files, one after another; each has the names of all rows."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Check the files.

        Raises:
            TaskError: as `JsonFile`.
        """
        self._shape = Shape()
        self._files = [JsonFile(file, self._shape) for file in files]
        self._ends = list(accumulate(len(file) for file in self._files))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> dict[str, Any]:
        file, within = self._find(number)
        row: dict[str, Any] = self._shape.fill(file.row(within))
        return row

    def place(self, number: int) -> str:
        """Where a row is, for a message."""
        file, within = self._find(number)
        return file.place(within)

    def _find(self, number: int) -> tuple[JsonFile, int]:
        which = bisect_right(self._ends, number)
        return self._files[which], number - (self._ends[which - 1] if which else 0)
