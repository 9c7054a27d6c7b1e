"""Training conversations: ShareGPT, chat, alpaca or problem / answer, with or without images.

A row becomes one `Example` per assistant turn. The turn is the reply to learn, and everything
before it is the prompt.

    conversations  [{"from": "human", "value": "<image>…"}, {"from": "gpt", "value": "…"}, …]
    messages       [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}, …]
    instruction    with input, output, system, history: [[question, reply], …]
    problem        with answer: the reply to learn is the answer, unchanged

`images` (or `image`) has paths, bytes or nothing. `<image>` marks take them in order. In a row
without such marks, `<image N>` marks take image N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vsr1_bench.data.problem_rows import IMAGE_COLUMNS, problem_row, refuse_videos
from vsr1_bench.errors import RowError
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
_MARK = r"<image()>"
_NUMBERED = r"<image ?(\d*)>"
"""The marks of a row without plain ones, as in `problem_rows`."""


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation's prompt and the reply to learn."""

    messages: tuple[Message, ...]
    reply: str
    images: tuple[EncodedImage, ...] = ()


def examples_of(row: Row, prompt: PromptFormat) -> list[Example]:
    """The examples of a row.

    Args:
        row: The stored row, with images as `EncodedImage`.
        prompt: The prompt format of a `problem`.

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
        raise RowError("an <image> mark in a system turn; images must be in a user's turn")
    messages = [
        Message(role, (text,) if role != "user" else parts[place - first])
        for place, (role, text) in enumerate(turns)
    ]
    examples = []
    for place, message in enumerate(messages):
        reply, before = str(message.content[0]), tuple(messages[:place])
        if message.role == "assistant" and before and reply.strip():
            examples.append(Example(before, reply, _shown(before, images)))
    if not examples:
        raise RowError("no assistant's turn to learn")
    return examples


def _shown(messages: Sequence[Message], images: Sequence[EncodedImage]) -> tuple[EncodedImage, ...]:
    """The images up to the last one that messages show."""
    places = [p.index for m in messages for p in m.content if isinstance(p, ImagePlace)]
    return tuple(images[: max(places, default=-1) + 1])


def _turns(row: Row) -> list[tuple[Role, str]]:
    """Roles and texts, in order."""
    system: list[tuple[Role, str]] = [("system", str(row["system"]))] if row.get("system") else []
    turns = row.get("conversations") or row.get("messages")
    if turns is not None:
        if not isinstance(turns, list | tuple):
            raise RowError(f"the turns must be a list, not {type(turns).__name__}")
        return [*system, *map(_turn, turns)]
    if row.get("instruction") is None:
        raise RowError(f"none of the columns {', '.join(COLUMNS)}; it has {', '.join(sorted(row))}")
    history = row.get("history") or ()
    if not isinstance(history, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in history
    ):
        raise RowError("the history must be a list of [question, reply]")
    question = "\n".join(str(row[c]) for c in ("instruction", "input") if row.get(c))
    pairs = [*history, (question, row.get("output") or "")]
    both: tuple[Role, Role] = ("user", "assistant")
    return [
        *system,
        *((role, str(text)) for p in pairs for role, text in zip(both, p, strict=True)),
    ]


def _turn(turn: Any) -> tuple[Role, str]:
    if not isinstance(turn, dict):
        raise RowError(f"a turn must be an object, not {type(turn).__name__}")
    role, text = turn.get("from") or turn.get("role"), turn.get("value")
    text = turn.get("content") if text is None else text
    if role not in ROLES:
        raise RowError(f"a turn by {role!r}; known are {', '.join(ROLES)}")
    if not isinstance(text, str):
        raise RowError(f"a turn by {role!r} must be text, not {type(text).__name__}")
    return ROLES[role], text
