"""An HTTP client for untrusted endpoints: bounded replies, and no request body to another host.

A reply is read up to `MOST` bytes, as they come and as they unpack: half a megabyte of gzip can be
gigabytes. A redirect is followed on the same host only, since what a request holds (questions,
images) was meant for that host.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import AsyncIterator
from typing import Any

MOST = 16 << 20
"""Bytes of a reply; the longest that were seen, with log-probabilities, have a third of it."""
PIECE = 1 << 16
REDIRECTS = 5
FORMS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class RefusedReplyError(Exception):
    """A reply, or a redirect, that is not read to its end: another call would meet the same."""


def bounded_client(kind: str, url: str, *, most: int = MOST, **settings: Any) -> Any:
    """Make an asynchronous client of `httpx`, or of another package of its form.

    Args:
        kind: The package.
        url: The endpoint's address, on whose host requests stay.
        most: Bytes that a reply may have.
        settings: Of the client.

    Returns:
        Its `AsyncClient`; what it refuses is raised as `RefusedReplyError`.
    """
    package: Any = importlib.import_module(kind)
    home = package.URL(url)
    base: type[Any] = package.AsyncClient

    class Bounded(base):
        async def send(self, request: Any, *, stream: bool = False, **told: Any) -> Any:
            for _ in range(REDIRECTS):
                # Read here, never by the client: it unpacks without a bound, of redirects, too.
                told["follow_redirects"] = False
                reply = await super().send(request, stream=True, **told)
                if reply.next_request is None:
                    return await whole(package, reply, most)
                await reply.aclose()
                request = reply.next_request
                _stay(home, request.url)
            raise RefusedReplyError("redirects without end")

    headers = {"Accept-Encoding": "gzip, deflate", **settings.pop("headers", {})}
    return Bounded(headers=headers, **settings)


def _stay(home: Any, there: Any) -> None:
    """Refuse another host, and what anybody between could read after https."""
    if there.host != home.host or (home.scheme == "https" and there.scheme != "https"):
        raise RefusedReplyError(
            f"redirects from {home.scheme}://{home.host} to {there.scheme}://{there.host}, where "
            "nothing is sent; give that address, if it is the one you mean"
        )


async def whole(package: Any, reply: Any, most: int) -> Any:
    """Read a streamed reply within its bound; it comes back as one that was read."""
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
    """Yield a body's bytes, unpacked, in pieces that are never much larger than `PIECE`.

    Raises:
        RefusedReplyError: there are more than `most` of them, packed or unpacked, or they come in a
            form that was not asked for.
    """
    if form != "identity" and form not in FORMS:
        raise RefusedReplyError(f"the reply comes as {form[:40]!r}, which was not asked for")
    engine = zlib.decompressobj(FORMS[form]) if form in FORMS else None
    came = made = 0
    async for raw in pieces:
        came += len(raw)
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
            made += len(piece)
            if max(came, made) > most:
                raise RefusedReplyError(f"the reply has over {most:,} bytes")
            yield piece
