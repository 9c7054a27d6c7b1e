"""A web server of files over real HTTP, with ranges and with everything that goes wrong.

with FileServer(folder, plan) as server:        # plan(path, number of this call) -> Trouble
    ...server.url...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from localserver import LocalServer


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with a request."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    """Bytes of the body after which the connection breaks."""
    ranges: bool = True
    """False: the whole file, whatever part is asked for."""
    data: bytes | None = None
    """Another body."""
    endless: bool = False
    """A body without an end, of no promised length."""


Plan = Callable[[str, int], Trouble | None]


class FileServer(LocalServer):
    def __init__(self, folder: Path, plan: Plan = lambda path, n: None) -> None:
        self.folder, self.plan = folder, plan
        self.asked: list[tuple[str, str | None]] = []
        """Path and Range of each request."""
        self.authorized: list[str | None] = []
        super().__init__(_Handler)


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep standard error clean."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        number = sum(known == path for known, _ in self.server.asked)
        asked = self.headers.get("Range")
        self.server.asked.append((path, asked))
        self.server.authorized.append(self.headers.get("Authorization"))
        trouble = self.server.plan(path, number) or Trouble()
        file = self.server.folder / path
        if trouble.status or not file.is_file():
            self._head(trouble.status or 404, (*trouble.headers, ("Content-Length", "0")))
            return
        data = file.read_bytes() if trouble.data is None else trouble.data
        if trouble.endless:
            self._head(200, (("Connection", "close"),))
            self.close_connection = True
            while True:  # until the client has had enough
                self.wfile.write(b"x" * 65536)
        status, headers = 200, list(trouble.headers)
        if asked and trouble.ranges:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(data):
                self._head(416, (("Content-Length", "0"),))
                return
            headers.append(("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}"))
            status, data = 206, data[start:]
        self._head(status, (*headers, ("Content-Length", str(len(data)))))
        self.wfile.write(data if trouble.cut is None else data[: trouble.cut])
        if trouble.cut is not None and trouble.cut < len(data):
            self.close_connection = True

    def _head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
