"""Supervised training on demonstrations that an experiment makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stages import train

from vsr1_bench.records import ImagePlace, Message

BATCH = 32
"""Demonstrations in a batch, as in the recipe `tiny/weak_start`."""
FIRST = 1_000_000
"""Numbers of the rows of demonstrations begin here, so that no other training meets them."""


def teach(
    output: Path,
    name: str,
    model: str,
    rows: Iterable[dict[str, Any]],
    updates: int,
    lr: float,
) -> None:
    """Train on rows, which are written beside the models; the seed is the name's start."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if (output / "models" / name).is_dir():
        return
    data = output / "data" / f"{name.replace('/', '-')}.parquet"
    if not data.is_file():
        data.parent.mkdir(parents=True, exist_ok=True)
        half = data.with_suffix(".part")
        made = list(rows)
        if not made:
            raise SystemExit(f"{name}: nothing to learn, the start had no right answer")
        pq.write_table(pa.Table.from_pylist(made), half, compression="zstd")
        half.rename(data)
    train(output, name, "sft", "tiny/weak_start", model=model, dataset=str(data), lr=lr,
          schedule_steps=updates, save_every=1000, seed=int(name.split("/")[0]))  # fmt: skip


def conversation(
    messages: Sequence[Message], reply: str, image: bytes | None = None
) -> dict[str, Any]:
    """A row of `train sft`."""
    turns = [
        {
            "role": message.role,
            "content": "".join(
                "<image>" if isinstance(p, ImagePlace) else p for p in message.content
            ),
        }
        for message in messages
    ]
    return {
        "messages": [*turns, {"role": "assistant", "content": reply}],
        "images": [] if image is None else [{"bytes": image}],
    }
