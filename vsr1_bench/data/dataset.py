"""The samples of a task, from the hub, from a local mirror, or generated.

`vsr1_bench.data.rows` reads rows; this module maps them to samples and hashes their content.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench._util.memo import memo_file
from vsr1_bench._util.paths import user_text
from vsr1_bench.data.rows import (
    ChainedRows,
    LoadedRows,
    MadeRows,
    Rows,
    chosen_files,
    keep_encoded,
    load_files,
    load_hub,
    mirror_files,
)
from vsr1_bench.errors import RowError, TaskError, UsageError, nearest
from vsr1_bench.harness import TaskOverrides, find_harness
from vsr1_bench.records import LETTERS, EncodedImage, Sample
from vsr1_bench.store.environment import DATA_ROOT_VARIABLE
from vsr1_bench.store.spec import DataSpec
from vsr1_bench.task import ROW_NUMBER, ExternalTask, Procedural, Row, Source, Task, UserDataset

FIRST_ROWS = 3
"""If none of the first rows has the columns that the task reads, the data are the wrong ones."""

Mapper = Callable[[Row], Sample | tuple[Sample, ...]]


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Where rows are read from."""

    data_root: Path | None = None
    offline: bool = False
    copy: str | None = None
    """Name of the publication to read (`Task.copies`); None = the official one."""
    dataset: str | None = None
    """Path or hub id of the rows for tasks with a `task.UserDataset`."""
    split: str | None = None
    """Split of `dataset`; None = the task's."""

    @classmethod
    def from_flags(
        cls,
        data_root: str | Path | None,
        offline: bool,
        copy: str | None = None,
        dataset: str | None = None,
        split: str | None = None,
    ) -> DataOptions:
        """Read the flags; the default of the root is the environment variable `VSR1_DATA_ROOT`.

        Raises:
            TaskError: the root is not a folder.
            UsageError: a split without a data set, or a split of a single file.
        """
        if split is not None and (dataset is None or Path(dataset).expanduser().is_file()):
            what = f"{dataset} is one file" if dataset else "a task's own split is fixed"
            raise UsageError(f"--split {split}: {what}; it goes with --dataset FOLDER_OR_HUB_ID")
        root = user_text(data_root or os.environ.get(DATA_ROOT_VARIABLE) or None)
        if root is not None and not Path(root).is_dir():
            raise TaskError(
                f"data root {str(root)!r} is not a folder; give the top of a mirror "
                f"(DIR/<hub id>/<split>.parquet) by --data_root or {DATA_ROOT_VARIABLE}"
            )
        return cls(Path(root) if root else None, offline, copy, dataset, split)


class TaskData:
    """The samples of one task, read lazily in data order."""

    def __init__(
        self,
        task: Task,
        rows: Rows,
        spec: DataSpec,
        to_sample: Mapper,
        own: TaskOverrides | None = None,
    ) -> None:
        """Bind a task to its rows; use `open_data`."""
        self.task = task
        self.spec = spec
        self.own = own
        self._rows = rows
        self.to_sample = to_sample

    def __len__(self) -> int:
        """Number of samples."""
        return self.n_rows * self.task.per_row

    @property
    def whole(self) -> TaskData:
        """All samples of the task, of which these can be a selection (`data.selection`)."""
        return self

    def place_in_whole(self, place: int) -> int:
        """The place of a sample among all samples of the task."""
        return place

    @property
    def n_rows(self) -> int:
        """Number of rows, each of which holds `Task.per_row` samples."""
        return len(self._rows)

    def row(self, number: int) -> Row:
        """A row by its number, with encoded images."""
        return self._rows[number]

    def samples(self, limit: int | None = None) -> Iterator[Sample]:
        """Yield the first `limit` samples in data order.

        Raises:
            TaskError: a row cannot be mapped, or two rows share an id; names the row.
        """
        for _, sample in self.placed_samples(limit):
            yield sample

    def sample(self, place: int) -> Sample:
        """The sample at a place in the data, from 0.

        Raises:
            TaskError: its row cannot be mapped; names the row.
        """
        number, within = divmod(place, self.task.per_row)
        return self._of_row(number)[within]

    def placed_samples(
        self,
        limit: int | None = None,
        unusable: Callable[[range, TaskError], None] | None = None,
        passed_over: Sequence[int] = (),
        taken: Iterable[str] = (),
    ) -> Iterator[tuple[int, Sample]]:
        """Yield the first `limit` samples with their place in the data, from 0.

        Args:
            limit: How many places; None = all.
            unusable: Called with the places of a row that cannot be mapped, which are then skipped,
                and the reason. Without it the error is raised. It is also raised if none of the
                first rows can be mapped, except for a `RowError`: the data are the wrong ones.
            passed_over: For each place, 1 if its sample is not wanted, else 0. A row without a
                wanted sample is not read.
            taken: Ids of the samples that are not wanted.

        Raises:
            TaskError: a row cannot be mapped, or two rows share an id; names the row.
        """
        seen = set(taken)
        fits = False
        per_row = self.task.per_row
        wanted = len(self) if limit is None else min(limit, len(self))
        for number in range(-(-wanted // per_row)):
            if passed_over and all(passed_over[number * per_row : (number + 1) * per_row]):
                continue
            try:
                samples = self._new_in_row(number, seen, passed_over)
            except TaskError as error:
                fits = fits or isinstance(error, RowError)
                if unusable is None or (not fits and number >= min(FIRST_ROWS, wanted) - 1):
                    raise
                first = number * per_row
                unusable(range(first, min(first + per_row, wanted)), error)
                continue
            fits = True
            for place, sample in enumerate(samples, start=number * per_row):
                if place >= wanted:
                    break
                if passed_over and passed_over[place]:
                    continue
                yield place, sample

    def _new_in_row(
        self, number: int, seen: set[str], passed_over: Sequence[int] = ()
    ) -> tuple[Sample, ...]:
        """The samples of a row; checks that no wanted one has the id of an earlier sample."""
        samples = self._of_row(number)
        first = number * self.task.per_row
        known = passed_over[first : first + len(samples)] or [0] * len(samples)
        ids = [one.id for one, old in zip(samples, known, strict=False) if not old]
        for place, one in enumerate(ids):
            if one in seen or one in ids[:place]:
                raise RowError(f"{self._where(number)}: id {one!r} occurs twice; wanted unique ids")
        seen.update(ids)
        return samples

    def _of_row(self, number: int) -> tuple[Sample, ...]:
        try:
            mapped = self.to_sample({**self._rows[number], ROW_NUMBER: number})
            samples = mapped if isinstance(mapped, tuple) else (mapped,)
            for sample in samples:
                _check(sample)
        except RowError as error:
            raise RowError(f"{self._where(number)}: {error}") from error
        except Exception as error:  # untrusted data: a row can make its mapping raise anything
            detail = error if isinstance(error, TaskError) else f"{type(error).__name__} {error}"
            # For an external task the cause need not be the columns.
            hint = "" if self.own else "; the rows do not have the columns that this task reads"
            raise TaskError(f"{self._where(number)}: {detail}{hint}") from error
        if len(samples) != self.task.per_row:
            raise TaskError(
                f"task {self.task.name!r}, row {number}: {len(samples)} samples, its `per_row` "
                f"says {self.task.per_row}"
            )
        return samples

    def _where(self, number: int) -> str:
        """A row as named in messages."""
        position = self._rows.place(number).removeprefix(f"{self.spec.id}, ")
        split = f"{self.spec.split}; {position}" if position else self.spec.split
        return f"task {self.task.name!r}, row {number} of {self.spec.id} ({split})"


def _check(sample: Sample) -> None:
    """Refuse more options than there are letters."""
    if sample.answer_type == "choice" and sample.choices and len(sample.choices) > len(LETTERS):
        raise RowError(
            f"{len(sample.choices)} options; wanted at most {len(LETTERS)}, one per letter"
        )


def open_data(task: Task, options: DataOptions) -> TaskData:
    """Find the rows of a task: generated, in the mirror, or on the hub (in this order).

    Raises:
        TaskError: the data are missing; says where they were looked for and how to get them.
        UsageError: the task has no such copy, or needs a `--dataset` that was not given.
    """
    source, to_sample = task.source, task.to_sample
    if isinstance(source, ExternalTask):
        return _open_external(task, source, offline=options.offline)
    files: list[Path] = []
    if options.copy is not None:
        if options.copy not in task.copies:
            known = tuple(task.copies) or ("none",)
            raise UsageError(
                f"--source {options.copy}: task {task.name!r} has no such copy; "
                f"{nearest(options.copy, known)}"
            )
        source, to_sample = task.copies[options.copy].source, task.copies[options.copy].to_sample
    if isinstance(source, Procedural):
        spec = DataSpec(
            id=task.name,
            config=None,
            split="generated",
            revision=None,
            fingerprint=source.fingerprint,
        )
        return TaskData(task, MadeRows(source), spec, to_sample)
    if isinstance(source, UserDataset):
        source, files = _choose(task.name, source, options)
    configs = source.config if isinstance(source.config, tuple) else (source.config,)
    parts = [_open_part(task.name, source, config, options, files) for config in configs]
    rows = ChainedRows([rows for rows, _ in parts])
    revisions = {revision for _, revision in parts}
    spec = DataSpec(
        id=source.hub_id,
        config=",".join(c for c in configs if c) or None,
        split=source.split,
        revision=revisions.pop() if len(revisions) == 1 else None,
        fingerprint=fingerprint_of(rows, len(rows), rows.memo),
    )
    return TaskData(task, rows, spec, to_sample)


def _open_external(task: Task, source: ExternalTask, *, offline: bool) -> TaskData:
    """Open another harness's task, which makes its samples by their number."""
    data = find_harness(source.harness).open(source, offline=offline)
    rows = MadeRows(Procedural(lambda number: {}, data.n, data.spec.fingerprint))
    return TaskData(task, rows, data.spec, lambda row: data.sample(row[ROW_NUMBER]), data.overrides)


def _choose(name: str, wanted: UserDataset, options: DataOptions) -> tuple[Source, list[Path]]:
    """The rows that the user names, and their files if they are on this machine.

    The spec records a hub id, or the name of a file or folder, never a path.
    """
    if options.dataset is None:
        raise UsageError(
            f"task {name!r} reads the rows that you name: give --dataset FILE_OR_FOLDER_OR_HUB_ID"
        )
    split = options.split or wanted.split
    files = chosen_files(options.dataset, split)
    if not files:
        return Source(options.dataset, split, images=wanted.images), []
    path = Path(options.dataset).expanduser().resolve()
    return Source(path.name, "all" if path.is_file() else split, images=wanted.images), files


def _open_part(
    name: str, source: Source, config: str | None, options: DataOptions, files: list[Path]
) -> tuple[LoadedRows, str | None]:
    """The rows of one configuration, and their commit on the hub."""
    files = files or mirror_files(source, config, options.data_root)
    if files:
        table = load_files(files)
        return LoadedRows(source.images, table, files[0].parent, files_memo(files)), None
    dataset, revision = load_hub(name, source, config, options.data_root, options.offline)
    memo = [source.hub_id, config, source.split, revision] if revision else None
    return LoadedRows(source.images, keep_encoded(dataset), None, memo), revision


def files_memo(files: list[Path]) -> list[Any] | None:
    """Cache key for the fingerprint of files; None = hash them each time."""
    if files[0].suffix != ".parquet":
        return None  # a jsonl file names images, which can change without it
    return [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files]


def missing_data(tasks: list[Task], options: DataOptions) -> list[str]:
    """For `--offline`: an error line for each task whose data are not on this machine."""
    missing = []
    for task in tasks:
        try:
            open_data(task, options)
        except TaskError as error:
            missing.append(str(error))
    return missing


def fingerprint_of(rows: Rows, n: int, memo_key: list[Any] | None) -> str:
    """Hash the content of every row; the hash is cached until the files change."""
    memo = memo_file("fingerprints", json.dumps([memo_key, n])) if memo_key else None
    if memo is not None and (known := memo.read()) is not None:
        return known
    digest = hashlib.sha256()
    for number in range(n):
        digest.update(_words(rows, number).encode())
    fingerprint = digest.hexdigest()[:32]
    if memo is not None:
        memo.write(fingerprint)
    return fingerprint


def _words(rows: Rows, number: int) -> str:
    """A row's content as one text, even for an unusable row, which fails later."""
    try:
        return _canonical(rows[number])
    except Exception as error:  # untrusted data: one odd cell must not end the run
        try:
            return f"unusable {_canonical(rows.raw(number))}"
        except Exception:
            return f"unreadable {type(error).__name__} {error}"


def _canonical(row: Row) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, EncodedImage):
            return {"image": value.sha256()}
        if isinstance(value, bytes | bytearray):
            return {"bytes": hashlib.sha256(value).hexdigest()}
        return str(value)

    # Absent and null are equal: Arrow fills in null where jsonl omits a column.
    kept = {key: value for key, value in row.items() if value is not None}
    return json.dumps(kept, sort_keys=True, default=plain, ensure_ascii=True)
