"""The names of a model's options on the command line, for messages about them.

The model of a run, a judge and a reader are opened by the same code but have different flags. The
code that finds a wrong value names the flag that the user typed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of one role."""

    role: str
    """`backend` (of a run), `judge` or `reader`."""
    model: str
    base_url: str
    args: str
    """The flag of the backend's arguments, `NAME=VALUE,…`."""
    key_variable: str
    """Environment variable of an OpenAI-compatible endpoint's key."""
    headers_variable: str
    """Environment variable of the headers that its requests get."""


RUN_FLAGS = Flags(
    "backend", "--model", "--base_url", "--model_args", "OPENAI_API_KEY", "VSR1_HEADERS"
)
