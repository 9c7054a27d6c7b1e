"""Backend `openai`: any endpoint of the OpenAI chat protocol (vLLM servers, hosted models).

Rate limits, server errors and dropped connections are retried (see `generation.calls`). A refused
key, an unknown model, a missing endpoint or one that asks for a very long wait stops the run.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Annotated, Any

import openai
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from vsr1_bench.generation.base import EXTRA, InSpec, NotInSpec, failed
from vsr1_bench.generation.bounded import Intercept, bounded_client
from vsr1_bench.generation.calls import (
    CONNECT_SECONDS,
    GONE_STATUS,
    RETRIED_STATUS,
    CallArgs,
    CallingGenerator,
    TryAgainError,
    asked_seconds,
    billed,
    cached_of,
    checked_key,
    usage_of,
)
from vsr1_bench.generation.chat_reply import (
    AT_LIMIT,
    WITHHELD,
    EventStreamError,
    NoCompletionError,
    OddFormError,
    parse_body,
    read_finish,
    read_logprobs,
    read_message,
)
from vsr1_bench.generation.flags import PERCEPTION_FLAGS
from vsr1_bench.generation.further_fields import body_fields, headers_of
from vsr1_bench.generation.hosts import OPENAI, defaults_at
from vsr1_bench.generation.images import data_url
from vsr1_bench.generation.models import ModelInfo, checked_url
from vsr1_bench.records import Completion, ImagePlace, Message, Request, Usage

if TYPE_CHECKING:
    from vsr1_bench.generation.batch import BatchService

log = logging.getLogger(__name__)

KEY_VARIABLE = "OPENAI_API_KEY"


_NOT_TAKEN = re.compile(r"unsupported|not support|unrecogni[sz]ed|unknown|default \(1\)", re.I)
RAW = {"X-Stainless-Raw-Response": "true"}
"""The header by which the client returns the raw reply (its `with_raw_response`)."""


class OpenAIArgs(CallArgs):
    """`--model_args` of the openai backend."""

    vllm_fields: Annotated[bool, InSpec()] = True
    """Send top_k, min_p and repetition_penalty, which vLLM and SGLang accept. The hosts of OpenAI,
    Azure OpenAI and Gemini refuse them, so their default is `false`."""
    max_completion_tokens: Annotated[
        bool, NotInSpec("another name for the same limit; a server takes one of the two")
    ] = False
    """Send the token limit under this name, for OpenAI's reasoning models, not as `max_tokens`. The
    default of the hosts of OpenAI and Azure OpenAI is `true`."""
    logprobs: Annotated[bool, NotInSpec(EXTRA)] = False
    """Store the log-probability of each token."""


class OpenAIGenerator(CallingGenerator):
    """Answers from an endpoint."""

    _lost = openai.APIConnectionError
    _refusal = openai.APIStatusError

    def __init__(
        self, model: ModelInfo, args: OpenAIArgs, *, key_variable: str = KEY_VARIABLE
    ) -> None:
        """Start the event loop; the endpoint is first called by the first request.

        Raises:
            UsageError: a URL or a key that cannot be used.
        """
        self.args = args
        self.model = model.id
        self._key_variable = key_variable
        self._marked = False
        """Whether a byte order mark has been reported."""
        self._flags = model.flags
        self._defaults = defaults_at(model.base_url, args.model_dump())
        url, key = checked_url(model.base_url or "", model.flags), checked_key(key_variable)
        headers = headers_of(model.flags.headers_variable)
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=key or "none",  # many local servers need no key, but the client does
            default_headers=headers,
            max_retries=0,
            timeout=openai.Timeout(None, connect=CONNECT_SECONDS),  # the rest: calls.py
            http_client=_http(url, self._intercepted),
        )
        super().__init__("openai", url, key, args, secrets=tuple(headers.values()))

    def _prepare(self, request: Request) -> list[dict[str, Any]]:
        return _chat(request)

    def _refusal_of(self, error: openai.APIStatusError) -> tuple[int, str]:
        body = error.body
        if isinstance(body, dict):  # `message` of OpenAI and vLLM, `detail` of FastAPI
            body = body.get("message") or body.get("detail")
        return error.status_code, str(body or error.message)

    def batches(self) -> BatchService:
        """OpenAI's batch service, which some other endpoints have, too."""
        from vsr1_bench.generation.openai_batch import OpenAIBatches

        return OpenAIBatches(self._client)

    async def _close_client(self) -> None:
        await self._client.close()

    async def _send(self, request: Request, prepared: Any) -> Completion:
        try:
            # Not `chat.completions.create`, which spends a quarter of a call on checking types.
            reply: Any = await self._client.post(
                "/chat/completions",
                cast_to=object,
                body={"messages": prepared, "model": self.model, **self._fields(request)},
                options={"headers": RAW},
            )
        except openai.APIStatusError as error:
            refused = error  # the name ends with this block
            return billed(request, error.response.content, lambda: self._refused(request, refused))
        # Parsed here, because the client accepts anything that a server sends, even HTML.
        received = reply.http_response
        body, kind = received.content, received.headers.get("content-type", "")
        completion = billed(request, body, lambda: self._read(request, body, kind))
        self._answered = True
        return completion

    def _fields(self, request: Request) -> dict[str, Any]:
        s = request.sampling
        limit = "max_completion_tokens" if self.args.max_completion_tokens else "max_tokens"
        fields: dict[str, Any] = {"temperature": s.temperature, "top_p": s.top_p}
        fields = {k: v for k, v in fields.items() if v != self._defaults.get(k)}
        fields |= {"n": 1, limit: s.max_tokens, "seed": request.seed}
        if s.stop:
            fields["stop"] = list(s.stop)
        if self.args.vllm_fields:
            fields |= {"top_k": s.top_k, "min_p": s.min_p}
            fields["repetition_penalty"] = s.repetition_penalty
        if self.args.logprobs:
            fields["logprobs"] = True
        if request.json_schema is not None:
            schema = {"name": "reply", "schema": dict(request.json_schema), "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        return fields | body_fields(s)

    def _refused(self, request: Request, error: openai.APIStatusError) -> Completion:
        """Decide whether an HTTP error fails this call, this sample or the run.

        Raises:
            TryAgainError: a retry may succeed.
            BenchError: every other sample would fail, too.
        """
        status, message = self._refusal_of(error)
        reason = f"HTTP {status}: {self._clean(message)}"
        # Hosts that moderate prompts refuse one sample by 403; before any answer it means the key.
        if status == 401 or (status == 403 and not self._answered):
            trouble = "refused the key" if self._key else "wants a key"
            raise self._fatal(f"{trouble} in {self._key_variable} ({reason})")
        if status == 402 or error.code == "insufficient_quota":
            raise self._fatal(f"wants payment ({reason})")
        if status in (404, 405):
            raise self._fatal(
                f"does not serve model {self.model!r} ({reason}); check {self._flags.model} and "
                f"{self._flags.base_url} (which ends in /v1 for most servers)"
            )
        if status < 500 and status not in RETRIED_STATUS:
            return failed(request, self._hint(reason, request))
        raise self._later(reason, asked_seconds(error.response.headers.get("retry-after")))

    def _hint(self, reason: str, request: Request) -> str:
        """The reason of a refused request, with the way out where a field is not taken."""
        flag = self._flags.args
        if self.args.vllm_fields and any(f in reason for f in ("top_k", "min_p", "repetition_pen")):
            return f"{reason} (an endpoint without these fields: {flag} vllm_fields=false)"
        refused = next(
            (f for f in OPENAI.defaults if f in reason and _NOT_TAKEN.search(reason)), None
        )
        if refused and getattr(request.sampling, refused) != OPENAI.defaults[refused]:
            return f"{reason} (a model that takes no other: {self._setting(request)} {refused}=1)"
        if refused and not self._defaults:
            given = "vllm_fields=false,max_completion_tokens=true"
            return f"{reason} (a gateway to OpenAI's models, without {refused}: {flag} {given})"
        if "max_completion_tokens" in reason and not self.args.max_completion_tokens:
            return f"{reason} ({flag} max_completion_tokens=true)"
        return reason

    def _setting(self, request: Request) -> str:
        """The flag or recipe key of a request's sampling."""
        if self._flags is PERCEPTION_FLAGS:
            return "reader=drawn"
        if self._flags.role != "backend":
            return self._flags.args
        return "--gen_kwargs" if request.stage == "answer" else "--reader self --reader_args"

    async def _is_there(self) -> bool:
        try:
            await self._client.models.with_raw_response.list()
        except openai.APIStatusError as error:
            return error.status_code not in GONE_STATUS
        return True

    def _read(self, request: Request, body: bytes, content_type: str) -> Completion:
        """Read a reply (see `chat_reply`).

        Raises:
            TryAgainError: it is not a chat completion; the next reply may be one.
            BenchError: every other reply would have this form, too.
        """
        try:
            reply = self._parsed(body, content_type)
        except (NoCompletionError, ValidationError):
            raise TryAgainError("the reply is not a chat completion in JSON") from None
        if reply.error is not None:  # some gateways report errors with status 200
            raise TryAgainError(f"the endpoint reports: {self._clean(str(reply.error))}")
        usage = reply.usage or Usage()
        if not reply.choices:
            return failed(request, "the reply has no choices", usage)
        choice = reply.choices[0]
        finish = read_finish(choice.finish_reason)
        try:
            message = read_message(choice.message)
        except OddFormError as error:
            return failed(request, f"the reply cannot be read: {error}", usage)
        if message.refusal and not message.text:
            return failed(request, f"refused: {self._clean(message.refusal)}", usage)
        if finish in WITHHELD:
            return failed(request, f"the endpoint cut the answer ({choice.finish_reason})", usage)
        # At the limit there may be no text: a server can spend all tokens on separate reasoning.
        if message.text is None and finish not in AT_LIMIT and not message.reasoned:
            return failed(request, f"the reply has no text ({choice.finish_reason})", usage)
        logprobs = read_logprobs(choice.logprobs)
        how = "length" if finish in AT_LIMIT else "stop"
        return Completion(
            request.key,
            message.text or "",
            how,
            logprobs=logprobs,
            usage=usage,
            cached_tokens=reply.cached,
        )

    def _parsed(self, body: bytes, content_type: str) -> _Reply:
        try:
            fields, marked = parse_body(body, content_type)
        except EventStreamError:
            raise self._fatal(
                "answers with an event stream, which was not requested; turn streaming off at the "
                "server or its gateway"
            ) from None
        if marked and not self._marked:
            self._marked = True
            log.warning("endpoint %s puts a byte order mark before its replies", self.url)
        return _Reply.model_validate(fields)


def _http(url: str, intercept: Intercept) -> Any:
    """A bounded client of the HTTP package that this version of openai uses."""
    kinds = (base.__module__.partition(".")[0] for base in openai.DefaultAsyncHttpxClient.__mro__)
    kind = next(name for name in kinds if name.startswith("httpx"))
    limits = openai.DEFAULT_CONNECTION_LIMITS
    return bounded_client(kind, url, intercept, timeout=None, limits=limits)


class _Choice(BaseModel):
    message: Any = None
    finish_reason: Any = None
    logprobs: Any = None


class _Reply(BaseModel):
    """The fields of a chat completion that are read; servers add their own."""

    choices: list[_Choice] | None = None
    usage: Annotated[Usage | None, BeforeValidator(usage_of)] = None
    cached: Annotated[int | None, BeforeValidator(cached_of), Field(alias="usage")] = None
    error: Any = None


def _chat(request: Request) -> list[dict[str, Any]]:
    """Write messages in the protocol's form, images as data URLs.

    Raises:
        ImageError: an image cannot be decoded.
    """
    s = request.sampling

    def part(p: str | ImagePlace) -> dict[str, Any]:
        if isinstance(p, str):
            return {"type": "text", "text": p}
        url = data_url(request.images[p.index], s.min_pixels, s.max_pixels)
        return {"type": "image_url", "image_url": {"url": url}}

    def content(message: Message) -> str | list[dict[str, Any]]:
        # Plain text as a plain string: for text-only models some servers take nothing else.
        texts = [p for p in message.content if isinstance(p, str)]
        plain = len(texts) == len(message.content)
        return "".join(texts) if plain else [part(p) for p in message.content]

    return [{"role": m.role, "content": content(m)} for m in request.messages]
