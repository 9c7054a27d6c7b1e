"""One copy of a prompt for several of its responses, in one row.

The responses to a prompt follow each other in a row. Each attends to the prompt and to itself, at
the positions that it would have alone, so log-probs and gradients are those of rows of their own.
A prompt with an image is often longer than its responses, so this can save most of an update.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

SEGMENTS, SHIFTS = "segments", "shifts"
"""Our names for inputs of a batch, `(B, T)` each: to which response a token belongs (0 = the
prompt, -1 = padding), and how many tokens of other responses are between prompt and token."""
LONGEST = 8192
"""Tokens of a row with several responses at most: its mask has a value for each pair of tokens."""
MASKED = 2.0
"""Attention with a mask costs about so many times what its operations say, beside the matrices
(`scripts/bench_shared_prompts.py`, on a CPU; on a GPU nobody has measured it)."""
WORTH = 0.85
"""Responses share prompts only if the work falls to this share of it: one row of several responses
takes torch's fast attention from all rows of its micro-batch."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the responses of a batch of B rows are."""

    rows: list[int]
    """Row of each response."""
    firsts: list[int]
    """The first response of each row."""
    starts: list[int]
    """Prompt tokens of each row."""
    places: list[int]
    """Position of each response in its row."""
    lengths: list[int]
    """Tokens of each response."""
    width: int
    """Positions of the longest row, T."""

    @classmethod
    def of(
        cls, bundles: Sequence[Hashable], starts: Sequence[int], lengths: Sequence[int]
    ) -> Layout:
        """Put responses of the same bundle in a row, one after another.

        Args:
            bundles: Bundle of each response.
            starts: Prompt tokens of each.
            lengths: Tokens of each.
        """
        firsts: dict[Hashable, int] = {}
        for place, bundle in enumerate(bundles):
            firsts.setdefault(bundle, place)
        numbers = {bundle: number for number, bundle in enumerate(firsts)}
        ends = [starts[place] for place in firsts.values()]
        rows, places = [numbers[bundle] for bundle in bundles], []
        for row, length in zip(rows, lengths, strict=True):
            places.append(ends[row])
            ends[row] += length
        first = list(firsts.values())
        return cls(rows, first, [starts[n] for n in first], places, list(lengths), max(ends))

    def spans(self) -> Iterator[tuple[int, slice]]:
        """Row and positions of each response."""
        for row, place, length in zip(self.rows, self.places, self.lengths, strict=True):
            yield row, slice(place, place + length)

    def predicted(self) -> tuple[Tensor, Tensor]:
        """Row of each response token, and the position whose output predicts it, `(N,)` each."""
        import torch

        columns = []
        for row, span in self.spans():
            # The token at position t is predicted at t - 1, the first one by the prompt's last.
            columns.append(torch.arange(span.start - 1, span.stop - 1))
            columns[-1][:1] = self.starts[row] - 1
        rows = torch.tensor(self.rows).repeat_interleave(torch.tensor(self.lengths))
        return rows, torch.cat(columns)

    def shared(self) -> dict[str, Tensor]:
        """The inputs `SEGMENTS` and `SHIFTS`; none if each row has one response."""
        import torch

        if len(self.firsts) == len(self.rows):
            return {}
        segments = torch.full((len(self.firsts), self.width), -1)
        shifts = torch.zeros_like(segments)
        for row, start in enumerate(self.starts):
            segments[row, :start] = 0
        for number, (row, span) in enumerate(self.spans(), start=1):
            segments[row, span] = number
            shifts[row, span] = span.start - self.starts[row]
        return {SEGMENTS: segments, SHIFTS: shifts}


def reach_of(wanted: bool | None, policy: Any) -> float | None:
    """Pairs of positions whose masked attention costs as much as the matrices of one token.

    Args:
        wanted: The recipe's `share_prompts`.
        policy: The Hugging Face model.

    Returns:
        None if each response is to have its own copy of the prompt.

    Raises:
        UsageError: `share_prompts=true`, and model or attention cannot do it.
    """
    if wanted is False:
        return None
    text: Any = policy.config.get_text_config()
    attention = text._attn_implementation
    kinds = {*(getattr(text, "layer_types", None) or ())}
    able = hasattr(policy.base_model, "get_rope_index")  # Qwen-VL, whose text attention is causal
    if not able or attention != "sdpa" or kinds - {"full_attention"}:
        if wanted:
            raise UsageError(
                "share_prompts=true: wanted a Qwen-VL with attention=sdpa, got "
                f"{policy.config.model_type} with {attention}; drop share_prompts"
            )
        return None
    heads: int = text.num_attention_heads
    size: int = getattr(text, "head_dim", None) or text.hidden_size // heads
    projections = 2 * text.hidden_size * size * (heads + text.num_key_value_heads)
    matrices = projections + 3 * text.hidden_size * text.intermediate_size
    return float(2 * matrices / (4 * heads * size)) / MASKED


def bundles(
    prompts: Sequence[Hashable],
    starts: Sequence[int],
    responses: Sequence[int],
    tokens: int,
    reach: float,
) -> list[list[int]]:
    """Which responses share a row.

    A response that joins others saves its own copy of the prompt. It costs the attention between
    it and the others, which is computed and then masked. It joins if it saves more, and no response
    joins another if all of it saves little (`WORTH`).

    Args:
        prompts: The prompt of each response.
        starts: Tokens of each prompt.
        responses: Tokens of each response.
        tokens: Maximum tokens of a row with several responses.
        reach: See `reach_of`.

    Returns:
        Places of the responses of each row.
    """
    of_prompt: dict[Hashable, list[int]] = {}
    for place in sorted(range(len(prompts)), key=lambda place: responses[place]):
        of_prompt.setdefault(prompts[place], []).append(place)
    rows: list[list[int]] = []
    for places in of_prompt.values():
        start, length = starts[places[0]], 0
        for place in places:
            own = responses[place]
            saved = reach * start + (start + own) ** 2 / 2  # causal attention alone skips a half
            joins = saved >= 2 * length * own + own**2
            if not length or not joins or length + own > min(tokens, LONGEST):
                rows.append([])
                length = start
            rows[-1].append(place)
            length += own
    alone = [[place] for row in rows for place in row]
    shares = _work(rows, starts, responses, reach) <= WORTH * _work(alone, starts, responses, reach)
    return rows if shares else alone


def _work(
    rows: Sequence[Sequence[int]], starts: Sequence[int], responses: Sequence[int], reach: float
) -> float:
    """Matrices and attention of rows, in pairs of positions."""
    work = 0.0
    for row in rows:
        length = starts[row[0]] + sum(responses[place] for place in row)
        work += reach * length + length**2 / (1 if len(row) > 1 else 2)
    return work


def attend_to_own(inputs: dict[str, Any], model: Any) -> dict[str, Any]:
    """Replace `SEGMENTS` and `SHIFTS` by the attention mask and the positions.

    Args:
        inputs: What the model takes, and the two.
        model: The Hugging Face model without its head.
    """
    import torch

    inputs = dict(inputs)
    segments, shifts = inputs.pop(SEGMENTS), inputs.pop(SHIFTS)  # (B, T) each
    places = torch.arange(segments.shape[1], device=segments.device)
    positions = places  # (T,)
    if "image_grid_thw" in inputs:
        named = {
            name: inputs[name] for name in ("input_ids", "mm_token_type_ids", "image_grid_thw")
        }
        positions, _ = model.get_rope_index(**named)  # (3, B, T)
    queries, keys = segments[:, :, None], segments[:, None, :]
    seen = ((keys == 0) | (keys == queries)) & (places[:, None] >= places)  # (B, T, T)
    # A mask of booleans would become one of numbers in each layer, and so would one on a GPU whose
    # rows do not begin at multiples of eight.
    rows, width = segments.shape
    mask = torch.full(
        (rows, width, -(-width // 8) * 8), -math.inf, dtype=model.dtype, device=segments.device
    )[..., :width]
    mask.masked_fill_(seen, 0.0)
    return inputs | {"attention_mask": mask[:, None], "position_ids": positions - shifts}
