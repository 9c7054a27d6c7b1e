"""Pause the garbage collector while very many records are created."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_gc() -> Iterator[None]:
    """Create very many records without the garbage collector; also a decorator.

    The collector would scan all of them again and again: a third of the time of a large read.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
