"""Sources of rows: the hub, a local mirror, or a function. Images stay encoded.

A mirror has the layout `DIR/<hub id>/[<config>/]<split>*.{parquet,jsonl}`; image columns of a jsonl
file are paths relative to that file. Parquet and the hub are read by `datasets` (Arrow on
disk, not in memory), JSON line by line (`json_rows`).
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench.data.json_rows import JsonTable
from vsr1_bench.errors import MissingDataError, RowError, TaskError, UsageError
from vsr1_bench.records import EncodedImage
from vsr1_bench.store.environment import DATA_ROOT_VARIABLE
from vsr1_bench.task import Procedural, Row, Source

if TYPE_CHECKING:
    from datasets import Dataset


class Rows(ABC):
    """Rows by number, their image columns as `EncodedImage`."""

    def __init__(self, images: tuple[str, ...], base: Path | None = None) -> None:
        self.images = images
        self.base = base

    def __getitem__(self, number: int) -> Row:
        row = dict(self.raw(number))
        for column in self.images:
            if column in row:
                try:
                    row[column] = to_images(row[column], self.base)
                except RowError as error:
                    raise RowError(f"column {column}: {error}") from error
        return row

    def place(self, number: int) -> str:
        """A row's position in its file, for messages; empty if the number is enough."""
        return ""

    @abstractmethod
    def raw(self, number: int) -> Row:
        """The row as it is stored."""

    @abstractmethod
    def __len__(self) -> int: ...


class MadeRows(Rows):
    """Rows that a function makes."""

    def __init__(self, source: Procedural) -> None:
        super().__init__(source.images)
        self.make, self.n = source.make, source.n

    def __len__(self) -> int:
        return self.n

    def raw(self, number: int) -> Row:
        """Make the row."""
        return self.make(number)


class LoadedRows(Rows):
    """Rows of a data set; `base` is the folder that image paths are relative to.

    `memo` is the cache key for the hash of their content; None = hash them each time.
    """

    def __init__(
        self,
        images: tuple[str, ...],
        table: Dataset | JsonTable,
        base: Path | None,
        memo: list[Any] | None = None,
    ) -> None:
        super().__init__(images, base)
        self.table, self.memo = table, memo

    def __len__(self) -> int:
        return len(self.table)

    def raw(self, number: int) -> Row:
        """Read the row."""
        row: Mapping[str, Any] = self.table[number]
        return row

    def place(self, number: int) -> str:
        """The line of a JSON file."""
        return self.table.place(number) if isinstance(self.table, JsonTable) else ""


class ChainedRows(Rows):
    """Several sets, one after another."""

    def __init__(self, parts: Sequence[LoadedRows]) -> None:
        super().__init__(())
        self.parts = parts
        self.ends = list(accumulate(len(part) for part in parts))
        memos = [part.memo for part in parts]
        self.memo = memos if all(memos) else None

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, number: int) -> Row:
        part, within = self._find(number)
        return part[within]

    def raw(self, number: int) -> Row:
        """Read the row from the set that it is in."""
        part, within = self._find(number)
        return part.raw(within)

    def place(self, number: int) -> str:
        """The position in the row's own set."""
        part, within = self._find(number)
        return part.place(within)

    def _find(self, number: int) -> tuple[LoadedRows, int]:
        which = bisect_right(self.ends, number)
        return self.parts[which], number - (self.ends[which - 1] if which else 0)


def to_images(cell: Any, base: Path | None) -> Any:
    """Turn an image cell into `EncodedImage`: bytes, {bytes, path}, a path, a list, or nothing.

    Raises:
        RowError: a cell of another kind, a null inside a list (later images would shift to other
            marks), or a path that leaves the folder of the mirror's file.
    """
    if cell is None:
        return None
    if isinstance(cell, list | tuple):
        images = []
        for number, item in enumerate(cell, start=1):
            image = None if isinstance(item, list | tuple) else to_images(item, base)
            if image is None:
                what = "null" if item is None else "a list"
                raise RowError(f"image {number} of {len(cell)} is {what}; wanted bytes or a path")
            images.append(image)
        return tuple(images)
    if isinstance(cell, bytes | bytearray):
        return EncodedImage(data=bytes(cell))
    if isinstance(cell, dict):
        return _of_struct(cell, base)
    if isinstance(cell, str):
        return EncodedImage(path=_image_path(cell, base))
    raise RowError(f"an image cell of type {type(cell).__name__}; wanted bytes or a path")


def _of_struct(cell: dict[str, Any], base: Path | None) -> EncodedImage:
    """The image of {bytes, path}, as `datasets` stores it."""
    data, path = cell.get("bytes"), cell.get("path")
    if isinstance(data, bytes | bytearray):
        return EncodedImage(data=bytes(data))
    if data is None and isinstance(path, str):
        return EncodedImage(path=_image_path(path, base))
    if data is None and path is None:
        raise RowError("an image with neither bytes nor a path; wanted one of them, or null")
    if isinstance(data, str):
        raise RowError(
            "image bytes written as text (base64?); wanted binary, as parquet has it, or a path"
        )
    kinds = f"{{bytes: {type(data).__name__}, path: {type(path).__name__}}}"
    raise RowError(f"an image cell {kinds}; wanted bytes or a path, and a list for several images")


def _image_path(written: str, base: Path | None) -> Path:
    """The file of an image path."""
    shown = written if len(written) <= 80 else f"{written[:80]}…"
    if re.match(r"data:|[A-Za-z][A-Za-z0-9+.-]+://", written):
        raise RowError(f"image {shown!r} is a URL; wanted a file's path, or bytes in parquet")
    if not written.strip():
        raise RowError("an empty image path; wanted a path, or null where there is no image")
    if base is None:
        raise RowError(f"image path {shown!r} in data that have no folder")
    try:
        path = (base / written).resolve()
        inside = path.is_relative_to(base.resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in it, a loop of links
        raise RowError(f"image path {shown!r} is not a path: {error}") from error
    if not inside:
        raise RowError(f"image path {shown!r} leaves the folder of its data file")
    return path


def mirror_files(source: Source, config: str | None, root: Path | None) -> list[Path]:
    """List a split's files in a mirror; shards in order.

    `test` takes `test.parquet` and `test-00000-of-00002.parquet`, never `testmini.parquet`.
    """
    if root is None:
        return []
    return _split_files(root / source.hub_id / (config or ""), source.split, "parquet|jsonl")


def chosen_files(dataset: str, split: str) -> list[Path]:
    """List the files of a data set that the user names: one file, or a folder's split.

    A folder holds its splits itself, or in `data/` as a copy of a hub repository does.

    Returns:
        The files, shards in order; none where `dataset` is an id of the hub.

    Raises:
        UsageError: neither a file that can be read, nor a folder with the split, nor an id.
    """
    path = Path(dataset).expanduser()
    readable = path.suffix in (".parquet", ".jsonl", ".json")
    if path.is_file():
        if not readable:
            raise UsageError(f"--dataset {dataset}: wanted a .parquet, .jsonl or .json file")
        return [path]
    if not path.is_dir():
        if re.fullmatch(r"\w[\w.-]*/[\w.-]+", dataset) and not readable:
            return []
        raise UsageError(
            f"--dataset {dataset}: no such file or folder, and no hub id (owner/name) either"
        )
    for folder in (path, path / "data"):
        files = _split_files(folder, split, "parquet|jsonl|json")
        if files:
            return files
    raise UsageError(
        f"--dataset {dataset}: no {split}.parquet, .jsonl or .json in this folder or in its data "
        "folder; name another split by --split, or give the file itself"
    )


def _split_files(folder: Path, split: str, kinds: str) -> list[Path]:
    name = re.compile(rf"{re.escape(split)}([-_.]\d[\w.-]*)?\.({kinds})")
    files = sorted(f for f in folder.glob("*") if name.fullmatch(f.name))
    for file in files:
        if not file.is_file():
            raise TaskError(
                f"{file}: not a regular file, and not waited for; wanted rows in a file"
            )
    return files


def load_files(files: list[Path]) -> Dataset | JsonTable:
    """Read a split's files; images stay encoded.

    Raises:
        TaskError: files of two kinds, not readable, or without rows.
    """
    kinds = {f.suffix for f in files}
    if len(kinds) > 1:
        raise TaskError(
            f"{files[0].parent}: a split in both {' and '.join(sorted(kinds))}; keep one"
        )
    if kinds != {".parquet"}:
        return JsonTable(files)
    from datasets import disable_progress_bars, enable_progress_bars, load_dataset
    from pyarrow.parquet import read_metadata

    disable_progress_bars()  # those of the conversion; a download has none here
    try:
        # The library cannot read a file without rows, also not beside others.
        filled = [str(f) for f in files if read_metadata(f).num_rows]
        if filled:
            loaded: Dataset = load_dataset("parquet", data_files={"rows": filled}, split="rows")
            return keep_encoded(loaded)
    except Exception as error:  # the library raises many kinds, all of them about the file
        raise TaskError(f"{files[0]}: not readable as parquet: {_one_line(error)}") from error
    finally:
        enable_progress_bars()
    raise TaskError(f"{files[0]}: no rows in it; give a file with rows")


def load_hub(
    name: str, source: Source, config: str | None, data_root: Path | None, offline: bool
) -> tuple[Dataset, str | None]:
    """Load from the hub at a commit, or from the hub's local cache; returns the commit."""
    where = f"{source.hub_id}" + (f", config {config!r}" if config else "")
    tried = f"not under the data root {str(data_root)!r}, and " if data_root else ""
    place = "/".join(part for part in (source.hub_id, config, source.split) if part)
    way_out = f"give a mirror by --data_root DIR or {DATA_ROOT_VARIABLE} (DIR/{place}.parquet)"
    if offline:
        go_offline()
    import datasets
    from huggingface_hub import HfApi, constants

    offline = offline or constants.HF_HUB_OFFLINE
    revision = source.revision
    try:
        if offline:
            revision = revision or cached_commit(source.hub_id)
        else:
            info = HfApi().dataset_info(source.hub_id, revision=revision, timeout=30)
            revision = info.sha
        dataset: Dataset = datasets.load_dataset(
            source.hub_id, config, split=source.split, revision=revision
        )
    except Exception as error:  # network, cache, format: one line for each, with the way out
        state = "offline and not in the local cache" if offline else _one_line(error)
        raise MissingDataError(
            f"task {name!r}: data set {where}, split {source.split!r} not found: {tried}{state}; "
            f"{way_out}"
        ) from error
    return dataset, revision


def go_offline() -> None:
    """Stop this process, and those that it starts later, from contacting the hub."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the import, which reads it
    import datasets
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True


def cached_commit(hub_id: str) -> str | None:
    """The newest commit of a data set in the hub's local cache.

    So a run that is started online and resumed offline is the same run.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=hub_id, repo_type="dataset")
    snapshots = list(Path(constants.HF_HUB_CACHE, folder, "snapshots").glob("*"))
    return max(snapshots, key=lambda s: s.stat().st_mtime_ns).name if snapshots else None


def keep_encoded(dataset: Dataset) -> Dataset:
    """Make `datasets` return images as they are stored."""
    from datasets import Image, List

    for name, feature in dataset.features.items():
        if isinstance(feature, Image):
            dataset = dataset.cast_column(name, Image(decode=False))
        elif isinstance(feature, List) and isinstance(feature.feature, Image):
            dataset = dataset.cast_column(name, List(Image(decode=False)))
    return dataset


def _one_line(error: BaseException) -> str:
    # This error of `datasets` has no message of its own.
    while type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
