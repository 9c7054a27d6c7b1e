"""What known public hosts of the OpenAI protocol take, so that nobody needs to know it.

Only facts that their documentation states. OpenRouter and Together take the fields of vLLM, so they
need no entry; neither does a server of one's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Host:
    """What differs from a vLLM server."""

    names: tuple[str, ...]
    """Names of the host; with a dot in front: every host below it."""
    args: Mapping[str, bool]
    """Arguments of backend `openai` that are right there."""
    defaults: Mapping[str, float]
    """Sampling fields with the host's own defaults. Reasoning models refuse some fields even with
    the default as value, and leaving them out says the same."""


# All chat models take `max_completion_tokens`; reasoning models take nothing else.
OPENAI = Host(
    ("api.openai.com", ".api.openai.com", ".openai.azure.com"),
    {"vllm_fields": False, "max_completion_tokens": True},
    {"temperature": 1.0, "top_p": 1.0},
)
HOSTS = (
    OPENAI,
    # An unknown field is an error there.
    Host(("generativelanguage.googleapis.com",), {"vllm_fields": False}, {}),
)
"""Hosts that refuse what a vLLM server takes."""


def known_host(url: str | None) -> Host | None:
    """The host of a URL, if it is one of `HOSTS`."""
    try:
        name = urlsplit(url or "").hostname or ""
    except ValueError:  # no URL: `checked_url` says it
        return None
    for host in HOSTS:
        if any(name == known or (known[0] == "." and name.endswith(known)) for known in host.names):
            return host
    return None


def defaults_at(url: str | None, args: Mapping[str, Any]) -> Mapping[str, float]:
    """The sampling fields that are left out if they have these values.

    Args:
        url: The endpoint. One that is given the arguments of OpenAI's hosts is a gateway to them.
        args: The arguments of backend `openai`.
    """
    host = known_host(url)
    if host is None and OPENAI.args.items() <= args.items():
        host = OPENAI
    return host.defaults if host else {}


def with_host_args(url: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of backend `openai`: those given, and else what the host of the URL takes."""
    host = known_host(url)
    return {**(host.args if host else {}), **given}
