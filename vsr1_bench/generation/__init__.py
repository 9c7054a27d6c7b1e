"""The one generation path: requests in, completions out, whatever runs the model."""

from __future__ import annotations

from vsr1_bench.generation.base import Generator
from vsr1_bench.generation.open import BACKENDS, choose_backend, open_generator

__all__ = ["BACKENDS", "Generator", "choose_backend", "open_generator"]
