"""Finds the same picture among many others: encoded again, resized, or cropped by up to 5 % a side.

Each picture is kept in 128 x 128 grey pixels, whatever its shape was, and small in colour. Two
steps:

1. Candidates. A small crop moves the edges of a picture, and to first order changes it along four
   directions: the derivatives by its four edges (tangent distance, Simard et al. 1993). Another
   picture is a candidate if little of it lies outside the space of the picture and these four
   directions. This is a matrix product, so all pairs are compared.
2. Alignment. The four edges are fitted by least squares (Gauss-Newton), from 8 x 8 to 32 x 32
   cells. The pictures are the same if the aligned ones correlate, also without what changes slowly
   along a row, and differ nowhere much in any colour. This keeps drawings apart that differ in one
   dot or one bar, and pages with other words in the same lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, COLOUR_SIDE = 128, 64
"""Pixels of a side of a picture, in grey and in colour."""
COARSE, FINE = 16, 32
"""Cells of a side when pictures are compared."""
FLAT = 2.0
"""Pictures whose shades deviate less (of 255) show nothing and are not compared."""
MIN_TANGENT = 0.76
"""Least length of a candidate's projection, of 1."""
MAX_CANDIDATES = 8
"""A picture is aligned with at most this many others, the nearest ones."""
FURTHER = 4
"""Of these, the nearest ones are aligned from other starts, too."""
MAX_SHADE = 60
"""The same picture differs nowhere by more than this many of 255 shades, on 16 x 16 cells …"""
MAX_DISTANCE = 0.08
"""… and correlates by at least 1 minus this, on 32 x 32 cells …"""
MAX_ROW_DISTANCE = 0.25
"""… and by at least 1 minus this where each cell is compared with its neighbours in the row."""
INNER = (0.025, 0.975)
"""The window in the middle of all crops by 0 to 5 % a side."""
WHOLE = (0.0, 1.0)
_STARTS = ((COARSE, COARSE, 24, FINE, FINE), (8, COARSE, COARSE, 24, FINE, FINE))
"""Cells of the steps of an alignment; lines of text are fitted by the one or by the other."""
_REACH = 0.08
"""How far outside or inside the picture an edge can be fitted."""
_BLOCK, _PAIRS = 256, 128
"""Pictures, and pairs of them, that are handled together, which bounds the memory."""

Floats = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)
Windows = tuple[Floats, Floats]
"""Left and right, top and bottom edge of each window, as a share of the side, (N, 2) each."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures, about 29 kB each."""

    grey: NDArray[np.uint8]
    """(N, 128, 128)."""
    colour: NDArray[np.uint8]
    """(N, 64, 64, 3)."""

    def __len__(self) -> int:
        return len(self.grey)

    def __getitem__(self, which: slice | NDArray[np.intp]) -> Pictures:
        return Pictures(self.grey[which], self.colour[which])

    @classmethod
    def of(cls, pictures: Sequence[Pictures]) -> Pictures:
        """Several one after another."""
        if not pictures:
            empty = np.zeros((0, COLOUR_SIDE, COLOUR_SIDE, 3), np.uint8)
            return cls(np.zeros((0, SIDE, SIDE), np.uint8), empty)
        grey, colour = ([getattr(p, name) for p in pictures] for name in ("grey", "colour"))
        return cls(np.concatenate(grey), np.concatenate(colour))


@dataclass(frozen=True, slots=True)
class Near:
    """Two pictures that are the same."""

    own: int
    """Number of the gallery's picture."""
    other: int
    """Number of the other picture."""
    distance: float
    """1 minus the correlation of the aligned pictures."""


NO_PICTURE = Pictures(
    np.zeros((1, SIDE, SIDE), np.uint8), np.zeros((1, COLOUR_SIDE, COLOUR_SIDE, 3), np.uint8)
)
"""Stands for an image that cannot be decoded; it shows nothing."""


def picture_of(seen: Image) -> Pictures:
    """The picture of a decoded image."""
    from PIL import Image as Pil

    grey = seen.convert("L").resize((SIDE, SIDE), Pil.Resampling.BOX)
    colour = seen.resize((COLOUR_SIDE, COLOUR_SIDE), Pil.Resampling.BOX)
    return Pictures(np.asarray(grey)[None], np.asarray(colour)[None])


class Gallery:
    """Pictures that are looked for among others."""

    def __init__(self, pictures: Pictures) -> None:
        """Compute what the candidates are found with: about 10 kB more per picture."""
        self.shown = shown(pictures)
        """Whether a picture shows anything, (N,)."""
        self._numbers = np.flatnonzero(self.shown)
        self._pictures = pictures[self._numbers]
        self._spaces = [
            np.concatenate([_space(part, window) for part in _parts(self._pictures.grey, _BLOCK)])
            if len(self._numbers)
            else np.zeros((0, 5, COARSE * COARSE), np.float32)
            for window in (INNER, WHOLE)
        ]

    def near(self, others: Pictures, pool: Executor) -> list[Near]:
        """All pairs of a picture of the gallery with the same other picture.

        Args:
            others: The other pictures.
            pool: Its threads share the alignments.
        """
        if not len(self._numbers):
            return []
        found = [
            Near(int(self._numbers[own]), int(some[other]), float(distance))
            for some in _parts(np.flatnonzero(shown(others)), _BLOCK)
            for own, other, distance in self._same(others[some], pool)
        ]
        return sorted(found, key=lambda near: (near.own, near.other))

    def _same(self, others: Pictures, pool: Executor) -> Iterator[tuple[int, int, float]]:
        """Own picture, other picture and distance of all pairs that are the same."""
        own, other = self._candidates(others)

        def compared(part: NDArray[np.intp]) -> tuple[Floats, NDArray[np.bool_]]:
            return _compared(self._pictures[own[part]], others[other[part]], other[part])

        # By the other picture, because `_compared` ranks the candidates of each one.
        parts = [*_parts(np.argsort(other, kind="stable"), _PAIRS)]
        for part, (distances, same) in zip(parts, pool.map(compared, parts), strict=True):
            yield from zip(own[part[same]], other[part[same]], distances[same], strict=True)

    def _candidates(self, others: Pictures) -> tuple[NDArray[np.intp], ...]:
        """Numbers of own and of other pictures that may be the same."""
        scores = []
        for space, window in zip(self._spaces, (WHOLE, INNER), strict=True):
            vectors = _vectors(_warped(others.grey, *_windows(window, 1), COARSE))  # (M, C)
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
            parts = space.reshape(-1, space.shape[2]) @ vectors.T
            np.square(parts, out=parts)
            scores.append(parts.reshape(len(space), space.shape[1], -1).sum(axis=1))
        best = np.maximum(*scores)  # (N, M)
        least = np.full(best.shape[1], MIN_TANGENT**2, np.float32)
        many = np.flatnonzero((best > least).sum(axis=0) > MAX_CANDIDATES)
        if len(many):
            least[many] = np.partition(best[:, many], -MAX_CANDIDATES, axis=0)[-MAX_CANDIDATES]
        return np.nonzero(best >= least)


def shown(pictures: Pictures) -> NDArray[np.bool_]:
    """Whether pictures show anything: a white page is the copy of every other one, (N,)."""
    parts = [_vectors(part).std(axis=1) >= FLAT for part in _parts(pictures.grey, _BLOCK)]
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def _parts(things: NDArray[T], size: int) -> Iterator[NDArray[T]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]


def _vectors(planes: NDArray[np.generic]) -> Floats:
    """Planes (N, C, C) as vectors without their mean, (N, C * C)."""
    flat = planes.reshape(len(planes), -1).astype(np.float32)
    centred: Floats = flat - flat.mean(axis=1, keepdims=True)
    return centred


def _windows(window: tuple[float, float], n: int) -> Windows:
    """The same window for n pictures: left and right edge, top and bottom edge, (n, 2) each."""
    edges = np.tile(np.array(window, np.float32), (n, 1))
    return edges, edges.copy()


def _warped(planes: NDArray[np.generic], across: Floats, down: Floats, cells: int) -> Floats:
    """Means over the cells of windows of planes.

    Args:
        planes: (N, side, side).
        across: Left and right edges as a share of the width, (N, 2) or (1, 2).
        down: Top and bottom edges.
        cells: Cells of a side; what is outside the plane has the shade of its edge.

    Returns:
        (N, cells, cells).
    """
    side = planes.shape[1]
    rows, columns = _weights(down, cells, side), _weights(across, cells, side)
    narrow = np.matmul(rows, planes.astype(np.float32))  # (N, cells, side)
    warped: Floats = np.matmul(narrow, columns.transpose(0, 2, 1))
    return warped


def _weights(edges: Floats, cells: int, side: int) -> Floats:
    """The weight of each of `side` pixels in each cell between two edges, (N, cells, side)."""
    steps = np.linspace(0, 1, cells + 1, dtype=np.float32)
    borders = side * (edges[:, :1] + (edges[:, 1:] - edges[:, :1]) * steps)  # (N, cells + 1)
    low, high = np.arange(side, dtype=np.float32), np.arange(1, side + 1, dtype=np.float32)
    low[0], high[-1] = -side, 2 * side
    covered = np.diff(np.clip(borders[:, :, None], low, high), axis=1)
    weights: Floats = covered / covered.sum(axis=2, keepdims=True)
    return weights


def _moved(planes: NDArray[np.generic], windows: Windows, cells: int) -> list[Floats]:
    """A warped plane, and how it changes per move of each of the four edges by a whole side.

    Returns:
        Five planes (N, cells, cells).
    """
    planes, side = planes.astype(np.float32, copy=False), planes.shape[1]
    across, down = (_weights(edges, cells, side) for edges in windows)
    narrow = np.matmul(down, planes)  # (N, cells, side)
    low = np.matmul(planes, across.transpose(0, 2, 1))  # (N, side, cells)
    changes = [_weight_changes(edges, cells, side) for edges in windows]
    return [
        np.matmul(narrow, across.transpose(0, 2, 1)),
        *(np.matmul(narrow, change.transpose(0, 2, 1)) for change in changes[0]),
        *(np.matmul(change, low) for change in changes[1]),
    ]


def _weight_changes(edges: Floats, cells: int, side: int) -> Iterator[Floats]:
    """How weights change per move of the first and of the second edge."""
    step = 0.02 * COARSE / cells
    for place in (0, 1):
        moved = np.zeros_like(edges)
        moved[:, place] = step
        more, less = _weights(edges + moved, cells, side), _weights(edges - moved, cells, side)
        yield (more - less) / (2 * step)


def _space(planes: NDArray[np.generic], window: tuple[float, float]) -> Floats:
    """An orthonormal base of each picture and its four directions; zeros where one is missing.

    Returns:
        (N, 5, 256).
    """
    plane, *moves = _moved(planes, _windows(window, 1), COARSE)
    first = _vectors(plane)
    least = np.linalg.norm(first, axis=1, keepdims=True)
    base = [first / np.maximum(least, 1e-6)]
    for move in moves:
        # An edge moves by 0.025 at most; directions that change next to nothing are noise.
        direction = 0.025 * _vectors(move)
        for one in base:
            direction -= one * (one * direction).sum(axis=1, keepdims=True)
        length = np.linalg.norm(direction, axis=1, keepdims=True)
        known = length > 0.01 * least
        base.append(np.where(known, direction / np.maximum(length, 1e-6), 0))
    return np.stack(base, axis=1).astype(np.float32)


def _compared(
    pictures: Pictures, others: Pictures, numbers: NDArray[np.intp]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Align pairs, either of which can be a crop of the other.

    Args:
        pictures: One picture of each pair.
        others: The other one.
        numbers: Which picture the other one is; each has a few further tries.

    Returns:
        1 minus their correlation on fine cells, and whether they are the same, (N,).
    """
    distances, same = np.ones(len(pictures), np.float32), np.zeros(len(pictures), np.bool_)
    for start in _STARTS:
        for swap in (False, True):
            left = np.flatnonzero(~same)
            if start != _STARTS[0] or swap:
                left = left[_nearest(distances[left], numbers[left], FURTHER)]
            if not len(left):
                break
            pair = pictures[left], others[left]
            apart, same[left] = _aligned(*(pair[::-1] if swap else pair), start)
            distances[left] = np.where(same[left], apart, np.minimum(apart, distances[left]))
    return distances, same


def _nearest(distances: Floats, numbers: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """The places of the smallest distances of each number, in order."""
    order = np.lexsort((distances, numbers))
    _, first, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, counts)
    return np.sort(order[rank < most])


def _aligned(
    outer: Pictures, inner: Pictures, start: tuple[int, ...]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Fit the window of each outer picture that shows the inner one; results as `_compared`."""
    windows = _windows(INNER, len(outer))
    small, whole = _pooled(outer.grey, SIDE // 2), _windows(WHOLE, 1)
    for cells in start:
        windows = _fitted(small, _warped(inner.grey, *whole, cells), windows)
    fine, target = (
        _warped(outer.grey, *windows, FINE),
        _pooled(inner.grey, FINE),
    )
    distances = _uncorrelated(fine, target)
    shades = [
        np.abs(
            _warped(outer.colour[..., c], *windows, COARSE) - _pooled(inner.colour[..., c], COARSE)
        ).max(axis=(1, 2))
        for c in range(3)
    ]
    same = (distances <= MAX_DISTANCE) & (np.max(shades, axis=0) <= MAX_SHADE)
    return distances, same & (_uncorrelated(_in_rows(fine), _in_rows(target)) <= MAX_ROW_DISTANCE)


def _fitted(planes: Floats, target: Floats, windows: Windows) -> Windows:
    """One step of Gauss-Newton: windows of planes that come nearer to the target planes."""
    n, cells = len(planes), target.shape[1]
    plane, *moves = _moved(planes, windows, cells)
    missing = (target - plane).reshape(n, -1)
    stacked = np.stack([move.reshape(n, -1) for move in moves], axis=2)
    step = np.clip(_solved(stacked, missing), -0.04, 0.04)
    return _bounded(windows[0] + step[:, :2]), _bounded(windows[1] + step[:, 2:])


def _pooled(planes: NDArray[np.uint8], side: int) -> Floats:
    """Planes with fewer pixels, (N, side, side)."""
    each = planes.shape[1] // side
    wide = planes.astype(np.uint16)  # sums of at most 256 shades of 255
    rows = sum((wide[:, k::each] for k in range(1, each)), start=wide[:, ::each])
    cells = sum((rows[..., k::each] for k in range(1, each)), start=rows[..., ::each])
    pooled: Floats = cells.astype(np.float32) / np.float32(each * each)
    return pooled


def _uncorrelated(planes: Floats, others: Floats) -> Floats:
    """1 minus the correlation of each pair of planes, (N,)."""
    one, other = _vectors(planes), _vectors(others)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    apart: Floats = 1 - (one * other).sum(axis=1) / np.maximum(lengths, 1e-6)
    return apart


def _in_rows(planes: Floats) -> Floats:
    """Each cell minus the mean of the seven around it in its row."""
    padded = np.pad(planes, ((0, 0), (0, 0), (3, 3)), mode="edge")
    width = planes.shape[2]
    around = sum(padded[:, :, k : k + width] for k in range(7))
    apart: Floats = planes - around / np.float32(7)
    return apart


def _solved(moves: Floats, missing: Floats) -> Floats:
    """Least squares with a little damping, (N, 4), of `moves` (N, C, 4) to `missing` (N, C)."""
    square = moves.transpose(0, 2, 1) @ moves
    damping = 1e-3 * np.trace(square, axis1=1, axis2=2)[:, None, None] / 4 + 1e-3
    square = square + np.eye(4, dtype=np.float32) * damping
    right = moves.transpose(0, 2, 1) @ missing[:, :, None]
    solved: Floats = np.linalg.solve(square, right)[:, :, 0].astype(np.float32)
    return solved


def _bounded(edges: Floats) -> Floats:
    low = np.array([-_REACH, 1 - _REACH], np.float32)
    return np.clip(edges, low, low + 2 * np.float32(_REACH))
