"""`--gen_kwargs`: the sampling of a run as it is typed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from vsr1_bench._util.flag_values import pieces
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.generation.further_fields import FIELDS, read_field

ALIASES = {"max_gen_toks": "max_tokens", "max_new_tokens": "max_tokens", "until": "stop"}
"""Names of lm-eval and Hugging Face -> fields of `gen_kwargs`."""
KINDS: dict[str, type] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "repetition_penalty": float,
    "max_tokens": int,
    "min_pixels": int,
    "max_pixels": int,
}


def stop_strings(given: str | Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Read the stop strings of `gen_kwargs`: `stop=END`, `stop=["END","STOP"]`, or a list.

    Raises:
        UsageError: a list that is not one of texts.
    """
    if isinstance(given, str):
        typed = (piece.partition("=") for piece in pieces(given))
        raw: Any = next(value for field, _, value in typed if field.strip() == name)
    else:
        raw = given[name]
    listed = raw
    if isinstance(raw, str):
        if not raw.startswith("["):
            return (raw,)
        try:
            listed = json.loads(raw)
        except ValueError:
            listed = None
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        raise UsageError(f'--gen_kwargs {name}={raw}: wanted a text, or a list ["…", "…"]')
    return tuple(listed)


def sampling_fields(gen_kwargs: Mapping[str, Any], seed: int, n: int) -> dict[str, Any]:
    """Fields of `Sampling` that a command sets.

    Args:
        gen_kwargs: As read, with the names of this project, lm-eval or Hugging Face.
        seed: Seed of all sampling.
        n: Responses per sample.

    Raises:
        UsageError: an unknown field or a value of the wrong kind.
    """
    fields: dict[str, Any] = {"seed": seed, "n": n}
    sampled: Any = None
    for given, value in gen_kwargs.items():
        name = ALIASES.get(given, given)
        if name == "do_sample":
            if not isinstance(value, bool):
                raise UsageError(f"--gen_kwargs {given}={value}: wanted true or false")
            sampled = value
        elif name == "stop":
            fields[name] = value
        elif name in FIELDS:
            fields[name] = read_field(name, value, "--gen_kwargs")
        elif name not in KINDS:
            known = (*KINDS, "stop", *FIELDS)
            raise UsageError(f"--gen_kwargs {given}: no such field; {nearest(given, known)}")
        else:
            fields[name] = _number(value, KINDS[name], given)
    temperature = fields.get("temperature", 0.0)
    if sampled is True and temperature == 0:
        raise UsageError(
            "--gen_kwargs do_sample=true: sampling needs a temperature above 0; add temperature=…"
        )
    if sampled is False and temperature > 0:
        raise UsageError(
            f"--gen_kwargs do_sample=false contradicts temperature={temperature:g}; drop one"
        )
    return fields


def _number(value: Any, kind: type, name: str) -> Any:
    number = not isinstance(value, bool) and isinstance(value, int | float)
    if not number or not math.isfinite(value) or kind(value) != value:
        wanted = "a whole number" if kind is int else "a number"
        raise UsageError(f"--gen_kwargs {name}={value}: wanted {wanted}")
    return kind(value)
