"""Compare what a score document states with what its records give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vsr1_bench.scoring.shortcuts import OVER_ALL

COMPARED = (
    *("version", "prompt", "variant", "n", "metrics", "rates", "by"),
    *("judging", "perception", "blind"),
)
"""Fields of a score document that are computed from the run's records."""
BOUNDS = ("low", "high", "p_value")
"""Values that may depend on random draws of a library."""
SAME, ALIKE = 1e-9, 0.02
NOTHING = "nothing"

Difference = tuple[tuple[str, ...], Any, Any]
"""The path to a value, the stated value, and the recomputed one."""


def differences(stated: dict[str, Any], computed: dict[str, Any]) -> Iterator[Difference]:
    """Yield stated values that the records do not give.

    A number that is not stated is not an error: another version may have counted less. Blind runs
    that are missing cannot be checked.
    """
    for name in COMPARED:
        told, found = stated.get(name), computed.get(name)
        if name == "metrics" and isinstance(told, dict):
            blind = computed.get("blind", {})
            told = {n: v for n, v in told.items() if not _of_blind(n) or _variant(n) in blind}
        if name == "blind" and isinstance(told, dict):
            told = {n: v for n, v in told.items() if n in (found or {})} or None
        if told is not None:
            yield from _between((name,), told, found)


def _between(place: tuple[str, ...], told: Any, found: Any) -> Iterator[Difference]:
    if place[-1] in OVER_ALL and isinstance(found, dict) and found.get("value", 0) is None:
        return  # an older version has counted 0 shortcuts where nothing was described
    if isinstance(told, dict) and isinstance(found, dict):
        for name in sorted(told):
            yield from _between((*place, name), told[name], found.get(name, NOTHING))
    elif isinstance(told, list) and isinstance(found, list) and len(told) == len(found):
        for number, pair in enumerate(zip(told, found, strict=True)):
            yield from _between((*place, str(number)), *pair)
    elif not _same(told, found, ALIKE if place[-1] in BOUNDS else SAME):
        yield place, told, found


def _same(told: Any, found: Any, within: float) -> bool:
    """Whether two values are equal; numbers may differ by rounding on another machine."""
    if isinstance(told, bool) or isinstance(found, bool):
        return told is found
    if isinstance(told, int | float) and isinstance(found, int | float):
        return abs(told - found) <= within
    return bool(told == found)


def _of_blind(metric: str) -> bool:
    return metric.startswith(("blind_accuracy[", "gain["))


def _variant(metric: str) -> str:
    return metric.partition("[")[2].removesuffix("]")
