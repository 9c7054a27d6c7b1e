"""An HTTP client for untrusted endpoints: bounded replies, and no request body to another host.

A reply is read up to `MOST` bytes, both as received and decompressed, because half a megabyte of
gzip can be gigabytes. A redirect is followed only within the same host, because the questions and
images in a request were meant for that host.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

MOST = 16 << 20
"""Bytes of a reply. The longest observed ones, with log-probabilities, have a third of it."""
MOST_OF_BATCH = 512 << 20
"""Bytes of a file with the results of a batch."""
FILE_ENDS = ("/content", ":download")
"""What the path of such a file ends in."""
PIECE = 1 << 16
REDIRECTS = 5
FORMS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class RefusedReplyError(Exception):
    """A reply that is too long or a redirect that is refused; a retry would not change it."""


Intercept = Callable[[Any], tuple[int, bytes] | None]
"""The client's request -> status and content of the reply, in JSON; None = it is sent."""


def bounded_client(
    kind: str, url: str, intercept: Intercept, *, most: int = MOST, **settings: Any
) -> Any:
    """Make an asynchronous client of `httpx`, or of another package with the same interface.

    Args:
        kind: The package.
        url: The endpoint's address; requests stay on its host.
        intercept: Called with each request before it is sent.
        most: Maximum size of a reply in bytes.
        settings: Settings of the client.

    Returns:
        Its `AsyncClient`, which raises `RefusedReplyError` for what it refuses.
    """
    package: Any = importlib.import_module(kind)
    home = package.URL(url)
    base: type[Any] = package.AsyncClient

    class Bounded(base):
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            if (known := intercept(request)) is not None:
                status, content = known
                headers = {"Content-Type": "application/json"}
                return package.Response(status, headers=headers, content=content, request=request)
            bound = MOST_OF_BATCH if request.url.path.endswith(FILE_ENDS) else most
            for _ in range(REDIRECTS):
                # Read here, not by the client, which decompresses without a bound.
                options["follow_redirects"] = False
                reply = await super().send(request, stream=True, **options)
                if reply.next_request is None:
                    return await whole(package, reply, bound)
                await reply.aclose()
                request = reply.next_request
                _stay(home, request.url)
            raise RefusedReplyError("redirects without end")

    headers = {"Accept-Encoding": "gzip, deflate", **settings.pop("headers", {})}
    return Bounded(headers=headers, **settings)


def _stay(home: Any, there: Any) -> None:
    """Refuse another host, and a redirect from https to http."""
    if there.host != home.host or (home.scheme == "https" and there.scheme != "https"):
        raise RefusedReplyError(
            f"redirects from {home.scheme}://{home.host} to {there.scheme}://{there.host}, where "
            "nothing is sent; give that address, if it is the one you mean"
        )


async def whole(package: Any, reply: Any, most: int) -> Any:
    """Read a streamed reply within its bound; return it as a complete reply."""
    headers = reply.headers.copy()
    form = headers.pop("content-encoding", "identity").strip().lower()
    if form != "identity":
        headers.pop("content-length", None)
    try:
        pieces = [piece async for piece in unpacked(reply.aiter_raw(), form, most)]
    finally:
        await reply.aclose()
    return package.Response(
        reply.status_code,
        headers=headers,
        content=b"".join(pieces),
        request=reply.request,
        extensions=reply.extensions,
    )


async def unpacked(pieces: AsyncIterator[bytes], form: str, most: int) -> AsyncIterator[bytes]:
    """Yield a body's bytes, decompressed, in pieces that are never much larger than `PIECE`.

    Raises:
        RefusedReplyError: there are more than `most` bytes, compressed or not, or the encoding was
            not requested.
    """
    if form != "identity" and form not in FORMS:
        raise RefusedReplyError(f"the reply comes as {form[:40]!r}, which was not asked for")
    engine = zlib.decompressobj(FORMS[form]) if form in FORMS else None
    received = unpacked_bytes = 0
    async for raw in pieces:
        received += len(raw)
        while raw or (engine is not None and engine.unconsumed_tail):
            if engine is None:
                piece, raw = raw, b""
            else:
                try:
                    piece = engine.decompress(engine.unconsumed_tail + raw, PIECE)
                except zlib.error as error:
                    raise RefusedReplyError(f"the reply is no {form} ({error})") from None
                raw = b""
                if not piece and not engine.unconsumed_tail:
                    break
            unpacked_bytes += len(piece)
            if max(received, unpacked_bytes) > most:
                raise RefusedReplyError(f"the reply has over {most:,} bytes")
            yield piece
