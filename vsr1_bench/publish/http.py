"""Download one file over HTTP: ranges, broken connections, busy servers, bounded size."""

from __future__ import annotations

import ipaddress
import logging
import ssl
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlunsplit

import httpx

from vsr1_bench._util.version import __version__
from vsr1_bench.errors import ExchangeError, TransferError
from vsr1_bench.publish.remote import Moved, bounded_copy, shown

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds without a byte."""
TRIES = 5
"""Failures in a row, without a byte in between, after which the transfer is given up."""
LONGEST_WAIT = 60.0
BUSY = (408, 425, 429, 500, 502, 503, 504)


def fetch_url(
    base: SplitResult, path: str, target: Path, size: int | None, most: int, moved: Moved
) -> None:
    """Download a file, resuming after the bytes already in `target`.

    Redirects are followed, but never from https to http. Only the host of `base` is sent the user
    and password.

    Args:
        base: The folder's address.
        path: Below it.
        target: Where it goes.
        size: Its size, where known.
        most: More bytes than this are never written.
        moved: Callback for progress.

    Raises:
        ExchangeError: it is not there, or longer than it may be.
        TransferError: the connection broke `TRIES` times in a row.
    """
    host = base.netloc.rpartition("@")[2]
    if base.scheme == "http" and not _loopback(base.hostname or ""):
        log.warning("%s is not encrypted: others on the network can change what is sent", host)
    url = urlunsplit(base._replace(path=base.path + quote(path), netloc=host))
    auth = (unquote(base.username), unquote(base.password or "")) if base.username else None
    failures, restarted = 0, False
    with httpx.Client(
        headers={"User-Agent": f"vsr1-bench/{__version__}", "Accept-Encoding": "identity"},
        auth=auth,
        verify=ssl.create_default_context(),  # this machine's certificates
        timeout=TIMEOUT,
        follow_redirects=True,
        event_hooks={"response": [_check_redirect]},
    ) as client:
        while True:
            before = _size(target)
            if size is not None and before >= size:
                target.touch()
                return
            wait = 0.0
            try:
                if _request(client, url, target, size, most, moved):
                    return
                failure = "the connection ended early"
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                failure = f"HTTP {status} {error.response.reason_phrase}"
                # The bytes here are not the beginning of the remote file. Restart only once:
                # a server that serves two files by turns would be asked for ever.
                if status == 416 and before and not restarted:
                    restarted = True
                    target.unlink()
                elif status not in BUSY:
                    raise ExchangeError(f"{shown(url)}: {failure}") from error
                wait = _retry_after(error.response)
            except httpx.TooManyRedirects as error:
                raise ExchangeError(f"{shown(url)}: redirects without end") from error
            except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
                failure = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            after = _size(target)
            failures = 0 if after > before else failures + 1
            if failures >= TRIES:
                raise TransferError(f"{shown(url)}: {failure}; {after:,} bytes are kept")
            time.sleep(max(wait, 0.0 if after > before else 0.25 * 2.0**failures))


def _request(
    client: httpx.Client, url: str, target: Path, size: int | None, most: int, moved: Moved
) -> bool:
    """Send one request. True = the server has sent the whole file."""
    have = _size(target)
    with client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as reply:
        reply.raise_for_status()
        if reply.headers.get("Content-Encoding", "identity") != "identity":
            raise ExchangeError(f"{shown(url)}: comes encoded, which was not asked for; refused")
        content_range = reply.headers.get("Content-Range", "")
        resumed = reply.status_code == 206 and content_range.startswith(f"bytes {have}-")
        if not resumed:
            have = 0  # this server knows no ranges: from the beginning
        with target.open("ab" if resumed else "wb") as out:
            have = bounded_copy(reply.iter_raw(), out, have, most, shown(url), moved)
    # httpx has raised an error where fewer bytes came than the Content-Length promised.
    return "Content-Length" in reply.headers or size is None or have >= size


def _check_redirect(response: httpx.Response) -> None:
    """Refuse redirects to other schemes, and from https to http."""
    if response.has_redirect_location:
        scheme = response.url.join(response.headers["Location"]).scheme
        if scheme != "https" and (response.url.scheme == "https" or scheme != "http"):
            raise ExchangeError(
                f"{shown(str(response.url))}: redirects from {response.url.scheme} to "
                f"{scheme[:10]}; refused"
            )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait, at most `LONGEST_WAIT`; 0 if it does not say."""
    header = response.headers.get("Retry-After", "").strip()
    try:
        wait = float(header) if header.isdigit() else _until(header)
    except (ValueError, OverflowError):
        return 0.0
    return min(max(wait, 0.0), LONGEST_WAIT)


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
