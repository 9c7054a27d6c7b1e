"""Where the tokens of a batch are: in padded rows, or packed in one row.

In a packed batch, responses to a prompt follow one copy of it. Each attends to the prompt and to
itself, at the positions that it would have alone, so log-probs and gradients are those of rows of
their own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Segments:
    """What the T tokens of a packed batch attend to.

    A segment is a prompt, a response, or a prompt with its only response. Attention is causal
    inside a segment.
    """

    lengths: list[int]
    """Tokens of each segment; they sum to T."""
    prompts: list[int | None]
    """Of each response the segment of its prompt, which all of its tokens attend to; else None."""
    _varlen: dict[str, tuple[Tensor, Tensor, Tensor | None]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def key_counts(self) -> list[int]:
        """Number of tokens that the last token of each segment attends to."""
        before = (0 if prompt is None else self.lengths[prompt] for prompt in self.prompts)
        return [own + more for own, more in zip(self.lengths, before, strict=True)]

    def varlen(self, device: str) -> tuple[Tensor, Tensor, Tensor | None]:
        """The segments as flash attention takes them, on a device; made once for all layers.

        Returns:
            Where the queries of each segment begin and the last ones end, `(segments + 1,)`, the
            same of its keys, and the place of each key in the batch, `(keys,)`; None = all, in
            order.
        """
        import torch

        if device not in self._varlen:
            queries, keys = (
                torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=device)
                for sizes in (self.lengths, self.key_counts())
            )
            spans = torch.split(torch.arange(sum(self.lengths)), self.lengths)
            places: list[Tensor] = []
            for span, prompt in zip(spans, self.prompts, strict=True):
                places += [span] if prompt is None else [spans[prompt], span]
            shared = any(prompt is not None for prompt in self.prompts)
            self._varlen[device] = queries, keys, torch.cat(places).to(device) if shared else None
        return self._varlen[device]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where prompts and responses are in a batch of `(B, T)`, as places in its B * T tokens."""

    shape: tuple[int, int]
    """B and T."""
    prompts: list[tuple[int, int]]
    """Of each prompt in the batch, its first response, and the place of its first token."""
    ends: list[int]
    """Of each response, the place after the last token of its prompt."""
    places: list[int]
    """Of each response, the place of its first token."""
    lengths: list[int]
    """Tokens of each response."""
    segments: Segments | None = None
    """None = a row for each response, padded on the right."""

    @classmethod
    def padded(cls, starts: Sequence[int], lengths: Sequence[int]) -> Layout:
        """A row for each response.

        Args:
            starts: Prompt tokens of each.
            lengths: Tokens of each.
        """
        width = max(start + length for start, length in zip(starts, lengths, strict=True))
        rows = [row * width for row in range(len(starts))]
        ends = [row + start for row, start in zip(rows, starts, strict=True)]
        return cls((len(rows), width), [*enumerate(rows)], ends, ends, list(lengths))

    @classmethod
    def packed(
        cls, prompts: Sequence[Hashable], starts: Sequence[int], lengths: Sequence[int]
    ) -> Layout:
        """One row for all; responses with equal prompts share a copy.

        Args:
            prompts: The prompt of each response.
            starts: Its tokens.
            lengths: Tokens of each response.
        """
        of_prompt: dict[Hashable, list[int]] = {}
        for number, prompt in enumerate(prompts):
            of_prompt.setdefault(prompt, []).append(number)
        firsts, sizes, before = list[tuple[int, int]](), list[int](), list[int | None]()
        ends, places, at = [0] * len(prompts), [0] * len(prompts), 0
        for first, *others in of_prompt.values():
            firsts.append((first, at))
            at += starts[first]
            end, own = at, len(sizes)
            sizes.append(starts[first] if others else starts[first] + lengths[first])
            before.append(None)
            for number in (first, *others):
                ends[number], places[number] = end, at
                at += lengths[number]
                if others:
                    sizes.append(lengths[number])
                    before.append(own)
        return cls((1, at), firsts, ends, places, list(lengths), Segments(sizes, before))

    def spans(self) -> Iterator[slice]:
        """The places of each response."""
        for place, length in zip(self.places, self.lengths, strict=True):
            yield slice(place, place + length)

    def predicted(self) -> Tensor:
        """The place whose output predicts each of the N response tokens, `(N,)`."""
        import torch

        each = []
        for end, span in zip(self.ends, self.spans(), strict=True):
            # The token at a place is predicted one before it, the first one by the prompt's last.
            each.append(torch.arange(span.start - 1, span.stop - 1))
            each[-1][:1] = end - 1
        return torch.cat(each)

    def positions(self, prompts: Sequence[Tensor]) -> Tensor:
        """The positions that the tokens of a packed batch would have in rows of their own.

        Args:
            prompts: Those of each prompt in the batch, of P tokens, `(1, P)`, or `(3, P)` for the
                models of that many positions per token; a prompt of text may have one there.

        Returns:
            `(1, T)`, or `(3, 1, T)`.
        """
        import torch

        dimensions = max(map(len, prompts))
        whole = torch.zeros((dimensions, self.shape[1]), dtype=torch.long)
        following: dict[int, int] = {}  # of the place after a prompt
        for (first, at), own in zip(self.prompts, prompts, strict=True):
            whole[:, at : self.ends[first]] = own
            following[self.ends[first]] = int(own.max()) + 1
        for end, span in zip(self.ends, self.spans(), strict=True):
            whole[:, span] = following[end] + torch.arange(span.stop - span.start)
        return whole[:, None] if dimensions > 1 else whole
