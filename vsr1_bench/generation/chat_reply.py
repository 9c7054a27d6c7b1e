"""Parse chat completions in all forms that servers and gateways send.

| the reply | outcome |
|---|---|
| `content` is text | a response |
| `content` is a list of parts | the text parts joined; parts of reasoning are left out |
| no text, but reasoning | an empty response: the model thought but did not answer |
| no text and no reasoning | a failed sample |
| finish reason `length`, `max_tokens`, `MAX_TOKENS`, `model_length`, … | cut at the limit |
| finish reason `content_filter`, `abort`, `SAFETY`, … | a failed sample |
| `content` in any other form | a failed sample, not retried: the form would be the same |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AT_LIMIT = frozenset(
    "length max_tokens max_output_tokens max_completion_tokens max_new_tokens max_length "
    "model_length token_limit token_limit_reached context_length context_length_exceeded "
    "context_window_exceeded model_context_window_exceeded max_tokens_reached error_limit".split()
)
"""Finish reasons of answers that were cut at the token limit, in the form of `read_finish`."""
WITHHELD = frozenset(
    "content_filter content_filtered abort aborted error error_toxic cancelled canceled safety "
    "recitation blocklist prohibited_content spii image_safety malformed_response sensitive "
    "guardrail_intervened network_error timeout insufficient_system_resource".split()
)
"""Finish reasons of answers that were cut for another reason than the limit."""
_TEXT = ("text", "output_text")
_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks")
_BOM = b"\xef\xbb\xbf"


class NoCompletionError(Exception):
    """A body that is not a chat completion; a retry may return one."""


class EventStreamError(Exception):
    """A body that is a stream of events, which was not requested."""


class OddFormError(Exception):
    """A chat completion in a form that cannot be read; a retry would return the same form."""


@dataclass(frozen=True, slots=True)
class ReplyMessage:
    """The message of a choice."""

    text: str | None
    reasoned: bool
    """Whether there is reasoning, beside the text or instead of it."""
    refusal: str | None


def parse_body(body: bytes, content_type: str = "") -> tuple[dict[str, Any], bool]:
    """Read a body as a JSON object; also return whether it starts with a byte order mark.

    Raises:
        EventStreamError: it is a stream of events.
        NoCompletionError: it is anything else.
    """
    marked = body.startswith(_BOM)
    body = body.removeprefix(_BOM).lstrip()
    if "event-stream" in content_type.lower() or body.startswith((b"data:", b"event:")):
        raise EventStreamError
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        raise NoCompletionError
    return reply, marked


def read_finish(reason: Any) -> str:
    """A finish reason in lower case, its words joined by `_`; empty if there is none.

    Servers write one reason in many ways: `max_tokens`, `MAX_TOKENS`, `MaxTokens`, `max-tokens`,
    `FINISH_REASON_MAX_TOKENS`.
    """
    if not isinstance(reason, str):
        return ""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", reason.strip())
    return words.lower().removeprefix("finish_reason_")


def read_logprobs(logprobs: Any) -> tuple[float, ...] | None:
    """The log-probability of each token; None if any is missing or has another form.

    They are an extra, so an unknown form does not fail the answer.
    """
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not tokens or not isinstance(tokens, list):
        return None
    values = [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        return None
    return tuple(float(one) for one in values if one is not None)


def read_message(message: Any) -> ReplyMessage:
    """Read the message of a choice.

    Raises:
        OddFormError: it is not an object, or its content is neither text nor a list of parts.
    """
    if not isinstance(message, Mapping):
        raise OddFormError(f"its message is {_kind(message)}")
    content, refusal = message.get("content"), message.get("refusal")
    reasoned = any(bool(message.get(name)) for name in _REASONING)
    if isinstance(content, list):
        texts = []
        for part in content:
            if isinstance(part, str):
                texts.append(part)
                continue
            if not isinstance(part, dict):
                raise OddFormError(f"a part of its content is {_kind(part)}")
            kind = part.get("type", "text" if "text" in part else None)
            if kind in _TEXT and isinstance(part.get("text"), str):
                texts.append(part["text"])
            elif kind == "refusal":
                refusal = refusal or part.get("refusal")
            elif isinstance(kind, str) and ("think" in kind or "reason" in kind):
                reasoned = True
            else:
                raise OddFormError(f"a part of its content is of type {str(kind)[:40]!r}")
        content = "".join(texts) if texts else None
    elif content is not None and not isinstance(content, str):
        raise OddFormError(f"its content is {_kind(content)}, not text")
    return ReplyMessage(content, reasoned, refusal if isinstance(refusal, str) else None)


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        bool: "true or false",
        type(None): "null",
        str: "a text",
    }
    return names.get(type(value), "a number")
