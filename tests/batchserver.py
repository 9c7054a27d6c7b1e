"""A real HTTP server on loopback with the batch services of OpenAI and of Gemini.

    with BatchServer(answer) as server:         # answer(key, body) -> (status, body)
        ...base_url=server.url...               # server.root for Gemini
        server.finish()                         # every running batch ends

What an endpoint would bill is in `ran`: a request counts for each accepted batch with it.
`on_step(step)` is called with `upload`, `create`, `get`, `list` and `content`, each once `before:`
the server has acted and once `after:` it, before it replies. There a test can kill the client.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from localserver import LocalServer

Answer = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]] | None]
"""(key, body) -> status and body of the reply; None = the batch does not get to it."""
PAGE = 2
"""Batches on a page of a list, so that clients must turn it."""


@dataclass
class Job:
    id: str
    name: str
    """Its name in the metadata, or its display name."""
    lines: list[dict[str, Any]]
    gemini: bool
    status: str = "in_progress"
    files: dict[str, str] = field(default_factory=dict)
    """Kind of file -> id."""
    reason: str = ""


class BatchServer(LocalServer):
    def __init__(self, answer: Answer) -> None:
        super().__init__(_Handler)
        self.answer = answer
        self.files: dict[str, tuple[str, bytes]] = {}
        """Id -> name, content."""
        self.jobs: dict[str, Job] = {}
        self.ran: Counter[str] = Counter()
        self.calls: list[str] = []
        """Steps, and paths of calls that are no batch's."""
        self.on_step: Callable[[str], None] = lambda step: None
        self.faults: list[BaseException] = []
        self.client = 0
        """Process that a test kills."""
        self.refuse: tuple[str, int, str] | None = None
        """(step, status, message) of a refusal."""

    @property
    def root(self) -> str:
        return super().url

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what is wrong with the server; clients that are killed are part of the play."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.faults.append(error)
            traceback.print_exc()

    def __exit__(self, *of: object) -> None:
        super().__exit__(*of)
        if self.faults and of[0] is None:
            raise AssertionError("the test server failed") from self.faults[0]

    def finish(self, status: str = "completed", reason: str = "") -> None:
        """End every batch that runs: `completed`, `expired`, `cancelled` or `failed`."""
        for job in self.jobs.values():
            if job.status != "in_progress":
                continue
            job.status, job.reason = status, reason
            if status != "failed":
                self._run(job)
            elif status == "failed":
                self.ran.subtract(self._keys(job))

    def _keys(self, job: Job) -> list[str]:
        return [line["key" if job.gemini else "custom_id"] for line in job.lines]

    def _run(self, job: Job) -> None:
        good, bad = [], []
        for key, line in zip(self._keys(job), reversed(job.lines), strict=True):
            key = line["key" if job.gemini else "custom_id"]  # results come in any order
            reply = self.answer(key, line["request" if job.gemini else "body"])
            if job.gemini and reply is None:
                self.ran[key] -= 1
            elif job.gemini:
                status, body = reply
                good.append(
                    {"key": key, "response": body} if status == 200 else {"key": key, **body}
                )
            elif reply is None:
                self.ran[key] -= 1
                error = {"code": "batch_expired", "message": "not in time"}
                bad.append({"id": "r", "custom_id": key, "response": None, "error": error})
            else:
                status, body = reply
                response = {"status_code": status, "request_id": "r", "body": body}
                line = {"id": "r", "custom_id": key, "response": response, "error": None}
                (good if status == 200 else bad).append(line)
        for kind, lines in (("output", good), ("error", bad)):
            if lines:
                id = (
                    f"{'files/' if job.gemini else 'file-'}{kind}-{job.id.removeprefix('batches/')}"
                )
                text = "".join(json.dumps(line) + "\n" for line in lines)
                self.files[id], job.files[kind] = (kind, text.encode()), id

    def accept(self, file: str, name: str, *, gemini: bool) -> Job:
        lines = [json.loads(line) for line in self.files[file][1].splitlines()]
        id = f"{'batches/b' if gemini else 'batch_'}{len(self.jobs)}"
        job = self.jobs[id] = Job(id, name, lines, gemini)
        self.ran.update(self._keys(job))
        return job


class _Handler(BaseHTTPRequestHandler):
    server: BatchServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep standard error clean."""

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        path, query = split.path, parse_qs(split.query)
        if path.endswith(("/content", ":download")):
            self._step("content", lambda: self._content(path))
        elif path.endswith("/batches"):
            self._step("list", lambda: self._list(query, gemini="x-goog-api-key" in self.headers))
        elif "/batches/" in path:
            self._step("get", lambda: self._get(path))
        else:
            self.server.calls.append(path)
            self._json({"object": "list", "data": []})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        sent = self.rfile.read(length)
        if len(sent) < length:  # who sent it was killed in the middle
            return
        path = urlsplit(self.path).path
        if path == "/v1/files":
            self._step("upload", lambda: self._upload(sent))
        elif path == "/v1/batches":
            asked = json.loads(sent)
            name = asked["metadata"]["vsr1_bench"]
            self._step("create", lambda: self._create(asked["input_file_id"], name, gemini=False))
        elif path.startswith("/upload/") and self.headers["X-Goog-Upload-Command"] == "start":
            name = json.loads(sent)["file"]["display_name"]
            where = f"{self.server.root}/upload/v1/files/{name}"
            self._json({}, {"X-Goog-Upload-URL": where})
        elif path.startswith("/upload/"):
            self._step("upload", lambda: self._gemini_upload(path, sent))
        elif path.endswith(":batchGenerateContent"):
            asked = json.loads(sent)["batch"]
            file, name = asked["inputConfig"]["fileName"], asked["displayName"]
            self._step("create", lambda: self._create(file, name, gemini=True))
        else:
            self.server.calls.append(path)
            self._json({"error": {"message": "only batches here"}}, status=500)

    def _step(self, step: str, act: Callable[[], Callable[[], None]]) -> None:
        """Act, then reply; `act` returns the reply."""
        server = self.server
        server.calls.append(step)
        server.on_step(f"before:{step}")
        if server.refuse and server.refuse[0] == step:
            _, status, message = server.refuse
            error = {"code": status, "message": message, "status": "X"}
            self._json({"error": error}, status=status)
            return
        reply = act()
        server.on_step(f"after:{step}")
        reply()

    def _upload(self, sent: bytes) -> Callable[[], None]:
        boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
        assert boundary is not None
        parts = sent.split(b"--" + boundary.group(1).encode())
        file = next(part for part in parts if b"filename=" in part)
        head, _, content = file.partition(b"\r\n\r\n")
        name = re.search(rb'filename="([^"]+)"', head)
        assert name is not None and b"batch" in b"".join(parts)
        id = f"file-{len(self.server.files)}"
        self.server.files[id] = name.group(1).decode(), content.removesuffix(b"\r\n")
        body = {"id": id, "object": "file", "bytes": len(content), "created_at": 1}
        body |= {"filename": name.group(1).decode(), "purpose": "batch", "status": "processed"}
        return lambda: self._json(body)

    def _gemini_upload(self, path: str, sent: bytes) -> Callable[[], None]:
        id = f"files/u{len(self.server.files)}"
        self.server.files[id] = path.rpartition("/")[2], sent
        final = {"X-Goog-Upload-Status": "final"}
        return lambda: self._json({"file": {"name": id, "uri": f"u/{id}"}}, final)

    def _create(self, file: str, name: str, *, gemini: bool) -> Callable[[], None]:
        job = self.server.accept(file, name, gemini=gemini)
        return lambda: self._json(_job(job))

    def _get(self, path: str) -> Callable[[], None]:
        key = path.rpartition("/")[2]
        job = self.server.jobs.get(key) or self.server.jobs.get(f"batches/{key}")
        if job is None:
            error = {"code": 404, "message": f"No batch {key}", "status": "NOT_FOUND"}
            return lambda: self._json({"error": error}, status=404)
        return lambda: self._json(_job(job))

    def _list(self, query: dict[str, list[str]], *, gemini: bool) -> Callable[[], None]:
        jobs = [job for job in reversed(self.server.jobs.values()) if job.gemini == gemini]
        ids = [job.id for job in jobs]
        after = (query.get("after") or query.get("pageToken") or [""])[0]
        start = ids.index(after) + 1 if after else 0
        page, more = jobs[start : start + PAGE], len(jobs) > start + PAGE
        if gemini:
            body: dict[str, Any] = {"operations": [_job(job) for job in page]}
            body |= {"nextPageToken": page[-1].id} if more else {}
        else:
            body = {"object": "list", "data": [_job(job) for job in page], "has_more": more}
        return lambda: self._json(body)

    def _content(self, path: str) -> Callable[[], None]:
        id = path.removesuffix("/content").removesuffix(":download").rpartition("/")[2]
        files = self.server.files
        content = (files.get(id) or files[f"files/{id}"])[1]
        return lambda: self._send(content, {}, 200)

    def _json(
        self, body: dict[str, Any], headers: dict[str, str] | None = None, status: int = 200
    ) -> None:
        self._send(json.dumps(body).encode(), headers or {}, status)

    def _send(self, data: bytes, headers: dict[str, str], status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _job(job: Job) -> dict[str, Any]:
    if job.gemini:
        words = {"completed": "SUCCEEDED", "in_progress": "RUNNING"}
        state = f"BATCH_STATE_{words.get(job.status, job.status.upper())}"
        metadata: dict[str, Any] = {"displayName": job.name, "state": state, "model": "models/m"}
        if "output" in job.files:
            metadata["output"] = {"responsesFile": job.files["output"]}
        return {"name": job.id, "metadata": metadata, "done": job.status != "in_progress"}
    body = {"id": job.id, "object": "batch", "endpoint": "/v1/chat/completions", "created_at": 1}
    body |= {"completion_window": "24h", "input_file_id": "file-0", "status": job.status}
    body |= {"metadata": {"vsr1_bench": job.name}}
    body |= {"output_file_id": job.files.get("output"), "error_file_id": job.files.get("error")}
    if job.reason:
        body["errors"] = {"object": "list", "data": [{"code": "x", "message": job.reason}]}
    return body
