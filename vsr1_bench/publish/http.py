"""Download one file over HTTP: ranges, broken connections, busy servers, bounded size."""

from __future__ import annotations

import http.client
import ipaddress
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from vsr1_bench._util.version import __version__
from vsr1_bench.errors import ExchangeError, TransferError

log = logging.getLogger(__name__)

BLOCK = 1 << 18
TIMEOUT = 30.0
"""Seconds without a byte."""
TRIES = 5
"""Failures in a row, without a byte in between, after which the transfer is given up."""
LONGEST_WAIT = 60.0
BUSY = (408, 425, 429, 500, 502, 503, 504)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects within the web, and never from https back to what anybody can change."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and (req.type == "https" or scheme != "http"):
            raise ExchangeError(
                f"{_bare(req.full_url)}: redirects from {req.type} to {scheme[:10]}; refused"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch_url(
    base: SplitResult,
    path: str,
    target: Path,
    size: int | None,
    most: int,
    moved: Callable[[int], object],
) -> None:
    """Download a file, resuming after the bytes already in `target`.

    Args:
        base: The folder's address.
        path: Below it.
        target: Where it goes.
        size: Its size, where known.
        most: More bytes than this are never written.
        moved: VerdictSummary of progress.

    Raises:
        ExchangeError: it is not there, or longer than it may be.
        TransferError: the connection broke `TRIES` times in a row.
    """
    if base.scheme == "http" and not _loopback(base.hostname or ""):
        log.warning("%s is not encrypted: whoever stands between can change it", _host(base))
    url = urlunsplit(base._replace(path=base.path + quote(path), netloc=_host(base)))
    opener = urllib.request.build_opener(_Redirects)
    failures, restarted = 0, False
    while True:
        before = target.stat().st_size if target.exists() else 0
        if size is not None and before >= size:
            target.touch()
            return
        try:
            if _ask(opener, base, url, target, size, most, moved):
                return
            failure = "the connection ended early"
            wait = 0.0
        except urllib.error.HTTPError as error:
            # What is here is not a beginning of what is there. Once: else two files that are served
            # by turns would be asked for without end.
            if error.code == 416 and before and not restarted:
                restarted = True
                target.unlink()
            elif error.code not in BUSY:
                raise ExchangeError(f"{_bare(url)}: {_said(error)}") from error
            failure, wait = _said(error), _retry_after(error)
        except (OSError, http.client.HTTPException) as error:
            failure, wait = f"{type(error).__name__}: {_reason(error)}", 0.0
        after = target.stat().st_size if target.exists() else 0
        failures = 0 if after > before else failures + 1
        if failures >= TRIES:
            raise TransferError(f"{_bare(url)}: {failure}; {after:,} bytes are kept")
        time.sleep(max(wait, 0.0 if after > before else 0.25 * 2.0**failures))


def _ask(
    opener: urllib.request.OpenerDirector,
    base: SplitResult,
    url: str,
    target: Path,
    size: int | None,
    most: int,
    moved: Callable[[int], object],
) -> bool:
    """One request; True = the server has sent all that it promised."""
    have = target.stat().st_size if target.exists() else 0
    headers = {"User-Agent": f"vsr1-bench/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    if base.username:  # for this host, and not for one that it redirects to
        request.add_unredirected_header("Authorization", _basic(base))
    with opener.open(request, timeout=TIMEOUT) as reply:
        if reply.headers.get("Content-Encoding", "identity") != "identity":
            raise ExchangeError(f"{_bare(url)}: comes encoded, which was not asked for; refused")
        kept = reply.status == 206 and _starts_at(reply.headers.get("Content-Range", ""), have)
        if have and not kept:
            have = 0  # this server knows no ranges: from the beginning
        promised = reply.headers.get("Content-Length")
        with target.open("ab" if kept else "wb") as out:
            came = _copy(reply, out, most - have, moved)
    if came is None:
        raise ExchangeError(f"{_bare(url)}: longer than the {most:,} bytes it may have; refused")
    if promised is not None and _number(promised):
        return came >= int(promised)
    return size is None or have + came >= size


def _copy(
    reply: IO[bytes], out: IO[bytes], most: int, moved: Callable[[int], object]
) -> int | None:
    """Copy at most so many bytes; None = there were more."""
    came = 0
    while block := reply.read(BLOCK):
        came += len(block)
        if came > most:
            return None
        out.write(block)
        moved(len(block))
    return came


def _number(said: str) -> bool:
    """Whether a header is a number; not every digit of Unicode is one, nor is every length read."""
    return said.isascii() and said.isdigit() and len(said) < 20


def _starts_at(content_range: str, have: int) -> bool:
    return content_range.startswith(f"bytes {have}-")


def _retry_after(error: urllib.error.HTTPError) -> float:
    said = (error.headers.get("Retry-After") or "").strip()
    if _number(said):
        return min(float(said), LONGEST_WAIT)
    try:
        wait = parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(wait, 0.0), LONGEST_WAIT)


def _said(error: urllib.error.HTTPError) -> str:
    return f"HTTP {error.code} {error.reason}"


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", None) or error).split())[:200]


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(parts: SplitResult) -> str:
    """Host and port, without user and password."""
    return parts.netloc.rpartition("@")[2]


def _basic(parts: SplitResult) -> str:
    import base64
    from urllib.parse import unquote

    words = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(words.encode()).decode()}"


def _bare(url: str) -> str:
    """An address without user, password and query: these may hold keys."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, _host(parts), parts.path, "", ""))
