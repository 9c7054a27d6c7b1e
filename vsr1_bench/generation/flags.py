"""What a model's settings are called on the command line, for messages about them.

The model of a run, a judge and a reader are reached in the same way and told by different flags.
Whoever finds a fault with a setting names the flag that the user typed; nobody rewrites messages.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of one role."""

    role: str
    """Who asks: `backend` (a run), `judge` or `reader`."""
    model: str
    base_url: str
    args: str
    """The flag of what the backend takes, `NAME=VALUE,…`."""
    key_variable: str
    """Environment variable of an OpenAI-compatible endpoint's key."""


RUN_FLAGS = Flags("backend", "--model", "--base_url", "--model_args", "OPENAI_API_KEY")
