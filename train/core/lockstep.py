"""The same number of micro-batches of each kind on every rank, as ZeRO needs them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from vsr1_bench.records import ImagePlace, Message, Request, Sampling
from vsr1_bench.task import example_image

from .encoding import KINDS, Encoder, Kind, Micro, TrainRow
from .ranks import Ranks


def dummy_rows(encoder: Encoder, sampling: Sampling) -> dict[Kind, TrainRow]:
    """A row of each kind without a share of the loss, to keep ranks in lockstep."""
    words = Message("user", ("-",))
    tokens = (int(encoder.tokenizer.eos_token_id or 0),)
    rows: dict[Kind, TrainRow] = {"text": TrainRow(Request("", (words,), sampling), tokens, (0.0,))}
    if encoder.renderer.sees:
        shown = Message("user", (ImagePlace(0), "-"))
        request = Request("", (shown,), replace(sampling, min_pixels=3136, max_pixels=12_544))
        rows["image"] = TrainRow(replace(request, images=(example_image(),)), tokens, (0.0,))
    return rows


def lockstep(
    encoder: Encoder,
    ranks: Ranks,
    rows: Sequence[TrainRow],
    tokens: int,
    window: int,
    dummies: dict[Kind, TrainRow],
    needed: Collection[Kind] = (),
) -> list[Micro]:
    """Cut rows into micro-batches, equally many of each kind on every rank; all ranks call.

    Args:
        encoder: Measures and cuts them.
        ranks: The ranks that train together.
        rows: The rows of this rank.
        tokens: See `Encoder.microbatches`.
        window: See `Encoder.microbatches`.
        dummies: Rows that fill up a rank with fewer micro-batches.
        needed: Kinds of which there is at least one micro-batch if any rank needs them.
    """
    cut = encoder.microbatches(rows, tokens, window)
    counts = ranks.gather({kind: max(len(cut[kind]), kind in needed) for kind in KINDS})
    plan: list[Micro] = []
    for kind in KINDS:
        most = max(count[kind] for count in counts)
        plan += cut[kind] + [[dummies[kind]]] * (most - len(cut[kind]))
    return plan
