"""Training conversations: ShareGPT, chat, alpaca or problem / answer, with or without images.

A row becomes one `Example` for each assistant's turn: what was said before is the prompt, the turn
is the reply to learn.

    conversations  [{"from": "human", "value": "<image>…"}, {"from": "gpt", "value": "…"}, …]
    messages       [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}, …]
    instruction    with input, output, system, history: [[asked, replied], …]
    problem        with answer: the reply to learn is the answer as it is

`images` (or `image`) holds paths, bytes or nothing; `<image>` marks take them in order, and
`<image N>` marks take image N where there are no plain ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench.data.dataset import files_memo
from vsr1_bench.data.problem_rows import IMAGE_COLUMNS, problem_row, refuse_videos
from vsr1_bench.data.rows import ChainedRows, LoadedRows, load_files
from vsr1_bench.errors import RowError, UsageError
from vsr1_bench.prompts.formats import PromptFormat, build_messages
from vsr1_bench.records import EncodedImage, ImagePlace, Message, Role
from vsr1_bench.task import Row, interleave_all

ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
COLUMNS = ("conversations", "messages", "instruction", "problem")
KINDS = ("parquet", "jsonl", "json")
_MARK = r"<image()>"
_NUMBERED = r"<image ?(\d*)>"
"""What is a mark in a row without plain ones, as in `problem_rows`."""


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation's prompt and the reply to learn."""

    messages: tuple[Message, ...]
    reply: str
    images: tuple[EncodedImage, ...] = ()


def examples_of(row: Row, prompt: PromptFormat) -> list[Example]:
    """The examples of a row.

    Args:
        row: As it is stored; images are `EncodedImage` already.
        prompt: How a `problem` is asked.

    Raises:
        RowError: no known columns, an unknown role, no reply to learn, or a mark without an image.
    """
    if row.get("problem") is not None:
        sample = problem_row(row, judged=False)
        reply = str(row["answer"])
        return [Example(build_messages(sample, prompt, native=""), reply, sample.images)]
    turns = _turns(row)
    refuse_videos(row)
    images: list[EncodedImage] = []
    for column in IMAGE_COLUMNS:
        cell = row.get(column)
        images += [] if cell is None else [cell] if isinstance(cell, EncodedImage) else cell
    shown = [text if role == "user" else "" for role, text in turns]
    first = next((i for i, (role, _) in enumerate(turns) if role == "user"), 0)
    mark = _MARK if any("<image>" in text for text in shown) else _NUMBERED
    parts, _ = interleave_all(shown[first:], images, mark, one_for_all=False)
    if any(role == "system" and "<image>" in text for role, text in turns):
        raise RowError("an <image> mark in a system turn; wanted in a user's, where images stand")
    messages = [
        Message(role, (text,) if role != "user" else parts[place - first])
        for place, (role, text) in enumerate(turns)
    ]
    found = [
        Example(before, str(message.content[0]), _shown(before, images))
        for place, message in enumerate(messages)
        if message.role == "assistant"
        and (before := tuple(messages[:place]))
        and str(message.content[0]).strip()
    ]
    if not found:
        raise RowError("no assistant's turn to learn")
    return found


def _shown(messages: Sequence[Message], images: Sequence[EncodedImage]) -> tuple[EncodedImage, ...]:
    """The images up to the last one that messages show."""
    places = [p.index for m in messages for p in m.content if isinstance(p, ImagePlace)]
    return tuple(images[: max(places, default=-1) + 1])


def _turns(row: Row) -> list[tuple[Role, str]]:
    """Who said what, in order."""
    listed = row.get("conversations") or row.get("messages")
    if listed is not None:
        if not isinstance(listed, list | tuple):
            raise RowError(f"turns that are no list but {type(listed).__name__}")
        turns = [_turn(turn) for turn in listed]
        return [*_system(row), *turns]
    if row.get("instruction") is None:
        raise RowError(f"none of the columns {', '.join(COLUMNS)}; it has {', '.join(sorted(row))}")
    asked = "\n".join(str(row[c]) for c in ("instruction", "input") if row.get(c))
    told = _system(row)
    history = row.get("history") or ()
    if not isinstance(history, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in history
    ):
        raise RowError("a history that is no list of [asked, replied]")
    for question, reply in history:
        told += [("user", str(question)), ("assistant", str(reply))]
    return [*told, ("user", asked), ("assistant", str(row.get("output") or ""))]


def _system(row: Row) -> list[tuple[Role, str]]:
    return [("system", str(row["system"]))] if row.get("system") else []


def _turn(turn: Any) -> tuple[Role, str]:
    if not isinstance(turn, dict):
        raise RowError(f"a turn that is no object but {type(turn).__name__}")
    role, text = turn.get("from") or turn.get("role"), turn.get("value")
    text = turn.get("content") if text is None else text
    if role not in ROLES:
        raise RowError(f"a turn by {role!r}; known are {', '.join(ROLES)}")
    if not isinstance(text, str):
        raise RowError(f"a turn by {role!r} that is no text but {type(text).__name__}")
    return ROLES[role], text


def open_rows(
    names: Sequence[str], image_folder: str | None, downloads: Path, *, offline: bool
) -> ChainedRows:
    """The rows of files, folders and hub ids, one after another.

    Args:
        names: A folder or a hub id gives all its parquet, jsonl and json files.
        image_folder: What image paths are relative to; None = the folder of their file.
        downloads: Where a hub id's files are put.
        offline: Take from the hub only what is in `downloads` already.

    Raises:
        UsageError: no such file, folder or hub id, or nothing to read there.
        TaskError: a file that cannot be read.
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
    found = sorted(f for kind in KINDS for f in path.glob(f"*.{kind}"))
    found = found or sorted(f for kind in KINDS for f in path.glob(f"data/*.{kind}"))
    if not found:
        raise UsageError(f"dataset {name}: no parquet, jsonl or json file in {path}")
    return found


def _download(name: str, downloads: Path, offline: bool) -> Path:
    """A hub repository as real files: image paths must not leave the folder by a link."""
    from huggingface_hub import snapshot_download

    folder = downloads / name.replace("/", "--")
    try:
        taken = snapshot_download(
            name, repo_type="dataset", local_dir=folder, local_files_only=offline
        )
    except Exception as error:  # a wrong name, the network, the disk: many kinds, one line
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"dataset {name}: no such file or folder, and not to be had from the hub "
            f"({type(error).__name__}: {reason})"
        ) from error
    return Path(taken)
