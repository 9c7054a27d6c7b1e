"""Backend `gemini`: Google's models by google-genai's own client.

The client's own retries ignore Retry-After and dropped connections, so they are off and those of
`generation.calls` are used. A blocked prompt or answer is a failed sample, with the name of the
block as its reason. A refused key or an unknown model stops the run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import httpx
from google import genai
from google.genai import errors, types
from pydantic import Field

from vsr1_bench.errors import UsageError
from vsr1_bench.generation.base import InSpec, failed
from vsr1_bench.generation.bounded import bounded_client
from vsr1_bench.generation.calls import (
    CONNECT_SECONDS,
    RETRIED_STATUS,
    CallArgs,
    CallingGenerator,
    TryAgainError,
    asked_seconds,
    checked_key,
)
from vsr1_bench.generation.images import encoded
from vsr1_bench.generation.models import ModelInfo, checked_url
from vsr1_bench.records import Completion, ImagePlace, Message, Request, Usage

if TYPE_CHECKING:
    from vsr1_bench.generation.batch import BatchService

KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
ENDPOINT = "https://generativelanguage.googleapis.com"
CATEGORIES = (
    types.HarmCategory.HARM_CATEGORY_HARASSMENT,
    types.HarmCategory.HARM_CATEGORY_HATE_SPEECH,
    types.HarmCategory.HARM_CATEGORY_SEXUALLY_EXPLICIT,
    types.HarmCategory.HARM_CATEGORY_DANGEROUS_CONTENT,
)
LIMIT = "MAX_TOKENS"


class GeminiArgs(CallArgs):
    """Arguments of the gemini backend."""

    safety: Annotated[
        Literal["default", "off", "none", "high", "medium", "low"],
        InSpec("the judge's or reader's identity"),
    ] = "default"
    """What is blocked in every category: nothing (`off`, `none`) up to the most (`low`)."""
    thinking_budget: Annotated[int | None, InSpec("the judge's or reader's identity")] = Field(
        None, ge=-1
    )
    """Tokens to think with; 0 = none, -1 = as many as the model likes, None = its default."""


THRESHOLDS = {
    "off": types.HarmBlockThreshold.OFF,
    "none": types.HarmBlockThreshold.BLOCK_NONE,
    "high": types.HarmBlockThreshold.BLOCK_ONLY_HIGH,
    "medium": types.HarmBlockThreshold.BLOCK_MEDIUM_AND_ABOVE,
    "low": types.HarmBlockThreshold.BLOCK_LOW_AND_ABOVE,
}


def key_variable() -> str:
    """The variable that holds the key; the first of them if none does."""
    return next((name for name in KEY_VARIABLES if os.environ.get(name)), KEY_VARIABLES[0])


class GeminiGenerator(CallingGenerator):
    """Answers from Gemini."""

    _lost = httpx.HTTPError
    _refusal = errors.APIError

    def __init__(self, model: ModelInfo, args: GeminiArgs) -> None:
        """Start the event loop; the endpoint is first called by the first request.

        Raises:
            UsageError: the URL or the key cannot be used, or there is no key.
        """
        self.args = args
        self.model = model.id
        self._flags = model.flags
        url = checked_url(model.base_url or ENDPOINT, model.flags)
        key = checked_key(key_variable())
        if not key:
            raise UsageError(f"gemini needs a key in {' or '.join(KEY_VARIABLES)}")
        self._http: httpx.AsyncClient = bounded_client(
            "httpx",
            url,
            self._intercepted,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),  # the rest: calls.py
            limits=httpx.Limits(max_connections=1000, max_keepalive_connections=1000),
        )
        self._client = genai.Client(
            api_key=key,
            vertexai=False,
            http_options=types.HttpOptions(base_url=url, httpx_async_client=self._http),
        )
        super().__init__("gemini", url, key, args)

    def _refusal_of(self, error: errors.APIError) -> tuple[int, str]:
        return error.code, str(error.message or error.status or "")

    def batches(self) -> BatchService:
        """Gemini's batch service."""
        from vsr1_bench.generation.gemini_batch import GeminiBatches

        return GeminiBatches(self._client, self.model)

    async def _close_client(self) -> None:
        await self._client.aio.aclose()
        await self._http.aclose()

    def _prepare(self, request: Request) -> tuple[list[types.Content], types.GenerateContentConfig]:
        s = request.sampling

        def part(p: str | ImagePlace) -> types.Part:
            if isinstance(p, str):
                return types.Part(text=p)
            kind, data = encoded(request.images[p.index], s.min_pixels, s.max_pixels)
            return types.Part.from_bytes(data=data, mime_type=kind)

        def content(m: Message) -> types.Content:
            role = "model" if m.role == "assistant" else "user"
            return types.Content(role=role, parts=[part(p) for p in m.content])

        system = [content(m) for m in request.messages if m.role == "system"]
        config = types.GenerateContentConfig(
            temperature=s.temperature,
            top_p=s.top_p,
            top_k=s.top_k if s.top_k > 0 else None,
            max_output_tokens=s.max_tokens,
            stop_sequences=list(s.stop) or None,
            seed=request.seed,
            candidate_count=1,
            system_instruction=system[0] if system else None,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        if self.args.thinking_budget is not None:
            config.thinking_config = types.ThinkingConfig(thinking_budget=self.args.thinking_budget)
        if self.args.safety != "default":
            threshold = THRESHOLDS[self.args.safety]
            config.safety_settings = [
                types.SafetySetting(category=category, threshold=threshold)
                for category in CATEGORIES
            ]
        if request.json_schema is not None:
            config.response_mime_type = "application/json"
            config.response_json_schema = dict(request.json_schema)
        return [content(m) for m in request.messages if m.role != "system"], config

    async def _send(self, request: Request, prepared: Any) -> Completion:
        contents, config = prepared
        try:
            reply = await self._client.aio.models.generate_content(
                model=self.model, contents=contents, config=config
            )
        except errors.APIError as error:
            return self._refused(request, error)
        except ValueError:  # JSON errors, and pydantic's of a reply in another form
            raise TryAgainError("the reply is not Gemini's JSON") from None
        self._answered = True
        return self._read(request, reply)

    def _refused(self, request: Request, error: errors.APIError) -> Completion:
        """Decide whether an HTTP error fails this call, this sample or the run.

        Raises:
            TryAgainError: a retry may succeed.
            BenchError: every other sample would fail, too.
        """
        status, message = self._refusal_of(error)
        reason = f"HTTP {status}: {self._clean(message)}"
        if status == 401 or (status == 403 and not self._answered) or _about_the_key(error):
            raise self._fatal(f"refused the key in {key_variable()} ({reason})")
        if status == 404:
            trouble = f"does not serve model {self.model!r} ({reason})"
            raise self._fatal(f"{trouble}; check {self._flags.model}")
        if status < 500 and status not in RETRIED_STATUS:
            return failed(request, reason)
        asked = error.response.headers.get("retry-after")
        raise self._later(reason, asked_seconds(asked) or _retry_delay(error.details))

    async def _is_there(self) -> bool:
        await self._http.get(self.url)
        return True

    def _read(self, request: Request, reply: types.GenerateContentResponse) -> Completion:
        usage = _usage(reply)
        feedback = reply.prompt_feedback
        if feedback is not None and feedback.block_reason is not None:
            return failed(request, f"the prompt was blocked ({feedback.block_reason.name})", usage)
        if not reply.candidates:
            return failed(request, "the reply has no candidates", usage)
        candidate = reply.candidates[0]
        finish = candidate.finish_reason.name if candidate.finish_reason is not None else "STOP"
        if finish not in ("STOP", LIMIT):
            return failed(request, f"the answer was blocked ({finish})", usage)
        parts = (candidate.content.parts if candidate.content is not None else None) or []
        text = "".join(part.text for part in parts if part.text and not part.thought)
        # A model that thought but did not answer: an empty response, as with other endpoints.
        metadata = reply.usage_metadata
        thought = any(part.thought for part in parts) or bool(
            metadata and metadata.thoughts_token_count
        )
        if not text and finish != LIMIT and not thought:
            return failed(request, "the reply has no text", usage)
        cached = metadata.cached_content_token_count if metadata else None
        how = "length" if finish == LIMIT else "stop"
        return Completion(request.key, text, how, usage=usage, cached_tokens=cached)


def _usage(reply: types.GenerateContentResponse) -> Usage:
    """Tokens as they are billed; thinking counts as output."""
    metadata = reply.usage_metadata
    if metadata is None:
        return Usage()
    counts = (metadata.candidates_token_count, metadata.thoughts_token_count)
    known = [count for count in counts if count is not None and count >= 0]
    prompt = metadata.prompt_token_count
    asked = prompt if prompt is not None and prompt >= 0 else None
    return Usage(asked, sum(known) if known else None)


def _about_the_key(error: errors.APIError) -> bool:
    """Google answers 400 to an invalid key."""
    return error.code == 400 and "API key" in str(error.message)


def _retry_delay(details: Any) -> float:
    """Seconds of the RetryInfo in the body of a 429, e.g. "retryDelay": "7s"."""
    body = details.get("error", details) if isinstance(details, dict) else {}
    for detail in body.get("details") or [] if isinstance(body, dict) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return asked_seconds(delay[:-1])
    return 0.0
