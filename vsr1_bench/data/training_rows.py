"""Rows of training data: files, folders and hub ids that a recipe or `audit --against` names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench.data.dataset import files_memo
from vsr1_bench.data.problem_rows import IMAGE_COLUMNS
from vsr1_bench.data.rows import ChainedRows, LoadedRows, load_files
from vsr1_bench.errors import RowError, UsageError
from vsr1_bench.records import EncodedImage
from vsr1_bench.task import Row

KINDS = ("parquet", "jsonl", "json")
TURNS = ("conversations", "messages")
QUESTIONS = ("problem", "question", "query", "instruction")
"""Columns that hold a question."""
_USERS = ("human", "user")


def open_rows(
    names: Sequence[str], image_folder: str | None, downloads: Path, *, offline: bool
) -> ChainedRows:
    """The rows of files, folders and hub ids, in order.

    Args:
        names: Files, folders or hub ids; a folder gives all its parquet, jsonl and json files.
        image_folder: The folder that image paths are relative to; None = the folder of their file.
        downloads: The folder for files of hub ids.
        offline: Use only hub files that are in `downloads` already.

    Raises:
        UsageError: there is no such file, folder or hub id, or it has no such files.
        TaskError: a file cannot be read.
    """
    parts: list[LoadedRows] = []
    for file in (file for name in names for file in _files(name, downloads, offline)):
        base = Path(image_folder).expanduser() if image_folder else file.parent
        memo = files_memo([file])
        known = memo and [str(base), *memo]
        parts.append(LoadedRows(IMAGE_COLUMNS, load_files([file]), base, known))
    return ChainedRows(parts)


def _files(name: str, downloads: Path, offline: bool) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        path = _download(name, downloads, offline)
    for folder in (path, path / "data"):
        if files := sorted(f for kind in KINDS for f in folder.glob(f"*.{kind}")):
            return files
    raise UsageError(f"dataset {name}: no parquet, jsonl or json file in {path}")


def _download(name: str, downloads: Path, offline: bool) -> Path:
    """Download a hub repository as real files, because image paths must not leave it by a link."""
    from huggingface_hub import snapshot_download

    folder = downloads / name.replace("/", "--")
    try:
        path = snapshot_download(
            name, repo_type="dataset", local_dir=folder, local_files_only=offline
        )
    except Exception as error:  # a wrong name, the network, the disk: many kinds, one line
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"dataset {name}: no such file or folder, and the hub does not provide it "
            f"({type(error).__name__}: {reason})"
        ) from error
    return Path(path)


@dataclass(frozen=True, slots=True)
class Content:
    """What a training row shows a model: its questions and its images, without the replies."""

    texts: tuple[str, ...]
    images: tuple[EncodedImage, ...]


def content_of(row: Row) -> Content:
    """The questions and images of a row of any layout that the trainers read.

    Raises:
        RowError: the row has neither a question nor an image in a known column.
    """
    images: list[EncodedImage] = []
    for column in IMAGE_COLUMNS:
        cell = row.get(column)
        images += [] if cell is None else [cell] if isinstance(cell, EncodedImage) else cell
    texts = [text for column in TURNS for text in _asked(row.get(column))]
    for column in QUESTIONS:
        if isinstance(row.get(column), str):
            texts.append("\n".join(str(row[c]) for c in (column, "input") if row.get(c)))
            break
    history = row.get("history")
    texts += [str(pair[0]) for pair in history or () if isinstance(pair, list | tuple) and pair]
    if not texts and not images:
        wanted = ", ".join((*TURNS, *QUESTIONS, *IMAGE_COLUMNS))
        raise RowError(f"none of the columns {wanted}; it has {', '.join(sorted(row))}")
    return Content(tuple(texts), tuple(images))


def _asked(turns: Any) -> list[str]:
    """The texts of the user's turns."""
    if not isinstance(turns, list | tuple):
        return []
    texts = []
    for turn in turns:
        if isinstance(turn, dict) and (turn.get("from") or turn.get("role")) in _USERS:
            text = turn.get("value") or turn.get("content")
            texts += [text] if isinstance(text, str) else []
    return texts
