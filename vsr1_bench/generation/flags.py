"""The names of a model's options, on the command line or in a recipe, for messages about them.

The models of a run, a judge, a reader and a training are opened by the same code but have different
flags. The code that finds a wrong value names the flag that the user typed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of one role."""

    role: str
    """`backend` (of a run), `judge`, `reader` or `rollouts` (of a training)."""
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
ROLLOUT_FLAGS = Flags(
    "rollouts", "model", "base_url", "engine_args", "OPENAI_API_KEY", "VSR1_HEADERS"
)
"""Keys of a recipe, for the engine of its rollouts."""
PERCEPTION_FLAGS = Flags(
    "reader",
    "perception_model",
    "perception_base_url",
    "perception_args",
    "OPENAI_API_KEY",
    "VSR1_HEADERS",
)
"""Keys of a recipe, for another model that reads its descriptions."""
