"""Checksums of weights that do not depend on how an engine fuses or pads them."""

from __future__ import annotations

from collections.abc import Iterable

import torch

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PIECE = 1 << 24
"""Elements that are widened at once, to 8 bytes each."""
_SALT = 0x9E3779B9


def checksum(tensor: torch.Tensor) -> torch.Tensor:
    """A sum over the elements' bits and columns, int64, `()`, on the tensor's device.

    Matrices that are fused row by row (q, k and v) add up to the whole, and rows of zeros add
    nothing. A transposed matrix has another checksum. The elements of a vector have no order.
    """
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    if tensor.layout != torch.strided or not tensor.numel():  # packed for a kernel
        return total
    shape = (len(tensor), -1) if tensor.ndim > 1 else (-1, 1)
    rows = tensor.detach().reshape(shape).contiguous()
    columns = _SALT * torch.arange(1, rows.shape[1] + 1, device=tensor.device)
    bits, height = rows.view(_BITS[tensor.element_size()]), max(1, _PIECE // rows.shape[1])
    for piece in (bits[at : at + height] for at in range(0, len(bits), height)):
        wide = piece.long()
        total += ((wide * (wide + _SALT)).sum(0) * columns).sum()
    return total


def checksums(parameters: Iterable[tuple[str, torch.Tensor]]) -> dict[str, int]:
    """The checksum of each named tensor."""
    return {name: int(value) for name, value in [(n, checksum(t)) for n, t in parameters]}
