"""Sampling fields that only some backends have, and headers of endpoints.

A run that sets none of the fields has the spec that it had before they existed. Headers come from
the environment, are never stored, and are removed from the messages of endpoints.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

from vsr1_bench.errors import UsageError
from vsr1_bench.records import Sampling

PENALTIES = ("presence_penalty", "frequency_penalty")
FIELDS = ("reasoning_effort", *PENALTIES, "extra_body")
_TAKEN = {"openai": FIELDS, "scripted": FIELDS, "vllm": PENALTIES}
_OURS = frozenset(
    "messages model n stream temperature top_p top_k min_p repetition_penalty max_tokens seed stop "
    "max_completion_tokens reasoning_effort presence_penalty frequency_penalty logprobs".split()
)
"""Fields of a request's body that other settings decide."""


def read_field(name: str, value: Any, flag: str) -> Any:
    """Read the value of one of `FIELDS`; an extra body becomes canonical JSON.

    Raises:
        UsageError: a value of the wrong kind.
    """
    if name == "reasoning_effort":
        value = "none" if value is None else value
        if not isinstance(value, str) or not re.fullmatch(r"[a-z]{1,20}", value):
            raise UsageError(f"{flag} {name}={value}: wanted a word: minimal, low, medium, high, …")
        return value
    if name in PENALTIES:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not -2 <= value <= 2:
            raise UsageError(f"{flag} {name}={value}: wanted a number from -2 to 2")
        return float(value)
    try:
        body = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise UsageError(f'{flag} {name}={value}: wanted a JSON object: {name}={{"key": 1}}')
    if taken := sorted(_OURS & {*body}):
        raise UsageError(
            f"{flag} {name}: {taken[0]!r} has a setting of its own; give it by {flag} or as an "
            "argument of the backend (vsr1-bench ls model_args)"
        )
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def refuse_fields(backend: str, sampling: Sampling) -> None:
    """Refuse fields that a backend does not have.

    Raises:
        UsageError: names the field and the backends that have it.
    """
    for name in FIELDS:
        if getattr(sampling, name) is not None and name not in _TAKEN.get(backend, ()):
            having = " and ".join(one for one in ("openai", "vllm") if name in _TAKEN[one])
            raise UsageError(
                f"--gen_kwargs {name}: backend {backend!r} does not take it, {having} does; drop it"
            )


def body_fields(sampling: Sampling) -> dict[str, Any]:
    """The fields that are set, as they are sent in the body of a request."""
    fields = {name: getattr(sampling, name) for name in FIELDS[:-1]}
    more = json.loads(sampling.extra_body) if sampling.extra_body else {}
    return {name: value for name, value in fields.items() if value is not None} | more


def given_fields(sampling: Sampling) -> dict[str, Any]:
    """The fields that are set, by name."""
    return {name: value for name in FIELDS if (value := getattr(sampling, name)) is not None}


def headers_of(variable: str) -> dict[str, str]:
    """Read the headers of an endpoint: a JSON object, or a line `Name: value` each.

    Raises:
        UsageError: no header has this form; the values are not shown.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return {}
    wanted = f'{variable}: wanted {{"Name": "value"}} or lines `Name: value`'
    try:
        pairs: list[tuple[str, Any]] = [*json.loads(text).items()]
    except (ValueError, AttributeError):
        lines = [line for line in text.splitlines() if line.strip()]
        if not all(":" in line for line in lines):
            raise UsageError(wanted) from None
        pairs = [(name, value) for name, _, value in (line.partition(":") for line in lines)]
    headers: dict[str, str] = {}
    for name, value in pairs:
        name, value = name.strip(), value.strip() if isinstance(value, str) else ""
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not re.fullmatch(
            r"[ -~]+", value
        ):
            raise UsageError(f"{wanted}, in plain characters")
        if name.lower() in ("content-type", "content-length", "transfer-encoding"):
            raise UsageError(f"{variable}: {name} is set by the client; drop it")
        headers[name] = value
    return headers
